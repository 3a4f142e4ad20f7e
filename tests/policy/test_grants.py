"""Grants: what the terms say is permitted, everything else denied, by the evaluator of the local SES."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.arn import parse_identity_arn
from relay.policy.delegates import parse_delegate
from relay.policy.grants import (
    MAX_BYTES,
    MAX_POLICIES,
    RAW,
    SEND,
    Grant,
    Terms,
    compact,
    globs,
    merged,
    owner_policies,
)
from relay.policy.patterns import PatternIndex
from relay.simulator.policy_document import MAX_BYTES as SES_TAKES
from relay.simulator.policy_document import read
from relay.simulator.policy_language import Actor, Ask, rule

ARN = parse_identity_arn("arn:aws:ses:us-west-2:123456789012:identity/example.com")
OTHER = parse_identity_arn("arn:aws:ses:us-west-2:123456789012:identity/example.net")
USER = "arn:aws:iam::111122223333:user/mail/relay"
ROLE = "arn:aws:iam::444455556666:role/relay"


@dataclass(frozen=True)
class Mail:
    """What a policy is asked about."""

    sender: str = "billing@example.com"
    name: str = "Billing"
    feedback: str = "billing@example.com"
    recipients: tuple[str, ...] = ("someone@customer.example",)
    secure: bool = True
    principal: str = USER
    organization: str = "o-a1b2c3d4e5"
    action: str = RAW
    resource: str = str(ARN)

    def ask(self) -> Ask:
        context = {
            "ses:fromaddress": (self.sender,),
            "ses:fromdisplayname": (self.name,),
            "ses:feedbackaddress": (self.feedback,),
            "ses:recipients": self.recipients,
            "aws:securetransport": (str(self.secure).lower(),),
            "aws:principalorgid": (self.organization,),
        }
        return Ask(Actor(self.principal.split(":")[4], self.principal), self.action, self.resource, context)


def permits(grants: Iterable[Grant], mail: Mail) -> bool:
    """What SES would make of the owner's documents, read as SES reads them."""
    policies = [
        read(one.name, one.document, "identity", str(one.arn))
        for one in owner_policies(grants, "ses-relay")
        if str(one.arn) == mail.resource
    ]
    return rule(policies, mail.ask()).effect == "Allow"


def grant(*delegates: str, arn: str = str(ARN), terms: Terms = Terms()) -> Grant:  # noqa: B008 - frozen
    return Grant(parse_identity_arn(arn), tuple(map(parse_delegate, delegates or [USER])), terms)


def on(**terms: object) -> list[Grant]:
    return [grant(terms=Terms(**terms))]  # type: ignore[arg-type]  # each test names the fields


def test_the_document_is_what_the_guide_shows() -> None:
    """Written out once, so that a person can compare it with SES's examples."""
    (made,) = owner_policies(on(senders=("@example.com",), secure_transport=True), "ses-relay")

    assert (made.arn, made.name) == (ARN, "ses-relay")
    assert made.document == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": USER},
                "Action": ["ses:SendEmail", "ses:SendRawEmail"],
                "Resource": "arn:aws:ses:us-west-2:123456789012:identity/example.com",
                "Condition": {
                    "StringLike": {"ses:FromAddress": ["*@example.com"]},
                    "Bool": {"aws:SecureTransport": "true"},
                },
            }
        ],
    }


@pytest.mark.parametrize(
    ("pattern", "glob"),
    [
        ("user@example.com", "user@example.com"),
        ("User@Example.com", "User@Example.com"),
        ("o'brien+tag@example.com", "o'brien+tag@example.com"),
        ("@example.com", "*@example.com"),
        ("@.example.com", "*@*.example.com"),
        ("@bücher.example", "*@xn--bcher-kva.example"),
        ("@.bücher.example", "*@*.xn--bcher-kva.example"),
        ('"quoted"@example.com', "quoted@example.com"),
    ],
)
def test_a_pattern_is_a_glob(pattern: str, glob: str) -> None:
    """Letter case stays as it is written, since conditions compare it."""
    assert globs([pattern]) == [glob]


def test_any_address_is_no_condition_and_repeated_ones_stand_once() -> None:
    assert globs(["@example.com", "*"]) == []
    assert globs(["@example.com", "a@example.com", "@example.com"]) == ["*@example.com", "a@example.com"]


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("<>", "null sender"),
        ("what?@example.com", "takes \\? for any character"),
        ("${x}@example.com", "begins a variable"),
        ("billing*@example.com", "\\* stands alone"),
        ("example.com", "@example.com"),
    ],
)
def test_what_a_policy_cannot_say_is_refused(pattern: str, problem: str) -> None:
    """Never a policy that matches more or less than was asked for."""
    with pytest.raises(ValueError, match=problem):
        owner_policies(on(senders=(pattern,)), "ses-relay")


@pytest.mark.parametrize("name", ["", "  ", "Shop\nBcc: x", "${aws:username}"])
def test_display_names_are_visible_text(name: str) -> None:
    with pytest.raises(ValueError, match=r"line of visible text|begins a variable"):
        owner_policies(on(names=(name,)), "ses-relay")


