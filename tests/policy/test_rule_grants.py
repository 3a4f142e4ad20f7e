"""The grants of a whole configuration: every ARN that mail may name, for whoever sends it, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from relay.arn import parse_identity_arn
from relay.model import Identity
from relay.policy.delegates import Delegate, parse_delegate
from relay.policy.grants import RAW, SEND, Grant, Terms
from relay.policy.rule_grants import Askers, rule_grants

USER = parse_delegate("arn:aws:iam::111122223333:user/relay")
ROLE = parse_delegate("arn:aws:iam::123456789012:role/send")
ASKERS = Askers({"default": (USER,), "owner": (ROLE,)})


def arn(name: str, region: str = "us-west-2") -> str:
    return f"arn:aws:ses:{region}:123456789012:identity/{name}"


def identity(name: str, *senders: str, **more: Any) -> Identity:
    for key in ("source_arn", "from_arn", "return_path_arn"):
        chosen = more.get(key, arn(name))
        more[key] = chosen if chosen is None else parse_identity_arn(chosen)
    return Identity(name=name, senders=senders, **({"region": "us-west-2"} | more))


def grants(*rules: Identity, terms: Terms = Terms(), askers: Askers = ASKERS) -> tuple[Grant, ...]:  # noqa: B008 - frozen
    return rule_grants(rules, askers, terms)


def seen(*rules: Identity, terms: Terms = Terms()) -> list[tuple[str, tuple[str, ...]]]:  # noqa: B008 - frozen
    """Names of identities, and the patterns of header Froms."""
    return [(grant.arn.name, grant.terms.senders) for grant in grants(*rules, terms=terms)]


def test_the_senders_of_a_rule_are_its_authors() -> None:
    (made,) = grants(identity("example.com", "@example.com", "a@b.example.com", configuration_set="events"))

    assert made == Grant(
        parse_identity_arn(arn("example.com")),
        (USER,),
        Terms(senders=("@example.com", "a@b.example.com")),
        actions=(SEND, RAW),
        sets=("events",),
    )


def test_smtp_needs_one_action_and_credentials_decide_who_sends() -> None:
    (made,) = grants(identity("example.com", "@example.com", transport="smtp", credentials="owner"))

    assert made.actions == (RAW,)
    assert made.delegates == (ROLE,)


def test_each_arn_of_a_rule_is_asked_with_the_same_author() -> None:
    """SES evaluates the policy on every identity that a message names."""
    rule = identity("example.com", "@example.com", from_arn=arn("shop.example"), return_path_arn=arn("bounces.example"))

    assert seen(rule) == [
        ("shop.example", ("@example.com",)),
        ("example.com", ("@example.com",)),
        ("bounces.example", ("@example.com",)),
    ]


def test_a_replaced_author_is_the_only_one() -> None:
    assert seen(identity("example.com", "@example.com", replace_from="app@example.com")) == [
        ("example.com", ("app@example.com",))
    ]


def test_a_replaced_sender_may_be_the_author_of_mail_without_one() -> None:
    rule = identity("example.com", "root@host", "@example.com", replace_sender="bounces@example.com")

    assert seen(rule) == [("example.com", ("@example.com", "bounces@example.com"))]


@pytest.mark.parametrize("senders", [("<>",), ("root@host",), ("@[192.0.2.1]",)])
def test_senders_that_no_author_can_have_say_nothing(senders: tuple[str, ...]) -> None:
    """Nothing is known of the header From then, so the identity alone limits it."""
    assert seen(identity("example.com", *senders)) == [("example.com", ())]


def test_every_sender_means_no_condition() -> None:
    (made,) = grants(identity("example.com", "*"))

    assert made.terms.block() == {}


def test_the_header_chooses_among_the_identities_of_all_rules() -> None:
    """Each identity for its own authors; the envelope sender's identity for all of them."""
    free = identity("example.com", "@example.com", from_arn=None)
    other = identity("example.net", "@example.net", credentials="owner")

    made = grants(free, other)

    assert [(one.arn.name, one.terms.senders, one.delegates) for one in made] == [
        ("example.com", ("@example.com",), (USER,)),
        ("example.net", ("@example.net",), (USER,)),
        ("example.com", ("@example.com", "@example.net"), (USER,)),
        ("example.net", ("@example.net",), (ROLE,)),
    ]


def test_a_replaced_author_is_looked_up_like_the_header() -> None:
    free = identity("example.com", "@example.com", from_arn=None, replace_from="app@example.net")
    other = identity("example.net", "@example.net")

    assert seen(free, other)[:2] == [("example.net", ("app@example.net",)), ("example.com", ("app@example.net",))]


def test_an_identity_of_several_regions_is_granted_where_the_rule_sends() -> None:
    (made,) = grants(
        identity(
            "example.com",
            "@example.com",
            source_arn=arn("example.com", "*"),
            from_arn=arn("example.com", "*"),
            return_path_arn=arn("example.com", "*"),
            region="eu-west-1",
        )
    )

    assert made.arn.region == "eu-west-1"


def test_terms_of_the_command_line_hold_everywhere_and_its_senders_are_more() -> None:
    terms = Terms(senders=("app@example.com",), recipients=("@customer.example",), secure_transport=True)
    (made,) = grants(identity("example.com", "shop@example.com"), terms=terms)

    assert made.terms == Terms(
        senders=("shop@example.com", "app@example.com"), recipients=("@customer.example",), secure_transport=True
    )


def test_more_senders_never_limit_a_rule_that_has_no_condition() -> None:
    assert seen(identity("example.com", "<>"), terms=Terms(senders=("app@example.com",))) == [("example.com", ())]


def test_an_organization_needs_no_delegates() -> None:
    nobody: dict[str, tuple[Delegate, ...]] = {}
    (made,) = grants(identity("example.com", "@example.com"), askers=Askers(nobody, "o-a1b2c3d4e5"))

    assert (made.delegates, made.organization) == ((), "o-a1b2c3d4e5")
