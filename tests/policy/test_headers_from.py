"""The header From: whose it may be, by which ARN, and what replaces it."""

from dataclasses import replace

import pytest
from surgery import ADDING, ARN, ARNS, FROM, IDENTITY, RULES, surgery, whole

from relay.arn import parse_identity_arn
from relay.errors import Rejection
from relay.model import Identity, Reply
from relay.policy.admission import ClientRule
from relay.replies import BAD_FROM, HEADER_FROM_NOT_ALLOWED

OTHER_ARN = "arn:aws:ses:us-west-2:210987654321:identity/other.example"
OTHER = replace(
    IDENTITY, name="other.example", senders=("@other.example",), source_arn=parse_identity_arn(OTHER_ARN)
)  # whose from_arn is another one still: by the header it is the source ARN that counts
ADDRESS = replace(IDENTITY, from_arn=parse_identity_arn("arn:aws:ses:us-west-2:123456789012:identity/app@example.com"))
ANY = replace(IDENTITY, header_from="any")
BY_HEADER = replace(IDENTITY, from_arn=None)
ONLY_APP = ClientRule.of("billing", senders=["app@example.com"])


def refusal(
    value: str, identity: Identity = IDENTITY, client_rule: ClientRule = ONLY_APP, others: tuple[Identity, ...] = ()
) -> Reply | None:
    """What a message with this From is answered; None if it is taken."""
    try:
        surgery(f"From: {value}\r\n\r\n".encode(), identity=identity, client_rule=client_rule, others=others)
    except Rejection as refused:
        return refused.reply
    return None


@pytest.mark.parametrize(
    ("value", "identity", "reply"),
    [
        ("app@example.com", IDENTITY, None),
        ("App <app@EXAMPLE.com>", IDENTITY, None),
        ("app@deep.sub.example.com", IDENTITY, None),
        ("a@example.com, B <b@sub.example.com>", IDENTITY, None),
        ("group: a@example.com, b@example.com;", IDENTITY, None),
        ("app@evilexample.com", IDENTITY, HEADER_FROM_NOT_ALLOWED),
        ("app@example.com.evil.example", IDENTITY, HEADER_FROM_NOT_ALLOWED),
        ("a@example.com, evil@evil.example", IDENTITY, HEADER_FROM_NOT_ALLOWED),
        ("group: a@example.com, evil@evil.example;", IDENTITY, HEADER_FROM_NOT_ALLOWED),
        ('"app@example.com" <evil@evil.example>', IDENTITY, HEADER_FROM_NOT_ALLOWED),
        ("app@example.com", ADDRESS, None),
        ("app+label@example.com", ADDRESS, None),
        ("APP@example.com", ADDRESS, HEADER_FROM_NOT_ALLOWED),
        ("other@example.com", ADDRESS, HEADER_FROM_NOT_ALLOWED),
        ("evil@evil.example", ANY, None),
        ("", IDENTITY, BAD_FROM),
        ("nobody", IDENTITY, BAD_FROM),
        ("undisclosed:;", IDENTITY, BAD_FROM),
        ("a@example.com b@example.com", IDENTITY, BAD_FROM),
        ("nobody", ANY, BAD_FROM),
    ],
)
def test_every_mailbox_must_be_covered(value: str, identity: Identity, reply: Reply | None) -> None:
    """By the From ARN, on label boundaries, unless the rule says `any`; none may hide behind another."""
    assert refusal(value, identity, ClientRule.of("local")) == reply


@pytest.mark.parametrize(
    ("value", "reply"),
    [
        ("app@example.com", None),
        ("boss@example.com", HEADER_FROM_NOT_ALLOWED),
        ("app@example.com, boss@example.com", HEADER_FROM_NOT_ALLOWED),
        ("boss@example.com, app@example.com", HEADER_FROM_NOT_ALLOWED),
    ],
)
@pytest.mark.parametrize("identity", [IDENTITY, ANY, BY_HEADER], ids=["covered", "any", "by header"])
def test_the_clients_own_list_holds_for_every_mailbox(value: str, reply: Reply | None, identity: Identity) -> None:
    """Also where the identity lets any From pass."""
    assert refusal(value, identity) == reply


@pytest.mark.parametrize(
    "sent",
    [
        FROM + FROM,
        FROM + b"Subject: x\r\nfrom : evil@evil.example\r\n",
        FROM + b"FROM:\r\n evil@evil.example\r\n",
        b"Subject: x\r\n",
    ],
    ids=["twice", "blank before the colon", "folded", "missing"],
)
@pytest.mark.parametrize("identity", [IDENTITY, ANY, BY_HEADER], ids=["covered", "any", "by header"])
def test_there_is_exactly_one_from(sent: bytes, identity: Identity) -> None:
    """A repeated From is refused, and a missing one where none is added."""
    with pytest.raises(Rejection) as refused:
        surgery(sent + b"\r\n", identity=identity)

    assert refused.value.reply == BAD_FROM


def test_from_arn_by_header_is_the_rule_of_the_first_mailbox() -> None:
    """Its source ARN is named, and must cover every mailbox."""
    both = surgery(b"From: a@other.example, b@sub.other.example\r\n", identity=BY_HEADER, others=[OTHER])

    assert (both.source_arn, both.from_arn) == (ARN, OTHER_ARN)
    assert f"X-SES-FROM-ARN: {OTHER_ARN}\r\n".encode() in both.content[0]
    assert refusal("a@other.example, a@example.com", BY_HEADER, ClientRule.of("local"), (OTHER,)) is not None
    assert refusal("a@norule.example", BY_HEADER, ClientRule.of("local")) == HEADER_FROM_NOT_ALLOWED


