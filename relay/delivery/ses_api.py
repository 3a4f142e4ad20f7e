"""The API transport: parcels to Amazon SES by SendRawEmail, big messages and tenants by SESv2's SendEmail.

Owns the order of things for one attempt (endpoint, keys, body, signature, exchange, answer) and the way from
what happened to an `Outcome`. Guarantees one attempt per call and one outcome, never an exception; that
`Delivered` means that SES named the message; that an answer lost after the whole body was sent is `LOST_ANSWER`.
How many are sent at once, and when again, is the courier's business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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

IN_MEMORY_BYTES: Final = 262_144  # larger messages are encoded twice rather than held twice
_SHOWN_BYTES: Final = 200  # of a strange answer, in the log


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
        keys = await self._book.keys(parcel.credentials)
        body, digest = await _prepare(submission, parcel.size)
        headers = self._headers(submission, endpoint, parcel.region, keys, digest)
        answer = await self._exchange.post(endpoint, headers, body)
        outcome = self._judge(submission, answer)
        if not isinstance(outcome, Delivered) and outcome.cause is Cause.CREDENTIALS:
            self._book.forget(parcel.credentials, keys)  # expired or replaced: the next attempt looks again
        return outcome

    def _headers(
        self, submission: Submission, endpoint: ApiEndpoint, region: str, keys: Keys, digest: str
    ) -> list[tuple[str, str]]:
        covered = [("content-type", submission.content_type), ("host", endpoint.host)]
        return [*covered, *sign(keys, region, endpoint.path, covered, digest, self._clock())]

    def _judge(self, submission: Submission, answer: Answer) -> Outcome:
        said = read(submission.operation, answer.status, answer.error_type, answer.body)
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


async def _prepare(submission: Submission, size: int) -> tuple[Body, str]:
    """The body and the SHA-256 of it; the blocks of a big one are made again when they are sent."""
    made = list(submission.blocks()) if size <= IN_MEMORY_BYTES else None
    digest, length = sha256(), 0
    for count, block in enumerate(made or submission.blocks(), 1):
        digest.update(block)
        length += len(block)
        if count % BREATH == 0:
            await asyncio.sleep(0)
    return Body((lambda: made) if made else submission.blocks, length), digest.hexdigest()
