"""Header surgery: our block on top, what is stripped, what stays, what is refused."""

from dataclasses import replace
from email import message_from_bytes

import pytest
from surgery import ADDING, ARN, ARNS, CLIENT, DATE, FROM, IDENTITY, RULES, SENDER, STAMP, surgery, whole

from relay.arn import parse_identity_arn
from relay.errors import Rejection
from relay.model import Client
from relay.policy.headers import block
from relay.replies import HEADERS_MALFORMED, HEADERS_TOO_BIG, NO_RULE_NULL, STRAY_LINE_ENDINGS, TOO_MANY_HOPS

# name: (what the client sends, what follows our block)
KEPT = {
    "ordinary": (FROM + b"Subject: x\r\n\r\nbody\r\n", FROM + b"Subject: x\r\n\r\nbody\r\n"),
    "header only": (FROM, FROM),
    "header only, unterminated": (FROM[:-2], FROM),
    "body without final CRLF": (FROM + b"\r\nbody", FROM + b"\r\nbody"),
    "bytes that mean nothing to us": (
        FROM + b"X-A:\xff\xfe \x1b$B\r\n\t folded \r\n\r\n\0\xff",
        FROM + b"X-A:\xff\xfe \x1b$B\r\n\t folded \r\n\r\n\0\xff",
    ),
    "blanks before the colon of a kept field": (FROM + b"Subject \t: x : y\r\n\r\n", FROM + b"Subject: x : y\r\n\r\n"),
    "blanks before the colon of From": (
        b"FROM : app@example.com\r\nDate \t:\r\n x\r\n\r\nTo : text",
        b"FROM: app@example.com\r\nDate:\r\n x\r\n\r\nTo : text",
    ),
    "X-SES stripped": (b"X-SES-SOURCE-ARN: evil\r\n" + FROM + b"\r\n", FROM + b"\r\n"),
    "X-SES in any case": (FROM + b"x-Ses-Tenant: evil\r\nTo: b@c.example\r\n\r\n", FROM + b"To: b@c.example\r\n\r\n"),
    "X-SES folded": (
        FROM + b"X-SES-FROM-ARN:\r\n arn:evil\r\n\tmore\r\nTo: b@c.example\r\n\r\n",
        FROM + b"To: b@c.example\r\n\r\n",
    ),
    "X-SES with blanks before the colon": (FROM + b"X-SES-SOURCE-ARN \t : evil\r\n\r\n", FROM + b"\r\n"),
    "X-SES empty": (FROM + b"X-SES-SOURCE-ARN:\r\n\r\n", FROM + b"\r\n"),
    "X-SES unknown to us": (FROM + b"X-SES-WHATEVER-COMES: 1\r\n\r\n", FROM + b"\r\n"),
    "X-SES last and unterminated": (FROM + b"X-SES-TENANT: evil", FROM),
    "X-Session is not X-SES": (FROM + b"X-Session: 1\r\nX-SES: 2\r\n\r\n", FROM + b"X-Session: 1\r\nX-SES: 2\r\n\r\n"),
    "X-SES in the body": (
        FROM + b"\r\nX-SES-SOURCE-ARN: text\r\n\r\nX-SES-TENANT: text\r\n",
        FROM + b"\r\nX-SES-SOURCE-ARN: text\r\n\r\nX-SES-TENANT: text\r\n",
    ),
    "Bcc, Return-Path, Sender": (
        b"BCC: a@b.example\r\n" + FROM + b"return-path : <x@y.example>\r\nSender: x@example.com\r\n\r\n",
        FROM + b"\r\n",
    ),
    "everything stripped but From": (b"Bcc: a\r\n" + FROM + b"Bcc: b\r\n c\r\n\r\nbody", FROM + b"\r\nbody"),
    "mbox line": (b"From app@example.com Fri Nov 20 12:30:05 2026\r\n" + FROM + b"\r\nbody", FROM + b"\r\nbody"),
    "quoted mbox line": (b">From app Fri Nov 20\r\n" + FROM + b"\r\nbody", FROM + b"\r\nbody"),
    "two mbox lines": (b"From a\r\n>From b\r\n" + FROM + b"\r\nbody", FROM + b"\r\nbody"),
    "bare LF": (b"From: app@example.com\nX-A: b\n\nbody\n", b"From: app@example.com\r\nX-A: b\r\n\r\nbody\r\n"),
    "bare CR": (b"From: app@example.com\r\rbody\r", b"From: app@example.com\r\n\r\nbody\r\n"),
    "X-SES behind a bare LF": (b"From: app@example.com\nX-SES-TENANT: evil\r\n\r\n", b"From: app@example.com\r\n\r\n"),
    "X-SES behind a bare CR": (b"From: app@example.com\rX-SES-TENANT: evil\r\n\r\n", b"From: app@example.com\r\n\r\n"),
    "a fold after a bare LF": (
        FROM + b"X-A: b\n X-SES-TENANT: c\r\n\r\n",
        FROM + b"X-A: b\r\n X-SES-TENANT: c\r\n\r\n",
    ),
}

