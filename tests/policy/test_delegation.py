"""The delegate's side: both policies together let exactly the agreed mail pass, by the evaluator of the local SES."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.arn import parse_identity_arn
from relay.policy.delegates import parse_delegate
from relay.policy.delegation import INLINE_BYTES, MANAGED_BYTES, delegate_policies
from relay.policy.grants import RAW, SEND, Grant, Terms, compact, owner_policies
from relay.simulator.policy_document import read
from relay.simulator.policy_language import Actor, Ask, Policy, decide, rule

REGION = "arn:aws:ses:us-west-2"
ARN = f"{REGION}:123456789012:identity/example.com"
OWN = f"{REGION}:111122223333:identity/own.example"
USER = "arn:aws:iam::111122223333:user/relay"
ROLE = "arn:aws:iam::444455556666:role/mail/relay"


def grant(arn: str = ARN, *delegates: str, sets: tuple[str, ...] = (), **terms: Any) -> Grant:
    return Grant(parse_identity_arn(arn), tuple(map(parse_delegate, delegates or [USER])), Terms(**terms), sets=sets)


def iam(grants: Sequence[Grant], who: str = USER, *, sandbox: bool = False) -> list[Policy]:
    """The documents of one delegate, read as IAM reads them."""
    made = delegate_policies(grants, "ses-relay", sandbox=sandbox)
    return [read(one.name, one.document, "iam") for one in made if one.delegate and one.delegate.text == who]


def asked(resource: str, sender: str = "a@example.com", action: str = RAW, who: str = USER) -> Ask:
    context = {"ses:fromaddress": (sender,), "ses:recipients": ("someone@customer.example",)}
    return Ask(Actor(who.split(":")[4], who), action, resource, context)


def lets(policies: Sequence[Policy], resource: str, **about: str) -> bool:
    return rule(policies, asked(resource, **about)).effect == "Allow"


def test_the_document_is_what_the_guide_shows() -> None:
    """Written out once: identity, configuration set of the delegate's account, recipients in the sandbox."""
    (made,) = delegate_policies([grant(sets=("events",), senders=("@example.com",))], "mail", sandbox=True)

    actions = ["ses:SendEmail", "ses:SendRawEmail"]
    assert (made.delegate, made.name, made.inline) == (parse_delegate(USER), "mail", True)
    assert made.document == {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "Identities1", "Effect": "Allow", "Action": actions, "Resource": ARN},
            {
                "Sid": "ConfigurationSets2",
                "Effect": "Allow",
                "Action": actions,
                "Resource": f"{REGION}:111122223333:configuration-set/events",
            },
            {
                "Sid": "SandboxRecipients3",
                "Effect": "Allow",
                "Action": actions,
                "Resource": f"{REGION}:111122223333:identity/*",
                "Condition": {"StringLike": {"ses:FromAddress": ["*@example.com"]}},
            },
        ],
    }


def test_nothing_but_what_was_granted() -> None:
    policies = iam([grant(sets=("events",))])

    assert lets(policies, ARN)
    assert lets(policies, f"{REGION}:111122223333:configuration-set/events")
    assert not lets(policies, f"{REGION}:111122223333:configuration-set/other")
    assert not lets(policies, f"{REGION}:123456789012:configuration-set/events")
    assert not lets(policies, ARN.replace("us-west-2", "eu-west-1"))
    assert not lets(policies, f"{REGION}:123456789012:identity/example.net")
    assert not lets(policies, f"{REGION}:111122223333:identity/customer.example")
    assert not lets(policies, ARN, action="ses:SendTemplatedEmail")


def test_smtp_alone_needs_one_action() -> None:
    policies = iam([replace(grant(), actions=(RAW,))])

    assert lets(policies, ARN, action=RAW)
    assert not lets(policies, ARN, action=SEND)


def test_the_sandbox_adds_recipients_on_the_same_conditions() -> None:
    """Without the conditions it would let the delegate send as any identity of its own account."""
    policies = iam([grant(senders=("@example.com",))], sandbox=True)
    recipient = f"{REGION}:111122223333:identity/customer.example"

    assert lets(policies, recipient)
    assert not lets(policies, recipient, sender="boss@delegate.example")
    assert not lets(policies, f"{REGION}:123456789012:identity/other.example")


