"""The HTTP side: one endpoint for both APIs and every region, and `/_sim` for whoever watches.

Owns aiohttp. The region of a call is the one its signature names. Guarantees that no body larger than
`MAX_BODY` is read and that every refusal is an AWS error document.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from relay.simulator import inspection, json_api, query_api, sigv4
from relay.simulator.faults import Faults, HungUp, Occasion, ProxyPage
from relay.simulator.keys import KeyRing
from relay.simulator.ledger import Ledger
from relay.simulator.reception import Clock, Reception
from relay.simulator.refusals import BODY_TOO_LARGE, UNKNOWN_ACTION, Refused
from relay.simulator.words import Caller, Interface, Submission

Parse = Callable[[bytes, Caller], Submission]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY = 64 * 1024 * 1024  # 40 MiB in base64, and room


class Dialect(Protocol):
    """How one API writes its answers."""

    CONTENT_TYPE: str

    def accepted(self, message_id: str, request_id: str) -> bytes:
        """The body of a success."""

    def refused(self, refusal: Refused, request_id: str) -> bytes:
        """The body of an error."""


@dataclass(frozen=True, slots=True)
class Api:
    """What the HTTP side needs of the rest."""

    reception: Reception
    ring: KeyRing
    regions: Collection[str]
    faults: Faults
    ledger: Ledger
    clock: Clock


def application(api: Api) -> web.Application:
    """The whole HTTP endpoint."""
    app = web.Application(client_max_size=MAX_BODY)
    app.add_routes(inspection.routes(api.ledger, api.faults))
    app.router.add_post("/", _endpoint(api, "v1", query_api, query_api.parse))
    app.router.add_post(json_api.PATH, _endpoint(api, "v2", json_api, json_api.parse))
    app.router.add_route("*", "/v2/{rest:.*}", _endpoint(api, "v2", json_api, _unknown))
    app.router.add_route("*", "/{rest:.*}", _endpoint(api, "v1", query_api, _unknown))
    return app


def _endpoint(api: Api, interface: Interface, dialect: Dialect, parse: Parse) -> Handler:
    """A handler that answers one path in one dialect."""

    async def handle(request: web.Request) -> web.StreamResponse:
        request_id = str(uuid.uuid4())
        try:
            await api.faults.strike(Occasion("connect", interface))
            caller, body = await _authenticate(api, request)
            message_id = await api.reception.accept(parse(body, caller))
        except Refused as refusal:
            return _refusal(refusal, interface, dialect, request_id)
        except ProxyPage as page:
            return web.Response(status=page.status, text=page.page, content_type="text/html")
        except HungUp:
            return _hang_up(request)
        return _response(200, dialect.accepted(message_id, request_id), dialect, request_id)

    return handle


def _unknown(_: bytes, __: Caller) -> Submission:
    raise Refused(UNKNOWN_ACTION, "This SES knows SendRawEmail and SESv2 SendEmail only")


async def _authenticate(api: Api, request: web.Request) -> tuple[Caller, bytes]:
    """Read the body and check its signature."""
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Refused(BODY_TOO_LARGE, "Request is too large.") from None
    headers = tuple((name, value) for name, value in request.headers.items())
    signed = sigv4.Request(request.method, request.raw_path, headers, body)
    return sigv4.verify(signed, api.ring, api.regions, api.clock()), body


def _refusal(refusal: Refused, interface: Interface, dialect: Dialect, request_id: str) -> web.Response:
    spelling = refusal.spelling
    body = dialect.refused(refusal, request_id)
    if interface == "v1":
        return _response(spelling.status, body, dialect, request_id)
    response = _response(spelling.v2_status, body, dialect, request_id)
    response.headers["x-amzn-ErrorType"] = spelling.v2_code
    return response


def _response(status: int, body: bytes, dialect: Dialect, request_id: str) -> web.Response:
    headers = {"x-amzn-RequestId": request_id}
    return web.Response(status=status, body=body, content_type=dialect.CONTENT_TYPE, headers=headers)


def _hang_up(request: web.Request) -> web.Response:
    """Close the connection under the answer, which then goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