@pytest.mark.parametrize(
    "mail",
    [
        Mail(principal="arn:aws:iam::111122223333:user/mail/other"),
        Mail(principal=ROLE),
        Mail(resource=str(OTHER)),
        Mail(action="ses:SendTemplatedEmail"),
        Mail(action="ses:SendBulkTemplatedEmail"),
        Mail(action="ses:DeleteIdentity"),
    ],
)
def test_nobody_else_nothing_else_nowhere_else(mail: Mail) -> None:
    assert permits([grant()], Mail())
    assert not permits([grant()], mail)


def test_an_account_stands_for_everybody_in_it() -> None:
    assert permits([grant("111122223333")], Mail())
    assert permits([grant("arn:aws:iam::111122223333:root")], Mail())
    assert not permits([grant("111122223333")], Mail(principal=ROLE))


def test_smtp_alone_needs_one_action() -> None:
    by_smtp = replace(grant(), actions=(RAW,))

    assert permits([by_smtp], Mail(action=RAW))
    assert not permits([by_smtp], Mail(action=SEND))


def test_an_organization_lets_each_of_its_principals_send() -> None:
    everybody = [Grant(ARN, (), organization="o-a1b2c3d4e5")]

    assert permits(everybody, Mail())
    assert permits(everybody, Mail(principal=ROLE))
    assert not permits(everybody, Mail(organization="o-elsewhere123"))


def test_upper_and_lower_case_differ() -> None:
    """What people are warned about: SES compares exactly, the relay's own rules do not."""
    assert permits(on(senders=("@example.com",)), Mail(sender="Billing@example.com"))
    assert not permits(on(senders=("@example.com",)), Mail(sender="billing@Example.com"))
    assert permits(on(senders=("@Example.com", "@example.com")), Mail(sender="billing@Example.com"))
    assert not permits(on(senders=("billing@example.com",)), Mail(sender="Billing@example.com"))


@pytest.mark.parametrize(
    ("terms", "met", "missed"),
    [
        (Terms(senders=("@example.com",)), Mail(), Mail(sender="a@x.example.com")),
        (Terms(senders=("@.example.com",)), Mail(sender="a@x.y.example.com"), Mail(sender="a@example.com")),
        (Terms(senders=("@.example.com",)), Mail(sender="a@x.example.com"), Mail(sender="a@xexample.com")),
        (Terms(senders=("a+b@example.com",)), Mail(sender="a+b@example.com"), Mail(sender="a@example.com")),
        (Terms(names=("Shop *",)), Mail(name="Shop of Things"), Mail(name="shop of things")),
        (Terms(feedback=("@example.com",)), Mail(feedback="b@example.com"), Mail(feedback="b@example.net")),
        (
            Terms(recipients=("@a.example", "@b.example")),
            Mail(recipients=("x@a.example", "y@b.example")),
            Mail(recipients=("x@a.example", "y@c.example")),
        ),
        (Terms(secure_transport=True), Mail(), Mail(secure=False)),
    ],
)
def test_each_condition_by_itself(terms: Terms, met: Mail, missed: Mail) -> None:
    assert permits([grant(terms=terms)], met)
    assert not permits([grant(terms=terms)], missed)
    assert permits([grant()], missed), "without the condition it is permitted"


LOCALS = st.sampled_from(["billing", "Billing", "shop+a", "o'brien", "a.b"])
DOMAINS = st.sampled_from(["example.com", "x.example.com", "y.x.example.com", "xexample.com", "example.net", "com"])
ADDRESSES = st.builds("{}@{}".format, LOCALS, DOMAINS)
PATTERNS = st.one_of(ADDRESSES, st.builds("@{}".format, DOMAINS), st.builds("@.{}".format, DOMAINS), st.just("*"))
LISTS = st.lists(PATTERNS, max_size=4).map(tuple)
NAMES = st.sampled_from(["Shop", "Shop of Things", "shop", "Ünser Laden", "Shop [1]"])
NAME_GLOBS = st.lists(st.sampled_from(["Shop", "Shop*", "*Laden", "S?op", "*"]), max_size=2).map(tuple)
TERMS = st.builds(Terms, LISTS, NAME_GLOBS, LISTS, LISTS, st.booleans())
MAILS = st.builds(
    Mail,
    sender=ADDRESSES,
    name=NAMES,
    feedback=ADDRESSES,
    recipients=st.lists(ADDRESSES, min_size=1, max_size=3).map(tuple),
    secure=st.booleans(),
    principal=st.sampled_from([USER, ROLE, "arn:aws:iam::111122223333:user/other"]),
    resource=st.sampled_from([str(ARN), str(OTHER)]),
)


def matches(patterns: Sequence[str], address: str) -> bool:
    """The relay's own meaning of patterns."""
    index = PatternIndex((pattern, True) for pattern in dict.fromkeys(patterns))
    return not patterns or index.match(address) is not None


