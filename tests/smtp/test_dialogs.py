"""Every dialogue in `dialogs/` is held as written, over a real socket."""

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import listener
import pytest
import transcript

from relay.model import Outcome

DIALOGS = sorted((Path(__file__).parent / "dialogs").glob("*.txt"))
OUTCOMES: dict[str, Outcome | Exception] = {
    "delivered": listener.DELIVERED,
    "throttled": listener.THROTTLED,
    "credentials": listener.CREDENTIALS,
    "refused": listener.REFUSED,
    "raise": RuntimeError("secret internal detail"),
}


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
async def test_dialog(path: Path) -> None:
    """The server says what the transcript says."""
    play = transcript.read(path)
    settings = dict(play.settings)
    outcomes = [OUTCOMES[word.strip()] for word in settings.pop("outcomes", "delivered").split(",")]
    limits = replace(listener.LIMITS, errors=int(settings.pop("errors", "20")))
    headers = replace(listener.HEADERS, normalize=settings.pop("line_endings", "normalize") == "normalize")
    messages = int(settings.pop("messages", "-1"))
    clients = [listener.client_rule(**_client(settings.pop("client", "")))]
    async with listener.running(
        listener.ScriptedSes(deque(outcomes)),
        identities=[
            listener.identity(),
            listener.identity("<>", "bounces.example.net", replace_sender="b@bounces.example.net"),
        ]
        if settings.pop("null", "no") == "yes"
        else [],
        clients=clients,
        limits=limits,
        headers=headers,
        message_bytes=int(settings.pop("message_bytes", "1000000")),
        recipients=int(settings.pop("recipients", "50")),
        hold_s=float(settings.pop("hold_s", "5")),
    ) as running:
        assert not settings, f"unknown settings: {settings}"
        await transcript.play(play, running.port)
        if messages >= 0:
            await running.ses.has_got(messages)
            assert len(running.ses.parcels) == messages


def _client(text: str) -> dict[str, Any]:
    if text == "stranger":
        return {"network": "192.0.2.0/24"}
    if text.startswith("senders "):
        return {"senders": tuple(text.split()[1:])}
    if text.startswith("deny "):
        return {"deny": tuple(text.split()[1:])}
    return {}
