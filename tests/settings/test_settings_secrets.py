"""No secret is ever shown: not in problems, not in what Python prints of settings, not by the YAML parser."""

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from settings_samples import ARN, HASH, IDENTITY, USERS, Load, Refuse, Write

from relay.settings.document import CredentialEntry, Document
from relay.settings.load import load
from relay.settings.model import CredentialSource, Settings
from relay.settings.problems import ConfigurationError

SECRET = "hunter2secret"
PLACES = ["secret_access_key", "session_token", "smtp_password"]


def _entry(key: str, value: Any) -> dict[str, Any]:
    return {"credentials": {"keys": {"access_key_id": "AKIA1", "smtp_username": "u", key: value}}}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "value",
    [
        f" {SECRET}",
        f"{SECRET}\n{SECRET}",
        f"{SECRET}${{",
        f"${{UNSET}}{SECRET}",
        f"${{VARIABLE}}{SECRET}\0",
        [SECRET],
        {SECRET: SECRET},
    ],
    ids=["padded", "lines", "broken reference", "unset reference", "control character", "list", "mapping"],
)
def test_a_secret_of_the_wrong_form_is_not_shown(refuse_text: Refuse, place: str, value: object) -> None:
    problems = refuse_text(IDENTITY + json.dumps(_entry(place, value))[1:-1], {"VARIABLE": SECRET})

    assert any(f"credentials.keys.{place}:" in line for line in problems)
    assert SECRET not in "".join(problems)


@pytest.mark.parametrize(
    "text",
    [
        f"password: {SECRET}",
        f"credentials: {SECRET}",
        f"credentials: [{SECRET}]",
        f"credentials: {{keys: {SECRET}}}",
        f"credentials: {{keys: {{secret: {SECRET}, smtp_pasword: {SECRET}}}}}",
        f"users: {SECRET}",
        f"users: {{billing: {SECRET}}}",
        f"users: {{billing: {{hash: {SECRET}}}}}",
        f"ses: {{api_endpoint: 'ftp://user:{SECRET}@localhost'}}",
        f"ses: {{smtp_password: {SECRET}}}",
        "limits: {hops: '${VARIABLE}'}",
        "log: {level: '${VARIABLE}'}",
        "users_file: '${VARIABLE}'",
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(refuse_text: Refuse, text: str) -> None:
    problems = refuse_text(f"{IDENTITY}{text}\n", {"VARIABLE": SECRET})

    assert problems
    assert SECRET not in "".join(problems)


@pytest.mark.parametrize(
    "broken", ["*{}", "!{} x", "%{}", "@{}", "'{}", '"{}', "[{}", "{{{}", "&a &{} x", "|{}", "> {}"]
)
def test_the_yaml_parser_does_not_quote_the_file(refuse_text: Refuse, broken: str) -> None:
    problems = refuse_text(f"{IDENTITY}credentials:\n  keys:\n    secret_access_key: {broken.format(SECRET)}\n")

    assert problems
    assert SECRET not in "".join(problems)


def test_what_python_prints_of_settings_has_no_secret(load_text: Load) -> None:
    keys = f"credentials: {{keys: {{access_key_id: ASIA1, secret_access_key: {SECRET}, session_token: {SECRET}}},"
    loaded = load_text(f"{IDENTITY}{keys} smtp: {{smtp_username: u, smtp_password: {SECRET}}}}}\n{USERS}")

    assert loaded.settings.credentials["smtp"].smtp_password == SECRET
    for shown in (repr(loaded), str(loaded.settings), repr(loaded.settings.credentials["keys"])):
        assert SECRET not in shown
        assert HASH not in shown


def test_a_secret_that_python_code_gets_wrong_is_not_shown() -> None:
    """The validator's own error texts are hidden too, should one ever reach a traceback."""
    with pytest.raises(ValueError, match="secret_access_key") as caught:
        CredentialEntry(secret_access_key=[SECRET])  # type: ignore[arg-type] # what is tested

    assert SECRET not in str(caught.value)


def test_every_key_that_may_hold_a_secret_has_a_twin_for_a_file() -> None:
    """`users` has one as well, although hashes are only half a secret."""
    keys = {*CredentialEntry.__dataclass_fields__, *Document.__dataclass_fields__}

    assert {f"{name}_file" for name in (*PLACES, "users")} == {name for name in keys if name.endswith("_file")}


_TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXT | st.just(SECRET),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT | st.sampled_from(PLACES), inner, max_size=4),
    max_leaves=12,
)
_DOCUMENT = st.dictionaries(st.sampled_from(list(Document.__dataclass_fields__)) | _TEXT, _JSON, max_size=5)


@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(document=_DOCUMENT, credentials=_JSON)
def test_any_nonsense_is_refused_with_problems_and_never_with_another_error(
    write: Write, document: dict[str, Any], credentials: object
) -> None:
    """Whatever JSON says is YAML too; nothing of it may break the loader or show a secret below credentials."""
    path = write(json.dumps({"identities": [{"source_arn": ARN}], **document, "credentials": credentials}))

    with pytest.raises(ConfigurationError) as caught:
        load(path, {})

    lines = [str(problem) for problem in caught.value.problems if problem.key.startswith("credentials")]
    assert all("\n" not in line for line in lines)
    assert not any(f"found {SECRET}" in line for line in lines)


def test_settings_without_a_file_have_no_secret_in_their_repr() -> None:
    source = CredentialSource("keys", access_key_id="AKIA1", secret_access_key=SECRET)
    settings = Settings(identities=(), credentials={"keys": source}, users={"billing": SECRET})

    assert SECRET not in repr(settings)
    assert SECRET in asdict(source).values()
