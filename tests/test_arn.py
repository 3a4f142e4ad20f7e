"""Identity ARNs: what is one, what an operator hears about the rest, and which addresses one covers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.arn import IdentityArn, parse_identity_arn

GOOD = [
    "arn:aws:ses:us-east-1:123456789012:identity/example.com",
    "arn:aws:ses:us-west-2:000000000000:identity/Mail.Example.COM",
    "arn:aws:ses:eu-central-1:123456789012:identity/user@example.com",
    "arn:aws:ses:*:123456789012:identity/example.com",
    "arn:aws-us-gov:ses:us-gov-west-1:123456789012:identity/example.com",
    "arn:aws-cn:ses:cn-north-1:123456789012:identity/example.com",
    "arn:aws-eusc:ses:eusc-de-east-1:123456789012:identity/example.com",
    "arn:aws-iso-b:ses:us-isob-east-1:123456789012:identity/example.com",
    "arn:aws:ses:us-east-1:123456789012:identity/a/b+c=d@example.com",
    'arn:aws:ses:us-east-1:123456789012:identity/"a:b"@example.com',
    "arn:aws:ses:us-east-1:123456789012:identity/xn--bcher-kva.example",
]

NO_ARN = "not an SES identity ARN; expected arn:aws:ses:REGION:ACCOUNT:identity/DOMAIN-OR-ADDRESS"

BAD = {
    "": NO_ARN,
    **{
        f"arn:aws:ses:us-east-1:123456789012:identity/{name}": "neither a domain nor an address"
        for name in ("@example.com", "*", "a@b@c", "user@", "example.com.", "example.com/x")
    },
    "example.com": NO_ARN,
    "arn:aws:ses:us-east-1:123456789012:identity/": NO_ARN,
    "arn:aws:ses::123456789012:identity/example.com": NO_ARN,
    "arn:aws:ses:us-east-1::identity/example.com": NO_ARN,
    "arn:aws:ses:us-east-*:123456789012:identity/example.com": NO_ARN,
    "arn:aws:ses:US-EAST-1:123456789012:identity/example.com": NO_ARN,
    "arn:aws:ses:us-east-1:12345678901:identity/example.com": NO_ARN,
    "arn:aws:ses:us-east-1:1234567890123:identity/example.com": NO_ARN,
    "arn:aws:ses:us-east-1:*:identity/example.com": NO_ARN,
    "arn:aws:ses:us-east-1:１２３456789012:identity/example.com": NO_ARN,  # noqa: RUF001 -- digits that int() would take
    "arn:azure:ses:us-east-1:123456789012:identity/example.com": NO_ARN,
    " arn:aws:ses:us-east-1:123456789012:identity/example.com": NO_ARN,
    "arn:aws:ses:us-east-1:123456789012:identity/example.com ": NO_ARN,
    "arn:aws:ses:us-east-1:123456789012:identity/example.com\n": NO_ARN,
    "arn:aws:ses:us-east-1:123456789012:identity/example.com\r\nBcc: x": NO_ARN,
    "arn:aws:ses:us-east-1:123456789012:identity/bücher.example": NO_ARN,
    "arn:aws:ses:us-east-1:123456789012:identity/a b@example.com": NO_ARN,
    "arn:aws:ses:us-east-1:123456789012:configuration-set/main": "something else (ses configuration-set)",
    "arn:aws:ses:us-east-1:123456789012:template/main": "this ARN names something else (ses template)",
    "arn:aws:iam::123456789012:role/send": "this ARN names something else (iam role)",
    "arn:aws:sns:us-east-1:123456789012:bounces": "this ARN names something else (sns bounces)",
}


@pytest.mark.parametrize("text", GOOD)
def test_an_identity_arn_is_kept_to_the_letter(text: str) -> None:
    assert str(parse_identity_arn(text)) == text


def test_the_parts_have_names() -> None:
    arn = parse_identity_arn("arn:aws-us-gov:ses:us-gov-west-1:123456789012:identity/user@example.com")

    assert arn == IdentityArn("aws-us-gov", "us-gov-west-1", "123456789012", "user@example.com")
    assert arn.is_address
    assert not parse_identity_arn(GOOD[0]).is_address


@pytest.mark.parametrize(("text", "complaint"), BAD.items())
def test_anything_else_is_refused_in_words(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_identity_arn(text)
    assert complaint in str(caught.value)


@given(st.text(max_size=60) | st.text("arn:awsesidentity/-*0123456789\r\n@. ").map(lambda tail: GOOD[0][:40] + tail))
@settings(deadline=None)
def test_any_text_is_printable_ascii_or_a_value_error(text: str) -> None:
    """An ARN goes into a header: nothing in it may end or fold a line."""
    try:
        arn = parse_identity_arn(text)
    except ValueError:
        return
    assert str(arn) == text
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text


@pytest.mark.parametrize(
    ("name", "address", "covered"),
    [
        ("example.com", "jane@example.com", True),
        ("example.com", "jane@EXAMPLE.com", True),
        ("Example.COM", "jane@example.com", True),
        ("example.com", "jane@eu.mail.example.com", True),
        ("example.com", "jane@badexample.com", False),
        ("example.com", "jane@example.com.evil.example", False),
        ("example.com", "jane@example.org", False),
        ("example.com", "jane@com", False),
        ("mail.example.com", "jane@example.com", False),
        ("jane@example.com", "jane@example.com", True),
        ("jane@example.com", "jane@Example.com", True),
        ("jane@Example.com", "jane@example.com", True),
        ("jane@example.com", "Jane@example.com", False),
        ("jane@example.com", "jane+label@example.com", True),
        ("jane@example.com", "jane+@example.com", True),
        ("jane@example.com", "jane+a+b@example.com", True),
        ("jane@example.com", "janet@example.com", False),
        ("jane@example.com", "jan@example.com", False),
        ("jane@example.com", "+jane@example.com", False),
        ("jane@example.com", "jane@mail.example.com", False),
        ("jane+label@example.com", "jane+label@example.com", True),
        ("jane+label@example.com", "jane@example.com", False),
        ("jane+label@example.com", "jane+other@example.com", False),
    ],
)
def test_what_an_identity_covers(name: str, address: str, *, covered: bool) -> None:
    local, _, domain = address.rpartition("@")
    arn = parse_identity_arn(f"arn:aws:ses:us-east-1:123456789012:identity/{name}")

    assert arn.covers(local, domain) is covered