def test_from_arn_by_header_needs_a_rule_for_the_mailbox() -> None:
    """That the sender's own ARN would cover it is not enough."""
    one_sender = replace(BY_HEADER, senders=("app@example.com",))

    assert refusal("app@example.com", one_sender) is None
    assert refusal("norule@example.com", one_sender, ClientRule.of("local")) == HEADER_FROM_NOT_ALLOWED


def test_from_arn_by_header_without_a_rule_falls_back_where_any_from_may_pass() -> None:
    """All three ARNs always: the sender's own."""
    result = surgery(b"From: a@norule.example\r\n", identity=replace(BY_HEADER, header_from="any"))

    assert result.from_arn == ARN


def test_a_missing_from_is_the_envelope_sender() -> None:
    """As SES gets it, after `replace_sender`."""
    replaced = replace(IDENTITY, replace_sender="bounces@example.com")

    assert b"\r\nFrom: app@example.com\r\n" in surgery(b"", rules=ADDING).content[0]
    assert b"\r\nFrom: bounces@example.com\r\n" in surgery(b"", identity=replaced, rules=ADDING).content[0]


def test_a_missing_from_must_be_covered_too() -> None:
    """The sender root@host of a catch-all rule is nothing that the From ARN covers."""
    with pytest.raises(Rejection) as refused:
        surgery(b"", sender="root@host.invalid", rules=ADDING)

    assert refused.value.reply == HEADER_FROM_NOT_ALLOWED


@pytest.mark.parametrize("identity", [IDENTITY, ANY, BY_HEADER], ids=["covered", "any", "by header"])
def test_a_missing_from_is_read_as_others_read_it(identity: Identity) -> None:
    """A sender that would be another address once decoded is no From, whoever let it in."""
    for sender in ("=?utf-8?q?ceo=40bank.example=20=3c?=@example.com", '"a =?x?q?b?="@example.com', "a b@example.com"):
        with pytest.raises(Rejection) as refused:
            surgery(b"", sender=sender, identity=identity, rules=ADDING)
        assert refused.value.reply == BAD_FROM


@pytest.mark.parametrize(
    "sender", ['"a b"@example.com', '"a@b, c"@example.com', r'"a\"\\b"@sub.example.com', "a/b=c@example.com"]
)
def test_a_missing_from_may_be_any_address(sender: str) -> None:
    """Quoting and all: what the parser of envelopes takes, the parser of From reads as the same."""
    result = surgery(b"", sender=sender, rules=ADDING)

    assert result.header_from == (sender,)
    assert f"\r\nFrom: {sender}\r\n".encode() in result.content[0]


REPLACES = replace(IDENTITY, replace_from="alerts@example.com")
ALERTS = ARNS + b"From: alerts@example.com\r\n"


@pytest.mark.parametrize(
    ("sent", "follows"),
    [
        (b"A: b\r\n" + FROM + b"C: d\r\n", b"A: b\r\nReply-To: App <app@example.com>\r\nC: d\r\n"),
        (b"From :\r\n evil@evil.example\r\n", b"Reply-To:\r\n evil@evil.example\r\n"),
        (FROM + b"reply-to: c@d.example\r\n", b"reply-to: c@d.example\r\n"),
        (b"From: root\r\n", b""),
        (b"Subject: x\r\n", b"Subject: x\r\n"),
        (FROM + b"Sender: a@example.com\r\n", b"Reply-To: App <app@example.com>\r\n"),
    ],
    ids=["in its place", "foreign and folded", "has a Reply-To", "not an address", "missing", "with Sender"],
)
def test_replace_from_comes_first(sent: bytes, follows: bytes) -> None:
    """The operator's From stands, whatever the client wrote; that becomes Reply-To if it can and there is none."""
    for client_rule in (ClientRule.of("local"), ONLY_APP):
        result = surgery(sent + b"\r\nbody", identity=REPLACES, client_rule=client_rule)

        assert whole(result) == ALERTS + follows + b"\r\nbody"
        assert result.header_from == ("alerts@example.com",)


def test_replace_from_must_be_covered_and_does_not_heal_a_repeated_from() -> None:
    """The checks hold for what SES will see; two From fields are two opinions."""
    with pytest.raises(Rejection) as uncovered:
        surgery(FROM, identity=replace(IDENTITY, replace_from="a@evil.example"))
    with pytest.raises(Rejection) as repeated:
        surgery(FROM + FROM, identity=REPLACES)

    assert uncovered.value.reply == HEADER_FROM_NOT_ALLOWED
    assert repeated.value.reply == BAD_FROM


@pytest.mark.parametrize(
    ("sender", "stays"),
    [
        (b"Sender: a@example.com\r\n", True),
        (b"Sender: evil@evil.example\r\n", False),
        (b"Sender: nobody\r\n", False),
        (b"Sender: a@example.com\r\nSender: evil@evil.example\r\n", False),
    ],
)
def test_sender_stays_where_from_has_several_mailboxes(sender: bytes, stays: bool) -> None:
    """If From could hold it: it must not become the way around the check of From."""
    two = b"From: a@example.com, b@example.com\r\n"

    assert whole(surgery(two + sender)) == ARNS + two + (sender if stays else b"")


def test_sender_stays_within_the_clients_own_list() -> None:
    """A client that may use app@ only does not get boss@ by Sender."""
    two = b"From: app@example.com, app@example.com\r\n"

    assert whole(surgery(two + b"Sender: boss@example.com\r\n", client_rule=ONLY_APP)) == ARNS + two


def test_an_operator_may_let_sender_pass() -> None:
    """Names that are not in `strip` are not stripped."""
    sent = FROM + b"Sender: x@y.example\r\nBcc: z\r\n"

    assert whole(surgery(sent, rules=replace(RULES, strip=frozenset()))) == ARNS + sent
