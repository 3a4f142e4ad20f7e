"""Verdicts by themselves: what was found in, what is said out; and the rules that hold for all of them."""

from __future__ import annotations

from math import inf

import pytest
from doctor_parts import OWNER, ROLE, WEST, rule

from relay.aws.answers import Refused
from relay.aws.asking import NotTold
from relay.aws.endpoints import SmtpEndpoint
from relay.aws.exchange import NoAnswer
from relay.aws.identity_of import Caller
from relay.aws.keys import CredentialTrouble
from relay.aws.quota import Quota
from relay.aws.resources import EmailIdentity
from relay.delivery.smtp_dialogue import Refused as SmtpRefused
from relay.delivery.smtp_reply import UpstreamReply
from relay.delivery.smtp_wire import Broken
from relay.doctor.findings import About, Finding, Verdict, all_well, ok
from relay.doctor.plan import plan_of
from relay.doctor.reasons import Reason, reason_of
from relay.doctor.remedies import delegate_of
from relay.doctor.verdicts import account, credentials, identity, region, smtp
from relay.policy.outcomes import Stage, Trouble
from relay.settings.model import CredentialSource, Settings

HERE = About("account", "here")
KEYS = CredentialSource("k", access_key_id="AKIA1", secret_access_key="s")


def refusal(code: str, message: str = "", *, lasting: bool = True) -> NotTold:
    """What the asker raises for an error document."""
    return NotTold(f"HTTP 403 {code} {message}", lasting=lasting, refusal=Refused(code, message))


def trouble(kind: Trouble) -> NotTold:
    return NotTold("no answer", lasting=False, trouble=kind)


class TestFindings:
    @pytest.mark.parametrize("verdict", [Verdict.UNKNOWN, Verdict.WARNING, Verdict.BAD])
    @pytest.mark.parametrize(("why", "mend"), [("", "do"), ("since", "")])
    def test_nothing_is_unwell_without_reason_and_remedy(self, verdict: Verdict, why: str, mend: str) -> None:
        with pytest.raises(ValueError, match="a reason and a remedy"):
            Finding(HERE, "check", verdict, "what", why, mend)

    def test_only_what_is_bad_makes_the_whole_unwell(self) -> None:
        others = [Finding(HERE, "c", verdict, "what", "why", "mend") for verdict in Verdict if verdict != "bad"]

        assert all_well([])
        assert all_well(others)
        assert not all_well([*others, Finding(HERE, "c", Verdict.BAD, "what", "why", "mend"), ok(HERE, "c", "what")])


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (refusal("AccessDenied"), Reason.DENIED),
        (refusal("AccessDeniedException"), Reason.DENIED),
        (refusal("NotFoundException"), Reason.MISSING),
        (refusal("InvalidClientTokenId"), Reason.KEYS),
        (refusal("SignatureDoesNotMatch", "The request signature we calculated does not match"), Reason.KEYS),
        (refusal("SignatureDoesNotMatch", "Signature expired: 1 is now earlier than 2"), Reason.CLOCK),
        (refusal("RequestExpired"), Reason.CLOCK),
        (refusal("ExpiredTokenException"), Reason.ENDED),
        (refusal("OptInRequired"), Reason.NOT_SUBSCRIBED),
        (refusal("Throttling", lasting=False), Reason.BUSY),
        (refusal("SomethingNew"), Reason.STRANGE),
        (trouble(Trouble.NO_CREDENTIALS), Reason.NO_KEYS),
        (trouble(Trouble.DNS), Reason.UNREACHABLE),
        (trouble(Trouble.TLS), Reason.UNREACHABLE),
        (trouble(Trouble.NOT_AWS), Reason.STRANGE),
        (NotTold("the answer has no quota", lasting=True), Reason.STRANGE),
    ],
)
def test_why_aws_did_not_say(told: NotTold, reason: Reason) -> None:
    """A permission that is missing, keys that are wrong and a network that is down are mended in different places."""
    assert reason_of(told) is reason


@pytest.mark.parametrize(
    ("told", "belongs", "verdict"),
    [
        (Caller("1", "arn"), True, Verdict.OK),
        (refusal("InvalidClientTokenId"), True, Verdict.BAD),
        (refusal("InvalidClientTokenId"), False, Verdict.UNKNOWN),
        (refusal("ExpiredToken"), True, Verdict.BAD),
        (refusal("ExpiredToken"), False, Verdict.UNKNOWN),
        (refusal("RequestExpired"), False, Verdict.BAD),
        (trouble(Trouble.CONNECT), True, Verdict.UNKNOWN),
        (trouble(Trouble.NOT_AWS), True, Verdict.UNKNOWN),
    ],
)
def test_callers(told: Caller | NotTold, belongs: bool, verdict: Verdict) -> None:
    """An STS that may be the wrong one has no say on keys."""
    assert credentials.on_caller(KEYS, told, belongs=belongs).verdict is verdict


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("InvalidClientTokenId", "nobody there has the access key id"),
        ("UnrecognizedClientException", "nobody there has the access key id"),
        ("SignatureDoesNotMatch", "the secret access key is not that of the access key id"),
        ("InvalidSignatureException", "the secret access key is not that of the access key id"),
    ],
)
def test_keys_that_are_wrong(code: str, words: str) -> None:
    """STS and SES each say which part it is, and neither sends on to the other."""
    (of_ses,) = account.on_account(HERE, WEST, refusal(code), None)
    for found in (credentials.on_caller(KEYS, refusal(code), belongs=True), of_ses):
        assert found.verdict is Verdict.BAD
        assert found.mend.startswith(words)
        assert "see what is said" not in found.mend


