"""Secrets in files of their own, and who may read or write the files of a configuration."""

from pathlib import Path

import pytest
from settings_samples import HASH, IDENTITY, USERS, Load, Refuse, Write

from relay.settings.load import load
from relay.settings.problems import ConfigurationError

KEYS = IDENTITY + "credentials: {keys: {access_key_id: AKIA1, secret_access_key_file: secret}}\n"
INLINE = IDENTITY + "credentials: {keys: {access_key_id: AKIA1, secret_access_key: hunter2}}\n"


def _refused(path: Path, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(path, environ or {})
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("name", ["secret_access_key", "session_token"])
@pytest.mark.parametrize("content", ["hunter2", "hunter2\n", "hunter2\r\n", "  hunter2  \n\n"])
def test_every_secret_of_a_key_may_stand_in_a_file(write: Write, load_text: Load, name: str, content: str) -> None:
    """Editors and `echo` end a file with a newline; it is no part of the secret."""
    write(content, "secret")
    keys = {"access_key_id": "AKIA1", "secret_access_key": "other", f"{name}_file": "secret"}
    if name == "secret_access_key":
        del keys["secret_access_key"]

    entry = load_text(f"{IDENTITY}credentials: {{keys: {keys}}}").settings.credentials["keys"]

    assert getattr(entry, name) == "hunter2"


def test_the_smtp_password_may_stand_in_a_file(write: Write, load_text: Load) -> None:
    write("hunter2\n", "password")

    loaded = load_text(IDENTITY + "credentials: {smtp: {smtp_username: u, smtp_password_file: password}}")

    assert loaded.settings.credentials["smtp"].smtp_password == "hunter2"


@pytest.mark.parametrize("content", ["", "\n", "hunter2\nhunter3\n", "hunter2\0"])
def test_a_file_without_one_secret_is_refused(write: Write, refuse_text: Refuse, content: str) -> None:
    write(content, "secret")

    assert refuse_text(KEYS) == [
        (
            "relay.yaml:4: error: credentials.keys.secret_access_key_file: found something else in the file; "
            "allowed a file with the secret on one line"
        )
    ]


def test_a_secret_and_its_file_exclude_each_other(write: Write, refuse_text: Refuse) -> None:
    write("hunter2", "secret")

    problems = refuse_text(
        KEYS.replace("secret_access_key_file:", "secret_access_key: hunter2, secret_access_key_file:")
    )

    assert problems == [
        (
            "relay.yaml:4: error: credentials.keys.secret_access_key: found both; "
            "allowed secret_access_key or secret_access_key_file, not both"
        )
    ]


def test_users_may_stand_in_a_file_of_the_same_form(write: Write, load_text: Load) -> None:
    write("billing: ${HASH}\n", "users.yaml")

    loaded = load_text(f"{IDENTITY}users_file: users.yaml\n", {"HASH": HASH})

    assert loaded.settings.users == {"billing": HASH}


def test_problems_of_the_users_file_name_that_file(write: Write, refuse_text: Refuse) -> None:
    write(f"# logins\nfirst: hunter2\nsecond: {HASH}\nsecond: {HASH}\n", "users.yaml")

    assert refuse_text(f"{IDENTITY}users_file: users.yaml\n") == [
        (
            "users.yaml:2: error: users.first: found a value that is not shown; "
            "allowed an argon2 hash, as ses-relay hash-password makes it"
        ),
        "users.yaml:4: error: users.second: found the key again, it stands on line 3 already; allowed each key once",
    ]


def test_a_users_file_that_is_no_yaml_is_a_problem_of_its_key(write: Write, refuse_text: Refuse) -> None:
    write("billing: [hunter2", "users.yaml")

    (problem,) = refuse_text(f"{IDENTITY}users_file: users.yaml\n")

    assert problem.startswith("relay.yaml:4: error: users_file: found users.yaml (a syntax error")
    assert "hunter2" not in problem


def test_users_and_their_file_exclude_each_other(write: Write, refuse_text: Refuse) -> None:
    write(f"first: {HASH}\n", "users.yaml")

    assert refuse_text(f"{IDENTITY}users_file: users.yaml\nusers: {{second: '{HASH}'}}\n") == [
        "relay.yaml:4: error: users_file: found both; allowed users or users_file, not both"
    ]


def test_a_hash_without_quotes_in_braces_is_refused_without_showing_half_of_it(refuse_text: Refuse) -> None:
    """YAML takes its commas for the ends of entries."""
    problems = refuse_text(f"{IDENTITY}users: {{billing: {HASH}}}")

    assert problems[0].startswith("relay.yaml:4: error: users: found a name with other characters")
    assert "aGFzaGhhc2g" not in "".join(problems)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666])
def test_a_secret_file_that_others_may_read_is_refused(write: Write, refuse_text: Refuse, mode: int) -> None:
    write("hunter2", "secret", mode)

    assert refuse_text(KEYS) == [
        (
            f"relay.yaml:4: error: credentials.keys.secret_access_key_file: found secret in mode {mode:04o}; "
            "allowed a file that not everybody may read (chmod o-r)"
        )
    ]


def test_a_users_file_that_others_may_read_is_refused(write: Write, refuse_text: Refuse) -> None:
    write(f"billing: {HASH}", "users.yaml", 0o644)

    assert refuse_text(f"{IDENTITY}users_file: users.yaml") == [
        (
            "relay.yaml:4: error: users_file: found users.yaml in mode 0644; "
            "allowed a file that not everybody may read (chmod o-r)"
        )
    ]


def test_a_private_key_that_others_may_read_is_refused(write: Write, refuse_text: Refuse) -> None:
    write("", "chain.pem", 0o644)
    write("", "key.pem", 0o644)
    listener = "{bind: localhost:25, tls: implicit, certificate: chain.pem, private_key: key.pem}"

    assert refuse_text(f"{IDENTITY}listeners: [{listener}]") == [
        (
            "relay.yaml:4: error: listeners[0].private_key: found key.pem in mode 0644; "
            "allowed a file that not everybody may read (chmod o-r)"
        )
    ]


@pytest.mark.parametrize("secret", [INLINE, IDENTITY + USERS])
def test_a_configuration_with_secrets_that_others_may_read_is_refused(write: Write, secret: str) -> None:
    assert _refused(write(secret, mode=0o644)) == [
        "relay.yaml:1: error: found secrets in mode 0644; allowed a file that not everybody may read (chmod o-r)"
    ]


def test_a_configuration_whose_secrets_are_elsewhere_may_be_read(write: Write) -> None:
    """Names of files and variables are no secrets."""
    write("hunter2", "secret", 0o640)
    smtp = "  smtp: {smtp_username: u, smtp_password: '${PASSWORD}'}\n"
    keys = "credentials:\n  keys: {access_key_id: AKIA1, secret_access_key_file: secret}\n"

    loaded = load(write(IDENTITY + keys + smtp, mode=0o644), {"PASSWORD": "hunter2"})

    assert loaded.warnings == ()


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o644, False), (0o620, True), (0o602, True)])
def test_a_configuration_that_others_may_write_is_warned_about(write: Write, mode: int, *, warned: bool) -> None:
    """Whoever writes the configuration decides who sends as whom."""
    warnings = load(write(IDENTITY, mode=mode), {}).warnings

    expected = f"relay.yaml:1: warning: found mode {mode:04o}; allowed one that only its owner may write (chmod go-w)"
    assert [str(problem) for problem in warnings] == ([expected] if warned else [])
