"""What clients say, in their right mind and otherwise: lines, logins and messages, and what SES says to them."""

from base64 import b64encode

import listener
from argon2 import PasswordHasher
from session_reference import BROKEN_USER, MALFORMED, MESSAGE_BYTES, RECIPIENTS

from relay.model import Outcome

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)  # the real cost is not what is tested
INSIDES = "insides that nobody may see"
PASSWORD = "correct horse"
WRONG = "never to be logged"
WRONG_TOO = "nor this one"
USERS = {"billing": CHEAP.hash(PASSWORD), BROKEN_USER: "$argon2id$nonsense"}
SAID: dict[str, Outcome | Exception] = {
    "delivered": listener.DELIVERED,
    "refused": listener.REFUSED,
    "deferred": listener.CREDENTIALS,
    "raises": ValueError(INSIDES),
}

HELLO, APP, BILLING = b"EHLO client", b"MAIL FROM:<app@example.com>", b"MAIL FROM:<billing@example.com>"
SENDERS = [APP, BILLING, b"mail from:<app@invoices.example.com> BODY=8BITMIME SIZE=10 AUTH=<>"]
OTHER_SENDERS = [b"MAIL FROM:<app@elsewhere.test>", b"MAIL FROM:<>", b"MAIL FROM:<app@example.com> SIZE=99999"]
ANN = b"RCPT TO:<ann@example.org>"
RECIPIENTS_SAID = [ANN, *(b"RCPT TO:<n%d@example.org>" % number for number in range(RECIPIENTS))]
OTHER_RECIPIENTS = [b"RCPT TO:<x@denied.test>", b"RCPT TO:<y@other.test>", b"RCPT TO:<boom@example.org>"]
ODD = [
    b"NOOP", b"NOOP with words", b"HELP", b"VRFY ann", b"EXPN list", b"WHAT", b"", b"HELO client", b"EHLO", b"RSET now",
    b"DATA now", b"STARTTLS now", b"AUTH", b"AUTH CRAM-MD5", b"NOOP " + b"x" * 3000,
]  # fmt: skip
ERRORS = [*ODD, *MALFORMED, *OTHER_SENDERS, *OTHER_RECIPIENTS, b"DATA", b"STARTTLS", b"AUTH PLAIN *", b"AUTH PLAIN ="]
LIKELY = [HELLO, b"RSET", b"DATA", *SENDERS, *RECIPIENTS_SAID]

MESSAGES: dict[str, list[bytes]] = {
    "plain": [b"Subject: x", b"", b"body", b"..dots"],
    "of the app": [b"From: <app@example.com>", b"", b"body"],
    "of billing": [b"From: Billing <billing@example.com>", b"", b"body"],
    "of somebody else": [b"From: <app@elsewhere.test>", b"", b"body"],
    "of two": [b"From: <app@example.com>", b"From: <app@example.com>", b"", b"body"],
    "with commands inside": [b"Subject: x", b"", b"RSET", *SENDERS[:1], ANN, b"DATA", b"..", b"QUIT"],
    "too big": [b"Subject: x", b"", *[b"y" * 60] * (MESSAGE_BYTES // 60)],
}


def plain(user: str, password: str) -> bytes:
    return b64encode(f"\0{user}\0{password}".encode())


LOGINS: dict[str, list[bytes]] = {
    "right": [b"AUTH PLAIN", plain("billing", PASSWORD)],
    "right, at once": [b"auth plain " + plain("billing", PASSWORD)],
    "right, by LOGIN": [b"AUTH LOGIN", b64encode(b"billing"), b64encode(PASSWORD.encode())],
    "right, by login at once": [b"AUTH login " + b64encode(b"billing"), b64encode(PASSWORD.encode())],
    "wrong": [b"AUTH PLAIN " + plain("billing", WRONG)],
    "wrong, otherwise": [b"AUTH PLAIN " + plain("billing", WRONG_TOO)],
    "wrong, by LOGIN": [b"AUTH LOGIN", b64encode(b"billing"), b64encode(WRONG.encode())],
    "nobody": [b"AUTH PLAIN " + plain("nobody", WRONG)],
    "nobody, otherwise": [b"AUTH PLAIN " + plain("nobody", WRONG_TOO)],
    "nobody's name": [b"AUTH PLAIN " + plain("", WRONG)],
    "not to be checked": [b"AUTH PLAIN " + plain(BROKEN_USER, WRONG)],
    "for another": [b"AUTH PLAIN " + b64encode(b"ann\0billing\0" + PASSWORD.encode())],
    "given up": [b"AUTH LOGIN", b64encode(b"billing"), b"*"],
    "no base64": [b"AUTH PLAIN", WRONG.encode() + b"!"],
    "endless": [b"AUTH PLAIN", b"A" * 12_300],
    "endless, at once": [b"AUTH PLAIN " + b"A" * 12_280],
    "too long": [b"AUTH PLAIN", plain("billing", "x" * 5000)],
    "too long, at once": [b"auth PLAIN " + plain("billing", "x" * 5000)],
    "long and wrong, at once": [b"Auth Plain " + plain("billing", WRONG * 200)],
}
