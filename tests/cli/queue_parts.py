"""What the tests of queue commands are made of: a spool with some mail in it, a configuration, and the command."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from relay.cli import main
from relay.model import Cause, Client, Envelope, Reply
from relay.spool.interface import Action, Mail, Part, Posting, Query, Spooled, Verdict
from relay.spool.opening import Opening
from relay.spool.sqlite import SqliteSpool, open_spool

CLIENT = Client("session-1", "192.0.2.7", "billing", user="bill", helo="app", tls=True)
LATER = Verdict(50.0, Reply(451, "4.4.1", "SES is down"), Cause.UNAVAILABLE, "503 from somewhere")
NEVER = Verdict(60.0, Reply(554, "5.7.1", "no"), Cause.IDENTITY, "MessageRejected")
CONTENT = b"From: app@example.com\r\nSubject: =?utf-8?q?x?=\r\n folded\r\n\r\nThe body.\r\n"
ARN = "arn:aws:ses:us-west-2:123456789012:identity/example.com"
DAY = 86_400.0


class Kit:
    """A folder with a configuration that names the spool in it."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        self.path = folder / "spool.db"
        self.config = folder / "relay.yaml"
        rules = [{"senders": ["@example.com"], "source_arn": ARN}]
        spool = {"path": str(self.path), "min_free_bytes": 1}
        whole = {"identities": rules, "admin": "off", "spool": spool} | sections
        self.config.write_text(json.dumps({name: value for name, value in whole.items() if value is not None}))
        self.config.chmod(0o600)

    def run(self, *words: str) -> Result:
        """`ses-relay` with these words, in this process."""
        return CliRunner().invoke(main, [*words, "--config", str(self.config)])

    def queue(self, *words: str) -> Result:
        """`ses-relay queue`."""
        return self.run("queue", *words)

    def told(self, *words: str) -> Any:
        """What it prints for programs."""
        result = self.queue(*words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def ids(self, *filters: str) -> list[str]:
        """What it lists."""
        return [one["id"] for one in self.told("list", *filters)["parcels"]]

    @asynccontextmanager
    async def relay(self) -> AsyncIterator[SqliteSpool]:
        """The spool as a relay has it."""
        spool = open_spool(Opening(self.path), time.time())
        try:
            yield spool
        finally:
            await spool.close()

    def fill(self, *postings: Posting) -> None:
        """Put mail into the spool."""

        async def put() -> None:
            async with self.relay() as spool:
                for one in postings:
                    await spool.put(one)

        asyncio.run(put())

    def parcels(self) -> dict[str, Spooled]:
        """All that is in the spool, as the next relay finds it."""

        async def look() -> Sequence[Spooled]:
            async with self.relay() as spool:
                return await spool.inspect(Query(limit=10_000_000))

        return {one.id: one for one in asyncio.run(look())}

    def alter(self, action: Action, *ids: str) -> None:
        """Do something to parcels without the command."""

        async def act() -> None:
            async with self.relay() as spool:
                await spool.alter(Query(ids=ids), action, time.time())

        asyncio.run(act())


def posting(identifier: str, *recipients: str, **more: Any) -> Posting:
    """A mail in one parcel; `age` in seconds, `lane`, `last`, `due` and `sender` may be said."""
    people = recipients or ("ann@customer.example",)
    now = time.time()
    mail = Mail(
        identifier, now - more.get("age", 0.0), more.get("client", CLIENT),
        Envelope(more.get("sender", "app@example.com"), people, frozenset(more.get("silent", ()))),
        more.get("content", CONTENT),
    )  # fmt: skip
    part = Part(
        people, now + more.get("due", 3600.0), more.get("lane", "example.com"), more.get("attempts", 0),
        more.get("lost", 0), more.get("warned", False), more.get("last"),
    )  # fmt: skip
    return Posting(mail, (part,))


async def die(spool: SqliteSpool, one: Posting) -> None:
    """Put a mail that is given up at once."""
    (mine,) = await spool.put(Posting(one.mail, one.parts, leased=time.time() + 60))
    assert await spool.settle(mine, dead=NEVER)


def some_mail(kit: Kit) -> None:
    """`aaaa` of two parcels, an hour old; `bbbb` held, two minutes old; `cccc` dead, a day old, without sender."""

    async def put() -> None:
        async with kit.relay() as spool:
            two = posting("aaaa", "ann@customer.example", "bob@customer.example", "cy@other.example", age=3600.0)
            (part,) = two.parts
            first = Part(part.recipients[:2], part.due, "shop", 3, 1, warned=True, last=LATER)
            second = Part(part.recipients[2:], part.due, "example.com")
            await spool.put(Posting(two.mail, (first, second)))
            await spool.put(posting("bbbb", "held@customer.example", sender="ops@mail.example.com", age=120.0))
            await spool.alter(Query(ids=("bbbb",)), Action.HOLD, 0.0)
            await die(spool, posting("cccc", sender="", age=DAY + 60))

    asyncio.run(put())
