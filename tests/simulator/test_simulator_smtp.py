"""The SMTP side, with smtplib as the client where it can, by hand where it would not: on both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from ses_clients import EAST, WEST, arn, by_smtp, mail, send_smtp, tls, transaction

from relay.simulator import DELEGATE, AccessKey, Arns, Fault, Simulator, SmtpLogin

RAW = mail(body=".dot\r\n..\r\ncaf\xe9\r\n").decode().encode("latin-1")
NOBODYS = arn(name="example.org")
DENIED = f"User `{DELEGATE.principal}' is not authorized to perform `ses:SendRawEmail' on resource `{NOBODYS}'"


@asynccontextmanager
async def by_hand(ses: Simulator) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A plain connection, past the greeting."""
    reader, writer = await asyncio.open_connection(*ses.smtp_address())
    try:
        assert (await reader.readline()).startswith(b"220 ")
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_message_arrives_as_it_was_sent(ses: Simulator) -> None:
    """Bytes without the stuffed dots, envelope, region of the login, and the id in the answer."""
    code, text = await send_smtp(ses, RAW, "a@example.com", "b@example.net", "c@example.net")

    (message,) = ses.received
    assert (code, text) == (250, f"Ok {message.message_id}")
    assert message.raw == RAW
    assert (message.interface, message.region, message.access_key_id) == ("smtp", EAST, DELEGATE.access_key_id)
    assert (message.sender, message.recipients) == ("a@example.com", ("b@example.net", "c@example.net"))
    assert message.arns == Arns(arn(), arn(), arn())


async def test_implicit_tls_serves_the_same(ses: Simulator) -> None:
    """A port of its own, and no STARTTLS there."""

    def run() -> tuple[bool, tuple[int, str]]:
        with smtplib.SMTP_SSL(*ses.smtps_address(EAST), context=tls(ses), timeout=20) as session:
            session.login(*ses.smtp_login(EAST))
            return session.has_extn("starttls"), transaction(RAW)(session)

    offered, (code, _) = await asyncio.to_thread(run)

    assert not offered
    assert code == 250
    assert ses.received[0].raw == RAW


async def test_the_login_tells_the_region(ses: Simulator) -> None:
    """One port serves all regions, because a password is derived for one."""
    code, _ = await send_smtp(ses, mail(identity=arn(WEST)), region=WEST)

    assert code == 250
    assert ses.received[0].region == WEST


async def test_one_connection_takes_many_messages(ses: Simulator) -> None:
    """Also after a refusal, and after an empty message."""

    def talk(session: smtplib.SMTP) -> list[int]:
        return [transaction(raw)(session)[0] for raw in (RAW, b"", b"Subject: no From\r\n\r\n", RAW)]

    assert await by_smtp(ses, talk) == [250, 554, 554, 250]
    assert len(ses.received) == 2


async def test_what_is_offered_before_and_after_tls(ses: Simulator) -> None:
    """8BITMIME, SIZE, and STARTTLS or AUTH: SES offers nothing else."""
    limit = str(40 * 1024 * 1024)

    def run() -> tuple[dict[str, str], dict[str, str]]:
        with smtplib.SMTP(*ses.smtp_address(), timeout=20) as session:
            session.ehlo()
            before = dict(session.esmtp_features)
            session.starttls(context=tls(ses))
            session.ehlo()
            return before, dict(session.esmtp_features)

    before, after = await asyncio.to_thread(run)

    assert before == {"8bitmime": "", "size": limit, "starttls": "", "ok": ""}
    assert after == {"8bitmime": "", "size": limit, "auth": " PLAIN LOGIN", "ok": ""}


@pytest.mark.parametrize("mechanism", ["AUTH PLAIN", "AUTH LOGIN"])
async def test_both_login_mechanisms(ses: Simulator, mechanism: str) -> None:
    """Without an initial response; smtplib's own login sends one."""

    def talk(session: smtplib.SMTP) -> list[int]:
        session.ehlo()
        session.user, session.password = ses.smtp_login(EAST)
        authenticate = session.auth_plain if mechanism == "AUTH PLAIN" else session.auth_login
        code = session.auth(mechanism.split()[1], authenticate, initial_response_ok=False)[0]
        return [code, transaction(RAW)(session)[0]]

    assert await by_smtp(ses, talk, region=None) == [235, 250]


