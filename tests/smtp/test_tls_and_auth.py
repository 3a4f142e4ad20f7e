"""TLS and logins over real sockets, with Python's own client as judge, on asyncio's loop and on uvloop."""

import asyncio
import base64
import smtplib
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import listener
import pytest
import uvloop
from certificates import Pki

from relay.smtp.auth import hash_password
from relay.smtp.door import Door
from relay.smtp.tls import server_context

PASSWORD = "correct horse"
USERS = {"billing": hash_password(PASSWORD)}
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}
BILLING = listener.client_rule("billing", users=("billing",), networks=None, unix=False)
MESSAGE = b"From: app@example.com\r\n\r\nhi\r\n"

Scene = Callable[[listener.Listener], Coroutine[Any, Any, Any]]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(params=LOOPS)
def play(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Run a blocking client in a thread against a listener, on each loop."""

    def run(client: Callable[[int], Any], **settings: Any) -> tuple[Any, listener.Listener]:
        async def scene() -> tuple[Any, listener.Listener]:
            async with listener.running(**settings) as relay:
                return await asyncio.to_thread(client, relay.port), relay

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(scene())

    return run


def plain(user: str, password: str) -> str:
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def test_starttls_then_login_then_mail(play: Callable[..., Any], pki: Pki) -> None:
    """AUTH is offered after STARTTLS only, and what follows is the user's."""

    def client(port: int) -> tuple[bool, bool]:
        with smtplib.SMTP("localhost", port, timeout=10) as smtp:
            smtp.ehlo()
            before = smtp.has_extn("auth")
            smtp.starttls(context=pki.client())
            smtp.ehlo()
            assert not smtp.has_extn("starttls")
            after = smtp.has_extn("auth")
            smtp.login("billing", PASSWORD)
            smtp.sendmail("app@example.com", ["a@example.org"], MESSAGE)
            return before, after

    door = Door("starttls", pki.server(), auth_without_tls="never")
    offered, relay = play(client, door=door, users=USERS, clients=[BILLING])
    assert offered == (False, True)
    line = relay.events("message")[0]
    assert (line["client"], line["user"], line["outcome"]) == ("billing", "billing", "delivered")


def test_implicit_tls_offers_auth_and_no_starttls(play: Callable[..., Any], pki: Pki) -> None:
    def client(port: int) -> tuple[bool, bool]:
        with smtplib.SMTP_SSL("localhost", port, timeout=10, context=pki.client()) as smtp:
            smtp.ehlo()
            offers = smtp.has_extn("auth"), smtp.has_extn("starttls")
            smtp.login("billing", PASSWORD)
            smtp.sendmail("app@example.com", ["a@example.org"], MESSAGE)
            assert smtp.docmd("STARTTLS")[0] == 503
            return offers

    door = Door("implicit", pki.server(), auth_without_tls="never")
    offers, relay = play(client, door=door, users=USERS, clients=[BILLING])
    assert offers == (True, False)
    assert relay.events("message")[0]["outcome"] == "delivered"


@pytest.mark.parametrize("mechanism", ["PLAIN", "plain", "LOGIN", "login"])
@pytest.mark.parametrize("initial", [True, False])
def test_both_mechanisms_in_any_case_with_and_without_initial_response(
    play: Callable[..., Any], mechanism: str, *, initial: bool
) -> None:
    user, password = (base64.b64encode(word.encode()).decode() for word in ("billing", PASSWORD))
    answers = [plain("billing", PASSWORD)] if mechanism.upper() == "PLAIN" else [user, password]

    def client(port: int) -> tuple[int, bytes]:
        with smtplib.SMTP("localhost", port, timeout=10) as smtp:
            smtp.ehlo()
            lines = [f"AUTH {mechanism}", *answers] if not initial else [f"AUTH {mechanism} {answers[0]}", *answers[1:]]
            for line in lines[:-1]:
                assert smtp.docmd(line)[0] == 334
            return smtp.docmd(lines[-1])

    (code, text), _ = play(client, users=USERS)
    assert (code, text) == (235, b"2.7.0 Authentication successful")


def test_a_wrong_password_is_535_and_the_third_ends_the_session(play: Callable[..., Any]) -> None:
    def client(port: int) -> list[int]:
        with socket.create_connection(("localhost", port), timeout=10) as wire, wire.makefile("rb") as lines:
            wire.sendall(b"EHLO c\r\n" + f"AUTH PLAIN {plain('billing', 'guess-me')}\r\n".encode() * 4)
            return [int(line[:3]) for line in lines if line[3:4] != b"-"]

    codes, relay = play(client, users=USERS)
    assert codes == [220, 250, 535, 535, 535, 421]
    assert len(relay.events("login_failed")) == 3
    assert "guess-me" not in relay.output.getvalue()


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        (["AUTH"], [501]),
        (["AUTH CRAM-MD5"], [504]),
        (["AUTH PLAIN", "*"], [334, 501]),
        (["AUTH PLAIN", "not base64!"], [334, 501]),
        (["AUTH PLAIN ="], [501]),
        (["AUTH PLAIN " + base64.b64encode(b"other\0billing\0x").decode()], [501]),
        (["AUTH LOGIN", "=", "="], [334, 501, 500]),
        (["MAIL FROM:<app@example.com>", f"AUTH PLAIN {plain('billing', PASSWORD)}"], [250, 503]),
        ([f"AUTH PLAIN {plain('billing', PASSWORD)}"] * 2, [235, 503]),
    ],
    ids=str,
)
def test_what_is_no_login_is_refused_and_the_session_goes_on(
    play: Callable[..., Any], lines: list[str], codes: list[int]
) -> None:
    def client(port: int) -> list[int]:
        with smtplib.SMTP("localhost", port, timeout=10) as smtp:
            smtp.ehlo()
            said = [smtp.docmd(line)[0] for line in lines]
            assert smtp.noop()[0] == 250
            return said

    said, _ = play(client, users=USERS)
    assert said == codes


