"""The policy language by itself: globs, operators, sets, who is meant, what wins, and what is no policy."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.simulator.condition_keys import correction
from relay.simulator.policy_conditions import OPERATORS, arn_like, condition, like, resource_like
from relay.simulator.policy_document import MAX_BYTES, BadPolicy, permit, read
from relay.simulator.policy_language import Actor, Ask, Policy, decide, rule

ARN = "arn:aws:ses:us-east-1:123456789012:identity/example.com"
USER = Actor("111122223333", "arn:aws:iam::111122223333:user/relay")
SESSION = Actor("111122223333", "arn:aws:sts::111122223333:assumed-role/send/me", "arn:aws:iam::111122223333:role/send")


def simple_like(text: str, pattern: str) -> bool:
    """What a glob is, said without regular expressions."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(simple_like(text[start:], pattern[1:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and simple_like(text[1:], pattern[1:])


@given(text=st.text("aA.[\n", max_size=6), pattern=st.text("aA.[*?\n", max_size=6))
def test_globs(text: str, pattern: str) -> None:
    """Only `*` and `?` are special, letters compare with their case, the whole text must match."""
    assert like(text, pattern) == simple_like(text, pattern)


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        (ARN, True),
        ("*", True),
        ("arn:aws:ses:*:123456789012:identity/*", True),
        ("arn:aws:ses:us-east-1:*", False),
        ("arn:*", False),
        ("arn:aws:ses:us-east-?:123456789012:identity/example.com", True),
        (ARN.upper(), False),
    ],
)
def test_arns_match_part_by_part(pattern: str, matches: bool) -> None:
    """A star does not reach over a colon, unless it stands alone."""
    assert arn_like(ARN, pattern) == matches


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        (ARN, True),
        ("*", True),
        ("arn:aws:ses", True),
        ("arn:aws:ses:*", True),
        ("arn:aws:ses:us-east-1:*", True),
        ("arn:aws:ses:us-east-1", True),
        ("arn:aws:ses:*:identity/*", True),
        ("arn:aws:ses:us-*:identity/example.com", True),
        ("arn:aws:ses:us-east-?:123456789012:identity/*", True),
        ("arn:aws:ses:us-east-1:123456789012:identity/?xample.com", True),
        ("arn:*:ses:us-east-1:123456789012:identity/example.com", True),
        ("arn:aws:ses:eu-*", False),
        ("arn:aws:s3:*", False),
        ("arn:aws:ses:us*1:identity/example.com", False),
        ("arn:aws:ses:us-east-1?123456789012:identity/example.com", False),
        ("arn:aws:ses:us-east-1:123456789012", True),
        ("arn:aws:ses:us-east-1:123456789012:identity/example", False),
        (ARN.upper(), False),
    ],
)
def test_resources_are_completed_and_a_last_star_reaches_on(pattern: str, matches: bool) -> None:
    """Unlike in conditions: AWS adds stars for missing parts, and a star at the end of one may match colons."""
    assert resource_like(ARN, pattern) == matches


def holds(operator: str, wanted: str | list[str], *given_values: str) -> bool:
    values = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    return condition(operator, "Some:Key", values).holds({"some:key": given_values})


