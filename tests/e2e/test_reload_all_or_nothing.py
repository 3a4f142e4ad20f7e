"""A reload that fails anywhere has changed nothing at all, and one that succeeds has changed everything."""

import asyncio
import signal
import smtplib
import ssl
from pathlib import Path
from typing import Any

import yaml
from certificates import Pki
from relay_process import Bench, submit

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
    """Rules, limits and logins that are good stay out as long as the certificate is not.

    That of the listener which is open: the new file has another one, which would be well.
    """
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
    bench.write(config | {"listeners": [{"bind": "127.0.0.1:0"}]})
    pki.certificate.write_text("broken")
    relay.tell(signal.SIGHUP)
    refused = await relay.event("reload_refused")

    assert [problem.split(";")[0] for problem in refused["problems"]] == [f"{pki.certificate}: found no certificate"]
    assert before == {**before, "size": "1000", "logged in": True, "senders": ["app@example.com", "app@example.net"]}
    assert await found("before") == before
    assert not (await found("after"))["logged in"]

    bench.write(config)
    pki.issue()
    relay.tell(signal.SIGHUP)
    await relay.event("reloaded")
    after = await found("after")

    assert after == {**after, "size": "2000", "logged in": True, "senders": ["app@example.net"]}
    assert after["serial"] != before["serial"]
    assert not (await found("before"))["logged in"]


def ask(port: int, recipients: int = 0) -> tuple[str, list[int]]:
    """The SIZE that a client is offered, and the codes for so many recipients."""
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        client.ehlo()
        client.mail("app@example.com")
        return client.esmtp_features["size"], [client.rcpt(f"{n}@customer.example")[0] for n in range(recipients)]


async def test_clients_that_would_open_the_relay_where_it_listens_are_refused(bench: Bench) -> None:
    """The new file's listeners are not yet there, those of the old one still are: all of the reload is refused."""
    near = [{"name": "near", "networks": ["127.0.0.0/8"]}]
    for_all = {"bind": "127.0.0.1:0", "proxy_protocol_from": ["192.0.2.1"]}  # counts as reachable from elsewhere
    relay = await bench.start(listeners=[for_all], clients=near, limits={"message_bytes": 1000})
    config = yaml.safe_load(relay.config.read_text("utf-8"))
    config |= {"listeners": [{"bind": "127.0.0.1:0"}], "clients": [{"name": "anybody"}]}
    config["limits"]["message_bytes"] = 2000
    bench.write(config)
    relay.tell(signal.SIGHUP)
    refused = await relay.event("reload_refused")

    assert len(refused["problems"]) == 1
    assert "clients[0].networks: found nothing: an open relay; allowed networks narrower" in refused["problems"][0]
    assert "127.0.0.1:0, open until a restart, is reachable from elsewhere" in refused["problems"][0]
    assert await asyncio.to_thread(ask, relay.port) == ("1000", [])

    bench.write(config | {"clients": near})
    relay.tell(signal.SIGHUP)
    assert (await relay.event("reload_needs_restart"))["keys"] == ["listeners"]
    await relay.event("reloaded")
    assert await asyncio.to_thread(ask, relay.port) == ("2000", [])


async def test_a_spool_that_is_not_there_before_a_restart_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    """Without one a message is one call to SES, which takes 50 recipients: the 51st is put off, as before."""
    relay = await bench.start()
    config = yaml.safe_load(relay.config.read_text("utf-8"))
    bench.write(config | {"spool": {"path": str(tmp_path / "spool.db")}})
    relay.tell(signal.SIGHUP)
    assert (await relay.event("reload_needs_restart"))["keys"] == ["spool"]
    await relay.event("reloaded")

    assert (await asyncio.to_thread(ask, relay.port, 51))[1] == [250] * 50 + [452]


async def test_a_spool_on_another_path_waits_for_a_restart_and_its_other_keys_do_not(
    bench: Bench, tmp_path: Path
) -> None:
    """The room that the new file asks for is asked for at once, of the old spool's disk."""
    spool = {"path": str(tmp_path / "spool.db"), "min_free_bytes": "1KB"}
    relay = await bench.start(spool=spool)
    before = await submit(relay, "app@example.com", b"From: app@example.com\r\n\r\nhello\r\n")
    bench.write(bench.config(spool={"path": str(tmp_path / "other.db"), "min_free_bytes": "900000GB"}))
    relay.tell(signal.SIGHUP)
    assert (await relay.event("reload_needs_restart"))["keys"] == ["spool.path"]
    await relay.event("reloaded")

    assert before[0] == 250
    assert await submit(relay, "app@example.com", b"") == (
        452, "4.3.1 The relay has no room for more mail, please try again later",
    )  # fmt: skip
    assert not (tmp_path / "other.db").exists()
