"""Commands and their answers: one step of a dialogue with an SMTP server after the other.

Owns where in the dialogue we are, and what an answer that is not the wanted one means: refused by the server
(`Refused`), or no answer worth the name (`Broken`). Commands are never part of an error, since one of them carries
the password.
"""

from __future__ import annotations

from relay.delivery.smtp_reply import UpstreamReply
from relay.delivery.smtp_wire import Broken, Wire
from relay.policy.outcomes import Stage, Trouble


class Refused(Exception):
    """The server has answered a step with 4yz or 5yz; the message was not taken."""

    def __init__(self, stage: Stage, reply: UpstreamReply) -> None:
        super().__init__(f"{reply.code} {reply.text}")
        self.stage, self.reply = stage, reply


class Dialogue:
    """A wire, and the step that the dialogue on it has come to. `timeout_s` is the time for each answer."""

    __slots__ = ("_timeout_s", "stage", "wire")

    def __init__(self, wire: Wire, timeout_s: float) -> None:
        self.wire = wire
        self.stage = Stage.GREETING
        self._timeout_s = timeout_s

    async def ask(self, stage: Stage, command: str, wanted: int) -> UpstreamReply:
        """Send a command and hear its answer. Raises Refused or Broken."""
        self.tell(stage, command)
        return await self.hear(stage, wanted)

    def tell(self, stage: Stage, *commands: str) -> None:
        """Send commands in one go, unless the server has already said no to all of it."""
        self.stage = stage
        self.heed()
        self.wire.write("".join([f"{command}\r\n" for command in commands]).encode("ascii"))

    async def hear(self, stage: Stage, wanted: int, extra_s: float = 0.0) -> UpstreamReply:
        """The next answer: `wanted`, or any 2yz where that is one. Raises Refused or Broken."""
        self.stage = stage
        return self._judge(await self.wire.reply(self._timeout_s + extra_s), wanted)

    def heed(self) -> None:
        """Raise what the server has said without being asked, such as a 421, or that it is gone."""
        if self.wire.replies:
            self._judge(self.wire.replies.popleft(), wanted=0)
        self.wire.check()

    def explain(self, error: Exception) -> Broken:
        """What an error at this step means. Once the end of data may be out, the message may have been taken."""
        trouble = error.trouble if isinstance(error, Broken) else Trouble.OUR_FAULT
        if self.stage is Stage.FINAL:
            trouble = Trouble.LOST_ANSWER
        return Broken(trouble, f"{str(error) or type(error).__name__} ({self.stage})")

    def _judge(self, reply: UpstreamReply, wanted: int) -> UpstreamReply:
        if reply.code == wanted or reply.code // 100 == wanted // 100 == 2:
            return reply
        if reply.code >= 400:
            raise Refused(self.stage, reply)
        raise Broken(Trouble.NOT_AWS, f"unexpected answer: {reply.code} {reply.text}")