OPERATIONS = [
    ("StringEquals", "a", "a", True),
    ("StringEquals", "a", "A", False),
    ("StringNotEquals", "a", "b", True),
    ("StringNotEquals", "a", "a", False),
    ("StringEqualsIgnoreCase", "a", "A", True),
    ("StringNotEqualsIgnoreCase", "a", "A", False),
    ("StringLike", "a*", "abc", True),
    ("StringNotLike", "a*", "abc", False),
    ("NumericEquals", "2", "2.0", True),
    ("NumericNotEquals", "2", "3", True),
    ("NumericLessThan", "2", "2", False),
    ("NumericLessThanEquals", "2", "2", True),
    ("NumericGreaterThan", "2", "10", True),
    ("NumericGreaterThanEquals", "2", "1.9", False),
    ("NumericEquals", "2", "two", False),
    ("DateEquals", "2026-01-01T00:00:00Z", "1767225600", True),
    ("DateNotEquals", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", True),
    ("DateLessThan", "2026-01-01", "2025-12-31T23:59:59Z", True),
    ("DateLessThanEquals", "2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00Z", True),
    ("DateGreaterThan", "2026-01-01", "2025-12-31", False),
    ("DateGreaterThanEquals", "2026-01-01", "2026-01-01", True),
    ("DateGreaterThan", "soon", "2026-01-01", False),
    ("Bool", "true", "True", True),
    ("Bool", "true", "false", False),
    ("IpAddress", "203.0.113.0/24", "203.0.113.7", True),
    ("IpAddress", "2001:db8::/32", "2001:db8::1", True),
    ("IpAddress", "203.0.113.0/24", "2001:db8::1", False),
    ("NotIpAddress", "203.0.113.0/24", "203.0.113.7", False),
    ("IpAddress", "nowhere", "203.0.113.7", False),
    ("ArnEquals", "arn:aws:iam::*:user/relay", USER.arn, True),
    ("ArnLike", "arn:aws:iam::*:user/r*", USER.arn, True),
    ("ArnNotEquals", "arn:aws:iam::*:user/relay", USER.arn, False),
    ("ArnNotLike", "arn:aws:iam::*:user/x*", USER.arn, True),
    ("Null", "false", "anything", True),
    ("Null", "true", "anything", False),
]


@pytest.mark.parametrize(("operator", "wanted", "value", "expected"), OPERATIONS)
def test_operators(operator: str, wanted: str, value: str, expected: bool) -> None:
    """Each of IAM's operators on one value."""
    assert holds(operator, wanted, value) == expected


def test_every_operator_is_in_the_table_above() -> None:
    """Whatever is added needs a line there."""
    assert {operation[0] for operation in OPERATIONS} == OPERATORS


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("StringEquals", False),
        ("StringNotEquals", True),
        ("StringEqualsIfExists", True),
        ("StringNotLikeIfExists", True),
        ("ForAllValues:StringEquals", True),
        ("ForAnyValue:StringEquals", False),
        ("ForAnyValue:StringNotEquals", False),
        ("ForAllValues:StringLikeIfExists", True),
        ("NotIpAddress", True),
        ("Bool", False),
    ],
)
def test_keys_that_are_not_there(operator: str, expected: bool) -> None:
    """A condition fails, unless it is negated, may be missing, or is about all of nothing."""
    assert holds(operator, "a") == expected
    assert condition("Null", "Some:Key", ("true",)).holds({})


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("ForAllValues:StringEquals", "ab", True),
        ("ForAllValues:StringEquals", "abc", False),
        ("ForAnyValue:StringEquals", "ac", True),
        ("ForAnyValue:StringEquals", "cd", False),
        ("ForAllValues:StringNotEquals", "cd", True),
        ("ForAllValues:StringNotEquals", "ac", False),
        ("ForAnyValue:StringNotEquals", "ac", True),
        ("ForAnyValue:StringNotEquals", "ab", False),
        ("StringEquals", "ac", True),
        ("StringNotEquals", "ac", False),
    ],
)
def test_several_values_against_several(operator: str, values: str, expected: bool) -> None:
    """The request has `values`, the policy a and b."""
    assert holds(operator, ["a", "b"], *values) == expected


def policy(*statements: Mapping[str, Any], kind: Any = "identity") -> Policy:
    """Statements that allow the action on the identity to everybody, but for what they say themselves."""
    usual = {"Effect": "Allow", "Action": "ses:SendRawEmail", "Resource": ARN}
    usual |= {"Principal": "*"} if kind == "identity" else {}
    return read("p", {"Statement": [{**usual, **one} for one in statements]}, kind, ARN)


