"""Whole sessions as a state machine: whatever a client does, in whatever order, the replies are the reference's.

Any TLS, logins right and wrong, any grouping of lines into packets, faults of SES and of our own code, clients that
half-close or vanish. What SES gets is compared as well, and at the end nothing may be left open.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, ClassVar

import pytest
import uvloop
from certificates import Pki
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from session_lines import (
    ANN,
    APP,
    BILLING,
    CHEAP,
    ERRORS,
    HELLO,
    LIKELY,
    LOGINS,
    MESSAGES,
    RECIPIENTS_SAID,
    SAID,
    SENDERS,
)
from session_parts import BEHIND, ELSEWHERE, HERE, PATIENCE_S, Place, Scene, Wire, scene
from session_reference import GUESSES, LOOKS, RECIPIENTS

from relay.smtp import auth

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}
LINES = st.lists(
    st.sampled_from(
        [*LIKELY * 4, *ERRORS, b"STARTTLS", b"QUIT", b"GET / HTTP/1.1", b"PROXY TCP4 192.0.2.7 192.0.2.1 1 25"]
    ),
    max_size=8,
)
GUESSES_SAID = [how for how in LOGINS if how.startswith(("wrong", "nobody,"))]
OUTCOMES = st.sampled_from(sorted(SAID))
PLACES = st.builds(
    Place,
    tls=st.sampled_from(["none", "starttls", "implicit"]),
    require_tls=st.booleans(),
    auth_without_tls=st.sampled_from(["loopback", "never", "always"]),
    logins=st.booleans(),
    by_place=st.booleans(),
    proxied=st.booleans(),
    errors=st.sampled_from([3, 8, 1000]),
    login_failures=st.integers(1, 3),
)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(autouse=True)
def _cheap_logins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hashes that cost little, and an address that is closed after few guesses."""
    monkeypatch.setattr(auth, "_HASHER", CHEAP)
    monkeypatch.setattr(auth, "FAILURES_MOST", GUESSES)
    monkeypatch.setattr(auth, "LOOKS_MOST", LOOKS)
    auth._decoy.cache_clear()
    yield
    auth._decoy.cache_clear()


