"""Environment variables in values."""

import pytest
from settings_samples import ARN, IDENTITY, Load, Refuse

from relay.settings.environment import substitute

ENVIRON = {"NAME": "value", "EMPTY": "", "OTHER": "${NAME}", "_1": "x"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${NAME}", "value"),
        ("a ${NAME} b ${_1} c", "a value b x c"),
        ("${NAME:-default}", "value"),
        ("${UNSET:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${UNSET:-}", ""),
        ("${UNSET:-:-}", ":-"),
        ("${EMPTY}", ""),
        ("${OTHER}", "${NAME}"),
        ("$NAME and $5 and $$", "$NAME and $5 and $$"),
        ("$${NAME}", "$value"),
    ],
)
def test_references_are_replaced_as_in_a_shell(text: str, expected: str) -> None:
    assert substitute(text, ENVIRON) == expected


@pytest.mark.parametrize(
    "text", ["${UNSET}", "x${", "${}", "${1A}", "${NAME", "${NAME:default}", "${NA ME}", "${a${b}}"]
)
def test_a_reference_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"set|NAME"):
        substitute(text, ENVIRON)


def test_every_kind_of_value_may_come_from_the_environment(load_text: Load) -> None:
    environ = {
        "ARN": ARN,
        "SENDER": "@example.com",
        "N": "7",
        "T": "2m",
        "S": "1KB",
        "YES": "true",
        "HOST": "localhost",
    }
    text = """
        identities: [{senders: ["${SENDER}"], source_arn: "${ARN}", tags: {app: "${HOST}-${N}"}}]
        listeners: [{bind: "${HOST}:${N}"}]
        ses: {concurrency: "${N}", timeout_s: "${T}", dry_run: "${YES}"}
        limits: {header_bytes: "${S}"}
    """

    settings = load_text(text, environ).settings

    assert settings.identities[0].senders == ("@example.com",)
    assert str(settings.identities[0].source_arn) == ARN
    assert settings.identities[0].tags == (("app", "localhost-7"),)
    assert str(settings.listeners[0].bind) == "localhost:7"
    assert (settings.ses.concurrency, settings.ses.timeout_s, settings.ses.dry_run) == (7, 120.0, True)
    assert settings.limits.header_bytes == 1000


def test_a_key_without_default_is_left_out_by_an_empty_variable(load_text: Load) -> None:
    """One file can serve containers of which some have a configuration set."""
    text = f"{IDENTITY}    configuration_set: ${{SET:-}}\n"

    assert load_text(text).settings.identities[0].configuration_set is None
    assert load_text(text, {"SET": "events"}).settings.identities[0].configuration_set == "events"


def test_an_empty_variable_does_not_turn_named_credentials_into_the_default_chain(refuse_text: Refuse) -> None:
    problems = refuse_text(IDENTITY + "credentials: {partner: {profile: '${PROFILE:-}'}}")

    assert problems == [
        (
            "relay.yaml:4: error: credentials.partner: found none of them; "
            "allowed profile, assume_role, access_key_id or smtp_username"
        )
    ]


@pytest.mark.parametrize("value", ["a\r\nBcc: x@example.com", "a\nb", "a\0b", "a\x1bb"])
def test_control_characters_of_a_variable_cannot_reach_a_header(refuse_text: Refuse, value: str) -> None:
    problems = refuse_text(f"{IDENTITY}    tenant: ${{TENANT}}\n    tags: {{app: '${{TENANT}}'}}\n", {"TENANT": value})

    allowed = "found ${TENANT}; allowed printable text on one line"
    assert problems == [
        f"relay.yaml:4: error: identities[0].tenant: {allowed}".replace("${TENANT}", "control characters"),
        f"relay.yaml:5: error: identities[0].tags.app: {allowed}".replace("${TENANT}", "control characters"),
    ]


def test_names_of_keys_are_not_substituted(refuse_text: Refuse) -> None:
    """Which keys a file has does not depend on the environment."""
    (problem,) = refuse_text(IDENTITY + "${SECTION}: {}\n", {"SECTION": "ses"})

    assert "found an unknown key" in problem