def ask(actor: Actor = USER, action: str = "ses:SendRawEmail") -> Ask:
    return Ask(actor, action, ARN, {"ses:fromaddress": ("a@example.com",)})


DENY = {"Effect": "Deny"}
NEVER = {"Condition": {"StringEquals": {"ses:FromAddress": "x"}}}


@given(
    statements=st.permutations([{}, {}, DENY, {**DENY, **NEVER}, NEVER]), cuts=st.lists(st.integers(0, 5), max_size=3)
)
def test_a_denial_wins_wherever_it_stands(statements: list[dict[str, Any]], cuts: list[int]) -> None:
    """In whatever order, in however many policies; without it the same statements allow."""
    pieces = [statements[start:end] for start, end in itertools.pairwise([0, *sorted(cuts), len(statements)])]
    with_it = [policy(*piece) for piece in pieces if piece]
    without = [policy(*kept) for piece in pieces if (kept := [one for one in piece if one is not DENY])]

    assert rule(with_it, ask()).effect == "Deny"
    assert rule(without, ask()).effect == "Allow"


@pytest.mark.parametrize(
    ("principal", "user", "session"),
    [
        ("*", "Allow", "Allow"),
        ({"AWS": "*"}, "Allow", "Allow"),
        ({"AWS": USER.arn}, "Allow", None),
        ({"AWS": SESSION.role}, None, "Allow"),
        ({"AWS": SESSION.arn}, None, "Allow"),
        ({"AWS": "111122223333"}, "Allow", "Allow"),
        ({"AWS": "arn:aws:iam::111122223333:root"}, "Allow", "Allow"),
        ({"AWS": "arn:aws:iam::999999999999:root"}, None, None),
        ({"Service": "ses.amazonaws.com"}, None, None),
    ],
)
def test_who_is_meant(principal: Any, user: str | None, session: str | None) -> None:
    """A user, a role by its sessions, one session, an account; and by NotPrincipal all others."""
    named = policy({"Principal": principal})

    assert (rule([named], ask(USER)).effect, rule([named], ask(SESSION)).effect) == (user, session)


def test_all_but_some() -> None:
    """NotPrincipal, NotAction and NotResource turn a list around."""
    but = read(
        "p",
        {"Statement": {"Effect": "Allow", "NotPrincipal": {"AWS": USER.arn}, "Action": "ses:*", "Resource": ARN}},
        "identity",
        ARN,
    )
    rest = read(
        "p", {"Statement": {"Effect": "Allow", "NotAction": "ses:Get*", "NotResource": "arn:aws:s3:::*"}}, "iam"
    )

    assert [rule([but], ask(who)).effect for who in (USER, SESSION)] == [None, "Allow"]
    assert [rule([rest], ask(action=one)).effect for one in ("ses:SendRawEmail", "SES:getaccount")] == ["Allow", None]


YES = policy({}, kind="iam")
NO = policy(DENY, kind="iam")
NAMED = policy({"Principal": {"AWS": USER.arn}})
ACCOUNT = policy({"Principal": {"AWS": USER.account}})
REFUSED = policy({**DENY, "Principal": "*"})


@pytest.mark.parametrize(
    ("own", "attached", "same_account", "other_account"),
    [
        ([], None, False, False),
        ([YES], None, True, False),
        ([YES], [], True, False),
        ([], [NAMED], True, False),
        ([], [ACCOUNT], False, False),
        ([YES], [NAMED], True, True),
        ([YES], [ACCOUNT], True, True),
        ([YES], [REFUSED], False, False),
        ([YES], [NAMED, REFUSED], False, False),
        ([YES, NO], [NAMED], False, False),
    ],
)
def test_both_sides(own: list[Policy], attached: list[Policy] | None, same_account: bool, other_account: bool) -> None:
    """Across accounts both must allow; within one account either does, if it names the caller."""
    if attached is not None or not other_account:
        assert decide(ask(), own, USER.account, attached).allowed == same_account
    assert decide(ask(), own, "123456789012", attached or []).allowed == other_account


