"""The doctor against an SES and STS that check signatures and permissions, and against servers that are wrong."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from canned_http import answering
from doctor_parts import (
    BLIND,
    BOXED,
    EAST,
    MINE,
    OWNER,
    ROLE,
    TRIAL,
    WEST,
    a_ses,
    look,
    rule,
    settings_for,
    source,
    the,
    verdicts,
)  # fmt: skip

from relay.doctor.findings import Verdict, all_well
from relay.doctor.looking import AT_ONCE, PATIENCE_S, Looking
from relay.doctor.plan import plan_of
from relay.doctor.tools import tools_for
from relay.model import Identity
from relay.settings.addresses import TcpAddress
from relay.settings.model import CredentialSource, Ses, Settings
from relay.simulator import DELEGATE, Fault, Simulator
from relay.simulator.faults import Action

REFUSED = (
    "<ErrorResponse><Error><Code>InvalidClientTokenId</Code><Message>The security token included in the request is "
    "invalid.</Message></Error></ErrorResponse>"
)


@pytest.fixture
async def ses(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulator]:
    async with a_ses(monkeypatch) as simulator:
        yield simulator


async def test_all_that_can_be_looked_at_is_well(ses: Simulator) -> None:
    """An own identity by the API with a configuration set: nothing is left in doubt, and nothing is sent."""
    findings = await look(settings_for(ses, [rule("own.example", account=MINE, configuration_set="events")]))

    assert verdicts(findings) == dict.fromkeys(
        ["keys", "caller", "endpoint", "clock", "sending", "sandbox", "quota", "rate", "region", "identity",
         "configuration set"], "ok",
    )  # fmt: skip
    assert the(findings, "caller").what == f"account {MINE}, {DELEGATE.principal}"
    assert the(findings, "rate").what == "14 recipients per second"
    assert the(findings, "quota").what == "0 of 50,000 recipients in the last 24 hours"
    assert ses.total == 0


async def test_by_smtp_each_step_is_told(ses: Simulator) -> None:
    """Name, connection, TLS and login, with the password that belongs to the region; QUIT, and no message."""
    findings = await look(settings_for(ses, [rule("example.net", region=WEST, transport="smtp")]))

    assert {check: verdicts(findings)[check] for check in ("name", "connection", "tls", "login")} == dict.fromkeys(
        ("name", "connection", "tls", "login"), "ok"
    )
    assert (ses.total, ses.turned_away) == (0, ())


async def test_anothers_identity_is_unknown_and_not_bad(ses: Simulator) -> None:
    """A delegate cannot look at it: what would prove it is said."""
    findings = await look(settings_for(ses, [rule()]))

    found = the(findings, "identity")
    assert found.verdict is Verdict.UNKNOWN
    assert found.mend == "ses-relay doctor --identity example.com --send-to success@simulator.amazonses.com"
    assert all_well(findings)


async def test_what_is_proved_is_not_told_as_unknown(ses: Simulator) -> None:
    """With a trial message to come, what cannot be looked at need not be told."""
    identities = [rule(credentials="blind", configuration_set="events"), rule("own.example", account=MINE)]
    findings = await look(settings_for(ses, identities, source("blind", BLIND)), proving=True)

    assert [one.check for one in findings if one.about.kind == "identity"] == ["region", "region", "identity"]


async def test_a_permission_that_is_missing_is_no_trouble(ses: Simulator) -> None:
    """Who may send and nothing else is well; each thing that could not be learnt names its permission."""
    identity = rule("own.example", account=MINE, credentials="blind", configuration_set="events")
    findings = await look(settings_for(ses, [identity], source("blind", BLIND)))

    missing = {one.check: one.mend for one in findings if one.verdict is Verdict.UNKNOWN}
    assert list(missing) == ["account", "identity", "configuration set"]
    assert '"Action": "ses:GetAccount"' in missing["account"]
    assert (
        f'"ses:GetEmailIdentity", "Resource": "arn:aws:ses:{EAST}:{MINE}:identity/own.example"' in missing["identity"]
    )
    assert f'"arn:aws:ses:{EAST}:{MINE}:configuration-set/events"' in missing["configuration set"]
    assert all_well(findings)


async def test_names_with_any_character_are_asked_for(ses: Simulator) -> None:
    """What is escaped in the path is signed as it is sent."""
    findings = await look(settings_for(ses, [rule("O'Hara+x/y=z@own.example", account=MINE)]))

    assert the(findings, "identity").verdict is Verdict.OK


@pytest.mark.parametrize(
    ("identity", "check", "words", "remedy"),
    [
        (rule("soon.example", account=MINE), "identity", "is not verified (status pending)", "get-email-identity"),
        (rule("gone.example", account=MINE), "identity", "no identity gone.example", "create-email-identity"),
        (rule(configuration_set="quiet"), "configuration set", "quiet is paused", "--sending-enabled"),
        (rule(configuration_set="gone"), "configuration set", "no configuration set gone", "create-configuration-set"),
        (rule("example.net", region=WEST, at=EAST), "region", "names an identity in eu-west-1", "region: eu-west-1"),
        (rule(credentials="trial"), "sandbox", "is in the sandbox", "--production-access-enabled"),
    ],
)  # fmt: skip
async def test_what_is_not_well(ses: Simulator, identity: Identity, check: str, words: str, remedy: str) -> None:
    """Each with what it is, and the command that mends it."""
    findings = await look(settings_for(ses, [identity], source("trial", TRIAL)))

    found = the(findings, check)
    assert found.verdict is Verdict.BAD
    assert words in found.what
    assert remedy in found.mend
    assert [one.check for one in findings if one.verdict is Verdict.BAD] == [check]


async def test_each_thing_is_asked_once(ses: Simulator) -> None:
    """Twenty identities of one account in one region share its answers."""
    identities = [
        rule("own.example", named=f"own{number}", account=MINE, configuration_set="events") for number in range(20)
    ]
    findings = await look(settings_for(ses, identities))

    assert len([one for one in findings if one.check == "configuration set"]) == 20
    assert sorted(call.name for call in ses.called) == [
        "GetAccount", "GetCallerIdentity", "GetConfigurationSet", "GetEmailIdentity"
    ]  # fmt: skip


async def test_questions_keep_the_pace_of_ses(ses: Simulator) -> None:
    """SES permits an account each of them once a second; other accounts and other questions do not wait for it."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(round(seconds))

    mine = [rule(f"own{number}.example", account=MINE, configuration_set="events") for number in range(4)]
    boxed = [rule(f"own{number}.example", named=f"b{number}", account=BOXED, credentials="trial") for number in (1, 2)]
    await look(settings_for(ses, [*mine, *boxed], source("trial", TRIAL)), pause=pause)

    assert sorted(pauses) == [1, 1, 2, 3]


