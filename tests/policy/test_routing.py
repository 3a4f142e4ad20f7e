"""Routing: an envelope sender finds its identity, or nobody's."""

from __future__ import annotations

import pytest

from relay.arn import parse_identity_arn
from relay.errors import Rejection
from relay.model import Identity
from relay.policy.routing import Router
from relay.replies import NO_RULE, NO_RULE_NULL


def identity(name: str, *senders: str) -> Identity:
    arn = parse_identity_arn(f"arn:aws:ses:us-west-2:123456789012:identity/{name}")
    return Identity(name, senders, source_arn=arn, from_arn=arn, return_path_arn=arn, region="us-west-2")


COMPANY = identity("example.com", "@example.com", "@.example.com")
BILLING = identity("billing.example.com", "invoices@example.com", "@billing.example.com")
OTHERS = identity("other.example", "*")
BOUNCES = identity("bounces.example", "<>")


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        ("jane@example.com", COMPANY),
        ("jane@EXAMPLE.com", COMPANY),
        ("jane@mail.example.com", COMPANY),
        ("invoices@example.com", BILLING),
        ("Invoices@example.com", COMPANY),
        ("x@billing.example.com", BILLING),
        ("x@eu.billing.example.com", COMPANY),
        ("x@badexample.com", OTHERS),
        ("root@localhost", OTHERS),
        ("", BOUNCES),
    ],
)
def test_the_most_specific_rule_decides(sender: str, expected: Identity) -> None:
    """In whatever order the rules stand."""
    rules = [COMPANY, BILLING, OTHERS, BOUNCES]

    assert Router(rules).route(sender) is expected
    assert Router(rules[::-1]).route(sender) is expected


def test_without_a_rule_nobody_sends() -> None:
    """The null sender has its own reply: no rule for addresses is one for it."""
    router = Router([COMPANY])
    with pytest.raises(Rejection) as caught:
        router.route("jane@example.org")
    assert caught.value.reply == NO_RULE

    for rules in ([], [COMPANY], [COMPANY, OTHERS]):
        with pytest.raises(Rejection) as caught:
            Router(rules).route("")
        assert caught.value.reply == NO_RULE_NULL


def test_a_pattern_claimed_twice_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"@example\.com stands twice"):
        Router([COMPANY, identity("example.org", "@EXAMPLE.com")])


def test_a_header_from_finds_its_rule_or_none() -> None:
    """For `from_arn: header`; the rule for the null sender covers no header."""
    router = Router([COMPANY, BILLING, BOUNCES])

    assert router.covering("invoices@example.com") is BILLING
    assert router.covering("jane@example.com") is COMPANY
    assert router.covering("jane@example.org") is None
    assert router.covering("") is None