@pytest.mark.parametrize(
    ("username", "password"),
    [(DELEGATE.access_key_id, "wrong"), ("AKIAUNKNOWN", "wrong"), (DELEGATE.access_key_id, DELEGATE.secret_access_key)],
)
async def test_wrong_logins_are_refused(ses: Simulator, username: str, password: str) -> None:
    """The secret key itself is no SMTP password."""

    def talk(session: smtplib.SMTP) -> tuple[int, bytes]:
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            session.login(username, password)
        return caught.value.smtp_code, session.mail("a@example.com")[1]

    assert await by_smtp(ses, talk, region=None) == (535, b"Authentication required")


async def test_a_password_of_another_region_does_not_reach_this_one(ses: Simulator) -> None:
    """The identity is not verified in the region that the login names."""
    code, text = await send_smtp(ses, mail(identity=arn(EAST)), region=WEST)

    assert code == 554
    assert text.startswith("Message rejected: Email address is not verified.")
    assert "in region EU-WEST-1: a@example.com" in text


async def test_temporary_keys_cannot_log_in() -> None:
    """Their secret derives a password as any other, but SES knows no such login."""
    key = AccessKey("ASIAEXAMPLE", "secret", DELEGATE.account, DELEGATE.principal, session_token="token")
    async with Simulator(keys=[key]) as ses:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            await send_smtp(ses, RAW)


async def test_ready_made_logins_work() -> None:
    """A user name and password whose secret key is not known."""
    login = SmtpLogin("user", "password", WEST, DELEGATE.account, DELEGATE.principal)
    async with Simulator(logins=[login]) as ses:

        def talk(session: smtplib.SMTP) -> tuple[int, str]:
            session.login("user", "password")
            return transaction(mail(identity=arn(WEST)))(session)

        code, _ = await by_smtp(ses, talk, region=None)

        assert code == 250
        assert (ses.received[0].region, ses.received[0].access_key_id) == (WEST, "user")


async def test_nothing_without_tls(ses: Simulator) -> None:
    """AUTH and MAIL ask for STARTTLS first."""
    async with by_hand(ses) as (reader, writer):
        for command in (b"MAIL FROM:<a@example.com>", b"AUTH PLAIN AAAA"):
            writer.write(command + b"\r\n")
            assert await reader.readline() == b"530 Must issue a STARTTLS command first\r\n"


async def test_plain_logins_where_asked_for() -> None:
    """For benchmarks the simulator may do without TLS, which SES never does."""
    async with Simulator(tls_required=False) as ses:

        def run() -> tuple[int, str]:
            with smtplib.SMTP(*ses.smtp_address(), timeout=20) as session:
                session.login(*ses.smtp_login(EAST))
                return transaction(RAW)(session)

        assert (await asyncio.to_thread(run))[0] == 250


async def test_what_comes_before_tls_is_not_read_after_it(ses: Simulator) -> None:
    """RFC 3207 section 6: a command injected behind STARTTLS is never answered."""
    async with by_hand(ses) as (reader, writer):
        writer.write(b"STARTTLS\r\nNOOP\r\n")
        assert await reader.readline() == b"220 Ready to start TLS\r\n"
        await writer.start_tls(tls(ses), server_hostname="127.0.0.1")
        writer.write(b"EHLO client\r\n")

        assert await reader.readline() == b"250-email-smtp.amazonaws.com\r\n"


async def test_a_failed_handshake_ends_the_session(ses: Simulator) -> None:
    """A client that does not know the authority goes away, and the simulator still closes."""

    def run() -> None:
        with smtplib.SMTP(*ses.smtp_address(), timeout=20) as session:
            session.starttls(context=ssl.create_default_context())

    with pytest.raises((ssl.SSLError, smtplib.SMTPServerDisconnected)):
        await asyncio.to_thread(run)


@pytest.mark.parametrize("sender", ["", "nobody", "root@host", "a@", "@example.com", "a b@example.com"])
async def test_unusable_senders_are_refused_at_once(ses: Simulator, sender: str) -> None:
    """The null sender among them."""

    def talk(session: smtplib.SMTP) -> tuple[int, bytes]:
        return session.docmd(f"MAIL FROM:<{sender}>")

    assert await by_smtp(ses, talk) == (501, b"Invalid MAIL FROM address provided")


async def test_bad_recipients_are_refused_at_once(ses: Simulator) -> None:
    """And the others may still be named."""

    def talk(session: smtplib.SMTP) -> list[tuple[int, bytes]]:
        session.mail("a@example.com")
        return [session.docmd(f"RCPT TO:<{to}>") for to in ("nobody", "b@example.net")]

    assert await by_smtp(ses, talk) == [(553, b"<nobody> Invalid email address"), (250, b"Ok")]


