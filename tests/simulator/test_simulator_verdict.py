"""The judgement without any network: which addresses are checked, and under which ARN."""

from __future__ import annotations

import pytest
from ses_clients import EAST, WEST, arn

from relay.arn import parse_identity_arn
from relay.simulator import Arns
from relay.simulator.refusals import Refused
from relay.simulator.verdict import claims, judge
from relay.simulator.words import Caller, Interface, Submission

CALLER = Caller("AKID", "111122223333", "arn:aws:iam::111122223333:user/u", EAST)
DOMAIN = arn()
ADDRESS = arn(name="a@example.org")
ELSEWHERE = arn(WEST, "west.example")
EVERYWHERE = arn("*", "global.example")
OWN = arn(name="own.example", account=CALLER.account)
KNOWN = tuple(map(parse_identity_arn, (DOMAIN, ADDRESS, ELSEWHERE, EVERYWHERE, OWN)))


def verdict(
    sender: str | None,
    *fields: tuple[str, str],
    source: str | None = None,
    from_: str | None = None,
    return_path: str | None = None,
    interface: Interface = "v1",
    visible_from: str | None = None,
) -> str:
    """The refusal's code and words, or "fine"."""
    arns = Arns(source, from_, return_path)
    submission = Submission(interface, CALLER, sender, ("b@example.net",), b"", arns, visible_from)
    try:
        judge(claims(submission, fields, arns), CALLER, KNOWN)
    except Refused as refused:
        return f"{refused.spelling.code} {refused.text.rpartition(': ')[2]}"
    return "fine"


def same(address: str, identity: str | None) -> str:
    """The verdict on a message that uses one address and one ARN everywhere."""
    return verdict(address, ("From", address), source=identity, from_=identity, return_path=identity)


@pytest.mark.parametrize(
    ("address", "identity"),
    [
        ("a@example.com", DOMAIN),
        ("a@EXAMPLE.com", DOMAIN),
        ("a@deep.sub.example.com", DOMAIN),
        ("a@example.com", DOMAIN.replace("example.com", "Example.COM")),
        ("a@example.org", ADDRESS),
        ("a+label@Example.org", ADDRESS),
        ("a@global.example", EVERYWHERE),
        ("a@global.example", arn(EAST, "global.example")),
        ("a@example.com", arn("*")),
        ("a@own.example", None),
        ("a@own.example", OWN),
    ],
)
def test_what_an_identity_covers(address: str, identity: str | None) -> None:
    """A domain with its subdomains; an address with its labels; the caller's own without an ARN."""
    assert same(address, identity) == "fine"


@pytest.mark.parametrize(
    ("address", "identity"),
    [
        ("a@evilexample.com", DOMAIN),
        ("a@com", DOMAIN),
        ("A@example.org", ADDRESS),
        ("b@example.org", ADDRESS),
        ("b+a@example.org", ADDRESS),
        ("a@sub.example.org", ADDRESS),
        ("a@west.example", ELSEWHERE),
        ("a@example.com", None),
        ("a@own.example", DOMAIN),
        ("a@example.com", OWN),
    ],
)
def test_what_an_identity_does_not_cover(address: str, identity: str | None) -> None:
    """The address is named as not verified."""
    assert same(address, identity) == f"MessageRejected {address}"


@pytest.mark.parametrize(
    "identity", [arn(name="unknown.example"), arn(account="999999999999"), arn(name="A@example.org")]
)
def test_an_arn_that_names_nothing_is_denied(identity: str) -> None:
    """Whatever the address."""
    assert same("a@example.com", identity).startswith("AccessDenied ")


def test_a_source_arn_alone_does_not_cover_from() -> None:
    """As callers of the real service have found, against its documentation."""
    assert verdict("a@example.com", ("From", "a@example.com"), source=DOMAIN) == "MessageRejected a@example.com"


def test_the_source_arn_serves_for_bounces() -> None:
    """Where no return-path ARN is given."""
    assert verdict("a@example.com", ("From", "a@example.com"), source=DOMAIN, from_=DOMAIN) == "fine"


def test_a_return_path_arn_must_cover_the_bounce_address() -> None:
    """It is looked at even where the source ARN would do."""
    refused = verdict("a@example.com", ("From", "a@example.com"), source=DOMAIN, from_=DOMAIN, return_path=ADDRESS)

    assert refused == "MessageRejected a@example.com"


def test_every_mailbox_of_from_is_checked() -> None:
    """And named as it stands in the header, each once."""
    people = "One <x@evil.example>, a@example.com, y@evil.example"

    assert verdict("a@example.com", ("From", people), source=DOMAIN, from_=DOMAIN) == (
        "MessageRejected One <x@evil.example>, y@evil.example"
    )


@pytest.mark.parametrize("name", ["Sender", "sender", "Return-Path"])
def test_sender_and_return_path_headers_are_checked(name: str) -> None:
    """There is no ARN for Sender; a foreign one refuses the message."""
    fields = (("From", "a@example.com"), (name, "x@evil.example"))

    assert verdict("a@example.com", *fields, source=DOMAIN, from_=DOMAIN, return_path=DOMAIN) == (
        "MessageRejected x@evil.example"
    )


def test_sender_needs_an_identity_of_the_callers_own() -> None:
    """Not even the source identity covers it."""
    refused = verdict(
        "a@example.com", ("From", "a@example.com"), ("Sender", "a@example.com"), source=DOMAIN, from_=DOMAIN
    )

    assert refused == "MessageRejected a@example.com"
    assert verdict("a@own.example", ("From", "a@own.example"), ("Sender", "x@own.example")) == "fine"


def test_reply_to_and_recipients_are_free() -> None:
    """Outside the sandbox nobody checks them."""
    fields = (("From", "a@example.com"), ("Reply-To", "x@evil.example"), ("To", "x@evil.example"))

    assert verdict("a@example.com", *fields, source=DOMAIN, from_=DOMAIN) == "fine"


def test_v2_has_no_envelope_sender() -> None:
    """Its bounce address is covered by the return-path ARN, whatever the source header says."""
    fields = (("From", "a@example.com"),)

    assert verdict("a@example.org", *fields, interface="v2", from_=DOMAIN, return_path=ADDRESS) == "fine"
    assert verdict(None, ("From", "a@example.com"), interface="v2", from_=DOMAIN) == "fine"


def test_v2_from_takes_the_place_of_the_header() -> None:
    """The header is then not checked, the parameter is."""
    fields = (("From", "x@evil.example"),)

    assert verdict(None, *fields, interface="v2", from_=DOMAIN, visible_from="a@example.com") == "fine"
    assert verdict(None, *fields, interface="v2", from_=DOMAIN) == "MessageRejected x@evil.example"


def test_a_from_that_cannot_be_parsed_is_refused() -> None:
    """It has no address that could be verified."""
    assert verdict("a@own.example", ("From", "")).startswith("InvalidParameterValue ")
