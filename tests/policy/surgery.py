"""What the tests of header surgery share: one identity, one clock, and a call of `finish` with defaults."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from relay.arn import parse_identity_arn
from relay.model import Buffer, Client, Identity
from relay.policy.admission import ClientRule
from relay.policy.headers import HeaderRules, Message, Stamp, finish
from relay.policy.routing import Router

ARN = "arn:aws:ses:us-west-2:123456789012:identity/example.com"
ARNS = (
    f"X-SES-SOURCE-ARN: {ARN}\r\nX-SES-FROM-ARN: {ARN}\r\nX-SES-RETURN-PATH-ARN: {ARN}\r\n"  # our block, at its least
).encode()
SENDER = "app@example.com"
FROM = b"From: App <app@example.com>\r\n"
STAMP = Stamp("id1", datetime(2026, 11, 20, 12, 30, 5, tzinfo=UTC), "token")
DATE = "Fri, 20 Nov 2026 12:30:05 +0000"
ANYBODY = ClientRule.of("local")
CLIENT = Client("session", "192.0.2.7", "local", helo="app.internal")

_ARN = parse_identity_arn(ARN)
IDENTITY = Identity("example.com", ("@example.com",), _ARN, _ARN, _ARN, "us-west-2")
# Nothing is added unless a test asks, so that tests see what is kept.
RULES = HeaderRules(
    normalize=True,
    add_missing=False,
    strip=frozenset({"bcc", "return-path", "sender"}),
    received="none",
    header_bytes=100_000,
    hops=50,
    hostname="relay.example.com",
)
ADDING = replace(RULES, add_missing=True)


def surgery(
    content: Buffer,
    *,
    sender: str = SENDER,
    identity: Identity = IDENTITY,
    others: Sequence[Identity] = (),
    client_rule: ClientRule = ANYBODY,
    client: Client = CLIENT,
    rules: HeaderRules = RULES,
) -> Message:
    """Finish a message that is ordinary but for what the test says."""
    router = Router([identity, *others])
    return finish(content, sender, identity, router, client_rule, client, rules, STAMP)


def whole(message: Message) -> bytes:
    """The finished message in one piece."""
    return b"".join(message.content)
