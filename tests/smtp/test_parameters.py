"""ESMTP parameters: known, tolerated, refused."""

import pytest

from relay import replies
from relay.errors import Rejection
from relay.model import Reply
from relay.smtp.parameters import MailParameters, mail_parameters, wants_silence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", MailParameters()),
        (b"SIZE=12345", MailParameters(size=12345)),
        (b"size=1 body=8bitmime", MailParameters(size=1, eight_bit=True)),
        (b"BODY=7BIT", MailParameters()),
        (b"AUTH=<> RET=FULL ENVID=x+2By", MailParameters()),
        (b"SIZE=" + b"9" * 20, MailParameters(size=int("9" * 20))),
    ],
)
def test_mail_parameters_that_are_taken(text: bytes, expected: MailParameters) -> None:
    assert mail_parameters(text) == expected


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        (b"SIZE=", replies.SYNTAX_SIZE),
        (b"SIZE", replies.SYNTAX_SIZE),
        (b"SIZE=-1", replies.SYNTAX_SIZE),
        (b"SIZE=1e9", replies.SYNTAX_SIZE),
        (b"SIZE=" + b"9" * 5000, replies.SYNTAX_SIZE),
        (b"SIZE=\xb2", replies.SYNTAX_SIZE),
        (b"BODY=BINARYMIME", replies.PARAMETER_REFUSED),
        (b"SMTPUTF8", replies.PARAMETER_REFUSED),
        (b"FUTURE=1", replies.PARAMETER_UNKNOWN),
        (b"=", replies.PARAMETER_UNKNOWN),
        (b"\xff\xfe", replies.PARAMETER_UNKNOWN),
    ],
)
def test_mail_parameters_that_are_refused(text: bytes, reply: Reply) -> None:
    with pytest.raises(Rejection) as refused:
        mail_parameters(text)
    assert refused.value.reply == reply


@pytest.mark.parametrize(
    ("text", "silent"),
    [(b"", False), (b"NOTIFY=NEVER", True), (b"notify=never ORCPT=rfc822;a@b", True), (b"NOTIFY=FAILURE,DELAY", False)],
)
def test_notify_never_is_heard(text: bytes, *, silent: bool) -> None:
    assert wants_silence(text) is silent


def test_unknown_recipient_parameters_are_refused() -> None:
    with pytest.raises(Rejection) as refused:
        wants_silence(b"NOTIFY=NEVER RRVS=2026")
    assert refused.value.reply == replies.PARAMETER_UNKNOWN
