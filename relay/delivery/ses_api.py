"""The API transport: parcels to Amazon SES by SendRawEmail, big messages and tenants by SESv2's SendEmail.

Owns the order of things for one attempt (endpoint, keys, body, signature, exchange, answer) and the way from
what happened to an `Outcome`. Guarantees one outcome per call, never an exception; that `Delivered` means that SES
named the message; that an answer lost after the whole body was sent is `LOST_ANSWER`. One attempt per call, and one
more only where SES has said that the keys had ended, which proves that it has taken nothing, and there are newer ones.
How many are sent at once, and when again, is the courier's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from relay import __version__
from relay.aws.answers import Accepted, Refused, read
from relay.aws.credentials import CredentialBook, CredentialTrouble, Keys
from relay.aws.endpoints import ApiEndpoint, ApiEndpoints, EndpointTrouble
from relay.aws.exchange import BREATH, Answer, Body, Exchange, NoAnswer
from relay.aws.signing import sign
from relay.aws.submission import Submission, submit
from relay.model import Cause, Delivered, Outcome, Parcel
from relay.policy.outcomes import ConfigurationErrors, Trouble, from_api, from_trouble

Said = Accepted | Refused | None

IN_MEMORY_BYTES: Final = 262_144  # larger messages are encoded twice rather than held twice
_SHOWN_BYTES: Final = 200  # of a strange answer, in the log


@dataclass(frozen=True, slots=True)
class _Call:
    """One request, ready to be signed: where to, and a body of `length` bytes with this hash."""

    submission: Submission
    endpoint: ApiEndpoint
    region: str
    blocks: Callable[[], Iterable[bytes]]
    length: int
    digest: str


class SesApi:
    """Sends parcels by the SES API.

    Args:
        book: the keys, by the name of their credentials.
        endpoints: where SES is.
        timeout_s: seconds without progress; the answer gets 60 more.
        mode: `configuration_errors` of the settings.
        clock: the time now, aware; SES refuses signatures that are 5 minutes off.
        exchange: the connections, by default a pool of our own.
    """

    def __init__(
        self,
        book: CredentialBook,
        endpoints: ApiEndpoints,
        *,
        timeout_s: float,
        mode: ConfigurationErrors,
        clock: Callable[[], datetime],
        exchange: Exchange | None = None,
    ) -> None:
        self._book, self._endpoints = book, endpoints
        self._mode, self._clock = mode, clock
        self._exchange = exchange or Exchange(timeout_s, user_agent=f"ses-relay/{__version__}")

    async def send(self, parcel: Parcel) -> Outcome:
        """Hand the parcel to SES. Raises nothing but CancelledError, after which nothing is known."""
        try:
            return await self._attempt(parcel)
        except NoAnswer as broken:
            return from_trouble(broken.trouble, broken.detail)
        except CredentialTrouble as trouble:
            return from_trouble(Trouble.NO_CREDENTIALS, trouble.detail)
        except EndpointTrouble as trouble:
            return from_trouble(Trouble.OUR_FAULT, trouble.detail)
        except Exception as error:  # noqa: BLE001 an outcome whatever happens
            return from_trouble(Trouble.OUR_FAULT, f"{type(error).__name__}: {error}")

    async def close(self) -> None:
        """Close the pool."""
        await self._exchange.close()

    async def _attempt(self, parcel: Parcel) -> Outcome:
        submission = submit(parcel)
        endpoint = await self._endpoints.find(submission.operation, parcel.region)
        keys = await self._book.keys(parcel.credentials, parcel.region)
        call = await _prepare(submission, endpoint, parcel)
        answer, said = await self._ask(call, keys)
        if isinstance(said, Refused) and said.blames_keys:
            self._book.forget(parcel.credentials, keys)
            keys, ended = await self._book.keys(parcel.credentials, parcel.region), keys
            if keys != ended:
                answer, said = await self._ask(call, keys)
        outcome = self._judge(answer, said)
        if not isinstance(outcome, Delivered) and outcome.cause is Cause.CREDENTIALS and not _blames_clock(said):
            self._book.forget(parcel.credentials, keys)  # expired or replaced: the next attempt looks again
        return outcome

    async def _ask(self, call: _Call, keys: Keys) -> tuple[Answer, Said]:
        """Make the call, and read what comes back."""
        covered = [("content-type", call.submission.content_type), ("host", call.endpoint.host)]
        signature = sign(keys, call.region, call.endpoint.path, covered, call.digest, self._clock())
        body = Body(call.blocks, call.length)
        answer = await self._exchange.post(call.endpoint, [*covered, *signature], body)
        return answer, read(call.submission.operation, answer.status, answer.error_type, answer.body)

    def _judge(self, answer: Answer, said: Said) -> Outcome:
        if isinstance(said, Accepted):
            return Delivered(said.message_id)
        if isinstance(said, Refused):
            return from_api(answer.status, said.code, said.message, self._mode)
        start = answer.body[:_SHOWN_BYTES].decode("utf-8", "replace")
        return from_trouble(_strange(answer), f"HTTP {answer.status} {answer.content_type}: {start}")


def _strange(answer: Answer) -> Trouble:
    """What an answer means that is none of SES's: with 200 SES may have said yes, but no web page is its yes."""
    page = answer.content_type.startswith("text/html")
    return Trouble.LOST_ANSWER if answer.status == 200 and not page else Trouble.NOT_AWS


def _blames_clock(said: Said) -> bool:
    return isinstance(said, Refused) and said.blames_clock


async def _prepare(submission: Submission, endpoint: ApiEndpoint, parcel: Parcel) -> _Call:
    """All of a call but the signature; the blocks of a big body are made again when they are sent."""
    made = list(submission.blocks()) if parcel.size <= IN_MEMORY_BYTES else None
    digest, length = sha256(), 0
    for count, block in enumerate(made or submission.blocks(), 1):
        digest.update(block)
        length += len(block)
        if count % BREATH == 0:
            await asyncio.sleep(0)
    blocks = (lambda: made) if made else submission.blocks
    return _Call(submission, endpoint, parcel.region, blocks, length, digest.hexdigest())
