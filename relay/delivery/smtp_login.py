"""From a host name to a session that is logged in to an SES SMTP endpoint.

Owns connecting, TLS (on connect, or by STARTTLS of RFC 3207) and AUTH (RFC 4954); see the SES developer guide,
"Connecting to an Amazon SES SMTP endpoint". Guarantees that a password leaves only over TLS 1.2 or later to a
server whose certificate and name were verified, or to this machine itself, and that it is in no error even if
the server repeats it. What a server offers in clear counts for nothing once TLS is there.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from relay.aws.credentials import SmtpLogin
from relay.aws.endpoints import SmtpEndpoint
from relay.delivery.smtp_dialogue import Dialogue, Refused
from relay.delivery.smtp_reply import Offers, UpstreamReply, parse_offers
from relay.delivery.smtp_wire import Broken, dial
from relay.policy.outcomes import Stage, Trouble

FINAL_S: Final = 60.0
GOODBYE_S: Final = 0.5
_MODERN: Final = frozenset({ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3})


@dataclass(frozen=True, slots=True)
class Terms:
    """What all connections have in common: our name, whom to believe, seconds without progress.

    `tls` raises Broken. The answer to a whole message may take `final_s` more than `timeout_s`.
    """

    helo: str
    tls: Callable[[], Awaitable[ssl.SSLContext]]
    timeout_s: float
    final_s: float = FINAL_S


async def log_in(endpoint: SmtpEndpoint, login: SmtpLogin, terms: Terms) -> tuple[Dialogue, Offers]:
    """Open a session, up to and with the login. Raises Refused or Broken, and leaves nothing open then."""
    context = None if endpoint.tls == "none" else _verifying(await terms.tls())
    wire = await dial(endpoint.host, endpoint.port, terms.timeout_s)
    dialogue = Dialogue(wire, terms.timeout_s)
    try:
        offers = await _open(dialogue, endpoint, terms.helo, context)
        await _authenticate(dialogue, offers, login)
    except Broken as broken:
        wire.abort()
        raise dialogue.explain(broken) from broken
    except BaseException:
        wire.abort()
        raise
    return dialogue, offers


async def greet(endpoint: SmtpEndpoint, terms: Terms) -> None:
    """Open a session as far as a login would follow, and take leave. Raises Refused or Broken."""
    context = None if endpoint.tls == "none" else _verifying(await terms.tls())
    wire = await dial(endpoint.host, endpoint.port, terms.timeout_s)
    try:
        await _open(Dialogue(wire, terms.timeout_s), endpoint, terms.helo, context)
    except BaseException:
        wire.abort()
        raise
    await wire.quit(GOODBYE_S)


async def _open(dialogue: Dialogue, endpoint: SmtpEndpoint, helo: str, context: ssl.SSLContext | None) -> Offers:
    """What the server offers once the session is as safe as it will be."""
    if context and endpoint.tls == "implicit":
        await _begin_tls(dialogue, endpoint.host, context)
    await dialogue.hear(Stage.GREETING, 220)
    offers = await _hello(dialogue, helo)
    if context and endpoint.tls == "starttls":
        if not offers.starttls:
            raise Broken(Trouble.TLS, "the server does not offer STARTTLS")
        await dialogue.ask(Stage.STARTTLS, "STARTTLS", 220)
        await _begin_tls(dialogue, endpoint.host, context)
        offers = await _hello(dialogue, helo)
    if not dialogue.wire.encrypted and not ip_address(dialogue.wire.peer).is_loopback:
        raise Broken(Trouble.TLS, "a password does not leave this machine without TLS")
    return offers


async def _hello(dialogue: Dialogue, helo: str) -> Offers:
    return parse_offers(await dialogue.ask(Stage.EHLO, f"EHLO {helo}", 250))


async def _begin_tls(dialogue: Dialogue, host: str, context: ssl.SSLContext) -> None:
    dialogue.stage = Stage.STARTTLS
    await dialogue.wire.start_tls(context, host)


def _verifying(context: ssl.SSLContext) -> ssl.SSLContext:
    # Python checks names only where it verifies certificates, so the one flag stands for both
    if not context.check_hostname or context.minimum_version not in _MODERN:
        raise Broken(Trouble.OUR_FAULT, "the TLS context does not verify the server")
    return context


async def _authenticate(dialogue: Dialogue, offers: Offers, login: SmtpLogin) -> None:
    user, password = _base64(login.username), _base64(login.password)
    both = _base64(f"\0{login.username}\0{login.password}")
    try:
        if "PLAIN" in offers.auth:
            await dialogue.ask(Stage.AUTH, f"AUTH PLAIN {both}", 235)
        elif "LOGIN" in offers.auth:
            await dialogue.ask(Stage.AUTH, "AUTH LOGIN", 334)
            await dialogue.ask(Stage.AUTH, user, 334)
            await dialogue.ask(Stage.AUTH, password, 235)
        else:
            raise Broken(Trouble.NOT_AWS, "the server offers neither AUTH PLAIN nor AUTH LOGIN")
    except Refused as refused:
        raise Refused(Stage.AUTH, _without_echo(refused.reply, both, password, login.password)) from None


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode("ascii")


def _without_echo(reply: UpstreamReply, *secrets: str) -> UpstreamReply:
    """The reply without what it repeats of our login, since replies are logged."""
    text = reply.text
    for secret in filter(None, secrets):
        text = text.replace(secret, "(hidden)")
    return UpstreamReply(reply.code, (text,))