async def test_logins_do_not_wait_for_questions(ses: Simulator) -> None:
    """What has to wait for its second keeps nothing else waiting, and what has been found can be had meanwhile."""
    identities = [rule(f"own{number}.example", account=MINE, transport="smtp") for number in range(2 * AT_ONCE)]
    settings = settings_for(ses, identities)
    plan = plan_of(settings, identities, everything=False)
    left = {"to look at": plan.size, "to wait": len(identities) - 1}
    all_but_those, resume = asyncio.Event(), asyncio.Event()

    def one_less(what: str) -> None:
        left[what] -= 1
        if left == {"to look at": len(identities) - 1, "to wait": 0}:
            all_but_those.set()

    async def pause(_: float) -> None:
        one_less("to wait")
        await resume.wait()

    tools = tools_for(settings, pause=pause)
    looking = Looking(settings, plan, tools, proving=False, looked=lambda: one_less("to look at"))
    running = asyncio.create_task(looking.look())
    async with asyncio.timeout(20):
        await all_but_those.wait()
    meanwhile = [finding.check for finding in looking.found]
    resume.set()
    found = await running
    await tools.close()

    assert {"login", "sandbox", "caller", "endpoint"} <= set(meanwhile)
    assert len(found) - len(meanwhile) == 2 * (len(identities) - 1)
    assert left["to look at"] == 0


