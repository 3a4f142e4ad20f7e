"""The HTTP side: one endpoint for the SES APIs and STS of every region, and `/_sim` for whoever watches.

Owns aiohttp. The region of a call is the one its signature names. Guarantees that no body larger than
`MAX_BODY` is read and that every refusal is an AWS error document.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from aiohttp import web

from relay.simulator import inspection, json_api, query_api, sigv4, sts
from relay.simulator.faults import Faults, HungUp, Occasion, ProxyPage
from relay.simulator.keys import KeyRing
from relay.simulator.ledger import Ledger
from relay.simulator.reads import Reads
from relay.simulator.reception import Clock, Reception
from relay.simulator.refusals import BODY_TOO_LARGE, UNKNOWN_ACTION, Refused
from relay.simulator.words import Called, Caller, Interface

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Answer = Callable[["Call"], Awaitable[bytes]]

MAX_BODY = 64 * 1024 * 1024  # 40 MiB in base64, and room
GLOBAL_STS = "us-east-1"  # the region that calls to the global STS endpoint are signed for


class Dialect(Protocol):
    """How one API writes its answers."""

    CONTENT_TYPE: str

    def refused(self, refusal: Refused, request_id: str) -> bytes:
        """The body of an error."""


@dataclass(frozen=True, slots=True)
class Api:
    """What the HTTP side needs of the rest."""

    reception: Reception
    reads: Reads
    sts: sts.Sts
    ring: KeyRing
    regions: Collection[str]
    faults: Faults
    ledger: Ledger
    clock: Clock

    async def ask(self, name: str, interface: Interface, caller: Caller, look: Callable[[], Any]) -> Any:
        """What `look` finds, unless a fault is in the way; the call is noted."""
        answer = "no answer"
        try:
            await self.faults.strike(Occasion("call", interface, caller.region, call=name))
            found = look()
            answer = "ok"
        except Refused as refused:
            answer = refused.spelling.v2_code if interface == "v2" else refused.spelling.code
            raise
        finally:
            self.ledger.call(Called(self.clock(), name, caller.region, caller.access_key_id, answer))
        return found


@dataclass(frozen=True, slots=True)
class Call:
    """One signed request that is being answered."""

    api: Api
    request: web.Request
    body: bytes
    id: str

    def caller(self, service: str = "ses") -> Caller:
        """Who has signed it."""
        request, api = self.request, self.api
        headers = tuple((name, value) for name, value in request.headers.items())
        signed = sigv4.Request(request.method, request.raw_path, headers, self.body)
        regions = {*api.regions, GLOBAL_STS} if service == "sts" else api.regions
        caller = sigv4.verify(signed, api.ring, regions, api.clock(), service)
        return replace(caller, source_ip=request.remote or "", user_agent=request.headers.get("User-Agent", ""))


def application(api: Api) -> web.Application:
    """The whole HTTP endpoint."""
    app = web.Application(client_max_size=MAX_BODY)
    app.add_routes(inspection.routes(api.ledger, api.faults))
    app.router.add_post("/", _endpoint(api, "v1", query_api, _query))
    app.router.add_post(json_api.PATH, _endpoint(api, "v2", json_api, _send_email))
    app.router.add_get("/v2/email/{rest:.*}", _endpoint(api, "v2", json_api, _look))
    app.router.add_route("*", "/v2/{rest:.*}", _endpoint(api, "v2", json_api, _unknown))
    app.router.add_route("*", "/{rest:.*}", _endpoint(api, "v1", query_api, _unknown))
    return app


def _endpoint(api: Api, interface: Interface, dialect: Dialect, answer: Answer) -> Handler:
    """A handler that answers one path in one dialect."""

    async def handle(request: web.Request) -> web.StreamResponse:
        request_id = str(uuid.uuid4())
        try:
            await api.faults.strike(Occasion("connect", interface))
            body = await answer(Call(api, request, await _read(request), request_id))
        except Refused as refusal:
            return _refusal(refusal, interface, dialect, request_id)
        except ProxyPage as page:
            return web.Response(status=page.status, text=page.page, content_type="text/html")
        except HungUp:
            return _hang_up(request)
        return _response(200, body, dialect, request_id)

    return handle


async def _read(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Refused(BODY_TOO_LARGE, "Request is too large.") from None


async def _query(call: Call) -> bytes:
    """The Query protocol: SES's v1 API, or STS by its version."""
    form = query_api.read(call.body)
    version, name = query_api.action(form)
    if version == sts.VERSION:
        return await _ask_sts(call, name, query_api.parameters(form))
    caller = call.caller()
    if (version, name) == (query_api.VERSION, "GetSendQuota"):
        now = call.api.clock()
        found = await call.api.ask(name, "v1", caller, lambda: call.api.reads.send_quota(caller, now))
        return query_api.answered(name, found, call.id, query_api.NAMESPACE)
    return query_api.accepted(await call.api.reception.accept(query_api.submission(form, caller)), call.id)


async def _ask_sts(call: Call, name: str, parameters: Mapping[str, str]) -> bytes:
    caller = call.caller("sts")
    if name not in call.api.sts.calls:
        raise Refused(UNKNOWN_ACTION, f"Could not find operation {name} for version {sts.VERSION}")

    def look() -> Mapping[str, Any]:
        now: datetime = call.api.clock()
        return call.api.sts.calls[name](parameters, caller, now)

    return query_api.answered(name, await call.api.ask(name, "sts", caller, look), call.id, sts.NAMESPACE)


async def _send_email(call: Call) -> bytes:
    submission = json_api.parse(call.body, call.caller())
    return json_api.accepted(await call.api.reception.accept(submission), call.id)


async def _look(call: Call) -> bytes:
    """The GET calls of the v2 API."""
    caller = call.caller()
    path = call.request.raw_path.partition("?")[0].removeprefix("/v2/email/")
    name, look = call.api.reads.get(path, caller, call.api.clock())
    return json_api.answered(await call.api.ask(name, "v2", caller, look))


async def _unknown(call: Call) -> bytes:
    call.caller()
    raise Refused(UNKNOWN_ACTION, "This SES does not know that call")


def _refusal(refusal: Refused, interface: Interface, dialect: Dialect, request_id: str) -> web.Response:
    spelling = refusal.spelling
    body = dialect.refused(refusal, request_id)
    if interface != "v2":
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