# name: what the client sends; none of it is header, so an empty line and then all of it follow our block
ALL_BODY = {
    "text": b"Hello,\r\nhow are you?\r\n",
    "a blank first": b" From: app@example.com\r\n\r\nbody\r\n",
    "a tab first": b"\tfolds onto our block\r\nFrom: app@example.com\r\n\r\n",
    "a blank line of blanks first": b"  \r\nX-SES-SOURCE-ARN: text\r\n",
    "a first name with a blank in it": b"X SES-TENANT: text\r\n" + FROM,
    "a first name with NUL": b"\0X-SES-TENANT: text\r\n",
    "a first name with 8-bit": b"X-SES-TENANT\xa0: text\r\n",
    "no name": b": text\r\n",
    "text that begins with From": b"From here on it is text.\r\n\r\nReally.\r\n",
    "mbox line, then a blank": b"From app\r\n folds\r\n",
    "a long text without an empty line": b"text\r\n" * 50_000,
}

MALFORMED = {
    "no colon": FROM + b"neither field nor fold\r\nTo: b@c.example\r\n\r\n",
    "a blank in a name": FROM + b"X SES-TENANT: evil\r\n\r\n",
    "NUL in a name": FROM + b"X-SES\0-TENANT: evil\r\n\r\n",
    "NUL before a name": FROM + b"\0X-SES-TENANT: evil\r\n\r\n",
    "NUL in a value": FROM + b"Subject: a\0b\r\n\r\n",
    "8-bit in a name": FROM + b"X-SES-TENANT\xa0: evil\r\n\r\n",
    "a control in a name": FROM + b"X-SES-TENANT\x0b: evil\r\n\r\n",
    "an empty name": FROM + b": evil\r\n\r\n",
    "a name folded before its colon": FROM + b"X-SES-TENANT\r\n : evil\r\n\r\n",
    "mbox line in the middle": FROM + b"From app Fri Nov 20\r\nTo: b@c.example\r\n\r\n",
    "unterminated": FROM + b"X-SES-TENANT",
}


@pytest.mark.parametrize(("sent", "follows"), KEPT.values(), ids=KEPT)
def test_what_is_kept_follows_our_block(sent: bytes, follows: bytes) -> None:
    """Kept fields and body stay byte for byte and in order; a stray CR or LF becomes CRLF, blanks before a colon go."""
    assert whole(surgery(sent)) == ARNS + follows


@pytest.mark.parametrize("sent", ALL_BODY.values(), ids=ALL_BODY)
def test_content_that_begins_with_no_field_is_body(sent: bytes) -> None:
    """It cannot fold into our block or forge a field of it."""
    result = whole(surgery(sent, rules=ADDING))
    header, _, body = result.partition(b"\r\n\r\n")

    assert header.startswith(ARNS)
    assert body == sent
    assert message_from_bytes(result)["From"] == SENDER