class Sessions(RuleBasedStateMachine):
    """One listener, and one client after the other."""

    pki: ClassVar[Pki]
    wire: Wire

    def __init__(self) -> None:
        super().__init__()
        self.mode = "closed"
        self.stack = AsyncExitStack()

    @initialize(loop=st.sampled_from(sorted(LOOPS)), place=PLACES)
    def start(self, loop: str, place: Place) -> None:
        """A configuration, and the loop that it runs on."""
        self.runner = asyncio.Runner(loop_factory=LOOPS[loop])
        self.scene = self.runner.run(self.stack.enter_async_context(scene(place, self.pki)))

    @precondition(lambda self: self.mode == "closed")
    @rule(stranger=st.booleans())
    def connect(self, stranger: bool) -> None:
        """Come, from a place that the listener knows or not."""
        peer = ELSEWHERE if stranger else BEHIND
        self.wire = self.runner.run(self.scene.connect(peer if self.scene.place.proxied else HERE))
        self.mode = "command"

    @precondition(lambda self: self.mode != "closed")
    @rule(lines=LINES, pipelined=st.booleans())
    def talk(self, lines: list[bytes], pipelined: bool) -> None:
        """Commands in any order; after DATA they are content."""
        self._say(lines, pipelined=pipelined)

    @precondition(lambda self: self.mode != "closed")
    @rule(how=st.sampled_from(sorted(LOGINS)), greet=st.booleans(), pipelined=st.booleans())
    def log_in(self, how: str, greet: bool, pipelined: bool) -> None:
        """Try to log in; who is not asked for the rest says it all the same."""
        self._say([*([HELLO] if greet else []), *LOGINS[how]], pipelined=pipelined)

    @precondition(lambda self: self.mode == "closed")
    @rule(hows=st.lists(st.sampled_from([*GUESSES_SAID, *["right, at once"] * 4]), min_size=2, max_size=8))
    def come_and_log_in(self, hows: list[str]) -> None:
        """Try one login after the other, each in a session of its own, until the address is closed and beyond."""
        for how in hows:
            self.connect(stranger=False)
            self._say([HELLO, *LOGINS[how], b"QUIT"])

    @precondition(lambda self: self.mode != "closed")
    @rule(injected=LINES)
    def encrypt(self, injected: list[bytes]) -> None:
        """Ask for TLS, and say something in clear that may not count once there is TLS."""
        self._say([b"STARTTLS", *injected])
        self._say([HELLO])

    @precondition(lambda self: self.mode != "closed")
    @rule(
        sender=st.sampled_from(SENDERS),
        recipients=st.lists(st.sampled_from(RECIPIENTS_SAID), min_size=1, max_size=RECIPIENTS),
        message=st.sampled_from(sorted(MESSAGES)),
        outcome=OUTCOMES,
        pipelined=st.booleans(),
    )
    def send(self, sender: bytes, recipients: list[bytes], message: str, outcome: str, pipelined: bool) -> None:
        """A whole transaction."""
        self._say([HELLO, sender, *recipients], pipelined=pipelined)
        self._send(message, outcome, blindly=pipelined)

    @precondition(lambda self: self.mode != "closed")
    @rule(message=st.sampled_from(sorted(MESSAGES)), outcome=OUTCOMES, blindly=st.booleans())
    def send_out_of_turn(self, message: str, outcome: str, blindly: bool) -> None:
        """DATA, and the message perhaps without waiting for 354; where there is none, its lines are commands."""
        self._send(message, outcome, blindly=blindly)

    @precondition(lambda self: self.mode != "closed" and not self.wire.reference.encrypted)
    @rule(lines=LINES)
    def half_close(self, lines: list[bytes]) -> None:
        """Say something and that there will be no more: all of it is answered, or DATA is cut short."""
        self._say([line for line in lines if line != b"STARTTLS"], last=True)

    @precondition(lambda self: self.mode != "closed")
    @rule()
    def vanish(self) -> None:
        """Go away without a word, at whatever point."""
        self.runner.run(self.wire.vanish())
        self.mode = "closed"

    @precondition(lambda self: self.mode == "command")
    @rule(outcome=OUTCOMES)
    def vanish_while_ses_thinks(self, outcome: str) -> None:
        """A message that was handed over in full goes its way without its client."""
        self._say([b"RSET", HELLO, BILLING, ANN])
        if self.mode == "command" and self.wire.reference.recipients:
            self.runner.run(leave_message(self.scene, self.wire, outcome))
            self.mode = "closed"

    def teardown(self) -> None:
        """Leave; the scene looks at what is left."""
        if self.mode != "closed":
            self.runner.run(self.wire.close())
        self.runner.run(self.stack.aclose())
        self.runner.close()

    def _say(self, lines: Sequence[bytes], *, pipelined: bool = True, last: bool = False) -> None:
        for packet in [lines] if pipelined else [[line] for line in lines]:
            if self.mode != "closed":
                self.runner.run(self.wire.say(*packet, last=last))
                self.mode = self.wire.reference.mode
        self.scene.check_parcels()

    def _send(self, message: str, outcome: str, *, blindly: bool) -> None:
        prepare(self.scene, self.wire, outcome)
        content = [*MESSAGES[message], b"."]
        if blindly or self.mode == "data":
            self._say([b"DATA", *content])
            return
        self._say([b"DATA"])
        if self.mode == "data":
            self._say(content)


async def leave_message(here: Scene, wire: Wire, outcome: str) -> None:
    """Send a message, and go while SES has it: it is answered as if somebody listened, into the log."""
    prepare(here, wire, outcome)
    server, ses, lines = here.relay.server, here.relay.ses, [b"DATA", *MESSAGES["of billing"], b"."]
    ses.gate = asyncio.Event()
    wire.say_only(*lines)
    replies = [reply for line in lines for reply in wire.reference.hear(line)]
    await ses.has_got(len(here.history.parcels))
    await wire.vanish()
    await _until(lambda: not server.connections)
    ses.gate.set()
    await _until(lambda: not server.messages)
    ses.gate = None
    line = here.relay.events("message")[-1]
    assert line["client_gone"]
    assert line["reply"].startswith(replies[-1] + " ")


def prepare(here: Scene, wire: Wire, outcome: str) -> None:
    """What SES is going to say."""
    here.relay.ses.outcomes = deque([SAID[outcome]])
    wire.reference.outcome = outcome