def meets(terms: Terms, mail: Mail) -> bool:
    """What the options say in words."""
    return (
        matches(terms.senders, mail.sender)
        and (not terms.names or any(fnmatchcase(mail.name, one) for one in terms.names))
        and matches(terms.feedback, mail.feedback)
        and all(matches(terms.recipients, one) for one in mail.recipients)
        and (mail.secure or not terms.secure_transport)
    )


@settings(deadline=None, max_examples=300)
@given(TERMS, MAILS)
def test_what_the_options_permit_is_permitted_and_everything_else_denied(terms: Terms, mail: Mail) -> None:
    """The owner's policy means what the same patterns mean in the relay's own configuration."""
    due = mail.principal == USER and mail.resource == str(ARN) and meets(terms, mail)

    assert permits([grant(terms=terms)], mail) == due


@settings(deadline=None)
@given(st.lists(st.builds(Terms, LISTS, NAME_GLOBS), min_size=1, max_size=4), st.builds(Mail, ADDRESSES, NAMES))
@example([Terms(), Terms(senders=("billing@example.com",))], Mail(sender="shop@example.com"))
def test_putting_grants_together_changes_nothing(several: list[Terms], mail: Mail) -> None:
    """Any of them suffices, whether they stand in one statement or in many."""
    together = [grant(terms=terms) for terms in several]

    assert permits(together, mail) == any(permits([one], mail) for one in together)
    assert len(merged(together)) == len({one.names for one in several})


def test_one_policy_for_an_identity_one_statement_for_its_delegates() -> None:
    """Somebody else's conditions never help a delegate."""
    both = [grant(USER, terms=Terms(senders=("a@example.com",))), grant(ROLE, terms=Terms(senders=("b@example.com",)))]

    (made,) = owner_policies(both, "ses-relay")

    assert len(made.document["Statement"]) == 2
    assert permits(both, Mail(sender="a@example.com"))
    assert permits(both, Mail(sender="b@example.com", principal=ROLE))
    assert not permits(both, Mail(sender="b@example.com"))


def test_each_identity_has_a_policy_of_its_own() -> None:
    made = owner_policies([grant(), grant(arn=str(OTHER))], "ses-relay")

    assert [(one.arn, one.name) for one in made] == [(ARN, "ses-relay"), (OTHER, "ses-relay")]


def test_a_long_list_becomes_several_policies_that_ses_takes() -> None:
    """Each within 4 KB; together they permit every sender of the list and nobody else."""
    senders = tuple(f"application-number-{number}@example.com" for number in range(300))
    grants = on(senders=senders)

    made = owner_policies(grants, "ses-relay")

    assert 2 <= len(made) <= MAX_POLICIES
    assert all(len(compact(one.document)) <= MAX_BYTES for one in made)
    assert [one.name for one in made] == [f"ses-relay-{number}" for number in range(1, len(made) + 1)]
    assert all(permits(grants, Mail(sender=sender)) for sender in senders[::17])
    assert not permits(grants, Mail(sender="application-number-300@example.com"))


def test_many_delegates_become_several_policies_too() -> None:
    delegates = [f"arn:aws:iam::111122223333:user/{'department/' * 5}relay-{number}" for number in range(80)]
    grants = [grant(*delegates)]

    assert len(owner_policies(grants, "ses-relay")) > 1
    assert all(permits(grants, Mail(principal=one)) for one in delegates[::7])


@pytest.mark.parametrize(
    ("terms", "problem"),
    [
        (Terms(senders=tuple(f"{'a' * 60}{number}@example.com" for number in range(2000))), "more than 20 policies"),
        (Terms(recipients=tuple(f"{'a' * 60}{number}@example.com" for number in range(100))), "do not fit"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(terms: Terms, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        owner_policies([grant(terms=terms)], "ses-relay")


def test_the_limit_is_the_one_that_ses_has() -> None:
    """A document of our largest size is read; the evaluator knows the limit by itself."""
    assert MAX_BYTES == SES_TAKES


@pytest.mark.parametrize("name", ["", "a b", "a.b", "x" * 65, "päng"])
def test_a_policy_has_a_name_that_ses_takes(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a policy"):
        owner_policies([grant()], name)


def test_the_owners_own_principals_need_no_policy() -> None:
    """Within one account IAM decides; a policy on the identity would only look as if it limited something."""
    own = "arn:aws:iam::123456789012:user/relay"

    assert owner_policies([grant(own)], "ses-relay") == ()
    (made,) = owner_policies([grant(own, USER)], "ses-relay")
    assert made.document["Statement"][0]["Principal"] == {"AWS": USER}


@pytest.mark.parametrize(
    ("arn", "delegates", "organization", "problem"),
    [
        ("arn:aws:ses:*:123456789012:identity/example.com", [USER], None, "--region"),
        (str(ARN), [], None, "either"),
        (str(ARN), [USER], "o-a1b2c3d4e5", "either"),
        (str(ARN), [], "example", "not the id of an organization"),
        (str(ARN), ["arn:aws-us-gov:iam::111122223333:root"], None, "another partition"),
    ],
)
def test_what_cannot_be_granted(arn: str, delegates: list[str], organization: str | None, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Grant(parse_identity_arn(arn), tuple(map(parse_delegate, delegates)), organization=organization)