def test_a_role_whose_source_has_wrong_keys() -> None:
    """No trust policy mends that."""
    wrong = CredentialTrouble("STS does not let ...: InvalidClientTokenId: ...", "InvalidClientTokenId")
    found = credentials.on_keys(CredentialSource("r", assume_role=ROLE, source="base"), wrong)

    assert found.mend == "STS does not accept the keys of credentials base: see what is said of them"


@pytest.mark.parametrize(
    ("source", "detail", "remedy"),
    [
        (CredentialSource("default"), "no provider", "AWS_ACCESS_KEY_ID"),
        (CredentialSource("p", profile="my profile"), "ProfileNotFound", "aws configure --profile 'my profile'"),
        (CredentialSource("r", assume_role=ROLE, source="base"), "no provider", "see what is said of credentials base"),
    ],
)
def test_keys_that_are_not_there(source: CredentialSource, detail: str, remedy: str) -> None:
    """What mends it depends on where they should have come from."""
    found = credentials.on_keys(source, CredentialTrouble(detail))

    assert found.verdict is Verdict.BAD
    assert remedy in found.mend


def test_a_session_that_may_not_assume_is_named_by_its_account() -> None:
    """Its role may have a path, which the session does not show."""
    caller = f"arn:aws:sts::{OWNER}:assumed-role/task/i-1"
    found = credentials.on_keys(
        CredentialSource("r", assume_role=ROLE), CredentialTrouble(f"User: {caller} is not authorized", "AccessDenied")
    )

    assert f'{{"AWS": "{OWNER}"}}' in found.mend


@pytest.mark.parametrize(
    ("quota", "check", "verdict"),
    [
        (Quota(14, 50_000, 0, production=True, enabled=True, enforcement="HEALTHY"), "sending", Verdict.OK),
        (Quota(14, 50_000, 0, production=True, enabled=False, enforcement="HEALTHY"), "sending", Verdict.BAD),
        (Quota(14, 50_000, 0, production=True, enabled=True, enforcement="PROBATION"), "sending", Verdict.WARNING),
        (Quota(14, 50_000, 0, production=True, enabled=False, enforcement="SHUTDOWN"), "sending", Verdict.BAD),
        (Quota(14, 50_000, 0), "sending", Verdict.UNKNOWN),
        (Quota(1, 200, 0, production=False, enabled=True), "sandbox", Verdict.BAD),
        (Quota(1, 200, 0), "sandbox", Verdict.WARNING),
        (Quota(14, 200, 0), "sandbox", Verdict.UNKNOWN),
        (Quota(14, inf, 10_000_000), "quota", Verdict.OK),
        (Quota(14, 1000, 799), "quota", Verdict.OK),
        (Quota(14, 1000, 800), "quota", Verdict.WARNING),
        (Quota(14, 1000, 1000), "quota", Verdict.BAD),
        (Quota(14, 1000, 0), "rate", Verdict.OK),
    ],
)
def test_accounts(quota: Quota, check: str, verdict: Verdict) -> None:
    """Each number and each word of SES by itself."""
    found = {one.check: one for one in account.on_account(HERE, WEST, quota, 14)}

    assert found[check].verdict is verdict


@pytest.mark.parametrize(("needed", "verdict"), [(True, Verdict.BAD), (False, Verdict.UNKNOWN)])
@pytest.mark.parametrize("kind", [Trouble.DNS, Trouble.CONNECT, Trouble.TLS, Trouble.PROXY])
def test_endpoints(kind: Trouble, needed: bool, verdict: Verdict) -> None:
    """Whatever stands in the way is bad where mail goes that way."""
    assert region.on_endpoint(WEST, "https://x", NoAnswer(kind, "no"), needed=needed).verdict is verdict


@pytest.mark.parametrize(
    ("ahead_s", "verdict", "words"),
    [
        (1.5, Verdict.OK, "agrees"),
        (59.0, Verdict.OK, "59 s behind"),
        (-60.0, Verdict.WARNING, "60 s ahead"),
        (299.0, Verdict.WARNING, "behind"),
        (300.0, Verdict.BAD, "behind"),
    ],
)
def test_clocks(ahead_s: float, verdict: Verdict, words: str) -> None:
    """Five minutes are the end (SES takes no signature that is further off); a minute is worth a word."""
    found = region.on_clock(WEST, ahead_s, needed=True)

    assert found.verdict is verdict
    assert words in found.what


