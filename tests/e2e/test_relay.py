"""The whole relay as a process, real SMTP clients on one side and a local SES on the other."""

import asyncio
import json
import signal
import smtplib
import sys
import urllib.error
import urllib.request
from email.message import EmailMessage
from typing import Any

import pytest
from relay_process import Bench, submit

from relay.simulator import Fault

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # of the AWS documentation; the simulator's key
BODY_WORD = "a-word-of-the-body-that-no-log-may-hold"


def message(sender: str, body: bytes = b"Hello.\r\n") -> bytes:
    return f"From: <{sender}>\r\nTo: x@customer.example\r\nSubject: hi\r\n\r\n".encode() + body


def below_the_block(raw: bytes) -> bytes:
    """What follows the headers that the relay prepends."""
    lines = raw.split(b"\r\n")
    ours = (b"X-SES-", b"Received: by ", b"Date: ", b"Message-ID: ")
    while lines[0].startswith(ours):
        del lines[0]
    return b"\r\n".join(lines)


@pytest.mark.parametrize(
    ("sender", "interface", "region"),
    [("app@example.com", "v1", "us-east-1"), ("app@example.net", "smtp", "eu-west-1")],
)
async def test_mail_arrives_as_its_identity_in_its_region(
    bench: Bench, sender: str, interface: str, region: str
) -> None:
    """By either transport: the envelope, the three headers, and every byte below them."""
    relay = await bench.start()
    content = message(sender, b".\r\n..\r\n.leading dots\r\n" + bytes(range(14, 256)) + b"\r\n")
    code, text = await submit(relay, sender, content, "ann@customer.example", "bob@customer.example")
    [got] = await bench.ses.wait_for(1)

    assert (code, text) == (250, f"2.0.0 Ok {got.message_id}")
    assert (got.interface, got.region, got.sender) == (interface, region, sender)
    assert got.recipients == ("ann@customer.example", "bob@customer.example")
    arn = f"arn:aws:ses:{region}:123456789012:identity/{sender.partition('@')[2]}"
    names = ("X-SES-SOURCE-ARN", "X-SES-FROM-ARN", "X-SES-RETURN-PATH-ARN")
    assert got.raw.startswith("".join(f"{name}: {arn}\r\n" for name in names).encode())
    assert below_the_block(got.raw) == content


async def test_a_big_message_goes_by_sesv2(bench: Bench) -> None:
    """SendRawEmail takes 10 MiB; SESv2 takes what is larger, with the same envelope and bytes."""
    relay = await bench.start()
    content = message("app@example.com", (b"x" * 998 + b"\r\n") * 11_000)
    code, _ = await submit(relay, "app@example.com", content)
    [got] = await bench.ses.wait_for(1)

    assert (code, got.interface, got.sender) == (250, "v2", "app@example.com")
    assert below_the_block(got.raw) == content


async def test_what_a_client_may_not_set_is_stripped(bench: Bench) -> None:
    """X-SES headers, Bcc, Return-Path and Sender of the client never reach SES."""
    relay = await bench.start()
    forged = b"x-ses-source-arn : arn:aws:ses:us-east-1:999999999999:identity/evil.example\r\n"
    forged += b"X-SES-CONFIGURATION-SET:\r\n evil\r\nBcc: b@customer.example\r\nReturn-Path: <r@evil.example>\r\n"
    await submit(relay, "app@example.com", forged + message("app@example.com"))
    [got] = await bench.ses.wait_for(1)

    assert b"evil" not in got.raw
    assert b"bcc" not in got.raw.lower()


@pytest.mark.parametrize(
    ("fault", "sender", "answer"),
    [
        (Fault(action="throttle"), "app@example.com", (451, "4.4.5")),
        (Fault(action="throttle"), "app@example.net", (451, "4.4.5")),
        (Fault(action="error", status=500), "app@example.com", (451, "4.3.0")),
        (Fault(action="html"), "app@example.com", (451, "4.")),
        (Fault(action="lose_answer"), "app@example.com", (451, "4.4.2")),
        (Fault(action="lose_answer"), "app@example.net", (451, "4.4.2")),
        (Fault(action="drop"), "app@example.com", (451, "4.4.")),
    ],
    ids=lambda value: getattr(value, "action", None),
)
async def test_trouble_with_ses_is_temporary(bench: Bench, fault: Fault, sender: str, answer: tuple[int, str]) -> None:
    """Whatever SES does short of refusing, the client is told to try again."""
    relay = await bench.start(delivery={"hold_s": 0})
    bench.ses.faults.add(fault)
    code, text = await submit(relay, sender, message(sender))

    assert code == answer[0]
    assert text.startswith(answer[1])


@pytest.mark.parametrize("sender", ["app@example.com", "app@example.net"])
async def test_a_lost_answer_is_never_tried_again(bench: Bench, sender: str) -> None:
    """SES may have sent the message: within the hold there is time for another attempt, and there is none."""
    relay = await bench.start(delivery={"hold_s": 5})
    bench.ses.faults.add(Fault(action="lose_answer"))
    code, _ = await submit(relay, sender, message(sender))
    line = await relay.event("message")

    assert (code, line["cause"], bench.ses.total) == (451, "lost_answer", 1)


