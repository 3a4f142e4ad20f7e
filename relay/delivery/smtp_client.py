"""Handing messages to an SES SMTP endpoint, one after the other over one session.

Owns the mail transaction (RFC 5321 section 3.3) and what a refusal leaves behind. Guarantees that a message goes
to all of its recipients or to none; that only parameters which the server offers are used (SES offers neither
DSN nor SMTPUTF8); that a session which stopped halfway is never used again. Refuses addresses that would end a
command or add a parameter to it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Final

from relay.aws.credentials import SmtpLogin
from relay.aws.endpoints import SmtpEndpoint
from relay.delivery.dot_stuffing import has_eight_bit, wire_form
from relay.delivery.smtp_dialogue import Dialogue, Refused
from relay.delivery.smtp_login import Terms, log_in
from relay.delivery.smtp_reply import Offers, UpstreamReply
from relay.delivery.smtp_wire import Broken
from relay.model import Parcel
from relay.policy.outcomes import Stage, Trouble

_RESET_S: Final = 5.0
_CLOSING: Final = 421  # the server ends the session with this reply (RFC 5321 section 3.8)
_PATH: Final = re.compile(r'(?:"(?:[ !#-\[\]-~]|\\[ -~])*"|[!#-;=?-~])*')  # quoted strings, else no blank, no <>


class Stale(Exception):
    """The server had given up this reused session before our first command; a fresh one may do."""


async def connect(endpoint: SmtpEndpoint, login: SmtpLogin, terms: Terms) -> Connection:
    """Open a session that is ready for mail. Raises Refused or Broken."""
    dialogue, offers = await log_in(endpoint, login, terms)
    return Connection(dialogue, offers, terms)


class Connection:
    """A session that is logged in. One `deliver` at a time; `uses` counts them."""

    def __init__(self, dialogue: Dialogue, offers: Offers, terms: Terms) -> None:
        self._dialogue, self._wire = dialogue, dialogue.wire
        self._offers, self._terms = offers, terms
        self._at_rest = True
        self._halfway = False
        self.uses = 0

    @property
    def reusable(self) -> bool:
        """Whether the next message may go over this session."""
        return self._at_rest and self._wire.quiet

    async def deliver(self, parcel: Parcel) -> UpstreamReply:
        """Hand over one message; the server's reply to the end of data. Raises Refused, Broken or Stale."""
        self._dialogue.stage = Stage.MAIL
        try:
            return await self._transact(parcel)
        except (Refused, Stale):
            raise
        except Exception as error:
            raise self._dialogue.explain(error) from error

    def abort(self) -> None:
        """Drop the connection at once."""
        self._wire.abort()

    def part(self) -> None:
        """Say QUIT and close, without waiting."""
        self._wire.part()

    async def quit(self, deadline_s: float) -> None:
        """Say QUIT and wait for the end, but no longer than `deadline_s`."""
        await self._wire.quit(deadline_s)

    async def _transact(self, parcel: Parcel) -> UpstreamReply:
        commands = self._envelope(parcel)
        chunks = wire_form(parcel.content)
        first = next(chunks)  # what cannot be sent is mostly found here, before a word is said
        self._at_rest = False
        self.uses += 1
        try:
            await self._say_envelope(commands)
            await self._dialogue.ask(Stage.DATA, "DATA", 354)
            reply = await self._send(first, chunks)
        except Refused as refused:
            await self._come_to_rest(refused)
            raise
        self._at_rest = True
        return reply

    def _envelope(self, parcel: Parcel) -> list[str]:
        size = parcel.size
        if self._offers.too_small_for(size):
            text = f"Message size {size} is over the {self._offers.size} that the server takes"
            raise Refused(Stage.MAIL, UpstreamReply(552, (text,)))
        if not parcel.recipients or "" in parcel.recipients:
            raise Broken(Trouble.OUR_FAULT, "a parcel without recipients")
        mail = f"MAIL FROM:{_path(parcel.sender)}"
        if self._offers.size is not None:
            mail += f" SIZE={size}"
        if self._offers.eight_bit and has_eight_bit(parcel.content):
            mail += " BODY=8BITMIME"
        return [mail, *(f"RCPT TO:{_path(recipient)}" for recipient in parcel.recipients)]

    async def _say_envelope(self, commands: list[str]) -> None:
        # DATA is never pipelined (RFC 2920): it would send the message to those recipients who were accepted
        groups = [commands] if self._offers.pipelining else [[command] for command in commands]
        stage = Stage.MAIL
        for group in groups:
            self._dialogue.tell(stage, *group)
            refusal: Refused | None = None
            for _ in group:
                answer = await self._answer(stage)
                refusal = refusal or answer
                stage = Stage.RCPT
            if refusal:
                raise refusal

    async def _answer(self, stage: Stage) -> Refused | None:
        try:
            await self._dialogue.hear(stage, 250)
        except (Refused, Broken) as error:
            if stage is Stage.MAIL and self.uses > 1 and _is_idle_close(error):
                raise Stale from error
            if isinstance(error, Broken) or error.reply.code == _CLOSING:
                raise
            return error
        return None

    async def _send(self, chunk: bytes, following: Iterator[bytes]) -> UpstreamReply:
        self._halfway = True
        for next_chunk in following:
            self._wire.write(chunk)
            await asyncio.sleep(0)  # a fast network must not keep the event loop from everybody else
            await self._wire.drained()
            self._dialogue.heed()
            chunk = next_chunk
        self._dialogue.heed()
        self._dialogue.stage = Stage.FINAL  # from here on the message may be taken
        self._wire.write(chunk)
        self._halfway = False
        await self._wire.drained()
        return await self._dialogue.hear(Stage.FINAL, 250, self._terms.final_s)

    async def _come_to_rest(self, refused: Refused) -> None:
        """After a refusal the session may be used again, unless the server closes it or content is cut short."""
        if self._halfway or refused.reply.code == _CLOSING:
            return
        if refused.stage in {Stage.RCPT, Stage.DATA}:
            try:
                async with asyncio.timeout(_RESET_S):
                    await self._dialogue.ask(Stage.MAIL, "RSET", 250)
            except (Refused, Broken, TimeoutError):
                return
        self._at_rest = True


def _is_idle_close(error: Refused | Broken) -> bool:
    """Whether the server ended the session for being idle; SES says 451 4.4.2 after 10 s, then closes."""
    if isinstance(error, Broken):
        return error.trouble is Trouble.STALE
    code, text = error.reply.code, error.reply.text.lower()
    return code == _CLOSING or (code == 451 and ("4.4.2" in text or "timeout" in text))


def _path(address: str) -> str:
    if not _PATH.fullmatch(address):
        raise Broken(Trouble.OUR_FAULT, "an address that cannot stand in a command")
    return f"<{address}>"