async def test_the_51st_recipient_refuses_the_message_after_the_dot(ses: Simulator) -> None:
    """RCPT is answered 250 all along."""
    people = [f"p{number}@example.net" for number in range(51)]

    refused = await send_smtp(ses, RAW, "a@example.com", *people)
    code, _ = await send_smtp(ses, RAW, "a@example.com", *people[:50])

    assert refused == (554, "Transaction failed: Recipient count exceeds 50.")
    assert code == 250


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (mail(identity=NOBODYS), f"Access denied: {DENIED}"),
        (mail(identity="rubbish"), "Transaction failed: Invalid ARN <rubbish>."),
        (mail("Subject: twice"), "Transaction failed: Duplicate header 'Subject'."),
        (b"To: b@example.net\r\n\r\n", "Transaction failed: Missing required header 'From'."),
    ],
)  # fmt: skip
async def test_refusals_after_the_dot(ses: Simulator, raw: bytes, text: str) -> None:
    """In the words of the API, behind SMTP's own."""
    assert await send_smtp(ses, raw) == (554, text)
    assert ses.received == ()


async def test_too_large_by_size_and_by_content(ses: Simulator) -> None:
    """552 at MAIL when announced, after the dot when not; the connection stays good."""
    limit = 40 * 1024 * 1024
    large = RAW + b"x" * (limit - len(RAW) + 1) + b"\r\n"

    def talk(session: smtplib.SMTP) -> list[tuple[int, bytes]]:
        announced = session.mail("a@example.com", [f"SIZE={limit + 1}"])
        session.mail("a@example.com")
        session.rcpt("b@example.net")
        session.docmd("DATA")
        session.send(large + b".\r\n")
        return [announced, session.getreply(), session.noop()]

    too_long = (552, b"Message is too long.")
    assert await by_smtp(ses, talk) == [too_long, too_long, (250, b"Ok")]
    assert ses.received == ()


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("RCPT TO:<b@example.net>", 503),
        ("DATA", 503),
        ("AUTH PLAIN AAAA", 503),
        ("STARTTLS", 503),
        ("MAIL FROM:<a@example.com> SMTPUTF8", 555),
        ("MAIL FROM:<a@example.com> RET=HDRS", 555),
        ("MAIL FROM:<a@example.com> BODY=8BITMIME AUTH=<>", 250),
        ("BDAT 5 LAST", 500),
        ("EHLO", 501),
    ],
)
async def test_commands_out_of_place(ses: Simulator, command: str, code: int) -> None:
    """What SES does not offer or expect is refused, whoever asks."""
    assert await by_smtp(ses, lambda session: session.docmd(command)[0]) == code


async def test_an_idle_client_is_told_and_dropped() -> None:
    """In SES's words, the only ones with an enhanced code."""
    async with Simulator(idle_s=0.05, tls_required=False) as ses, by_hand(ses) as (reader, _):
        assert await reader.read() == b"451 4.4.2 Timeout waiting for data from client.\r\n"


async def test_a_client_that_leaves_in_the_middle_of_a_message(ses: Simulator) -> None:
    """Nothing is kept of it, and the next client is served."""

    def talk(session: smtplib.SMTP) -> None:
        session.mail("a@example.com")
        session.rcpt("b@example.net")
        session.docmd("DATA")
        session.send(RAW)
        session.close()

    await by_smtp(ses, talk)
    code, _ = await send_smtp(ses, RAW)

    assert code == 250
    assert ses.total == 1


async def test_closing_the_simulator_ends_open_sessions() -> None:
    """Clients see the connection close, even one whose message is held by a fault."""
    async with Simulator() as ses:
        ses.faults.add(Fault(action="delay"))
        sending = asyncio.create_task(send_smtp(ses, RAW))
        reader, writer = await asyncio.open_connection(*ses.smtp_address())
        await ses.faults.wait_held()

    assert (await reader.read()).startswith(b"220 ")
    writer.close()
    await writer.wait_closed()
    with pytest.raises((smtplib.SMTPServerDisconnected, OSError)):
        await sending


async def test_closing_after_a_client_was_killed_in_the_tls_handshake() -> None:
    """The simulator ends, though such a connection is never reported as lost."""
    async with asyncio.timeout(20):
        async with Simulator() as ses:
            client = socket.create_connection(ses.smtp_address())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets
            reader, writer = await asyncio.open_connection(sock=client)
            writer.write(b"EHLO client\r\nSTARTTLS\r\n")
            await reader.readuntil(b"220 Ready to start TLS\r\n")
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            assert (await send_smtp(ses, RAW))[0] == 250