def test_no_password_in_clear_where_that_is_not_wanted(play: Callable[..., Any], pki: Pki) -> None:
    def client(port: int) -> tuple[int, bytes]:
        with smtplib.SMTP("localhost", port, timeout=10) as smtp:
            smtp.ehlo()
            return smtp.docmd(f"AUTH PLAIN {plain('billing', PASSWORD)}")

    (code, text), relay = play(client, users=USERS, door=Door("starttls", pki.server(), auth_without_tls="never"))
    assert (code, text[:6]) == (538, b"5.7.11")
    assert plain("billing", PASSWORD) not in relay.output.getvalue()


def test_nobody_s_client_hears_that_logging_in_could_help(play: Callable[..., Any], pki: Pki) -> None:
    def client(port: int) -> list[tuple[int, bytes]]:
        with smtplib.SMTP("localhost", port, timeout=10) as smtp:
            smtp.ehlo()
            first = smtp.docmd("MAIL FROM:<app@example.com>")
            smtp.starttls(context=pki.client())
            smtp.ehlo()
            return [first, smtp.docmd("MAIL FROM:<app@example.com>")]

    door = Door("starttls", pki.server(), auth_without_tls="never")
    (clear, encrypted), _ = play(client, users=USERS, clients=[BILLING], door=door)
    assert clear == (530, b"5.7.0 Send STARTTLS first, then log in")
    assert encrypted == (530, b"5.7.0 Authentication required")


def test_require_tls_lets_nothing_through_in_clear(play: Callable[..., Any], pki: Pki) -> None:
    def client(port: int) -> list[int]:
        with smtplib.SMTP("localhost", port, timeout=10) as smtp:
            smtp.ehlo()
            clear = [smtp.docmd(line)[0] for line in ("MAIL FROM:<app@example.com>", "RCPT TO:<a@b.c>", "DATA", "NOOP")]
            smtp.starttls(context=pki.client())
            smtp.ehlo()
            return [*clear, smtp.docmd("MAIL FROM:<app@example.com>")[0]]

    said, _ = play(client, door=Door("starttls", pki.server(), require_tls=True))
    assert said == [530, 530, 530, 250, 250]


@pytest.mark.parametrize("in_clear", ["always", "loopback", "never"])
def test_where_tls_is_required_auth_is_offered_after_it_only(
    play: Callable[..., Any], pki: Pki, in_clear: Literal["always", "loopback", "never"]
) -> None:
    """Whoever is offered AUTH sends the password with it, and hears too late that TLS was wanted."""

    def client(port: int) -> tuple[bool, bool]:
        with smtplib.SMTP("localhost", port, timeout=10) as smtp:
            smtp.ehlo()
            before = smtp.has_extn("auth")
            smtp.starttls(context=pki.client())
            smtp.login("billing", PASSWORD)
            return before, smtp.has_extn("auth")

    door = Door("starttls", pki.server(), require_tls=True, auth_without_tls=in_clear)
    offered, _ = play(client, users=USERS, door=door)
    assert offered == (False, True)


@pytest.mark.parametrize("initial", [True, False])
def test_a_long_response_is_taken_up_to_12288_octets(play: Callable[..., Any], *, initial: bool) -> None:
    """RFC 4954 section 4; the line of the command is as long as one of the exchange."""
    long = "p" * 4096
    begin = "AUTH PLAIN "
    room = 12_288 - 2 - (len(begin) if initial else 0)

    def client(port: int) -> list[int]:
        with smtplib.SMTP("localhost", port, timeout=10) as smtp:
            smtp.ehlo()
            codes = []
            for response in ("A" * (room + 1), "A" * room, plain("billing", long)):
                if not initial:
                    assert smtp.docmd(begin)[0] == 334
                codes.append(smtp.docmd(begin + response if initial else response)[0])
            return codes

    said, _ = play(client, users={"billing": hash_password(long)})
    assert said == [500, 501, 235]  # too long, no login, a login


