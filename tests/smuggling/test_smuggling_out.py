"""Outbound: what SES gets is one message with the reference's bytes, by either transport and whatever SES is like."""

import re
import ssl
from pathlib import Path

import listener
import pytest
import smuggling_parts as parts
from lenient_upstream import LenientUpstream, lenient_upstream
from relay_process import local_ses
from smuggling_parts import BLOCK, HEAD, VARIANTS, talking

from relay.aws.credentials import SmtpLogin
from relay.aws.endpoints import SmtpEndpoint
from relay.delivery.dot_stuffing import CHUNK
from relay.delivery.ses_smtp import SesSmtp
from relay.model import Outcome, Parcel

variants = pytest.mark.parametrize("variant", VARIANTS, ids=repr)
DIALOGUE = [b"EHLO", b"AUTH", b"MAIL", b"RCPT", b"DATA"]


class BySmtp(listener.ScriptedSes):
    """The relay's own SMTP transport, towards a server of the test."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._transport = SesSmtp(
            self,
            lambda _: SmtpEndpoint("127.0.0.1", port, "none"),
            timeout_s=10,
            concurrency=1,
            mode="auto",
            helo="relay.test",
            tls=ssl.create_default_context,
        )

    async def smtp_login(self, name: str, region: str) -> SmtpLogin:
        """As good as any."""
        return SmtpLogin("user", "secret")

    async def send(self, parcel: Parcel) -> Outcome:
        """Send it for real."""
        self.parcels.append(parcel)
        return await self._transport.send(parcel)

    async def close(self) -> None:
        """Say QUIT."""
        await self._transport.close()


def stuffed(content: bytes) -> bytes:
    """RFC 5321 section 4.5.2, line by line, and the end of data."""
    return b"".join(re.sub(rb"^\.", b"..", line) + b"\r\n" for line in content.split(b"\r\n")[:-1]) + b".\r\n"


def assert_one_message(upstream: LenientUpstream, expected: bytes) -> None:
    assert upstream.wires == [stuffed(expected)]
    assert [command[:4] for command in upstream.commands] == [*DIALOGUE, b"QUIT"]
    assert not parts.has_stray(upstream.wires[0])


@variants
@pytest.mark.parametrize("cut", ["whole", "every byte"])
async def test_a_credulous_smtp_server_sees_one_message(variant: bytes, cut: str) -> None:
    """Byte for byte the reference, dots doubled; nothing of it looks like an end, and nothing follows it."""
    wire = parts.in_body(variant)
    async with lenient_upstream() as upstream:
        async with listener.running(BySmtp(upstream.port)) as relay, talking(relay.port) as talk:
            assert await talk.message(*([wire] if cut == "whole" else parts.bytewise(wire))) == "250 2.0.0 Ok id"
        assert_one_message(upstream, BLOCK + parts.normalized(parts.content_of(wire)))


@variants
async def test_the_border_of_two_chunks_hides_nothing(variant: bytes) -> None:
    """A big message goes out in chunks: the variant lies on their border, at each of its bytes."""
    for shift in range(len(variant) + 3):
        padding = b"x" * 998 + b"\r\n"
        size = CHUNK - len(BLOCK) - len(HEAD) - 2 - shift
        body = (padding * (size // len(padding) + 1))[:size]
        wire = HEAD + b"\r\n" + body + variant + parts.SECOND + parts.END
        async with lenient_upstream() as upstream:
            async with listener.running(BySmtp(upstream.port)) as relay, talking(relay.port) as talk:
                assert await talk.message(wire) == "250 2.0.0 Ok id"
            assert_one_message(upstream, BLOCK + parts.normalized(parts.content_of(wire)))


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b".", b"\r\n..", b"\r\n...", b"\n.\r"], ids=repr)
async def test_however_the_content_ends_the_message_ends_once(end: bytes) -> None:
    wire = HEAD + b"\r\nHello" + end + parts.END
    async with lenient_upstream() as upstream:
        async with listener.running(BySmtp(upstream.port)) as relay, talking(relay.port) as talk:
            assert await talk.message(wire) == "250 2.0.0 Ok id"
        assert_one_message(upstream, BLOCK + parts.normalized(parts.content_of(wire)))


@pytest.mark.parametrize(
    "address", [b"=?utf-8?q?a=0d=0aRCPT@example.com", b'"a\\"> b"@example.com', b"a=3E@example.com"]
)
async def test_unusual_addresses_are_said_byte_for_byte(address: bytes) -> None:
    """The upstream hears exactly what rules were matched on."""
    async with lenient_upstream() as upstream:
        async with listener.running(BySmtp(upstream.port)) as relay, talking(relay.port) as talk:
            assert await talk.message(HEAD + b"\r\nHello" + parts.END, sender=address, to=address) == "250 2.0.0 Ok id"
        assert upstream.commands[2].split(b" BODY")[0].split(b" SIZE")[0] == b"MAIL FROM:<%b>" % address
        assert upstream.commands[3] == b"RCPT TO:<%b>" % address
        assert len(upstream.commands) == len(DIALOGUE) + 1


async def test_by_the_api_and_by_smtp_ses_gets_the_reference(tmp_path: Path) -> None:
    """The whole relay as a process and a local SES: every variant, in body and header section, by either transport."""
    async with local_ses(tmp_path) as bench:
        relay = await bench.start(limits={"errors": 1000}, message={"received": "none"})
        async with talking(relay.port) as talk:
            for domain in (b"example.com", b"example.net"):
                for variant in VARIANTS:
                    for wire in (parts.in_body(variant), parts.in_header(variant)):
                        bench.ses.clear()
                        answer = await talk.message(wire.replace(b"example.com", domain), sender=b"app@" + domain)
                        content = parts.normalized(parts.content_of(wire)).replace(b"example.com", domain)
                        if answer[:3] == "554":  # a NUL or a lone dot in the header section
                            assert bench.ses.total == 0
                            continue
                        assert (answer[:3], bench.ses.total) == ("250", 1)
                        [got] = bench.ses.received
                        assert got.interface == ("v1" if domain == b"example.com" else "smtp")
                        assert got.raw.endswith(b"\r\n" + content)
                        assert got.raw.count(b"\r\n\r\n") == content.count(b"\r\n\r\n")
                        assert not parts.has_stray(got.raw)
                        assert (got.sender, got.recipients) == (f"app@{domain.decode()}", ("ann@example.org",))
