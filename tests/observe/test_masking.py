"""`log.addresses: masked`: nothing of what stands before an @ is left, however it is written."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.observe.masking import mask_address, mask_command, mask_text

COMMANDS = {
    "MAIL FROM:<o'brien@example.com>": "MAIL FROM:<***@example.com>",
    'MAIL FROM:<"john smith"@example.com>': "MAIL FROM:<***@example.com>",
    "rcpt to: <plain+tag@example.com>": "rcpt to:<***@example.com>",
    "RCPT TO:secret@example.com": "RCPT TO:<***@example.com>",
    "MAIL FROM:<>": "MAIL FROM:<>",
    "MAIL FROM:<secret@example.com> SIZE=99 body=8BITMIME RET=HDRS SMTPUTF8": (
        "MAIL FROM:<***@example.com> SIZE=99 body=8BITMIME RET=HDRS SMTPUTF8"
    ),
    "MAIL FROM:<a@example.com> AUTH=secret+40x.example SIZE=secret": "MAIL FROM:<***@example.com> *** ***",
    "RCPT TO:<a@example.com> ORCPT=rfc822;secret+40x.example": "RCPT TO:<***@example.com> ***",
    "MAIL FROM: secret person @nowhere.example": "MAIL FROM:***",
    "MAIL FROM:<secret,person@nowhere.example>": "MAIL FROM:***",
    'MAIL FROM:<"secret"per son"@nowhere.example>': "MAIL FROM:***",
    'MAIL FROM:<"secret\\"per son".x@nowhere.example>': "MAIL FROM:***",
    "MAIL FROM:<secret": "MAIL FROM:***",
    "RCPT TO:<s\\xc3\\xb6cret@nowhere.example>": "RCPT TO:***",
    "EHLO [IPv6:2001:db8::1]": "EHLO [IPv6:2001:db8::1]",
    "EHLO secret@host.example": "EHLO ***@host.example",
    "unknown, 14 bytes": "unknown, 14 bytes",
}
TEXTS = {
    "nobody": "nobody",
    "not verified: secret@x.example, other@y.example": "not verified: ***@x.example, ***@y.example",
    'failed: "a secret"@x.example': "failed: ***@x.example",
    'failed: "a \\"secret\\""@x.example;': "failed: ***@x.example;",
    'Email address "secret@x.example" is unknown': 'Email address "***@x.example" is unknown',
    '"secret@x.example" <secret@y.example>': '"***@x.example" <***@y.example>',
    "arn:aws:ses:us-west-2:1:identity/secret@x.example": "***@x.example",
}
ADDRESSES = {"": "", "secret@x": "***@x", "secret@x@y": "***@y", '"a@ b"@[192.0.2.1]': "***@[192.0.2.1]", "bob": "bob"}


@pytest.mark.parametrize(("command", "shown"), COMMANDS.items(), ids=COMMANDS)
def test_a_command_keeps_its_domain_and_a_malformed_one_its_verb(command: str, shown: str) -> None:
    assert mask_command(command) == shown


@pytest.mark.parametrize(("text", "shown"), TEXTS.items(), ids=TEXTS)
def test_every_address_of_a_text_is_masked(text: str, shown: str) -> None:
    assert mask_text(text) == shown


@pytest.mark.parametrize(("address", "shown"), ADDRESSES.items(), ids=ADDRESSES)
def test_of_an_address_only_the_domain_is_left(address: str, shown: str) -> None:
    assert mask_address(address) == shown


hostile = st.text(st.sampled_from(' <>@,;:"\\.x'), max_size=12)


@given(hostile, hostile, st.sampled_from(["MAIL FROM:", "RCPT TO:", "mail from:<", 'RCPT TO:<"']))
def test_no_command_shows_what_stands_before_an_at(before: str, between: str, verb: str) -> None:
    """Whatever stands around it."""
    assert "SECRET" not in mask_command(f"{verb}{before}SECRET{between}@example.com>")


@pytest.mark.parametrize("unit", ["a", '"', 'a"', '" ', '\\"', "a,", '"\\'])
def test_long_texts_are_masked_in_linear_time(unit: str) -> None:
    """What SES says can be long, and what clients say too."""
    began = time.process_time()
    mask_text(unit * 20_000)

    assert time.process_time() - began < 1
