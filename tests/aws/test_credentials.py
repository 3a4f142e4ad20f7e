"""Keys by name: from every kind of source, off the event loop, refreshed once for all, and shown to nobody."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relay.aws.credentials import RECHECK_S, CredentialBook, CredentialTrouble, Keys, SmtpLogin
from relay.settings.model import CredentialSource

STATIC = CredentialSource("keys", access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="some+secret+key")


def book(*sources: CredentialSource, clock: list[float] | None = None, patience_s: float = 30) -> CredentialBook:
    """A book whose clock stands still unless the test moves it."""
    time = clock or [0.0]
    return CredentialBook({source.name: source for source in sources}, clock=lambda: time[0], patience_s=patience_s)


class Helper:
    """A credential_process of the shared configuration file: a program that counts how often it was run.

    `answer` says what it gives from now on. While it is `held` it does not answer.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._runs, self._output, self._gate = folder / "runs", folder / "output", folder / "gate"
        script = folder / "helper.sh"
        script.write_text(
            f"echo run >> {self._runs}\n[ -p {self._gate} ] && read go < {self._gate}\ncat {self._output}\n"
        )
        config = folder / "config"
        config.write_text(f"[profile helper]\ncredential_process = /bin/sh {script}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        self.source = CredentialSource("helper", profile="helper")

    def answer(self, key: str, minutes: float | None) -> None:
        """Keys that last so many minutes from now."""
        fields = {"Version": 1, "AccessKeyId": key, "SecretAccessKey": "s", "SessionToken": "t"}
        if minutes is not None:
            fields["Expiration"] = (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()
        self._output.write_text(json.dumps(fields))

    def hold(self) -> None:
        """From now on, wait for `let_go`."""
        os.mkfifo(self._gate)

    async def let_go(self) -> None:
        """Answer."""
        await asyncio.to_thread(self._gate.write_text, "go\n")
        self._gate.unlink()

    @property
    def runs(self) -> int:
        """How often it was run."""
        return len(self._runs.read_text().splitlines()) if self._runs.exists() else 0


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Helper:
    """A profile with a credential_process."""
    return Helper(tmp_path, monkeypatch)


async def test_static_keys() -> None:
    """Keys of the configuration are taken as they are, with their token."""
    source = CredentialSource("keys", access_key_id="ASIA1", secret_access_key="s", session_token="t")

    assert await book(source).keys("keys") == Keys("ASIA1", "s", "t")


async def test_default_is_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """`default` is boto3's chain, also when the configuration has no credentials at all."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")

    assert await book().keys("default") == Keys("AKIA1", "s", None)


async def test_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A named profile is stronger than the environment, as with boto3."""
    (tmp_path / "shared").write_text("[partner]\naws_access_key_id = AKIA2\naws_secret_access_key = s2\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "shared"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")

    assert await book(CredentialSource("p", profile="partner")).keys("p") == Keys("AKIA2", "s2", None)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("default", "no provider"),
        ("stranger", "no credentials are called 'stranger'"),
        ("absent", "ProfileNotFound"),
        ("role", "credentials 'default': no provider"),
        ("smtp", "SMTP only"),
    ],
)
async def test_troubles(name: str, reason: str) -> None:
    """What gives no keys is a CredentialTrouble with a reason for the log, each time it is asked for."""
    known = book(
        CredentialSource("absent", profile="nowhere"),
        CredentialSource("role", assume_role="arn:aws:iam::111122223333:role/send"),
        CredentialSource("smtp", smtp_username="AKIA1", smtp_password="p"),
    )

    for _ in range(2):
        with pytest.raises(CredentialTrouble, match=reason):
            await known.keys(name)


async def test_a_failing_helper_is_a_trouble(helper: Helper) -> None:
    """Whatever a provider raises has one name here."""
    with pytest.raises(CredentialTrouble, match="helper"):
        await book(helper.source).keys("helper")


async def test_one_lookup_for_all_who_wait(helper: Helper) -> None:
    """Fifty messages at once ask the provider once."""
    helper.answer("ASIA1", minutes=60)
    known = book(helper.source)

    keys = await asyncio.gather(*(known.keys("helper") for _ in range(50)))

    assert set(keys) == {Keys("ASIA1", "s", "t")}
    assert helper.runs == 1