async def test_throttling_is_ridden_out_within_the_hold(bench: Bench) -> None:
    """Two throttled attempts, then SES takes it: the client hears 250."""
    relay = await bench.start(delivery={"hold_s": 20})
    bench.ses.faults.add(Fault(action="throttle", count=2))
    code, _ = await submit(relay, "app@example.com", message("app@example.com"))

    assert (code, bench.ses.total) == (250, 1)
    await relay.event("attempt_deferred", 2)


async def test_a_refusal_by_ses_reaches_the_client_with_its_reason(bench: Bench) -> None:
    """An identity that SES does not know: permanent, in SES's words, without what is only ours to know."""
    config = bench.config()
    extra = {**config["identities"][0], "name": "gone", "senders": ["@gone.example"]}
    extra["source_arn"] = extra["source_arn"].replace("example.com", "gone.example")
    relay = await bench.start(identities=[*config["identities"], extra])
    code, text = await submit(relay, "app@gone.example", message("app@gone.example"))

    assert code == 554
    assert "111122223333" not in text
    assert bench.ses.total == 0


async def test_a_dry_run_sends_nothing_and_says_so(bench: Bench) -> None:
    relay = await bench.start(ses={"dry_run": True})
    code, text = await submit(relay, "app@example.com", message("app@example.com"))
    line = await relay.event("message")

    assert (code, text, line["outcome"], bench.ses.total) == (250, "2.0.0 Ok dry run", "dry_run", 0)


async def test_sigterm_lets_the_message_in_hand_finish(bench: Bench) -> None:
    """The client in flight hears the truth from SES, an idle one hears 421, the process ends with 0."""
    relay = await bench.start()
    bench.ses.faults.add(Fault(action="delay", count=1))
    idle = await asyncio.to_thread(smtplib.SMTP, "127.0.0.1", relay.port, timeout=30)
    sending = asyncio.ensure_future(submit(relay, "app@example.com", message("app@example.com")))
    await bench.ses.faults.wait_held()
    relay.tell(signal.SIGTERM)
    await relay.event("draining")
    assert await asyncio.to_thread(idle.getreply) == (421, b"4.3.2 The relay is shutting down, please try again")
    idle.close()
    bench.ses.faults.clear()

    assert (await sending)[0] == 250
    assert await relay.end() == 0
    assert relay.log[-1]["event"] == "stopped"


async def test_sighup_reads_the_rules_again_all_or_nothing(bench: Bench) -> None:
    relay = await bench.start()
    good = bench.config()
    bad = {**good, "identities": [{**good["identities"][0], "source_arn": "nonsense"}]}
    bench.write(bad)
    relay.tell(signal.SIGHUP)
    refused = await relay.event("reload_refused")
    assert "identities[0].source_arn" in refused["problems"][0]
    assert (await submit(relay, "app@example.com", message("app@example.com")))[0] == 250

    bench.write({**good, "identities": good["identities"][1:]})
    relay.tell(signal.SIGHUP)
    await relay.event("reloaded")
    assert (await submit(relay, "app@example.com", message("app@example.com")))[0] == 550
    assert (await submit(relay, "app@example.net", message("app@example.net")))[0] == 250


async def test_a_bad_configuration_ends_with_2_and_all_problems(bench: Bench) -> None:
    config = bench.config(limits={"idle": 3}, spool={"path": "/nowhere/spool.db"})
    config["identities"][0]["source_arn"] = "arn:aws:ses:us-east-1:123456789012:configuration-set/x"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "relay", "run", "--config", str(bench.write(config)),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()

    assert (process.returncode, out) == (2, b"")
    assert b"limits.idle" in err
    assert b"configuration-set" in err


async def test_a_changed_file_is_read_again_by_itself(bench: Bench) -> None:
    """`reload.watch`: no signal; a change that is bad is refused in words and the next good one is taken."""
    relay = await bench.start(reload={"watch": True})
    assert (await submit(relay, "app@example.com", message("app@example.com")))[0] == 250

    bench.write(bench.config(reload={"watch": True}) | {"clients": "nobody"})
    await relay.event("reload_refused")
    assert (await submit(relay, "app@example.com", message("app@example.com")))[0] == 250

    rules = {"clients": [{"name": "local", "networks": ["127.0.0.0/8"], "senders": ["@example.net"]}]}
    bench.write(bench.config(reload={"watch": True}, **rules))
    await relay.event("reloaded")
    assert (await submit(relay, "app@example.com", message("app@example.com")))[0] == 550


async def test_an_address_that_is_taken_ends_with_1(bench: Bench) -> None:
    first = await bench.start()
    second = await bench.start(wait=False, listeners=[{"bind": f"127.0.0.1:{first.port}"}])
    assert await second.end() == 1
    assert await second.event("cannot_listen")


