"""Exim with the relay as its smarthost: TLS of either kind, verified, and a login; what it queues is delivered.

A private Exim: its own configuration, spool and log, no daemon, and no user of the machine's.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from foreign_tools import Ran, find, run
from front_door import KINDS, PASSWORD, USER, WRONG, FrontDoor, front_door
from mails import BY_API, RECIPIENTS, below_the_block, mails
from relay_process import Bench

pytestmark = pytest.mark.interop

CONFIG = """\
exim_path = {exim}
spool_directory = {folder}/spool
log_file_path = {folder}/%slog
keep_environment = PATH : NSS_WRAPPER_PASSWD : NSS_WRAPPER_GROUP : UID_WRAPPER : UID_WRAPPER_ROOT
primary_hostname = client.example
disable_ipv6 = true
untrusted_set_sender = *
local_from_check = false
log_selector = +smtp_confirmation
begin routers
smarthost:
  driver = manualroute
  route_list = * localhost byname
  self = send
  transport = smarthost
begin transports
smarthost:
  driver = smtp
  port = {port}
  message_linelength_limit = 100000
  hosts_require_auth = *
  {tls}
begin retry
* * F,1d,1h
begin authenticators
plain:
  driver = plaintext
  public_name = {mechanism}
  client_send = {answers}
"""
ANSWERS = {"PLAIN": "^{user}^{password}", "LOGIN": ": {user} : {password}"}
VERIFIED = """hosts_require_tls = *
  tls_verify_certificates = {authority}
  tls_verify_hosts = *
  tls_verify_cert_hostnames = *"""
TLS = {"none": "hosts_avoid_tls = *", "starttls": VERIFIED, "implicit": f"protocol = smtps\n  {VERIFIED}"}
ADDED = re.compile(rb"Received: from [^\r]+\r\n(?:\t[^\r]*\r\n)+")


@dataclass(frozen=True, slots=True)
class Exim:
    """A private Exim, for one door."""

    folder: Path

    async def send(self, content: bytes) -> Ran:
        """Submit a message, which is delivered at once or stays in the queue."""
        arguments = ("-odf", "-oi", "-f", BY_API.sender, "--", *RECIPIENTS)
        return await run("exim4", "-C", self.folder / "exim.conf", *arguments, stdin=content.replace(b"\r\n", b"\n"))

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "mainlog").read_text("utf-8")

    @property
    def queued(self) -> int:
        """Messages that it still has."""
        return len(list((self.folder / "spool" / "input").glob("*-H")))


@pytest.fixture
def _private_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exim insists on a user of its own that is not root, and on becoming it where it is started by root."""
    is_root = os.geteuid() == 0
    user, group = (65534, 65534) if is_root else (os.geteuid(), os.getegid())
    (tmp_path / "passwd").write_text(f"root:x:0:0::/:/bin/sh\nDebian-exim:x:{user}:{group}::/:/bin/sh\n", "utf-8")
    (tmp_path / "group").write_text(f"root:x:0:\nmail:x:8:\nDebian-exim:x:{group}:\n", "utf-8")
    monkeypatch.setenv("NSS_WRAPPER_PASSWD", str(tmp_path / "passwd"))
    monkeypatch.setenv("NSS_WRAPPER_GROUP", str(tmp_path / "group"))
    if is_root:  # who only seems to become somebody else can still read its own folders
        monkeypatch.setenv("UID_WRAPPER", "1")
        monkeypatch.setenv("UID_WRAPPER_ROOT", "1")


def exim(door: FrontDoor, folder: Path, kind: str, mechanism: str, password: str = PASSWORD) -> Exim:
    """Exim configured for one door of the relay."""
    answers = ANSWERS[mechanism].format(user=USER, password=password)
    made = Exim(folder / f"{kind}-{mechanism}")
    made.folder.mkdir()
    config = CONFIG.format(
        exim=find("exim4"), folder=made.folder, port=door.ports[kind], tls=TLS[kind].format(authority=door.authority),
        mechanism=mechanism, answers=answers,
    )  # fmt: skip
    (made.folder / "exim.conf").write_text(config, "utf-8")
    return made


@pytest.mark.usefixtures("_private_user")
@pytest.mark.parametrize("mechanism", ANSWERS)
@pytest.mark.parametrize("kind", KINDS)
async def test_exim_delivers_through_the_relay(bench: Bench, tmp_path: Path, kind: str, mechanism: str) -> None:
    """Plain, eight-bit and large mail, lines of 5,000 bytes, any number of dots: below its own Received, as given."""
    door = await front_door(bench, tmp_path)
    client = exim(door, tmp_path, kind, mechanism)
    given = mails(BY_API.sender)
    for content in given.values():
        ran = await client.send(content)
        assert ran.status == 0, ran

    assert client.queued == 0, client.log
    arrived = [below_the_block(got.raw, BY_API) for got in bench.ses.received]
    assert [ADDED.sub(b"", content, count=1) for content in arrived] == list(given.values())
    assert {got.recipients for got in bench.ses.received} == {RECIPIENTS}
    assert client.log.count('C="250 2.0.0 Ok ') == len(given) * len(RECIPIENTS)
    await door.relay.event("message", len(given))
    lines = [event for event in door.relay.log if event["event"] == "message"]
    assert [line["user"] for line in lines] == [USER] * len(given)
    assert not [line for line in lines if "client_gone" in line]  # in clear Exim half-closes, and waits


@pytest.mark.usefixtures("_private_user")
@pytest.mark.parametrize("kind", KINDS)
async def test_with_a_wrong_password_exim_keeps_its_mail(bench: Bench, tmp_path: Path, kind: str) -> None:
    """It sees a trouble that may pass, and the mail waits in its queue until somebody mends the password."""
    door = await front_door(bench, tmp_path)
    content = mails(BY_API.sender)["plain"]
    client = exim(door, tmp_path, kind, "PLAIN", WRONG)
    await client.send(content)

    assert (client.queued, bench.ses.total) == (1, 0)
    assert "535 5.7.8" in client.log
    right = exim(door, tmp_path, kind, "LOGIN")
    shutil.copytree(client.folder / "spool" / "input", right.folder / "spool" / "input")
    ran = await run("exim4", "-C", right.folder / "exim.conf", "-qff")
    assert ran.status == 0, ran
    assert (right.queued, bench.ses.total) == (0, 1)
