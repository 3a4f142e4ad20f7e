"""Every dialogue in `smtp_dialogues/` is held as written, over a real socket, and has the outcomes it names."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from scripted_upstream import listening, read
from smtp_parts import CONTENT, at, in_short, parcel, server_context, transport

from relay.aws.endpoints import SmtpTls

DIALOGUES = sorted((Path(__file__).parent / "smtp_dialogues").glob("*.txt"))
TLS: dict[str, SmtpTls] = {"none": "none", "starttls": "starttls", "implicit": "implicit"}


@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
async def test_dialogue(path: Path) -> None:
    """The client says what the transcript says; one message is sent for each `@ outcome`, one after the other."""
    script = read(path)
    settings = {key: values[-1] for key, values in script.settings.items() if key != "outcome"}
    tls = TLS[settings.pop("tls", "none")]
    patience = float(settings.pop("patience_s", "10"))
    message = parcel(
        codecs.escape_decode(settings.pop("content").encode())[0] if "content" in settings else CONTENT,
        sender=settings.pop("sender", "app@example.com"),
        recipients=settings.pop("recipients", "a@example.org").split(", "),
    )
    assert not settings, f"unknown settings: {settings}"
    async with (
        listening(script, None if tls == "none" else server_context()) as upstream,
        transport(at(upstream.port, tls), timeout_s=patience, final_s=0.0) as ses,
    ):
        outcomes = [await ses.send(message) for _ in script.settings["outcome"]]
        await ses.close()
        await upstream.finished()

    assert [in_short(outcome) for outcome in outcomes] == script.settings["outcome"]
    assert "secret" not in repr(outcomes)
    assert "c2VjcmV0" not in repr(outcomes)