async def _until(done: Callable[[], bool]) -> None:
    """Let the loop turn until something has come about."""
    async with asyncio.timeout(PATIENCE_S):
        while not done():  # noqa: ASYNC110 - of what is waited for there is no event
            await asyncio.sleep(0)


def test_sessions_are_those_of_the_reference(pki: Pki) -> None:
    """Any history of sessions, in any configuration, on either event loop."""
    Sessions.pki = pki
    run_state_machine_as_test(Sessions, settings=settings(max_examples=60, stateful_step_count=25, deadline=None))


STATES: dict[str, list[bytes]] = {
    "at first": [],
    "greeted": [HELLO],
    "logged in": [HELLO, *LOGINS["right, at once"]],
    "after MAIL": [HELLO, APP],
    "after RCPT": [HELLO, APP, ANN],
    "full": [HELLO, APP, *RECIPIENTS_SAID[:RECIPIENTS]],
}


@pytest.mark.parametrize("following", [BILLING, b"DATA", b"RSET"], ids=["MAIL", "DATA", "RSET"])
@pytest.mark.parametrize("state", STATES)
async def test_after_every_error_the_session_is_what_it_was(pki: Pki, state: str, following: bytes) -> None:
    """Every line that may be refused, in every state, and what then comes is answered as if it had not been said."""
    async with scene(Place(), pki) as here:
        for error in (*([line] for line in ERRORS), *LOGINS.values()):
            wire = await here.connect()
            await wire.say(*STATES[state])
            for line in (*error, following, *MESSAGES["plain"], b".", b"NOOP", b"QUIT"):
                await wire.say(line)
            here.history.wrong.clear()
            here.history.looks.clear()
            here.relay.server.logins._failures.clear()


@pytest.mark.parametrize("outcome", SAID)
@pytest.mark.parametrize("tls", ["none", "starttls"])
async def test_who_vanishes_while_ses_thinks_does_not_stop_the_message(pki: Pki, tls: Any, outcome: str) -> None:
    """Whatever SES then says is what the log says."""
    async with scene(Place(tls), pki) as here:
        wire = await here.connect()
        await wire.say(*([b"STARTTLS"] if tls == "starttls" else []))
        await wire.say(HELLO, BILLING, ANN)
        await leave_message(here, wire, outcome)


HISTORIES: dict[str, list[bytes]] = {
    "a sender": [HELLO, APP, ANN, b"STARTTLS", ANN, HELLO, ANN, b"DATA", BILLING],
    "a greeting": [HELLO, b"STARTTLS", APP, b"AUTH PLAIN"],
    "a login": [HELLO, *LOGINS["right, at once"], b"STARTTLS", HELLO, APP, b"RSET", *LOGINS["right, at once"], APP],
}


@pytest.mark.parametrize("before", HISTORIES)
async def test_what_was_said_before_tls_is_forgotten(pki: Pki, before: str) -> None:
    """RFC 3207 section 4.2: the session begins anew, and what the client then says is judged by that."""
    async with scene(Place("starttls"), pki) as here:
        wire = await here.connect()
        for line in (*HISTORIES[before], b"QUIT"):
            await wire.say(line)


LOGIN_HISTORIES: dict[str, list[str]] = {
    "never right": ["wrong", "nobody", "right", "wrong", "wrong, otherwise"],
    "right before": ["right", "wrong", "nobody", "right, by LOGIN", "nobody, otherwise", "right"],
    "right before, and many guesses after": ["right", "wrong", "nobody", "right", "wrong, otherwise", "right"],
    "not to be checked": ["wrong", "not to be checked", "nobody", "not to be checked"],
}


@pytest.mark.parametrize("logins", LOGIN_HISTORIES.values(), ids=LOGIN_HISTORIES)
async def test_logins_are_answered_by_what_has_been_tried_before(pki: Pki, logins: list[str]) -> None:
    """Each in a session of its own; what one address has tried is nothing to another."""
    async with scene(Place(auth_without_tls="always", proxied=True), pki) as here:
        for peer in (BEHIND, ELSEWHERE):
            for how in logins:
                wire = await here.connect(peer)
                await wire.say(HELLO, *LOGINS[how], b"QUIT")