UNSURE = {"Condition": {"StringNotEquals": {"aws:Unheard": "x"}}}


@pytest.mark.parametrize(
    ("statements", "leaning_to_allow", "leaning_to_deny"),
    [
        ([UNSURE], "Allow", None),
        ([{}, UNSURE], "Allow", "Allow"),
        ([{}, {**DENY, **UNSURE}], "Allow", "Deny"),
        ([{**NEVER, **DENY}, {}], "Allow", "Allow"),
        ([{"Condition": {**UNSURE["Condition"], **NEVER["Condition"]}}], None, None),
    ],
)
def test_what_nobody_knows_can_be_taken_either_way(
    statements: list[dict[str, Any]], leaning_to_allow: str | None, leaning_to_deny: str | None
) -> None:
    """A condition on a key whose value at AWS is not known here; what is known stays as it is."""
    found = policy(*statements)

    assert rule([found], ask(), "Allow").effect == leaning_to_allow
    assert rule([found], ask(), "Deny").effect == leaning_to_deny


@pytest.mark.parametrize("resource", ["example.com", "arn:aws:*:us-east-1:1:x", "arn:aws", "arn::ses:*"])
def test_a_resource_of_iam_is_of_one_service(resource: str) -> None:
    """A star alone, or an ARN whose service has no glob."""
    with pytest.raises(BadPolicy, match="ARNs of a service by its name"):
        read("p", {"Statement": {"Effect": "Allow", "Action": "ses:*", "Resource": resource}}, "iam")


@pytest.mark.parametrize(
    ("key", "right"),
    [
        ("ses:FromAddress", None),
        ("SES:fromaddress", None),
        ("ses:FromAdress", "ses:FromAddress"),
        ("ses:Recipient", "ses:Recipients"),
        ("ses:ConfigurationSetName", ""),
        ("FromAddress", "ses:FromAddress"),
        ("aws:PrincipalTag/team", None),
        ("aws:userId", None),
        ("aws:PrincipalOrgId", None),
        ("aws:PrincipleArn", "aws:PrincipalArn"),
        ("sts:ExternalID", None),
        ("s3:prefix", None),
    ],
)
def test_condition_keys_that_do_not_exist(key: str, right: str | None) -> None:
    """Those of SES, STS and AWS in general are known, in any case; other services may have what they like."""
    assert correction(key) == right


def test_the_reason_names_what_is_missing() -> None:
    """For each statement that allows something: whom, what, or which condition."""
    found = [
        policy({"Principal": {"AWS": "999999999999"}}),
        policy({"Action": "ses:SendEmail"}),
        policy({"Sid": "News", "Condition": {"StringLike": {"ses:FromAddress": ["news@*", "x@*"]}}}),
    ]

    assert rule(found, ask()).why == (
        f"policy p, statement 1, is for 999999999999, not {USER.arn}; "
        f"policy p, statement 1, is about ses:SendEmail on {ARN}; "
        "policy p, statement News, asks for StringLike ses:FromAddress news@* or x@*, but there is a@example.com"
    )


def test_four_kilobytes_and_no_more() -> None:
    """Counted as JSON without blanks."""
    document = json.loads(permit("p", ["ses:SendRawEmail"], ARN, ["*"]).document)
    document["Id"] = "x"
    room = MAX_BYTES - len(json.dumps(document, separators=(",", ":")))
    document["Id"] += "x" * room
    read("p", document, "identity", ARN)
    document["Id"] += "x"

    with pytest.raises(BadPolicy, match="at most 4096 bytes, this has 4097"):
        read("p", document, "identity", ARN)


def test_a_document_comes_back_as_it_was() -> None:
    """Its owner sees it again."""
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": ["ses:*"], "Resource": "*"}]}

    assert json.loads(read("p", document, "iam").document) == document
