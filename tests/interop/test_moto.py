"""moto's server in the place of the SES API: another reading of SendRawEmail and of SESv2 SendEmail.

moto reads messages as UTF-8 and checks no signature; the local SES does. It adds the header To to the recipients.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import urllib.request
from collections.abc import AsyncIterator, Mapping
from typing import Any

import boto3
import pytest
from foreign_tools import running
from mails import BY_API, RECIPIENTS, below_the_block, mails
from relay_process import PATIENCE_S, Bench, RunningRelay, submit

pytestmark = pytest.mark.interop

SENDER = BY_API.sender
_ADDRESS = re.compile(rb"Running on http://127\.0\.0\.1:(\d+)")


class Moto:
    """A running moto server."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    async def verify(self, domain: str, region: str, keys: Mapping[str, str]) -> None:
        """Make moto believe in an identity, as an operator would."""

        def ask() -> None:
            client = boto3.Session(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"]).client(
                "ses", region, endpoint_url=self.url
            )
            client.verify_domain_identity(Domain=domain)
            client.close()

        await asyncio.to_thread(ask)

    async def messages(self) -> list[dict[str, Any]]:
        """What it has taken, in order."""

        def ask() -> list[dict[str, Any]]:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/moto-api/data.json", timeout=30) as answer:
                messages: list[dict[str, Any]] = json.load(answer).get("ses", {}).get("RawMessage", [])
            return messages

        return await asyncio.to_thread(ask)


@pytest.fixture
async def moto() -> AsyncIterator[Moto]:
    """Start it as its own process, on a port that the system chose."""
    async with running(sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0") as process:
        assert process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            while not (found := _ADDRESS.search(line := await process.stderr.readline())):
                assert line, "moto has ended"
        yield Moto(int(found[1]))


async def start(bench: Bench, moto: Moto) -> RunningRelay:
    """A relay that has moto as its SES API, where example.com is verified in us-east-1."""
    await moto.verify("example.com", BY_API.region, bench.environment)
    return await bench.start(ses={"api_endpoint": moto.url})


async def test_every_byte_reaches_moto(bench: Bench, moto: Moto) -> None:
    """By SendRawEmail: envelope from the client, content below the block as the client gave it."""
    relay = await start(bench, moto)
    given = {name: content for name, content in mails(SENDER).items() if _is_utf8(content)}
    answers = [await submit(relay, SENDER, content, *RECIPIENTS) for content in given.values()]
    taken = await moto.messages()

    assert len(given) == len(mails(SENDER)) - 1  # the one that is in no single charset
    assert [answer for answer, _ in answers] == [250] * len(given)
    assert [text for _, text in answers] == [f"2.0.0 Ok {message['id']}" for message in taken]
    arrived = [below_the_block(message["raw_data"].encode(), BY_API) for message in taken]
    assert dict(zip(given, arrived, strict=True)) == given
    assert {message["source"] for message in taken} == {SENDER}
    assert {tuple(message["destinations"][:2]) for message in taken} == {RECIPIENTS}
    assert bench.ses.total == 0


async def test_a_big_message_reaches_moto_by_sesv2(bench: Bench, moto: Moto) -> None:
    """Over 10 MiB, where SendRawEmail ends."""
    relay = await start(bench, moto)
    content = mails(SENDER)["plain"] + (b"x" * 998 + b"\r\n") * 11_000
    code, _ = await submit(relay, SENDER, content, RECIPIENTS[0])
    [message] = await moto.messages()

    assert code == 250
    assert below_the_block(message["raw_data"].encode(), BY_API) == content
    assert message["destinations"][0] == RECIPIENTS[0]


async def test_an_identity_of_another_region_is_refused(bench: Bench, moto: Moto) -> None:
    """Verified in us-east-1, and the rule says eu-west-1: there nobody knows it, and the client hears why."""
    config = bench.config(ses={"api_endpoint": moto.url})
    identities = [{**rule, "transport": "api"} for rule in config["identities"]]
    await moto.verify("example.net", BY_API.region, bench.environment)
    relay = await bench.start(ses={"api_endpoint": moto.url}, identities=identities)
    code, text = await submit(relay, "app@example.net", mails("app@example.net")["plain"])

    assert (code, text[:5]) == (554, "5.7.1")
    assert "Did not have authority to send" in text
    assert await moto.messages() == []


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
