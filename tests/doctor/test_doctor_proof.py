"""The full proof: mail of each identity through the real transports, and what is said when SES does not take it."""

from __future__ import annotations

import json
import shlex
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from click.testing import CliRunner
from doctor_parts import (
    BLIND,
    EAST,
    MINE,
    OWNER,
    ROLE,
    TRIAL,
    WEST,
    a_ses,
    a_world,
    arn,
    no_pause,
    rule,
    settings_for,
    source,
)

from relay.arn import parse_identity_arn
from relay.aws.identity_of import Caller
from relay.cli.policy import policy
from relay.doctor.findings import Finding, Verdict
from relay.doctor.proof import Order, prove, trial_author, trial_sender
from relay.doctor.tools import tools_for
from relay.model import Identity
from relay.settings.model import CredentialSource
from relay.simulator import DELEGATE, Fault, Simulator
from relay.simulator.faults import Action
from relay.simulator.policy_document import read
from relay.simulator.world import Identity as Owned

TO = "success@simulator.amazonses.com"
CALLERS = {
    "mine": Caller(MINE, DELEGATE.principal),
    "blind": Caller(MINE, BLIND.principal),
    "trial": Caller(TRIAL.account, TRIAL.principal),
    "owner": Caller(OWNER, f"arn:aws:sts::{OWNER}:assumed-role/send/ses-relay"),
    "nobody": None,
}
SOURCES = (
    source("blind", BLIND),
    source("trial", TRIAL),
    CredentialSource("owner", assume_role=ROLE, source="mine", external_id="right"),
    CredentialSource("nobody", access_key_id="AKIANOBODY", secret_access_key="s"),
)


@pytest.fixture
async def ses(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulator]:
    async with a_ses(monkeypatch) as simulator:
        yield simulator


async def tried(ses: Simulator, identities: Sequence[Identity], order: Order | None = None) -> list[Finding]:
    """What mail of these identities proves."""
    settings = settings_for(ses, identities, *SOURCES)
    return await prove(settings, settings.identities, order or Order(TO), CALLERS, tools_for(settings, pause=no_pause))


async def test_one_message_for_each_identity(ses: Simulator) -> None:
    """By the transport of each, in its region, with its own headers, as an application's mail would go."""
    by_smtp = rule("example.net", region=WEST, transport="smtp")
    events = rule(configuration_set="events", tags=(("app", "doctor"),))
    found = await tried(ses, [events, by_smtp, rule("own.example", account=MINE)])

    assert [(one.about.name, one.verdict) for one in found] == [
        ("example.com", Verdict.OK), ("example.net", Verdict.OK), ("own.example", Verdict.OK)
    ]  # fmt: skip
    mails = {message.region: message for message in ses.received if message.sender != "ses-relay-doctor@own.example"}
    headers = dict(mails[EAST].headers)
    assert {name: mails[name].interface for name in mails} == {EAST: "v1", WEST: "smtp"}
    assert all(mails[name].message_id in found[number].what for number, name in enumerate((EAST, WEST)))
    assert (mails[EAST].recipients, mails[EAST].sender) == ((TO,), "ses-relay-doctor@example.com")
    assert headers["X-SES-SOURCE-ARN"] == headers["X-SES-FROM-ARN"] == headers["X-SES-RETURN-PATH-ARN"] == arn()
    assert (headers["X-SES-CONFIGURATION-SET"], headers["X-SES-MESSAGE-TAGS"]) == ("events", "app=doctor")