async def test_no_secret_and_no_body_is_ever_logged(bench: Bench) -> None:
    """At the most talkative level, through success, refusal and failure."""
    relay = await bench.start(log={"level": "debug"}, delivery={"hold_s": 0})
    for fault in (None, Fault(action="throttle"), Fault(action="lose_answer")):
        if fault:
            bench.ses.faults.add(fault)
        for sender in ("app@example.com", "app@example.net"):
            await submit(relay, sender, message(sender, BODY_WORD.encode() + b"\r\n"))
        bench.ses.faults.clear()
    relay.tell(signal.SIGTERM)
    await relay.end()

    assert len([event for event in relay.log if event["event"] == "message"]) == 6
    for secret in (SECRET, BODY_WORD, *(bench.ses.smtp_login(region)[1] for region in bench.ses.regions)):
        assert secret not in relay.raw


async def test_masked_addresses_are_masked_everywhere(bench: Bench) -> None:
    relay = await bench.start(log={"addresses": "masked"})
    await submit(relay, "private-name@example.com", message("private-name@example.com"), "other-name@customer.example")
    await submit(relay, "private-name@elsewhere.example", message("private-name@elsewhere.example"))
    line = await relay.event("message")

    assert (line["sender"], line["recipients"]) == ("***@example.com", ["***@customer.example"])
    assert "private-name" not in relay.raw
    assert "other-name" not in relay.raw


async def test_the_line_about_a_message_has_what_support_needs(bench: Bench) -> None:
    relay = await bench.start()
    await submit(relay, "app@example.com", message("app@example.com"))
    [got] = await bench.ses.wait_for(1)
    line = await relay.event("message")

    arn = "arn:aws:ses:us-east-1:123456789012:identity/example.com"
    expected: dict[str, Any] = {
        "outcome": "delivered", "ses_message_id": got.message_id, "identity": "example.com", "region": "us-east-1",
        "transport": "api", "source_arn": arn, "from_arn": arn, "return_path_arn": arn, "client": "local",
        "peer": "127.0.0.1", "sender": "app@example.com", "recipients": ["ann@customer.example"],
    }  # fmt: skip
    assert {key: line[key] for key in expected} == expected
    assert line["seconds"] > 0
    assert line["session"]


async def test_admin_tells_health_and_readiness(bench: Bench) -> None:
    relay = await bench.start()

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{relay.admin_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    await submit(relay, "app@example.com", message("app@example.com"))
    assert (await asyncio.to_thread(get, "/healthz"))[0] == 200
    assert (await asyncio.to_thread(get, "/readyz"))[0] == 200
    _, metrics = await asyncio.to_thread(get, "/metrics")
    route = 'identity="example.com",outcome="delivered",region="us-east-1",transport="api"'
    assert f"ses_relay_messages_total{{{route}}} 1.0" in metrics


async def test_explain_prints_the_block_that_ses_gets(bench: Bench) -> None:
    """The ARN lines of `explain` are, to the byte, the first lines of a message that was sent."""
    relay = await bench.start()
    await submit(relay, "app@example.com", message("app@example.com"))
    [got] = await bench.ses.wait_for(1)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "relay", "explain", "app@example.com", "--json", "--config", str(relay.config),
        stdout=asyncio.subprocess.PIPE, env={**bench.ses.relay_environment(), "PATH": ""},
    )  # fmt: skip
    out, _ = await process.communicate()
    facts = json.loads(out)

    assert process.returncode == 0
    assert facts["headers"][:3] == got.raw.decode("ascii").split("\r\n")[:3]
    assert (facts["region"], facts["client"], facts["identity"]) == ("us-east-1", "local", "example.com")


async def test_send_goes_through_the_configured_relay(bench: Bench) -> None:
    relay = await bench.start()
    config = bench.write({**bench.config(), "listeners": [{"bind": f"127.0.0.1:{relay.port}"}]}, "sender.yaml")

    async def send(sender: str) -> tuple[int | None, dict[str, Any]]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "relay", "send", "--from", sender, "--to", "ann@customer.example", "--json",
            "--config", str(config), stdout=asyncio.subprocess.PIPE,
            env={**bench.ses.relay_environment(), "PATH": ""},
        )  # fmt: skip
        out, _ = await process.communicate()
        return process.returncode, json.loads(out)

    status, answer = await send("app@example.com")
    assert (status, answer["code"], bench.ses.total) == (0, 250, 1)
    status, answer = await send("app@elsewhere.example")
    assert (status, answer["code"]) == (1, 550)


async def test_a_real_email_message_survives(bench: Bench) -> None:
    """What Python's own email package makes, with an attachment, arrives byte for byte."""
    relay = await bench.start()
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Ünal <app@example.com>", "ann@customer.example", "Grüße"
    mail.set_content("Zeile\n" * 1000)
    mail.add_attachment(bytes(range(256)) * 500, maintype="application", subtype="octet-stream", filename="a.bin")
    content = mail.as_bytes().replace(b"\n", b"\r\n")
    await submit(relay, "app@example.com", content)
    [got] = await bench.ses.wait_for(1)

    assert below_the_block(got.raw) == content
