"""A reload that fails anywhere has changed nothing at all, and one that succeeds has changed everything."""

import asyncio
import signal
import smtplib
import ssl
from pathlib import Path
from typing import Any

import yaml
from certificates import Pki
from relay_process import Bench

from relay.smtp.auth import hash_password


def talk(port: int, context: ssl.SSLContext, password: str) -> dict[str, Any]:
    """What a client finds: its greeting's SIZE, the certificate, whether it may log in and as whom it may send."""
    with smtplib.SMTP("localhost", port, timeout=30) as client:
        client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        serial = (client.sock.getpeercert() or {})["serialNumber"]
        client.ehlo()
        size = client.esmtp_features["size"]
        try:
            logged_in = client.login("billing", password)[0] == 235
        except smtplib.SMTPAuthenticationError:
            logged_in = False
        senders = []
        for sender in ("app@example.com", "app@example.net"):
            client.rset()
            if client.mail(sender)[0] == 250:
                senders.append(sender)
        return {"serial": serial, "size": size, "logged in": logged_in, "senders": senders}


async def test_a_reload_is_all_or_nothing(bench: Bench, tmp_path: Path) -> None:
    """Rules, limits and logins that are good stay out as long as the certificate is not."""
    pki = Pki(tmp_path)
    pki.private_key.chmod(0o600)
    files = {"certificate": str(pki.certificate), "private_key": str(pki.private_key)}
    relay = await bench.start(
        listeners=[{"bind": "127.0.0.1:0", "tls": "starttls", **files}],
        users={"billing": hash_password("before")}, clients=[{"name": "billing", "users": ["billing"]}],
        limits={"message_bytes": 1000},
    )  # fmt: skip

    async def found(password: str) -> dict[str, Any]:
        return await asyncio.to_thread(talk, relay.port, pki.client(), password)

    before = await found("before")
    config = yaml.safe_load(relay.config.read_text("utf-8"))
    config["users"]["billing"] = hash_password("after")
    config["limits"]["message_bytes"] = 2000
    config["identities"] = [rule for rule in config["identities"] if rule["name"] == "example.net"]
    bench.write(config)
    pki.certificate.write_text("broken")
    relay.tell(signal.SIGHUP)
    await relay.event("reload_refused")

    assert before == {**before, "size": "1000", "logged in": True, "senders": ["app@example.com", "app@example.net"]}
    assert await found("before") == before
    assert not (await found("after"))["logged in"]

    pki.issue()
    relay.tell(signal.SIGHUP)
    await relay.event("reloaded")
    after = await found("after")

    assert after == {**after, "size": "2000", "logged in": True, "senders": ["app@example.net"]}
    assert after["serial"] != before["serial"]
    assert not (await found("before"))["logged in"]