SUBMISSION = SmtpEndpoint("email-smtp.eu-west-1.amazonaws.com", 587, "starttls")


def refused(stage: Stage, code: int) -> SmtpRefused:
    return SmtpRefused(stage, UpstreamReply(code, ("no",)))


@pytest.mark.parametrize(
    ("problem", "steps"),
    [
        (None, ["name ok", "connection ok", "tls ok", "login ok"]),
        (Broken(Trouble.DNS, "x"), ["name bad"]),
        (Broken(Trouble.CONNECT, "x"), ["name ok", "connection bad"]),
        (Broken(Trouble.TIMEOUT_BEFORE_SENT, "x"), ["name ok", "connection bad"]),
        (refused(Stage.GREETING, 421), ["name ok", "connection unknown"]),
        (refused(Stage.GREETING, 554), ["name ok", "connection bad"]),
        (Broken(Trouble.TLS, "x"), ["name ok", "connection ok", "tls bad"]),
        (refused(Stage.STARTTLS, 454), ["name ok", "connection ok", "tls unknown"]),
        (refused(Stage.AUTH, 535), ["name ok", "connection ok", "tls ok", "login bad"]),
        (refused(Stage.AUTH, 454), ["name ok", "connection ok", "tls ok", "login unknown"]),
        (CredentialTrouble("x"), ["login bad"]),
        (OSError("x"), ["tls bad"]),
    ],
    ids=str,
)
def test_steps_of_a_login(problem: SmtpRefused | Broken | CredentialTrouble | OSError | None, steps: list[str]) -> None:
    """What was reached shows that what comes before it is well; what comes after is not told."""
    found = smtp.on_login(HERE, WEST, smtp.Login(SUBMISSION, "AKIA1", problem))

    assert [f"{one.check} {one.verdict}" for one in found] == steps


def test_a_mail_from_domain_with_wrong_dns() -> None:
    """SES refuses all mail of the identity, however well that is verified."""
    own = EmailIdentity(verified=True, status="SUCCESS", broken_mail_from="mail.example.com")
    found = identity.on_own(rule(), "source_arn", rule().source_arn, own)

    assert found.verdict is Verdict.BAD
    assert "mail.example.com" in found.what


def test_a_region_that_the_sdk_does_not_know() -> None:
    """New regions are newer than the SDK; misspelt ones look the same."""
    (found,) = identity.on_region(rule(), frozenset({WEST}))

    assert found.verdict is Verdict.WARNING


def test_an_arn_of_all_regions_is_right_everywhere() -> None:
    (found,) = identity.on_region(rule(region="*", at=WEST), frozenset({WEST}))

    assert found.verdict is Verdict.OK


@pytest.mark.parametrize(
    ("caller", "source", "delegate"),
    [
        (Caller("1", "arn:aws:iam::111122223333:user/a/b"), KEYS, "arn:aws:iam::111122223333:user/a/b"),
        (Caller("1", "arn:aws:sts::111122223333:assumed-role/r/s"), KEYS, "111122223333"),
        (Caller("1", "arn:aws:sts::1:assumed-role/send/s"), CredentialSource("r", assume_role=ROLE), ROLE),
        (None, KEYS, "ACCOUNT_OR_ARN"),
    ],
)
def test_whom_an_owner_names(caller: Caller | None, source: CredentialSource, delegate: str) -> None:
    """Sessions end; policies name users, roles or accounts."""
    assert delegate_of(caller, source) == delegate


def test_a_plan_has_each_thing_once() -> None:
    """What identities share, and the credentials behind their credentials."""
    identities = (
        rule(named="a", credentials="owner"),
        rule(named="b", credentials="owner", transport="smtp"),
        rule(named="c", at=WEST, credentials="owner"),
    )
    sources = {
        "default": CredentialSource("default"),
        "owner": CredentialSource("owner", assume_role=ROLE, source="base"),
        "base": CredentialSource("base", assume_role=ROLE, source="default"),
        "spare": KEYS,
    }
    plan = plan_of(Settings(identities, credentials=sources), identities, everything=False)

    assert plan.credentials == {"owner": "us-east-1", "base": "us-east-1", "default": "us-east-1"}
    assert plan.accounts == (("owner", "us-east-1"), ("owner", WEST))
    assert plan.logins == (("owner", "us-east-1"),)
    assert plan.regions == {"us-east-1": True, WEST: True}
    everything = plan_of(Settings(identities, credentials=sources), identities, everything=True)
    assert everything.credentials == {**plan.credentials, "spare": ""}
