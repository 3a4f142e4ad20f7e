"""`/_sim`: what came in, and faults to order, over HTTP.

GET    /_sim/messages              the messages kept, as JSON, without their bytes
GET    /_sim/messages?raw=ID       one message as received; ?delivered=ID as recipients would see it
DELETE /_sim/messages              forget them
GET    /_sim/refusals              the messages turned away
GET    /_sim/decisions             why each message was taken or turned away: every check, with its source
GET    /_sim/calls                 the calls to STS, and the looks at accounts
POST   /_sim/faults                put a fault in force; the keys are those of relay.simulator.faults.Fault
GET    /_sim/faults                what is in force, and how often it struck
DELETE /_sim/faults                end all faults, let go on what they hold
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, fields
from typing import Any

from aiohttp import web

from relay.simulator.explanation import Decision
from relay.simulator.faults import Fault, Faults
from relay.simulator.ledger import Ledger
from relay.simulator.words import Called, Received, TurnedAway

Handler = Callable[[web.Request], Awaitable[web.Response]]

_NUMBERS: dict[str, type | tuple[type, ...]] = {
    "count": int,
    "seed": int,
    "status": int,
    "probability": (int, float),
    "seconds": (int, float),
}
_FAULT_KEYS = frozenset(field.name for field in fields(Fault))


def routes(ledger: Ledger, faults: Faults) -> list[web.RouteDef]:
    """The routes under /_sim."""
    return [
        *_message_routes(ledger),
        web.get("/_sim/refusals", _listing("refusals", lambda: ledger.turned_away)),
        web.get("/_sim/decisions", _listing("decisions", lambda: ledger.decisions)),
        web.get("/_sim/calls", _listing("calls", lambda: ledger.called)),
        *_fault_routes(faults),
    ]


def _listing(name: str, kept: Callable[[], Iterable[TurnedAway | Decision | Called]]) -> Handler:
    """A handler that shows all that is kept of one kind."""

    async def show(_: web.Request) -> web.Response:
        return web.json_response({name: [{**asdict(one), "at": one.at.isoformat()} for one in kept()]})

    return show


def _message_routes(ledger: Ledger) -> list[web.RouteDef]:
    async def messages(request: web.Request) -> web.Response:
        for view in ("raw", "delivered"):
            if view in request.query:
                return _bytes(ledger.find(request.query[view]), view)
        kept = [_message(message) for message in ledger.received]
        return web.json_response({"total": ledger.total, "messages": kept})

    async def forget(_: web.Request) -> web.Response:
        ledger.clear()
        return web.Response(status=204)

    return [web.get("/_sim/messages", messages), web.delete("/_sim/messages", forget)]


def _fault_routes(faults: Faults) -> list[web.RouteDef]:
    async def order(request: web.Request) -> web.Response:
        try:
            fault = _fault(await request.json())
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"id": faults.add(fault)}, status=201)

    async def standing(_: web.Request) -> web.Response:
        in_force = [{"id": one.id, "hits": one.hits, **asdict(one.fault)} for one in faults.standing]
        return web.json_response({"faults": in_force})

    async def mend(_: web.Request) -> web.Response:
        faults.clear()
        return web.Response(status=204)

    return [
        web.post("/_sim/faults", order),
        web.get("/_sim/faults", standing),
        web.delete("/_sim/faults", mend),
    ]


def _bytes(message: Received | None, view: str) -> web.Response:
    if message is None:
        return web.json_response({"error": "no such message"}, status=404)
    body = message.raw if view == "raw" else message.delivered
    return web.Response(body=body, content_type="message/rfc822")


def _message(message: Received) -> dict[str, Any]:
    return {
        "message_id": message.message_id,
        "at": message.at.isoformat(),
        "interface": message.interface,
        "region": message.region,
        "access_key_id": message.access_key_id,
        "sender": message.sender,
        "recipients": message.recipients,
        "arns": {"source": message.arns.source, "from": message.arns.from_, "return_path": message.arns.return_path},
        "answered": message.answered,
        "size": len(message.raw),
        "headers": message.headers,
    }


def _fault(document: Any) -> Fault:
    """The fault in a JSON object; ValueError or TypeError says what is wrong with it."""
    if not isinstance(document, dict):
        raise TypeError("a fault is a JSON object")
    unknown = sorted(set(document) - _FAULT_KEYS)
    if unknown:
        raise ValueError(f"unknown keys: {', '.join(unknown)}; allowed are {', '.join(sorted(_FAULT_KEYS))}")
    if "action" not in document:
        raise ValueError("action is missing")
    for name, value in document.items():
        if value is not None and not isinstance(value, _NUMBERS.get(name, str)):
            raise TypeError(f"{name} has the wrong type")
    return Fault(**document)