def test_content_that_begins_with_the_empty_line_has_no_header() -> None:
    """The empty line is the separator already: no second one."""
    block_alone = whole(surgery(b"", rules=ADDING))

    assert block_alone.endswith(b"Message-ID: <token@example.com>\r\n")
    assert whole(surgery(b"\r\nbody\r\n", rules=ADDING)) == block_alone + b"\r\nbody\r\n"


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_a_line_that_is_no_field_is_refused(sent: bytes) -> None:
    """Readers disagree on what follows such a line, so none gets to read it."""
    with pytest.raises(Rejection) as refused:
        surgery(sent)

    assert refused.value.reply == HEADERS_MALFORMED


def test_stray_line_endings_are_refused_where_the_rules_say_so() -> None:
    """In header and body alike; CRLF alone passes."""
    strict = replace(RULES, normalize=False)
    for sent in (b"From: app@example.com\n\r\n", FROM + b"\r\na\rb\r\n", FROM + b"\r\nbody\n", FROM + b"\r\n\r\r\n"):
        with pytest.raises(Rejection) as refused:
            surgery(sent, rules=strict)
        assert refused.value.reply == STRAY_LINE_ENDINGS

    assert whole(surgery(FROM + b"\r\nbody\r\n", rules=strict)) == ARNS + FROM + b"\r\nbody\r\n"


def test_the_header_section_is_bounded_and_the_body_is_not() -> None:
    """Exactly `header_bytes` pass, one more is too big; without an empty line the same holds."""
    bound = replace(RULES, header_bytes=len(FROM) + 8)
    for rest in (b"", b"\r\n", b"\r\n" + b"body" * 1000):
        assert whole(surgery(FROM + b"X: 345\r\n" + rest, rules=bound)) == ARNS + FROM + b"X: 345\r\n" + rest
        with pytest.raises(Rejection) as refused:
            surgery(FROM + b"X: 3456\r\n" + rest, rules=bound)
        assert refused.value.reply == HEADERS_TOO_BIG
    with pytest.raises(Rejection) as refused:
        surgery(FROM + b"X: " + b"x" * 1000, rules=bound)
    assert refused.value.reply == HEADERS_TOO_BIG
    with pytest.raises(Rejection) as refused:
        surgery(b"From mbox\r\n" + FROM + b"X: " + b"x" * 1000, rules=bound)
    assert refused.value.reply == HEADERS_TOO_BIG


def test_hops_are_counted() -> None:
    """As many Received fields as `hops` pass, in any spelling; one more is a loop. The body's do not count."""
    hops = b"RECEIVED : x\r\n\tfolded\r\nReceived: y\r\n"
    two = replace(RULES, hops=2)

    assert surgery(hops + FROM + b"\r\nReceived: z\r\n", rules=two).size > 0
    with pytest.raises(Rejection) as refused:
        surgery(hops + b"Received: z\r\n" + FROM, rules=two)
    assert refused.value.reply == TOO_MANY_HOPS


