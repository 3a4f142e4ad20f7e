"""Verdicts on a trial message: what SES says to mail of an identity, which proves what nobody may look at. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from shlex import join, quote
from typing import Final

from relay.doctor.findings import About, Finding, bad, ok, unknown
from relay.doctor.remedies import SIMULATOR, identity_command
from relay.doctor.verdicts.identity import arns_of
from relay.errors import Rejection
from relay.model import Cause, Deferred, Delivered, Failed, Identity, Outcome

_DENIED: Final = re.compile(r"not authorized|access ?denied", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Trial:
    """A message that was tried: from whom to whom, what came of it, and whom the owner's policy must name."""

    sender: str
    recipient: str
    outcome: Outcome | Rejection
    delegate: str


def on_trial(identity: Identity, trial: Trial) -> Finding:
    """What a trial proves."""
    about = About("identity", identity.name)
    outcome, mail = trial.outcome, f"mail from {trial.sender or '<>'} to {trial.recipient}"
    if isinstance(outcome, Delivered):
        return ok(about, "proof", f"SES took {mail}: {outcome.message_id}")
    if isinstance(outcome, Rejection):
        what, why = f"{mail}: {outcome.reply}", "the relay itself would refuse such mail"
        return bad(about, "proof", what, why, f"ses-relay explain {quote(trial.sender or '<>')} shows why")
    what = f"{mail}: {outcome.detail}"
    if outcome.cause in _PASSING:
        return unknown(about, "proof", what, "SES has not said whether it takes mail of this identity", "try again")
    return bad(about, "proof", what, "SES does not take mail of this identity", _remedy(identity, trial, outcome))


_PASSING: Final = frozenset({Cause.THROTTLED, Cause.QUOTA, Cause.UNAVAILABLE, Cause.LOST_ANSWER, Cause.PACE})


def _remedy(identity: Identity, trial: Trial, outcome: Deferred | Failed) -> str:
    arn, region = identity.source_arn, identity.region
    if outcome.cause is Cause.IDENTITY and _DENIED.search(outcome.detail):
        return (
            f"{_policies(identity, trial.delegate)} writes what the owner must attach to the identity, and what the "
            "delegate needs; a policy that is for some addresses only may not have the one tried: --send-from ADDRESS"
        )
    if outcome.cause is Cause.IDENTITY:
        return (
            f"its owner must have verified {arn.name} in {region}, its ARNs must cover the addresses, and in the "
            "sandbox the recipient must be verified too; the owner sees it by "
            + identity_command("get-email-identity", arn.name, region)
        )
    return _REMEDIES.get(outcome.cause, f"ses-relay explain {quote(trial.sender or '<>')} shows what SES was given")


def _policies(identity: Identity, delegate: str) -> str:
    """The command that writes the policies of all identities that the mail names."""
    arns = arns_of(identity).values()
    words = ["ses-relay", "policy", *map(str, arns), "--delegate", delegate]
    if any(arn.region == "*" for arn in arns):
        words += ["--region", identity.region]
    if identity.configuration_set:
        words += ["--configuration-set", identity.configuration_set]
    return join(words)


_REMEDIES: Final = {
    Cause.CREDENTIALS: "see what is said of its credentials",
    Cause.CONFIGURATION_SET: "see what is said of its configuration set; it must be in the delegate's account",
    Cause.PAUSED: "see what is said of the account and of the configuration set",
    Cause.NETWORK: "see what is said of the region, or of the SMTP login",
    Cause.TLS: "see what is said of the region, or of the SMTP login",
    Cause.SENDER: "use another address: replace_sender in the configuration, or --send-from ADDRESS here",
    Cause.RECIPIENT: f"use another recipient: --send-to {SIMULATOR}",
}
