"""Forms and JSON documents, read without a server: what other clients than boto3 may write."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ses_clients import EAST, arn

from relay.simulator import Arns, json_api, query_api
from relay.simulator.refusals import Refused
from relay.simulator.words import Caller

CALLER = Caller("AKID", "111122223333", "arn:aws:iam::111122223333:user/u", EAST)
CALL = {"Action": "SendRawEmail", "Version": "2010-12-01"}


def form(**fields: str) -> bytes:
    return urlencode({**CALL, **{name.replace("__", "."): value for name, value in fields.items()}}).encode()


def refusal(body: bytes, *, v2: bool = False) -> str:
    with pytest.raises(Refused) as caught:
        (json_api if v2 else query_api).parse(body, CALLER)
    return caught.value.spelling.v2_code if v2 else caught.value.spelling.code


@given(raw=st.binary(max_size=300), lower=st.booleans(), wrapped=st.booleans())
def test_any_message_survives_a_form(raw: bytes, lower: bool, wrapped: bool) -> None:
    """Escaped in either case, with or without line ends in the base64."""
    text = (base64.encodebytes(raw) if wrapped else base64.b64encode(raw)).decode()
    escaped = quote(text, safe="")
    for character in "+/=\n" if lower else "":
        escaped = escaped.replace(quote(character, safe=""), quote(character, safe="").lower())

    assert query_api.parse(form() + b"&RawMessage.Data=" + escaped.encode(), CALLER).raw == raw


def test_members_are_taken_in_the_order_of_their_numbers() -> None:
    """The tenth after the second, wherever they stand in the form."""
    members = {f"Destinations.member.{number}": f"p{number}@example.net" for number in (10, 2, 1)}

    parsed = query_api.parse(form(RawMessage__Data="", Source="a+b@example.com", SourceArn=arn(), **members), CALLER)

    assert parsed.recipients == ("p1@example.net", "p2@example.net", "p10@example.net")
    assert (parsed.sender, parsed.arns) == ("a+b@example.com", Arns(arn()))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "InvalidAction"),
        (b"Action=SendEmail&Version=2010-12-01", "InvalidAction"),
        (b"Action=SendRawEmail&Version=2009-01-01", "InvalidAction"),
        (form(), "ValidationError"),
        (form(RawMessage__Data="not base64!"), "MalformedInput"),
        (form() + b"&RawMessage.Data=ab+/", "MalformedInput"),  # a plus sign left as it is means a blank
    ],
)
def test_bad_forms(body: bytes, code: str) -> None:
    """Refused with the code that says what is wrong."""
    assert refusal(body) == code


def document(**fields: object) -> bytes:
    return json.dumps({"Content": {"Raw": {"Data": base64.b64encode(b"raw").decode()}}, **fields}).encode()


def test_everything_of_a_v2_call_is_read() -> None:
    """All recipients, the bounce address, and the identity ARN for both source and From."""
    parsed = json_api.parse(
        document(
            Destination={"ToAddresses": ["a@x.net"], "CcAddresses": ["b@x.net"], "BccAddresses": ["c@x.net"]},
            FromEmailAddress="From <f@example.com>",
            FromEmailAddressIdentityArn=arn(),
            FeedbackForwardingEmailAddress="r@example.org",
            FeedbackForwardingEmailAddressIdentityArn=arn(name="example.org"),
            ReplyToAddresses=["x@example.com", "y@example.com"],
        ),
        CALLER,
    )

    assert parsed.raw == b"raw"
    assert parsed.recipients == ("a@x.net", "b@x.net", "c@x.net")
    assert parsed.sender == "r@example.org"
    assert parsed.arns == Arns(arn(), arn(), arn(name="example.org"))
    assert (parsed.visible_from, parsed.visible_reply_to) == ("From <f@example.com>", "x@example.com, y@example.com")


def test_what_a_v2_call_leaves_out_stays_open() -> None:
    """The headers decide then."""
    parsed = json_api.parse(document(), CALLER)

    assert (parsed.sender, parsed.recipients, parsed.visible_from) == (None, None, None)
    assert parsed.arns == Arns()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "SerializationException"),
        (b"[]", "SerializationException"),
        (b"\xff", "SerializationException"),
        (document(Destination=[]), "SerializationException"),
        (document(Destination={"ToAddresses": "a@x.net"}), "SerializationException"),
        (document(Destination={"ToAddresses": [1]}), "SerializationException"),
        (document(Content={"Raw": {"Data": "not base64!"}}), "SerializationException"),
        (document(Content={"Raw": {"Data": "\u00e9"}}), "SerializationException"),
        (document(Content={"Simple": {}}), "BadRequestException"),
        (document(FeedbackForwardingEmailAddress=""), "BadRequestException"),
    ],
)
def test_bad_documents(body: bytes, code: str) -> None:
    """Refused with the code that says what is wrong."""
    assert refusal(body, v2=True) == code