def test_our_block_is_written_in_the_order_of_the_contract() -> None:
    """ARNs, options, Received, missing headers: CRLF lines, no empty line after them."""
    full = replace(
        IDENTITY,
        from_arn=parse_identity_arn("arn:aws:ses:*:123456789012:identity/example.com"),
        return_path_arn=parse_identity_arn("arn:aws:ses:us-west-2:210987654321:identity/bounces.example"),
        configuration_set="events",
        tags=(("app", "billing"), ("team", "a_b")),
        tenant="acme",
    )
    result = surgery(b"Subject: x\r\n\r\nbody", identity=full, rules=replace(ADDING, received="minimal"))

    assert whole(result).decode() == (
        f"X-SES-SOURCE-ARN: {ARN}\r\n"
        "X-SES-FROM-ARN: arn:aws:ses:*:123456789012:identity/example.com\r\n"
        "X-SES-RETURN-PATH-ARN: arn:aws:ses:us-west-2:210987654321:identity/bounces.example\r\n"
        "X-SES-CONFIGURATION-SET: events\r\n"
        "X-SES-MESSAGE-TAGS: app=billing, team=a_b\r\n"
        "X-SES-TENANT: acme\r\n"
        f"Received: by relay.example.com with ESMTP id id1; {DATE}\r\n"
        "From: app@example.com\r\n"
        f"Date: {DATE}\r\n"
        "Message-ID: <token@example.com>\r\n"
        "Subject: x\r\n\r\nbody"
    )
    assert result.source_arn == ARN
    assert result.from_arn == str(full.from_arn)
    assert result.return_path_arn == str(full.return_path_arn)
    assert result.message_id == "<token@example.com>"
    assert result.size == len(whole(result))


def test_the_first_piece_is_the_block_that_explain_shows() -> None:
    """`block` alone and the finished message agree."""
    rules = replace(RULES, received="minimal")
    pieces = surgery(FROM, rules=rules).content

    assert pieces[0] == block(IDENTITY, IDENTITY.source_arn, CLIENT, rules, STAMP)


@pytest.mark.parametrize("value", ["a\r\nX-SES-TENANT: b", "a\nb", "a\rb", "a\0b", "é", " ", "a "], ids=repr)
def test_a_value_of_ours_that_is_no_line_is_a_fault_of_ours(value: str) -> None:
    """ValueError, which becomes 451: never a refusal of the message, never a forged line."""
    with pytest.raises(ValueError, match="X-SES-CONFIGURATION-SET"):
        surgery(FROM, identity=replace(IDENTITY, configuration_set=value))


def test_empty_options_are_left_out() -> None:
    """SES refuses an empty header, so there is none."""
    assert whole(surgery(FROM, identity=replace(IDENTITY, configuration_set="", tags=(), tenant=""))) == ARNS + FROM


@pytest.mark.parametrize(
    ("client", "origin", "protocol"),
    [
        (CLIENT, "app.internal ([192.0.2.7])", "ESMTP"),
        (replace(CLIENT, peer="2001:db8::1", tls=True), "app.internal ([IPv6:2001:db8::1])", "ESMTPS"),
        (replace(CLIENT, peer="unix", user="u", helo=""), "unknown (unix)", "ESMTPA"),
        (replace(CLIENT, peer="unknown", helo="host"), "host (unknown)", "ESMTP"),
        (replace(CLIENT, helo="a)\r\nX-A: b", tls=True, user="u"), "a???X-A:?b ([192.0.2.7])", "ESMTPSA"),
    ],
)
def test_full_received_tells_the_client(client: Client, origin: str, protocol: str) -> None:
    """Where the message came from and how (RFC 3848), whatever the client calls itself."""
    result = surgery(FROM, client=client, rules=replace(RULES, received="full"))
    received = f"Received: from {origin} by relay.example.com with {protocol} id id1; {DATE}\r\n"

    assert whole(result) == ARNS + received.encode() + FROM


def test_headers_that_are_there_are_not_added() -> None:
    """Date and Message-ID of the client stay, its Message-ID is what the log gets, unfolded."""
    theirs = FROM + b"DATE : yesterday\r\nmessage-id:\r\n <a@b.example>\r\n"
    result = surgery(theirs + b"\r\n", rules=ADDING)

    assert whole(result) == ARNS + theirs.replace(b"DATE :", b"DATE:") + b"\r\n"
    assert result.message_id == "<a@b.example>"


def test_of_a_long_message_id_the_log_gets_the_beginning() -> None:
    """SES gets all of it, the operator as much as a line of mail may have (RFC 5322 section 2.1.1)."""
    theirs = b"Message-ID: <" + b"x" * 90_000 + b"\xff>\r\n"
    result = surgery(FROM + theirs, rules=ADDING)

    assert whole(result).endswith(theirs)
    assert result.message_id == "<" + "x" * 997