async def test_the_loop_does_not_wait_for_a_provider(helper: Helper) -> None:
    """While a provider takes its time, everything else goes on; a waiter that is cancelled does not stop it."""
    helper.answer("ASIA1", minutes=60)
    helper.hold()
    known = book(helper.source)
    waiters = [asyncio.create_task(known.keys("helper")) for _ in range(2)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    await asyncio.gather(waiters[0], return_exceptions=True)

    assert not waiters[1].done()
    await helper.let_go()
    assert await waiters[1] == Keys("ASIA1", "s", "t")
    assert helper.runs == 1


async def test_a_provider_that_never_answers(helper: Helper) -> None:
    """A caller waits for `patience_s`, and no longer."""
    helper.answer("ASIA1", minutes=60)
    helper.hold()

    with pytest.raises(CredentialTrouble, match=r"not there within 0\.05 s"):
        await book(helper.source, patience_s=0.05).keys("helper")

    await helper.let_go()


async def test_good_keys_are_kept(helper: Helper) -> None:
    """Keys far from their end are handed out again and again, without asking anybody."""
    helper.answer("ASIA1", minutes=60)
    clock = [0.0]
    known = book(helper.source, clock=clock)
    for _ in range(100):
        await known.keys("helper")
        clock[0] += RECHECK_S

    assert helper.runs == 1


async def test_keys_near_their_end_are_used_while_new_ones_come(helper: Helper) -> None:
    """From 15 minutes before their end on keys are renewed, and nobody waits while they are good."""
    helper.answer("ASIA1", minutes=12)
    clock = [0.0]
    known = book(helper.source, clock=clock)
    await known.keys("helper")
    before = helper.runs
    helper.answer("ASIA2", minutes=60)
    helper.hold()
    clock[0] += RECHECK_S

    meanwhile = [await known.keys("helper") for _ in range(3)]
    renewal = known._holdings["helper"].refresh
    assert renewal
    await helper.let_go()
    await renewal

    assert {keys.access_key for keys in meanwhile} == {"ASIA1"}
    assert (await known.keys("helper")).access_key == "ASIA2"
    assert helper.runs == before + 1


async def test_keys_at_their_end_are_waited_for(helper: Helper) -> None:
    """Keys that may end before SES sees them are not used any more."""
    helper.answer("ASIA1", minutes=1.5)
    clock = [0.0]
    known = book(helper.source, clock=clock)
    await known.keys("helper")
    helper.answer("ASIA2", minutes=60)
    clock[0] += RECHECK_S

    assert (await known.keys("helper")).access_key == "ASIA2"


async def test_a_failed_renewal_keeps_good_keys(helper: Helper, tmp_path: Path) -> None:
    """While old keys are good, a provider that fails costs nothing but another try later."""
    helper.answer("ASIA1", minutes=12)
    clock = [0.0]
    known = book(helper.source, clock=clock)
    await known.keys("helper")
    before = helper.runs
    (tmp_path / "output").write_text("no json")
    for _ in range(3):
        clock[0] += RECHECK_S
        keys = await known.keys("helper")
        if renewal := known._holdings["helper"].refresh:
            await renewal

    assert keys.access_key == "ASIA1"
    assert helper.runs == before + 3


@pytest.mark.parametrize(("minutes", "told"), [(12, False), (4, True)])
async def test_a_provider_without_newer_keys_is_told_of_late(helper: Helper, minutes: float, told: bool) -> None:
    """Botocore keeps to itself that it could not renew them; metadata services take until five minutes before."""
    heard: list[tuple[str, str]] = []
    time = [0.0]
    known = CredentialBook(
        {"helper": helper.source}, clock=lambda: time[0], not_renewed=lambda name, detail: heard.append((name, detail))
    )
    helper.answer("ASIA1", minutes=minutes)
    await known.keys("helper")
    for _ in range(2):
        time[0] += RECHECK_S
        await known.keys("helper")
        renewal = known._holdings["helper"].refresh
        assert renewal
        await asyncio.wait([renewal])

    assert [name for name, _ in heard] == ["helper"] * told


async def test_forgotten_keys_are_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `forget` the chain is asked anew; but late news about older keys does no harm to newer ones."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    known = book()
    old = await known.keys("default")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA2")
    known.forget("default", old)
    new = await known.keys("default")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA3")
    known.forget("default", old)

    assert (new.access_key, (await known.keys("default")).access_key) == ("AKIA2", "AKIA2")


async def test_smtp_login_as_configured() -> None:
    """User and password of the configuration are the same in every region."""
    source = CredentialSource("smtp", smtp_username="AKIA1", smtp_password="p")

    assert await book(source).smtp_login("smtp", "us-west-1") == SmtpLogin("AKIA1", "p")


async def test_smtp_login_is_derived_from_keys() -> None:
    """The password belongs to secret and region (SES developer guide, "Obtaining SES SMTP credentials")."""
    known = book(STATIC)

    logins = [await known.smtp_login("keys", region) for region in ("eu-central-1", "us-west-1")]

    assert logins == [
        SmtpLogin("AKIAIOSFODNN7EXAMPLE", "BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2"),
        SmtpLogin("AKIAIOSFODNN7EXAMPLE", "BH+jbMzper5WwlwUar9E1ySBqHa9whi0GPo+sJ0mVYJj"),
    ]


async def test_temporary_keys_have_no_smtp_login() -> None:
    """SES knows no session tokens in SMTP, so a login would only be refused."""
    source = CredentialSource("keys", access_key_id="ASIA1", secret_access_key="s", session_token="t")

    with pytest.raises(CredentialTrouble, match="temporary"):
        await book(source).smtp_login("keys", "us-west-1")


def test_secrets_are_in_no_repr() -> None:
    """What might be logged shows whose keys they are, and no more."""
    shown = f"{Keys('AKIA1', 'hidden1', 'hidden2')} {SmtpLogin('AKIA1', 'hidden3')} {STATIC!r} {book(STATIC)!r}"

    assert "AKIA1" in shown
    assert "hidden" not in shown
    assert "some+secret+key" not in shown
