"""What the simulator keeps, and how it is looked at, in Python and over HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import aiohttp
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from ses_clients import EAST, arn, client, mail, send_smtp, send_v1, tls

from relay.simulator import DELEGATE, Arns, Received, Simulator
from relay.simulator.headers import delivered, read
from relay.simulator.ledger import Ledger


def message(number: int, size: int = 10) -> Received:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    return Received(str(number), when, "v1", EAST, "AKID", "a@example.com", ("b@example.net",), Arns(), b"x" * size)


async def test_messages_over_http(ses: Simulator) -> None:
    """Everything but the bytes as JSON, the bytes one by one."""
    raw = mail("X-SES-CONFIGURATION-SET: events", body="caf\xe9\r\n").decode().encode("latin-1")
    message_id = await send_v1(ses, raw)
    url = f"{ses.api_url}/_sim/messages"
    async with aiohttp.ClientSession() as http:
        async with http.get(url) as response:
            document = await response.json()
        async with http.get(url, params={"raw": message_id}) as response:
            stored = await response.read()
        async with http.get(url, params={"delivered": message_id}) as response:
            seen = await response.read()
        async with http.get(url, params={"raw": "unknown"}) as response:
            missing = response.status

    (kept,) = document["messages"]
    assert document["total"] == 1
    assert kept["message_id"] == message_id
    assert kept["arns"] == {"source": arn(), "from": arn(), "return_path": arn()}
    assert (kept["sender"], kept["recipients"], kept["region"]) == ("a@example.com", ["b@example.net"], EAST)
    assert (kept["interface"], kept["access_key_id"], kept["size"]) == ("v1", DELEGATE.access_key_id, len(raw))
    assert kept["headers"][3] == ["From", "a@example.com"]
    assert stored == raw
    assert seen == raw[raw.index(b"From:") :].replace(b"X-SES-CONFIGURATION-SET: events\r\n", b"")
    assert missing == 404


async def test_decisions_and_calls_over_http(ses: Simulator) -> None:
    """Every check with what was looked at, what came of it, why, and on whose word; and the calls beside messages."""
    await send_v1(ses, mail())
    with pytest.raises(ClientError):
        await send_v1(ses, mail(identity=""))
    api = client(ses, "sts")
    await asyncio.to_thread(api.get_caller_identity)
    api.close()
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{ses.api_url}/_sim/decisions") as response:
            taken, refused = (await response.json())["decisions"]
        async with http.get(f"{ses.api_url}/_sim/calls") as response:
            (call,) = (await response.json())["calls"]

    assert (taken["answer"], taken["verified"], taken["principal"]) == ("accepted", True, DELEGATE.principal)
    assert {check["verdict"] for check in taken["checks"]} == {"passed"}
    assert refused["answer"].startswith("MessageRejected: Email address is not verified.")
    failed = [check for check in refused["checks"] if check["verdict"] == "failed"]
    assert [check["what"] for check in failed] == [
        "envelope sender a@example.com", "bounce address a@example.com", "From a@example.com",
    ]  # fmt: skip
    assert all(check["source"].startswith("SES developer guide") and check["verified"] for check in failed)
    assert (call["name"], call["answer"], call["access_key_id"]) == ("GetCallerIdentity", "ok", DELEGATE.access_key_id)


async def test_messages_are_forgotten_on_request(ses: Simulator) -> None:
    """Counting starts again."""
    await send_v1(ses, mail())
    async with aiohttp.ClientSession() as http, http.delete(f"{ses.api_url}/_sim/messages") as response:
        assert response.status == 204

    assert (ses.received, ses.total) == ((), 0)


async def test_refusals_are_kept_too(ses: Simulator) -> None:
    """Who was refused what, in the words the caller got."""
    raw = mail(identity=arn(name="example.org"))
    with pytest.raises(ClientError):
        await send_v1(ses, raw)
    code, text = await send_smtp(ses, raw)
    async with aiohttp.ClientSession() as http, http.get(f"{ses.api_url}/_sim/refusals") as response:
        refusals = (await response.json())["refusals"]

    assert [one.interface for one in ses.turned_away] == ["v1", "smtp"]
    assert refusals[0]["answer"].startswith("AccessDenied: User `")
    assert refusals[1]["answer"] == f"{code} {text}"
    assert refusals[1]["sender"] == "a@example.com"


async def test_waiting_for_messages(ses: Simulator) -> None:
    """Returns when they have come, even if they came before; gives up after its time."""
    waiting = asyncio.create_task(ses.wait_for(2))
    await send_v1(ses, mail())
    await send_v1(ses, mail())

    assert len(await waiting) == len(await ses.wait_for(2)) == 2
    with pytest.raises(TimeoutError):
        await ses.wait_for(3, timeout_s=0.01)


def test_the_ledger_is_bounded_by_number() -> None:
    """The oldest go, the count stays."""
    ledger = Ledger(keep=3, keep_bytes=1000)
    for number in range(5):
        ledger.add(message(number))

    assert [kept.message_id for kept in ledger.received] == ["2", "3", "4"]
    assert ledger.total == 5


def test_the_ledger_is_bounded_by_bytes() -> None:
    """The newest is kept whatever its size."""
    ledger = Ledger(keep=100, keep_bytes=100)
    for number in range(5):
        ledger.add(message(number, size=40))
    assert [kept.message_id for kept in ledger.received] == ["3", "4"]

    ledger.add(message(9, size=500))
    assert [kept.message_id for kept in ledger.received] == ["9"]


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        (b"X-SES-Source-ARN: a\r\nFrom: b\r\n\r\nbody\r\n", b"From: b\r\n\r\nbody\r\n"),
        (b"From: b\r\nx-ses-tenant : a\r\n folded\r\n\tagain\r\n\r\nbody", b"From: b\r\n\r\nbody"),
        (b"From: b\r\n\r\nX-SES-Source-ARN: body\r\n", b"From: b\r\n\r\nX-SES-Source-ARN: body\r\n"),
        (b"\r\nX-SES-Source-ARN: body\r\n", b"\r\nX-SES-Source-ARN: body\r\n"),
        (b"From: b\nX-SES-A: c\n\nbody", b"From: b\n\nbody"),
        (b"X-Mailer: a\r\nX-SES-A: b", b"X-Mailer: a\r\n"),
        (b"Subject: X-SES-A: b\r\n X-SES-C: d\r\n\r\n", b"Subject: X-SES-A: b\r\n X-SES-C: d\r\n\r\n"),
    ],
)
def test_recipients_see_no_control_fields(raw: bytes, seen: bytes) -> None:
    """Whole fields, in any case, in the header section only."""
    assert delivered(raw, None, None) == seen


def test_folded_fields_are_read_as_one() -> None:
    """RFC 5322 section 2.2.3: the line end goes, the blank stays; 8-bit bytes survive."""
    assert read(b"Subject: a\r\n b\r\nFrom:\xe9\r\n\r\nTo: c\r\n") == (("Subject", "a b"), ("From", "\udce9"))


names = st.sampled_from(["From", "X-SES-A", "Subject"])


@given(fields=st.lists(st.tuples(names, st.text("ab ", max_size=5)), min_size=1), body=st.binary(max_size=50))
def test_reading_agrees_with_writing(fields: list[tuple[str, str]], body: bytes) -> None:
    """What was written comes back, and what is delivered is the rest of it."""

    def write(some: list[tuple[str, str]]) -> bytes:
        return b"".join(f"{name}: {value}\r\n".encode() for name, value in some)

    raw = write(fields) + b"\r\n" + body

    assert read(raw) == tuple((name, value.strip()) for name, value in fields)
    assert delivered(raw, None, None) == write([one for one in fields if one[0] != "X-SES-A"]) + b"\r\n" + body


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_loopback_only(host: str) -> None:
    """The simulator listens nowhere else."""
    with pytest.raises(ValueError, match="loopback only"):
        Simulator(host=host)


async def test_ipv6_loopback() -> None:
    """A loopback address of the other family serves too."""
    async with Simulator(host="::1") as ses:
        assert await send_v1(ses, mail())
        assert (await send_smtp(ses, mail()))[0] == 250
        assert ses.api_url == f"http://[::1]:{ses.http_port}"


async def test_what_to_tell_a_relay(ses: Simulator) -> None:
    """Endpoints, identities, and an environment that believes the certificate."""
    config = ses.relay_config()
    environment = ses.relay_environment()

    assert config["ses"]["api_endpoint"] == ses.api_url
    assert config["ses"]["smtp_endpoint"] == f"127.0.0.1:{ses.smtp_address()[1]}"
    assert config["identities"][0]["source_arn"] == arn()
    assert environment["AWS_ACCESS_KEY_ID"] == DELEGATE.access_key_id
    assert environment["AWS_CA_BUNDLE"] == str(ses.ca_file)
    assert tls(ses).cert_store_stats()["x509_ca"] == 1