def test_nothing_is_added_where_the_rules_say_so() -> None:
    """Date and Message-ID stay missing."""
    result = surgery(FROM)

    assert whole(result) == ARNS + FROM
    assert result.message_id is None


CLIENT_SETS = replace(
    IDENTITY,
    configuration_set="ours",
    tags=(("a", "ours"),),
    tenant="ours",
    client_headers=frozenset({"X-SES-CONFIGURATION-SET", "x-ses-message-tags", "X-Ses-List-Management-Options"}),
)


def test_a_permitted_client_header_replaces_ours() -> None:
    """By name in any case; it stays where it stood, and ours is not written."""
    theirs = b"x-ses-configuration-SET: theirs\r\nX-SES-LIST-MANAGEMENT-OPTIONS: list; topic=a\r\n"
    result = whole(surgery(FROM + theirs + b"X-SES-TENANT: theirs\r\n\r\n", identity=CLIENT_SETS))

    assert result == ARNS + b"X-SES-MESSAGE-TAGS: a=ours\r\nX-SES-TENANT: ours\r\n" + FROM + theirs + b"\r\n"


def test_an_empty_permitted_client_header_is_stripped() -> None:
    """It says nothing and SES refuses it: ours stands."""
    result = whole(surgery(FROM + b"X-SES-CONFIGURATION-SET: \r\n\t \r\n\r\n", identity=CLIENT_SETS))

    assert b"X-SES-CONFIGURATION-SET: ours\r\n" in result
    assert result.endswith(FROM + b"\r\n")


def test_an_empty_client_header_does_not_come_before_one_that_says_something() -> None:
    """SES takes the first of several."""
    said = b"X-SES-CONFIGURATION-SET: theirs\r\n"
    result = whole(surgery(FROM + b"X-SES-CONFIGURATION-SET:\r\n" + said, identity=CLIENT_SETS))

    assert result.endswith(FROM + said)


def test_clients_never_set_arns_or_the_tenant() -> None:
    """Whatever `client_headers` says."""
    names = ("X-SES-SOURCE-ARN", "X-SES-FROM-ARN", "X-SES-RETURN-PATH-ARN", "X-SES-TENANT")
    identity = replace(IDENTITY, client_headers=frozenset(names))
    sent = b"".join(f"{name}: evil\r\n".encode() for name in names) + FROM

    assert whole(surgery(sent, identity=identity)) == ARNS + FROM


def test_the_body_is_not_copied() -> None:
    """The last piece is a view of the content itself, whether or not fields were stripped."""
    for header in (FROM, FROM + b"Bcc: a\r\n"):
        content = bytearray(header + b"\r\nbody")
        body = surgery(content).content[-1]
        assert isinstance(body, memoryview)
        assert body.obj is content


def test_content_may_be_bytes_bytearray_or_view() -> None:
    """The result is the same."""
    sent = b"Bcc: a\n" + FROM + b"\r\nbody\r\n"

    assert {whole(surgery(kind)) for kind in (sent, bytearray(sent), memoryview(sent))} == {
        ARNS + FROM + b"\r\nbody\r\n"
    }


def test_a_null_sender_that_nothing_replaces_is_refused() -> None:
    """SES takes none; a replacement makes it sendable, and is what a missing From becomes."""
    with pytest.raises(Rejection) as refused:
        surgery(FROM, sender="")
    replaced = surgery(b"", sender="", identity=replace(IDENTITY, replace_sender="b@example.com"), rules=ADDING)

    assert refused.value.reply == NO_RULE_NULL
    assert replaced.header_from == ("b@example.com",)


def test_a_message_shows_no_content() -> None:
    """Neither headers nor body get into a log by a repr."""
    assert "App" not in repr(surgery(FROM + b"\r\nApp"))
