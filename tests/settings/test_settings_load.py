"""What a configuration means once it is loaded: every key of the contract, and every default."""

import dataclasses
from ipaddress import ip_network
from pathlib import Path

import pytest
import yaml
from settings_samples import ARN, HASH, IDENTITY, Load, Pair, Refuse, Write

from relay.arn import parse_identity_arn
from relay.model import Identity
from relay.settings import yaml_nodes
from relay.settings.addresses import SystemdSocket, TcpAddress, UnixAddress
from relay.settings.load import load
from relay.settings.model import (
    Bounces,
    ClientEntry,
    CredentialSource,
    Delivery,
    Limits,
    Listener,
    Log,
    MessageRules,
    Recipients,
    Reload,
    Ses,
    Settings,
    Spool,
)
from relay.settings.problems import ConfigurationError

GOOD = Path(__file__).parent / "good.yaml"


@pytest.fixture
def good(write: Write, pair: Pair) -> Settings:
    """The configuration in which every key differs from its default."""
    write(pair.certificate, "tls/chain.pem")
    write(pair.private_key, "tls/key.pem")
    return load(write(GOOD.read_text("utf-8")), {}).settings


def test_an_identity_has_everything_its_rule_says(good: Settings) -> None:
    arn = "arn:aws:ses:*:123456789012:identity/example.com"
    assert good.identities[0] == Identity(
        name="first",
        senders=("@example.com", "@.example.com"),
        source_arn=parse_identity_arn(arn),
        from_arn=None,
        return_path_arn=parse_identity_arn("arn:aws:ses:eu-west-1:123456789012:identity/bounces.example.com"),
        region="eu-west-1",
        transport="smtp",
        credentials="smtp",
        configuration_set="our-events",
        tags=(("app", "billing"), ("42", "yes")),
        tenant="our-tenant",
        replace_sender="Bounces@bounces.Example.com",
        replace_from="alerts@xn--bcher-kva.example",
        header_from="any",
        client_headers=frozenset({"x-ses-message-tags"}),
    )


def test_an_identity_takes_from_its_arn_what_its_rule_does_not_say(good: Settings) -> None:
    """Name, region and return-path ARN come from source_arn."""
    identity = good.identities[1]

    assert identity.name == "anna@example.org"
    assert identity.region == "us-gov-west-1"
    assert identity.return_path_arn is identity.source_arn
    assert str(identity.from_arn) == "arn:aws-us-gov:ses:us-gov-west-1:123456789012:identity/example.org"


def test_the_smallest_configuration_has_the_documented_defaults(load_text: Load) -> None:
    arn = parse_identity_arn(ARN)

    settings = load_text(IDENTITY).settings

    identity = Identity("example.com", ("@example.com",), arn, arn, arn, "us-west-2")
    assert settings == Settings(identities=(identity,))


def test_the_defaults_are_those_of_the_contract() -> None:
    """Written out once more, so that nobody changes one without noticing."""
    settings = Settings(identities=())

    assert settings.listeners == (Listener(TcpAddress("localhost", 2525)),)
    assert [str(listener.bind) for listener in settings.listeners] == ["localhost:2525"]
    assert settings.listeners[0].bind.hosts == ("127.0.0.1", "::1")  # type: ignore[union-attr] # a TcpAddress, as above
    local = ClientEntry("local", networks=(ip_network("127.0.0.0/8"), ip_network("::1/128")), unix=True)
    assert settings.clients == (local,)
    assert settings.ses == Ses(None, None, "starttls", 30.0, "auto", 32, dry_run=False)
    retry = (60.0, 300.0, 600.0, 1200.0, 3600.0)
    assert settings.delivery == Delivery("on_delivery", 5.0, retry, 432000.0, "off", "auto")
    assert (settings.spool, settings.bounces, settings.users) == (None, None, {})
    assert Spool("spool.db") == Spool(Path("spool.db"), 100_000_000, 1_209_600.0)  # type: ignore[arg-type] # as in a file
    assert settings.message == MessageRules("normalize", True, ("Bcc", "Return-Path", "Sender"), "minimal")
    assert settings.limits == Limits(
        40_000_000, 1000, 100_000, 50, 1000, 100, 20, 3, 300.0, 600.0, 500, 1800.0, 8.0, "auto"
    )
    assert settings.admin is not None
    assert str(settings.admin.bind) == "127.0.0.1:9525"
    assert settings.log == Log("json", "info", "full")
    assert settings.reload == Reload(False)
    assert settings.credentials == {"default": CredentialSource("default")}


def test_listeners_and_clients_are_parsed(good: Settings) -> None:
    base = Path()
    assert good.listeners == (
        Listener(
            TcpAddress("::", 587),
            tls="starttls",
            certificate=base / "tls/chain.pem",
            private_key=base / "tls/key.pem",
            require_tls=True,
            tls_profile="legacy",
            auth_without_tls="never",
            proxy_protocol_from=(ip_network("10.1.0.0/16"),),
        ),
        Listener(UnixAddress("/run/ses-relay/smtp.sock")),
        Listener(SystemdSocket("smtp")),
    )
    assert good.clients == (
        ClientEntry(
            "billing",
            users=("billing",),
            senders=("billing@example.com", "@invoices.example.com"),
            recipients=Recipients(("@example.com",), ("@competitor.example",)),
        ),
        ClientEntry("office", networks=(ip_network("10.0.0.0/8"), ip_network("192.0.2.1/32")), unix=True),
    )
    assert good.users == {"billing": HASH}