@pytest.mark.parametrize(("times", "verdict"), [(2, Verdict.OK), (3, Verdict.UNKNOWN)])
async def test_what_ses_has_no_time_for_is_asked_again(ses: Simulator, times: int, verdict: Verdict) -> None:
    """Somebody else may have used up the second: three times, and no more."""
    ses.faults.add(Fault(action="throttle", stage="call", call="GetEmailIdentity", count=times))
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(round(seconds))

    findings = await look(settings_for(ses, [rule("own.example", account=MINE)]), pause=pause)

    assert the(findings, "identity").verdict is verdict
    assert set(PATIENCE_S) <= set(pauses)


class TestCredentials:
    async def test_a_role_and_who_assumes_it(self, ses: Simulator) -> None:
        """The chain is looked at from both ends; the account is that of the role."""
        owner = CredentialSource("owner", assume_role=ROLE, source="mine", external_id="right")
        findings = await look(settings_for(ses, [rule(credentials="owner")], owner))

        callers = {one.about.name: one.what for one in findings if one.check == "caller"}
        assert callers["mine"] == f"account {MINE}, {DELEGATE.principal}"
        assert callers["owner"] == f"account {OWNER}, arn:aws:sts::{OWNER}:assumed-role/send/ses-relay"
        assert the(findings, "identity").what.endswith("of our own account in us-east-1 is verified")

    async def test_a_role_that_may_not_be_assumed(self, ses: Simulator) -> None:
        """Said once, with the statement that its owner needs; what follows from it is not told as bad."""
        owner = CredentialSource("owner", assume_role=ROLE, source="mine", external_id="wrong")
        findings = await look(settings_for(ses, [rule(credentials="owner", configuration_set="events")], owner))

        (wrong,) = [one for one in findings if one.verdict is Verdict.BAD]
        assert (wrong.about.name, wrong.check) == ("owner", "keys")
        assert f'"Principal": {{"AWS": "{DELEGATE.principal}"}}' in wrong.mend
        assert '{"sts:ExternalId": "wrong"}' in wrong.mend
        assert "external_id must be what the role's owner asks for" in wrong.mend
        assert verdicts(findings)["account"] == verdicts(findings)["configuration set"] == "unknown"
        assert [call.name for call in ses.called].count("AssumeRole") == 1

    async def test_a_wrong_secret(self, ses: Simulator) -> None:
        """SES itself says so, wherever STS is."""
        wrong = source("wrong", DELEGATE, secret_access_key="wrong")
        findings = await look(settings_for(ses, [rule(credentials="wrong")], wrong))

        assert the(findings, "keys").verdict is Verdict.OK
        assert the(findings, "account").verdict is Verdict.BAD
        assert "SignatureDoesNotMatch" in the(findings, "account").what

    async def test_no_credentials_at_all(self, ses: Simulator) -> None:
        findings = await look(settings_for(ses, [rule(credentials="default")]))

        assert the(findings, "keys").verdict is Verdict.BAD
        assert "AWS_ACCESS_KEY_ID" in the(findings, "keys").mend

    async def test_credentials_that_nothing_uses_are_looked_at_too(self, ses: Simulator) -> None:
        """Unless one identity was asked for."""
        settings = settings_for(ses, [rule()], CredentialSource("spare", profile="nowhere"))

        everything, chosen = await look(settings, everything=True), await look(settings)

        assert [one.about.name for one in everything if one.check == "keys"] == ["mine", "spare"]
        assert [one.about.name for one in chosen if one.check == "keys"] == ["mine"]
        assert not all_well(everything)

    async def test_an_sts_that_cannot_be_reached_is_no_trouble(
        self, ses: Simulator, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
    ) -> None:
        """Mail does not need it, unless a role is to be assumed."""
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{unused_tcp_port}")
        findings = await look(settings_for(ses, [rule()]))

        assert the(findings, "caller").verdict is Verdict.UNKNOWN
        assert all_well(findings)

    async def test_behind_an_endpoint_of_its_own(self, ses: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
        """AWS's own STS has no say about the keys of an SES that is elsewhere, but that SES has."""
        wrong = source("wrong", DELEGATE, secret_access_key="wrong")
        findings = await look(settings_for(ses, [rule(credentials="wrong")], wrong))

        assert [one.check for one in findings if one.verdict is Verdict.BAD] == ["caller", "account"]
        assert "the secret access key is not that of the access key id" in the(findings, "caller").mend

        async with answering(status="403 Forbidden", body=REFUSED) as url:
            monkeypatch.setattr("relay.aws.endpoints.ApiEndpoints.sts_belongs", False)
            monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
            findings = await look(settings_for(ses, [rule(credentials="wrong")], wrong))

        assert [one.check for one in findings if one.verdict is Verdict.BAD] == ["account"]
        assert "the secret access key is not that" in the(findings, "account").mend
        assert "AWS_ENDPOINT_URL_STS" in the(findings, "caller").mend
        assert "the access key id or its secret is wrong" in the(findings, "caller").mend


class TestWhoseIdentity:
    """STS does not answer, so that nobody knows whose account ours is."""

    @pytest.fixture(autouse=True)
    def _no_sts(self, ses: Simulator, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{unused_tcp_port}")

    @pytest.mark.parametrize(
        ("identity", "verdict", "words"),
        [
            (rule("own.example", account=MINE), Verdict.OK, "of our own account in us-east-1 is verified"),
            (rule("soon.example", account=MINE), Verdict.BAD, "is not verified"),
            (rule(), Verdict.UNKNOWN, f"belongs to account {OWNER}, and whose account is ours is not known"),
            (rule("gone.example", account=MINE), Verdict.UNKNOWN, "whose account is ours is not known"),
        ],
    )
    async def test_what_our_account_has_settles_it(
        self, ses: Simulator, identity: Identity, verdict: Verdict, words: str
    ) -> None:
        """Nobody sees what another account has; where ours has none of this name, either may be so."""
        found = the(await look(settings_for(ses, [identity])), "identity")

        assert found.verdict is verdict
        assert words in found.what
        assert "only its owner" not in found.why

    async def test_without_the_permission_it_is_named(self, ses: Simulator) -> None:
        identity = rule("own.example", account=MINE, credentials="blind")
        found = the(await look(settings_for(ses, [identity], source("blind", BLIND))), "identity")

        assert found.verdict is Verdict.UNKNOWN
        assert '"ses:GetEmailIdentity"' in found.mend

    async def test_a_role_tells_its_account(self, ses: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
        """By its ARN, also when STS lets it be assumed and then says no more."""
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", ses.api_url)
        ses.faults.add(Fault(action="drop", stage="call", call="GetCallerIdentity"))
        owner = CredentialSource("owner", assume_role=ROLE, source="mine", external_id="right")
        findings = await look(settings_for(ses, [rule(credentials="owner")], owner))

        assert the(findings, "identity").what.endswith("of our own account in us-east-1 is verified")
        assert {one.about.name for one in findings if one.about.kind == "account"} == {
            f"{OWNER} in us-east-1, by credentials owner"
        }


class TestAccounts:
    @pytest.mark.parametrize("action", ["throttle", "html", "drop", "error"])
    async def test_answers_that_do_not_come_are_unknown(self, ses: Simulator, action: Action) -> None:
        """Mail may go all the same."""
        ses.faults.add(Fault(action=action, stage="call", call="GetAccount"))
        findings = await look(settings_for(ses, [rule()]))

        assert the(findings, "account").verdict is Verdict.UNKNOWN
        assert all_well(findings)

    @pytest.mark.parametrize("code", ["OptInRequired", "SubscriptionRequiredException", "UnrecognizedClientException"])
    async def test_refusals_that_mail_would_meet_too_are_bad(self, ses: Simulator, code: str) -> None:
        for call in ("GetAccount", "GetSendQuota"):
            ses.faults.add(Fault(action="refuse", stage="call", call=call, status=403, code=code))
        findings = await look(settings_for(ses, [rule()]))

        assert the(findings, "account").verdict is Verdict.BAD

    async def test_the_quota_by_the_older_call(self, ses: Simulator) -> None:
        """GetSendQuota tells the numbers, and leaves open what it does not tell."""
        ses.faults.add(
            Fault(action="refuse", stage="call", call="GetAccount", status=403, code="AccessDeniedException")
        )
        findings = await look(settings_for(ses, [rule()]))

        assert [verdicts(findings)[check] for check in ("sending", "sandbox", "quota", "rate")] == [
            "unknown", "unknown", "ok", "ok"
        ]  # fmt: skip

    async def test_a_pace_above_the_quota(self, ses: Simulator) -> None:
        """The pace of the configuration is compared with the quota's."""
        findings = await look(settings_for(ses, [rule()], max_rate=20))

        assert the(findings, "rate").verdict is Verdict.WARNING


class TestRegions:
    @pytest.mark.parametrize(
        ("minutes", "verdict"),
        [(0, Verdict.OK), (2, Verdict.WARNING), (-2, Verdict.WARNING), (7, Verdict.BAD), (-7, Verdict.BAD)],
    )
    async def test_a_clock_that_is_wrong(self, monkeypatch: pytest.MonkeyPatch, minutes: int, verdict: Verdict) -> None:
        """By the date of any answer, also of one that refuses."""
        date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
        async with answering(f"Date: {date}", status="403 Forbidden") as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
            findings = await look(_at(url))

        found = the(findings, "clock")
        assert found.verdict is verdict
        assert minutes == 0 or ("behind" if minutes > 0 else "ahead") in found.what

    async def test_answers_without_a_date(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with answering(status="403 Forbidden") as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
            assert the(await look(_at(url)), "clock").verdict is Verdict.UNKNOWN

    @pytest.mark.parametrize(("transport", "verdict"), [("api", Verdict.BAD), ("smtp", Verdict.UNKNOWN)])
    async def test_an_api_that_cannot_be_reached(
        self, ses: Simulator, transport: str, verdict: Verdict, unused_tcp_port: int
    ) -> None:
        """It matters where mail goes by it; questions alone can wait."""
        settings = settings_for(ses, [rule(transport=transport)])
        elsewhere = Ses(
            api_endpoint=f"http://127.0.0.1:{unused_tcp_port}", smtp_endpoint=TcpAddress(*ses.smtp_address())
        )
        findings = await look(Settings(settings.identities, credentials=settings.credentials, ses=elsewhere))

        assert the(findings, "endpoint").verdict is verdict
        assert all_well(findings) is (transport == "smtp")

    async def test_a_certificate_that_nobody_vouches_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """TLS that is opened on the way shows as what it is."""
        async with a_ses(monkeypatch, https=True) as ses:
            monkeypatch.delenv("AWS_CA_BUNDLE")
            findings = await look(settings_for(ses, [rule()]))

        found = the(findings, "endpoint")
        assert found.verdict is Verdict.BAD
        assert "CERTIFICATE_VERIFY_FAILED" in found.what
        assert "AWS_CA_BUNDLE" in found.mend


class TestSmtp:
    async def test_a_wrong_password(self, ses: Simulator) -> None:
        """What went well before is told; the password is not."""
        wrong = CredentialSource("wrong", smtp_username="AKIAOLDEXAMPLE", smtp_password="hidden-password")
        findings = await look(settings_for(ses, [rule(transport="smtp", credentials="wrong")], wrong))

        found = the(findings, "login")
        assert (verdicts(findings)["tls"], found.verdict) == ("ok", Verdict.BAD)
        assert "535" in found.what
        assert EAST in found.mend
        assert "hidden" not in repr(findings)

    async def test_a_server_that_nobody_vouches_for(self, ses: Simulator) -> None:
        """The password does not leave for it."""

        def trust() -> ssl.SSLContext:
            context = ssl.create_default_context()
            context.minimum_version = ssl.TLSVersion.TLSv1_2  # some systems' default is less, which is never used
            return context

        findings = await look(settings_for(ses, [rule(transport="smtp")]), trust=trust)

        assert the(findings, "tls").verdict is Verdict.BAD
        assert verdicts(findings)["connection"] == "ok"
        assert "login" not in verdicts(findings)

    async def test_authorities_that_cannot_be_read(self, ses: Simulator) -> None:
        """Nothing is said of steps that were not tried."""

        def trust() -> ssl.SSLContext:
            raise FileNotFoundError("/nowhere.pem")

        findings = await look(settings_for(ses, [rule(transport="smtp")]), trust=trust)

        assert "/nowhere.pem" in the(findings, "tls").what
        assert "name" not in verdicts(findings)

    async def test_a_login_that_ses_puts_off(self, ses: Simulator) -> None:
        """454 may pass."""
        ses.faults.add(Fault(action="refuse", stage="auth", reply="454 Temporary authentication failure"))
        findings = await look(settings_for(ses, [rule(transport="smtp")]))

        assert the(findings, "login").verdict is Verdict.UNKNOWN

    async def test_it_logs_in_and_takes_its_leave(self, ses: Simulator) -> None:
        """AUTH, then QUIT: no mail transaction, and no session that SES must close."""
        heard: list[str] = []

        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            answers = {"EHLO": "250-here\r\n250 AUTH PLAIN", "AUTH": "235 ok", "QUIT": "221 bye"}
            writer.write(b"220 here\r\n")
            while line := await reader.readline():
                heard.append(line.decode().split()[0])
                writer.write(f"{answers[heard[-1]]}\r\n".encode())
            writer.close()

        server = await asyncio.start_server(converse, "127.0.0.1", 0)
        endpoint = TcpAddress("127.0.0.1", server.sockets[0].getsockname()[1])
        settings = settings_for(ses, [rule(transport="smtp")])
        plain = Ses(api_endpoint=ses.api_url, smtp_endpoint=endpoint, smtp_tls="none")
        try:
            findings = await look(Settings(settings.identities, credentials=settings.credentials, ses=plain))
        finally:
            server.close()
            await server.wait_closed()

        assert heard == ["EHLO", "AUTH", "QUIT"]
        assert the(findings, "tls").what == "none, on this machine"

    async def test_a_port_that_is_closed(self, ses: Simulator, unused_tcp_port: int) -> None:
        settings = settings_for(ses, [rule(transport="smtp")])
        closed = Ses(api_endpoint=ses.api_url, smtp_endpoint=TcpAddress("127.0.0.1", unused_tcp_port))
        findings = await look(Settings(settings.identities, credentials=settings.credentials, ses=closed))

        assert (verdicts(findings)["name"], verdicts(findings)["connection"]) == ("ok", "bad")

    async def test_temporary_keys_cannot_log_in(self, ses: Simulator) -> None:
        owner = CredentialSource("owner", assume_role=ROLE, source="mine", external_id="right")
        findings = await look(settings_for(ses, [rule(transport="smtp", credentials="owner")], owner))

        assert the(findings, "login").verdict is Verdict.BAD
        assert "transport: api" in the(findings, "login").mend

    async def test_a_login_without_keys_is_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An SMTP login cannot ask anything by the API; mail goes all the same."""
        async with a_ses(monkeypatch) as ses:
            username, password = ses.smtp_login(EAST)
            only = CredentialSource("only", smtp_username=username, smtp_password=password)
            identity = rule(transport="smtp", credentials="only", configuration_set="events")
            findings = await look(settings_for(ses, [identity], only))

        assert the(findings, "login").verdict is Verdict.OK
        assert the(findings, "account").verdict is Verdict.UNKNOWN
        assert all_well(findings)
        assert the(findings, "account").mend.startswith("nothing needs to be mended")
        for check in ("account", "configuration set", "identity"):
            assert "an SMTP login cannot ask anything" in the(findings, check).what
        assert "no keys that work" not in repr(findings)


def _at(url: str) -> Settings:
    """A configuration whose SES is there, with keys that nobody checks."""
    keys = CredentialSource("mine", access_key_id="AKIA1", secret_access_key="s")
    return Settings((rule(),), credentials={"mine": keys}, ses=Ses(api_endpoint=url))
