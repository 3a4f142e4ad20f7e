"""The session as a state machine: whatever commands come in whatever order, the replies are the small model's.

Every error is followed by more commands, so a reply that is out of step or an envelope that is not reset shows.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

import listener
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.model import Outcome
from relay.smtp.server import ServerLimits

CONTENT = b"Subject: x\r\n\r\nbody\r\n.\r\n"
BIG = b"Subject: x\r\n\r\n" + b"y" * 2000 + b"\r\n.\r\n"
OUTCOMES: dict[str, Outcome | Exception] = {
    "delivered": listener.DELIVERED,
    "refused": listener.REFUSED,
    "deferred": listener.CREDENTIALS,
    "raises": ValueError("boom"),
}
ENDS = {"delivered": 250, "refused": 554, "deferred": 451, "raises": 451}


@dataclass
class Model:
    """RFC 5321 section 4.1.4 in a few lines: the reply code that each command must get."""

    greeted: bool = False
    sender: bool = False
    recipients: int = 0

    def expect(self, command: str) -> int:
        """The code of the (last) reply; changes the state."""
        if command in ("EHLO c", "HELO c", "RSET"):
            self.greeted |= command != "RSET"
            self.sender, self.recipients = False, 0
            return 250
        if command in FIXED:
            return FIXED[command]
        if not self.greeted:
            return 503
        if command.startswith("AUTH"):
            return 502
        return self._transaction(command)

    def _transaction(self, command: str) -> int:
        if command.startswith("MAIL"):
            code = 503 if self.sender else MAIL[command]
            self.sender |= code == 250
            return code
        if not self.sender:
            return 503
        if command.startswith("RCPT"):
            code = RCPT[command] if self.recipients < 3 or RCPT[command] != 250 else 452
            self.recipients += code == 250
            return code
        return 354 if self.recipients else 503


FIXED = {"NOOP": 250, "VRFY a": 252, "WHAT": 500, "EXPN a": 502, "RSET now": 501}
MAIL = {
    "MAIL FROM:<app@example.com>": 250,
    "MAIL FROM:<app@example.com> SIZE=10 BODY=8BITMIME": 250,
    "MAIL FROM:<app@elsewhere.test>": 550,
    "MAIL FROM:<>": 550,
    "MAIL FROM:<bad": 553,
    "MAIL FROM:<app@example.com> SMTPUTF8": 555,
    "MAIL FROM:<app@example.com> SIZE=99999": 552,
}
RCPT = {"RCPT TO:<{n}@example.org>": 250, "RCPT TO:<bad@>": 553, "RCPT TO:<x@denied.test>": 550}
COMMANDS = ["AUTH PLAIN", *FIXED, *MAIL, *RCPT, "EHLO c", "HELO c", "RSET", "DATA"]
# Weighted, so that whole transactions come up often.
WORDS = st.sampled_from(
    [*COMMANDS, *["EHLO c", "MAIL FROM:<app@example.com>", "RCPT TO:<{n}@example.org>", "DATA"] * 4]
)
MESSAGES = st.sampled_from([*ENDS, "too big"])


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, max_size=40), st.lists(MESSAGES, min_size=40, max_size=40), st.booleans())
def test_replies_are_the_models(words: list[str], messages: list[str], pipelined: bool) -> None:
    """One command at a time, or in one packet up to each DATA, the codes are the same."""
    asyncio.run(_converse(words, messages, pipelined=pipelined))


async def _converse(words: list[str], messages: list[str], *, pipelined: bool) -> None:
    model, ses = Model(), listener.ScriptedSes(deque())
    clients = [listener.client_rule(deny=("@denied.test",))]
    limits = ServerLimits(10, 10, 1000, 3, 10**8, listener.SESSION)
    async with listener.running(ses, message_bytes=1000, recipients=3, clients=clients, limits=limits) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        assert await _code(reader) == 220
        pending: list[tuple[str, int]] = []
        for number, word in enumerate(words):
            command = word.format(n=number)
            writer.write(command.encode() + b"\r\n")
            pending.append((command, model.expect(word)))
            if pipelined and word != "DATA":
                continue
            await _hear(reader, pending)
            if word == "DATA" and pending[-1][1] == 354:
                await _message(reader, writer, ses, messages[number])
                model.sender, model.recipients = False, 0
            pending.clear()
        await _hear(reader, pending)
        writer.close()


async def _hear(reader: asyncio.StreamReader, pending: list[tuple[str, int]]) -> None:
    for command, expected in pending:
        assert (command, await _code(reader)) == (command, expected)


async def _message(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ses: listener.ScriptedSes, how: str
) -> None:
    if how == "too big":
        writer.write(BIG)
        assert await _code(reader) == 552
        return
    ses.outcomes.append(OUTCOMES[how])
    writer.write(CONTENT)
    assert await _code(reader) == ENDS[how]


async def _code(reader: asyncio.StreamReader) -> int:
    while True:
        line = await reader.readline()
        if line[3:4] != b"-":
            return int(line[:3])