def test_a_good_login_from_a_wrong_place_hears_that_the_login_is_good(play: Callable[..., Any]) -> None:
    """Else its developer looks for the fault in the password."""

    def client(port: int) -> tuple[int, bytes]:
        with smtplib.SMTP("localhost", port, timeout=10) as smtp:
            smtp.login("billing", PASSWORD)
            return smtp.docmd("MAIL FROM:<app@example.com>")

    elsewhere = listener.client_rule("billing", "192.0.2.0/24", users=("billing",), unix=False)
    elsewhere = replace(elsewhere, networks=elsewhere.networks[:1] if elsewhere.networks else None)
    said, relay = play(client, users=USERS, clients=[elsewhere, listener.client_rule()])
    assert said == (550, b"5.7.1 The login is right, but this user may not send from this address")
    assert relay.events("command_refused")[0]["peer"] in ("127.0.0.1", "::1")


def test_what_was_injected_before_tls_is_gone(play: Callable[..., Any], pki: Pki) -> None:
    """RFC 3207: commands sent in clear behind STARTTLS are not executed after it, and the session begins anew."""

    def client(port: int) -> list[bytes]:
        context = pki.client()
        with socket.create_connection(("localhost", port), timeout=10) as wire:
            wire.sendall(b"EHLO c\r\nMAIL FROM:<app@example.com>\r\nSTARTTLS\r\nRCPT TO:<evil@example.org>\r\nNOOP\r\n")
            heard = b""
            while b"220 2.0.0" not in heard:
                heard += wire.recv(4096)
            with context.wrap_socket(wire, server_hostname="localhost") as secure:
                secure.sendall(b"RCPT TO:<a@example.org>\r\nQUIT\r\n")
                after = b""
                while chunk := secure.recv(4096):
                    after += chunk
        return after.splitlines()

    said, _ = play(client, door=Door("starttls", pki.server()))
    assert [line[:3] for line in said] == [b"503", b"221"]


def test_a_failed_handshake_ends_the_connection_and_nothing_else(play: Callable[..., Any], pki: Pki) -> None:
    def client(port: int) -> int:
        with socket.create_connection(("localhost", port), timeout=10) as wire:
            wire.sendall(b"EHLO c\r\nSTARTTLS\r\n")
            heard = b""
            while b"220 2.0.0" not in heard:
                heard += wire.recv(4096)
            wire.sendall(b"this is no TLS\r\n" * 10)
            while wire.recv(4096):
                pass
        with smtplib.SMTP("localhost", port, timeout=10) as smtp:
            smtp.starttls(context=pki.client())
            return smtp.noop()[0]

    code, relay = play(client, door=Door("starttls", pki.server()))
    assert code == 250
    assert relay.events("connection_broken")
    assert relay.server.connections == 0


@pytest.mark.parametrize("kind", ["starttls", "implicit"])
def test_big_mail_over_tls(play: Callable[..., Any], pki: Pki, kind: Any) -> None:
    content = b"From: app@example.com\r\n\r\n" + (b"." + b"x" * 77 + b"\r\n") * 30_000

    def client(port: int) -> None:
        starttls = kind == "starttls"
        with (
            smtplib.SMTP("localhost", port, timeout=30)
            if starttls
            else smtplib.SMTP_SSL("localhost", port, timeout=30, context=pki.client())
        ) as smtp:
            if starttls:
                smtp.starttls(context=pki.client())
            smtp.sendmail("app@example.com", ["a@example.org"], content)

    _, relay = play(client, door=Door(kind, pki.server()), message_bytes=10_000_000)
    assert relay.ses.message().endswith(content.partition(b"\r\n\r\n")[2])


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1 is deprecated:DeprecationWarning")
def test_the_modern_profile_refuses_old_tls_and_the_legacy_one_takes_it(play: Callable[..., Any], pki: Pki) -> None:
    def client(port: int) -> str | None:
        context = pki.client()
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        try:
            with smtplib.SMTP("localhost", port, timeout=10) as smtp:
                smtp.starttls(context=context)
                assert smtp.sock is not None
                version: str | None = smtp.sock.version()  # type: ignore[attr-defined] # it is an SSLSocket by now
                return version
        except (ssl.SSLError, smtplib.SMTPServerDisconnected, ConnectionError):
            return None

    modern, _ = play(client, door=Door("starttls", pki.server()))
    legacy, _ = play(client, door=Door("starttls", pki.server("legacy")))
    assert (modern, legacy) == (None, "TLSv1")


def test_a_certificate_that_is_no_pair_is_refused(tmp_path: Path, pki: Pki) -> None:
    other = Pki(tmp_path)
    with pytest.raises(ssl.SSLError):
        server_context(pki.certificate, other.private_key, "modern")
