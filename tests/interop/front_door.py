"""A relay with a listener of each kind, for clients that log in, and the certificate that they have to trust."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from relay_process import Bench, RunningRelay

from relay.smtp.auth import hash_password

USER, PASSWORD, WRONG = "billing", "correct horse/+=50%", "guess-me/+=50%"
KINDS = ("none", "starttls", "implicit")
BY_LOGIN = {"name": "billing", "users": [USER]}


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """A running relay, the ports of its listeners, and the file of who vouches for them."""

    relay: RunningRelay
    ports: dict[str, int]
    authority: Path


def certificate(folder: Path) -> dict[str, str]:
    """The files of a certificate for localhost, of an authority of our own, in `authority.pem`."""
    folder.mkdir(exist_ok=True)
    authority = trustme.CA()
    now = datetime.now(UTC)
    leaf = authority.issue_cert("localhost", "127.0.0.1", not_before=now, not_after=now + timedelta(days=90))
    authority.cert_pem.write_to_path(folder / "authority.pem")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    (folder / "key.pem").write_bytes(leaf.private_key_pem.bytes())
    (folder / "key.pem").chmod(0o600)
    return {"certificate": str(folder / "cert.pem"), "private_key": str(folder / "key.pem")}


def swaks_data(folder: Path, content: bytes) -> str:
    """What makes swaks send this message, of CRLF lines, as it is."""
    path = folder / "swaks.txt"
    path.write_bytes(content.replace(b"\r\n", b"\n") + b".\n")  # it makes an end of its own where it finds none
    return f"@{path}"


async def front_door(bench: Bench, folder: Path, *, door: dict[str, Any] | None = None, **changes: Any) -> FrontDoor:
    """A listener in clear, one that requires STARTTLS, one with implicit TLS, each with the keys of `door` as well."""
    files = certificate(folder / "pki")
    listeners: list[dict[str, Any]] = [
        {"bind": "127.0.0.1:0"},
        {"bind": "127.0.0.1:0", "tls": "starttls", "require_tls": True, "auth_without_tls": "never", **files},
        {"bind": "127.0.0.1:0", "tls": "implicit", "auth_without_tls": "never", **files},
    ]
    settings = {"users": {USER: hash_password(PASSWORD)}, "clients": [BY_LOGIN]} | changes
    relay = await bench.start(listeners=[listener | (door or {}) for listener in listeners], **settings)
    addresses = [event["address"] for event in relay.log if event["event"] == "listening"]
    ports = [int(address.rpartition(":")[2]) for address in addresses[: len(KINDS)]]
    return FrontDoor(relay, dict(zip(KINDS, ports, strict=True)), folder / "pki" / "authority.pem")