def test_in_one_account_the_conditions_are_the_delegates() -> None:
    """IAM decides alone there, so an owner's policy would limit nothing."""
    policies = iam([grant(OWN, senders=("@own.example",)), grant()])

    assert lets(policies, OWN, sender="a@own.example")
    assert not lets(policies, OWN, sender="a@x.own.example")
    assert lets(policies, ARN, sender="whoever@example.com"), "there the owner's policy decides"


def test_each_delegate_gets_its_own() -> None:
    grants = [grant(ARN, USER, ROLE, sets=("events",)), grant(OWN, ROLE)]
    made = delegate_policies(grants, "ses-relay")

    assert [one.delegate and one.delegate.text for one in made] == [USER, ROLE]
    assert lets(iam(grants), ARN)
    assert not lets(iam(grants), OWN)
    assert lets(iam(grants, ROLE), OWN)
    assert lets(iam(grants, ROLE), f"{REGION}:444455556666:configuration-set/events")


def test_an_organization_gets_one_for_any_of_its_accounts() -> None:
    everybody = Grant(parse_identity_arn(ARN), (), organization="o-a1b2c3d4e5", sets=("events",))
    (made,) = delegate_policies([everybody], "ses-relay")
    policies = [read(made.name, made.document, "iam")]

    assert made.delegate is None
    assert lets(policies, ARN)
    assert lets(policies, f"{REGION}:777788889999:configuration-set/events")


def test_many_identities_become_several_policies_that_iam_takes() -> None:
    arns = [f"{REGION}:123456789012:identity/customer-{number}.example" for number in range(200)]
    grants = [grant(arn) for arn in arns]
    made = delegate_policies(grants, "ses-relay")
    policies = iam(grants)

    assert len(made) > 1
    assert not made[0].inline
    assert all(len(compact(one.document)) <= MANAGED_BYTES for one in made)
    assert [one.name for one in made] == [f"ses-relay-{number}" for number in range(1, len(made) + 1)]
    assert all(lets(policies, arn) for arn in arns[::11])
    assert not lets(policies, f"{REGION}:123456789012:identity/customer-200.example")


def test_what_a_user_cannot_hold_stands_for_itself() -> None:
    few, many = ([grant(f"{ARN}.x{number}.example") for number in range(count)] for count in (3, 40))

    assert delegate_policies(few, "ses-relay")[0].inline
    (made,) = delegate_policies(many, "ses-relay")
    assert not made.inline
    assert INLINE_BYTES < len(compact(made.document)) <= MANAGED_BYTES


def test_conditions_that_do_not_fit_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match=r"conditions for .*identity/own\.example do not fit"):
        delegate_policies([grant(OWN, senders=tuple(f"{'a' * 60}{n}@own.example" for n in range(100)))], "ses-relay")


PATTERNS = st.lists(st.sampled_from(["@example.com", "a@example.com", "@.example.com", "b@own.example"]), max_size=3)
ADDRESSES = st.sampled_from(["a@example.com", "b@example.com", "a@x.example.com", "b@own.example"])


@settings(deadline=None)
@given(
    terms=st.builds(Terms, senders=PATTERNS.map(tuple)),
    arn=st.sampled_from([ARN, OWN]),
    sender=ADDRESSES,
    who=st.sampled_from([USER, ROLE]),
    resource=st.sampled_from([ARN, OWN]),
)
def test_both_sides_together_permit_what_the_owner_permits(
    terms: Terms, arn: str, sender: str, who: str, resource: str
) -> None:
    """Across accounts both must allow; in one account the delegate's side alone is as strict."""
    made = replace(grant(arn), terms=terms)
    attached = [
        read(one.name, one.document, "identity", str(one.arn))
        for one in owner_policies([made], "ses-relay")
        if str(one.arn) == resource
    ]
    alone = rule([read("all", _written_out(made), "identity", arn)], asked(arn, sender=sender)).effect == "Allow"

    access = decide(asked(resource, sender=sender, who=who), iam([made], who), resource.split(":")[4], attached)

    assert access.allowed == (who == USER and resource == arn and alone)


def _written_out(made: Grant) -> dict[str, Any]:
    """The owner's policy as it were if the identity belonged to somebody else."""
    foreign = replace(made, arn=replace(made.arn, account="999900001111"))
    (policy,) = owner_policies([foreign], "ses-relay")
    statement = {**policy.document["Statement"][0], "Resource": str(made.arn)}
    return {"Version": "2012-10-17", "Statement": [statement]}