def test_credentials_are_resolved(good: Settings) -> None:
    assert dict(good.credentials) == {
        "default": CredentialSource("default"),
        "partner": CredentialSource("partner", profile="partner"),
        "owner": CredentialSource(
            "owner",
            assume_role="arn:aws:iam::111122223333:role/path/send",
            external_id="id-1",
            session_name="us",
            source="partner",
        ),
        "keys": CredentialSource("keys", access_key_id="AKIA1", secret_access_key="first", session_token="second"),
        "smtp": CredentialSource("smtp", smtp_username="AKIA2", smtp_password="third"),
    }


def test_the_other_sections_are_parsed(good: Settings) -> None:
    smtp = TcpAddress("::1", 2525)
    assert good.ses == Ses("http://localhost:4566/path", smtp, "none", 60.0, 14.5, 3, dry_run=True)
    assert good.delivery == Delivery("on_spool", 0.0, (30.0, 120.0), 7200.0, 14400.0, "defer")
    assert good.spool == Spool(Path("spool.db"), 2**30, 86400.0)
    assert good.bounces == Bounces("mailer-daemon@example.com", "ops@example.net")
    assert good.message == MessageRules("reject", False, (), "none")
    assert good.limits == Limits(10**7, 60, 65536, 30, 10, 2, 5, 1, 300.0, 0.5, 0, 3600.0, 2.5, 20_000_000)
    assert good.admin is None
    assert good.log == Log("console", "debug", "masked")
    assert good.reload == Reload(True)


def test_what_is_loaded_cannot_be_changed(good: Settings) -> None:
    """Settings are shared by every session; a reload replaces them."""
    for part in (good, good.limits, good.listeners[0], good.credentials["keys"]):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, dataclasses.fields(part)[0].name, None)
    with pytest.raises(TypeError):
        good.credentials["new"] = CredentialSource("new")  # type: ignore[index] # what is tested


def test_relative_paths_are_beside_the_file_that_names_them(write: Write) -> None:
    write(f"billing: {HASH}", "etc/users.yaml")
    write("first", "etc/secret")
    text = IDENTITY + "users_file: users.yaml\nspool: {path: spool.db}\n"
    text += "credentials: {keys: {access_key_id: AKIA1, secret_access_key_file: secret}}\n"

    settings = load(write(text, "etc/relay.yaml"), {}).settings

    assert settings.users == {"billing": HASH}
    assert settings.credentials["keys"].secret_access_key == "first"
    assert settings.spool == Spool(Path("etc/spool.db"))


def test_an_absolute_path_stays_as_it_is(load_text: Load) -> None:
    settings = load_text(IDENTITY + "spool: {path: /var/lib/ses-relay/spool.db}\n").settings

    assert settings.spool == Spool(Path("/var/lib/ses-relay/spool.db"))


def test_the_parser_written_in_python_reads_the_same(
    write: Write, good: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyYAML without its C library is slower, and nothing else."""
    monkeypatch.setattr(yaml_nodes, "_LOADER", yaml.SafeLoader)

    assert load(write(GOOD.read_text("utf-8")), {}).settings == good
    assert load(write(f"{IDENTITY}limits:\nses: {{api_endpoint: ~, smtp_endpoint: null}}"), {}).warnings == ()


def test_a_value_may_be_repeated_by_an_alias(load_text: Load) -> None:
    text = f"identities:\n  - &one\n    senders: ['@example.com']\n    source_arn: &arn {ARN}\n"

    settings = load_text(f"{text}    from_arn: *arn\n").settings

    assert settings.identities[0].from_arn == parse_identity_arn(ARN)


@pytest.mark.parametrize("text", ["limits:\n", "limits: {}\n", "limits: null\n", ""])
def test_a_section_without_keys_has_its_defaults(load_text: Load, text: str) -> None:
    assert load_text(IDENTITY + text).settings.limits == Limits()


def test_aliases_cannot_make_a_small_file_large(refuse_text: Refuse) -> None:
    """Seven levels of twenty aliases each would be a thousand million values."""
    levels = [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 20)}]" for level in range(1, 7)]

    (problem,) = refuse_text("\n".join([IDENTITY + f"l0: &l0 [{', '.join('x' * 20)}]", *levels]))

    assert "found aliases that repeat without end" in problem


@pytest.mark.parametrize("deep", ["[", "{a: ", "- ", "? ", "[{x: "])
@pytest.mark.parametrize("levels", [20, 1_000_000])
def test_nesting_without_end_is_one_problem(refuse_text: Refuse, deep: str, levels: int) -> None:
    """A composer that recursed would end the process, with all mail in hand, on a reload."""
    (problem,) = refuse_text(deep * levels)

    assert problem == "relay.yaml:1: error: found lists or mappings nested too deeply; allowed what the key needs"


def test_a_file_that_does_not_exist_is_one_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigurationError) as caught:
        load(Path("nowhere.yaml"), {})

    assert str(caught.value) == "nowhere.yaml: error: found no such file or directory; allowed a file that can be read"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: b\nc: \xff\n", "relay.yaml:2: error: found bytes that are not UTF-8; allowed UTF-8 text"),
        (b"a: b\nc: \x01\n", "relay.yaml:2: error: found a control character; allowed printable text"),
    ],
)
def test_a_file_that_is_not_text_is_one_problem(write: Write, content: bytes, expected: str) -> None:
    path = write("")
    path.write_bytes(content)

    with pytest.raises(ConfigurationError) as caught:
        load(path, {})

    assert str(caught.value) == expected


def test_a_byte_order_mark_is_taken(write: Write) -> None:
    path = write("")
    path.write_bytes(b"\xef\xbb\xbf" + IDENTITY.encode())

    assert len(load(path, {}).settings.identities) == 1