async def test_a_policy_that_is_missing_and_the_command_that_mends_it(
    ses: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SES's words, and the command whose policies, once they are attached, make the same mail go."""
    identity = rule(credentials="trial", configuration_set="events")
    (denied,) = await tried(ses, [replace(identity, configuration_set=None)])
    command = shlex.split(denied.mend.partition(" writes ")[0])
    result = CliRunner().invoke(policy, [*command[2:], "--owner", "--json"])
    attached = read("p", json.loads(result.output), "identity", arn())
    world = a_world()
    others = tuple(one for one in world.identities if one.name != "example.com")
    mended = replace(world, identities=(*others, Owned(OWNER, EAST, "example.com", policies=(attached,))))

    async with a_ses(monkeypatch, world=mended) as again:
        (taken,) = await tried(again, [replace(identity, configuration_set=None)])

    assert (denied.verdict, taken.verdict) == (Verdict.BAD, Verdict.OK)
    assert "is not authorized to perform `ses:SendRawEmail'" in denied.what
    assert command[:2] == ["ses-relay", "policy"]
    assert TRIAL.principal in command


@pytest.mark.parametrize(
    ("identity", "words", "remedy"),
    [
        (rule("gone.example"), "HTTP 403 AccessDenied", "--delegate arn:aws:iam::111122223333:user/ses-relay"),
        (rule("soon.example", account=MINE), "is not verified", "get-email-identity --email-identity soon.example"),
        (rule(configuration_set="gone"), "Configuration set", "see what is said of its configuration set"),
        (rule(configuration_set="quiet"), "disabled", "of the account and of the configuration set"),
        (rule(credentials="nobody"), "InvalidClientTokenId", "see what is said of its credentials"),
        (rule("example.net", region=WEST, transport="smtp", credentials="nobody"), "535", "its credentials"),
    ],
    ids=["policy", "unverified", "set", "paused set", "keys", "login"],
)
async def test_what_ses_refuses(ses: Simulator, identity: Identity, words: str, remedy: str) -> None:
    """What SES said, and what to do about it."""
    (found,) = await tried(ses, [identity])

    assert found.verdict is Verdict.BAD
    assert words in found.what
    assert remedy in found.mend


@pytest.mark.parametrize("action", ["throttle", "error", "lose_answer"])
async def test_what_passes_proves_nothing(ses: Simulator, action: Action) -> None:
    """One attempt, and no word of SES on the identity."""
    ses.faults.add(Fault(action=action))
    (found,) = await tried(ses, [rule()])

    assert found.verdict is Verdict.UNKNOWN
    assert ses.faults.standing[0].hits == 1


async def test_the_relay_itself_would_refuse(ses: Simulator) -> None:
    """A sender that its own ARN does not cover is no mail for SES."""
    identity = replace(rule("own.example", account=MINE), senders=("root@web1.internal",), from_arn=None)
    (found,) = await tried(ses, [identity], Order(TO, "root@web1.internal"))

    assert found.verdict is Verdict.BAD
    assert (ses.total, len(ses.turned_away)) == (0, 0)
    assert "ses-relay explain root@web1.internal" in found.mend


async def test_a_second_between_messages_of_one_account(ses: Simulator) -> None:
    """The sandbox permits no more; other credentials and regions need not wait for it."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    identities = [rule(named=f"e{number}") for number in range(3)]
    identities += [rule("example.net", region=WEST), rule(named="trial", credentials="trial")]
    identities = [replace(one, senders=(f"{number}@{one.source_arn.name}",)) for number, one in enumerate(identities)]
    settings = settings_for(ses, identities, *SOURCES)
    await prove(settings, settings.identities, Order(TO), CALLERS, tools_for(settings, pause=pause))

    assert pauses == [1.0, 1.0]


async def test_a_role_is_named_and_not_its_session(ses: Simulator) -> None:
    """A policy cannot name what ends within the hour."""
    (found,) = await tried(ses, [rule("gone.example", credentials="owner")])

    assert f"arn:aws:ses:{EAST}:{OWNER}:identity/gone.example --delegate {ROLE} writes" in found.mend


@pytest.mark.parametrize(
    ("senders", "changes", "sender", "author"),
    [
        (("@example.com",), {}, "ses-relay-doctor@example.com", "ses-relay-doctor@example.com"),
        (("@.example.com",), {}, *["ses-relay-doctor@ses-relay-doctor.example.com"] * 2),
        (("@example.com", "shop@example.com"), {}, "shop@example.com", "shop@example.com"),
        (("*",), {}, "ses-relay-doctor@example.com", "ses-relay-doctor@example.com"),
        (("<>",), {"replace_sender": "b@example.com"}, "", "b@example.com"),
        (("root@web1.internal",), {"replace_sender": "b@example.com"}, "root@web1.internal", "b@example.com"),
        (("root@web1.internal",), {}, "root@web1.internal", "ses-relay-doctor@example.com"),
        (("@example.com",), {"from_arn": None}, *["ses-relay-doctor@example.com"] * 2),
        (("@example.com",), {"from_arn": parse_identity_arn(arn("news@example.org"))},
         "ses-relay-doctor@example.com", "news@example.org"),
    ],
)  # fmt: skip
def test_who_writes_the_trial(senders: tuple[str, ...], changes: dict[str, object], sender: str, author: str) -> None:
    """An address that the rule is for, and a From that its ARN covers."""
    identity = replace(rule(), senders=senders, **changes)  # type: ignore[arg-type] # a dict of mixed values

    assert trial_sender(identity) == sender
    assert trial_author(identity, sender) == author


async def test_the_sender_may_be_chosen(ses: Simulator) -> None:
    """Where the owner's policy is for some addresses only."""
    await tried(ses, [rule()], Order(TO, "billing@example.com"))

    assert ses.received[0].sender == "billing@example.com"
    assert dict(ses.received[0].headers)["From"] == "billing@example.com"
