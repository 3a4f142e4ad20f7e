"""Asks AWS about the account: signed calls that only read.

Owns the form of these calls and their pace: besides sending, SES permits an account each call once a second in a
region (SES developer guide, "Service quotas"; SES API reference), so no two of the same begin within a second. Nobody
knows whose most credentials are: unless `belongs` has told, all are taken for one account's. STS permits hundreds.
Guarantees an answer that AWS gave, or `NotTold` with the reason, within a minute of its turn; never a repetition.
What an answer means is read elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from relay.aws.answers import Refused, read
from relay.aws.credentials import CredentialBook, CredentialTrouble, Keys
from relay.aws.endpoints import ApiEndpoint, ApiEndpoints, EndpointTrouble, Question
from relay.aws.exchange import Answer, Body, Exchange, NoAnswer
from relay.aws.signing import SES, sign
from relay.policy.outcomes import Trouble
from relay.policy.quoting import redact

EVERY_S: Final = 1.0
LIMIT_S: Final = 60.0

_FORM: Final = "application/x-www-form-urlencoded; charset=utf-8"
# What is posted; what has no form is a GET (SES API references v1 and v2, STS's)
_FORMS: Final[dict[Question, bytes]] = {
    "GetSendQuota": b"Action=GetSendQuota&Version=2010-12-01",
    "GetCallerIdentity": b"Action=GetCallerIdentity&Version=2011-06-15",
}
_STS: Final = "sts"
_GLOBAL: Final = ("sts.amazonaws.com", "us-east-1")  # the global endpoint of STS, and the region it is signed for


class NotTold(Exception):
    """AWS did not say.

    Args:
        detail: why, for the log.
        lasting: whether AWS has refused, so that asking again soon is pointless.
        refusal: what AWS said instead.
        trouble: what kept us from an answer of AWS.
    """

    def __init__(
        self, detail: str, *, lasting: bool, refusal: Refused | None = None, trouble: Trouble | None = None
    ) -> None:
        self.detail, self.lasting, self.refusal, self.trouble = redact(detail), lasting, refusal, trouble
        super().__init__(self.detail)


@dataclass(frozen=True, slots=True)
class Means:
    """What a call needs: keys, places, connections, the time (aware) and a way to wait."""

    book: CredentialBook
    endpoints: ApiEndpoints
    exchange: Exchange
    clock: Callable[[], datetime]
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep


class Asker:
    """Asks, in order and slowly; used from one event loop."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._accounts: dict[str, str] = {}
        self._free_at: dict[tuple[str, ...], float] = {}

    def role_of(self, credentials: str) -> str | None:
        """The ARN of the role that these credentials assume, if they do."""
        return self._means.book.role_of(credentials)

    def belongs(self, credentials: str, account: str) -> None:
        """These credentials are of that account, so that they share its pace and no other."""
        self._accounts[credentials] = account

    async def ask(self, question: Question, credentials: str, region: str, name: str = "") -> bytes:
        """The body of the answer; `name` is what the question is about, if it is about one of many. Raises NotTold."""
        if _service(question) == SES:
            await self._keep_pace(question, region, self._accounts.get(credentials, ""))
        try:
            async with asyncio.timeout(LIMIT_S):
                answer = await self._call(question, credentials, region, name)
        except TimeoutError:
            words = f"{question}: no answer within {LIMIT_S:g} s"
            raise NotTold(words, lasting=False, trouble=Trouble.TIMEOUT_BEFORE_SENT) from None
        except CredentialTrouble as trouble:
            raise NotTold(f"{question}: {trouble.detail}", lasting=False, trouble=Trouble.NO_CREDENTIALS) from trouble
        except EndpointTrouble as trouble:
            raise NotTold(f"{question}: {trouble.detail}", lasting=False, trouble=Trouble.OUR_FAULT) from trouble
        except NoAnswer as broken:
            raise NotTold(f"{question}: {broken.detail}", lasting=False, trouble=broken.trouble) from broken
        if answer.status != 200:
            raise _refusal(question, answer)
        return answer.body

    async def close(self) -> None:
        """Close the connections."""
        await self._means.exchange.close()

    async def _keep_pace(self, *place: str) -> None:
        now = asyncio.get_running_loop().time()
        turn = max(now, self._free_at.get(place, now))
        self._free_at[place] = turn + EVERY_S
        if turn > now:
            await self._means.pause(turn - now)

    async def _call(self, question: Question, credentials: str, region: str, name: str) -> Answer:
        means, form = self._means, _FORMS.get(question, b"")
        endpoint = await means.endpoints.find(question, region)
        if name:
            endpoint = endpoint.below(name)
        keys = await means.book.keys(credentials, region)
        headers = self._headers(question, endpoint, region, keys, form)
        if not form:
            return await means.exchange.get(endpoint, headers)
        return await means.exchange.post(endpoint, headers, Body(lambda: [form], len(form)))

    def _headers(
        self, question: Question, endpoint: ApiEndpoint, region: str, keys: Keys, form: bytes
    ) -> list[tuple[str, str]]:
        kind = [("content-type", _FORM)] if form else []
        covered = [*kind, ("host", endpoint.host)]
        host, home = _GLOBAL
        signature = sign(
            keys, home if endpoint.host == host else region, endpoint.path, covered, sha256(form).hexdigest(),
            self._means.clock(), method="POST" if form else "GET", service=_service(question),
        )  # fmt: skip
        return [*covered, *signature]


def _service(question: Question) -> str:
    """Who is asked, as signatures call it."""
    return _STS if question == "GetCallerIdentity" else SES


def _refusal(question: Question, answer: Answer) -> NotTold:
    """Throttling and what befalls a server pass; a refusal lasts, also that of something that has no such call."""
    said = read("SendRawEmail" if question in _FORMS else "SendEmail", answer.status, answer.error_type, answer.body)
    refusal = said if isinstance(said, Refused) else None
    code, message = (refusal.code, refusal.message) if refusal else ("", answer.content_type)
    lasting = 400 <= answer.status < 500 and answer.status != 429 and "Throttl" not in code
    detail = f"{question}: HTTP {answer.status} {code} {message}"
    return NotTold(detail, lasting=lasting, refusal=refusal, trouble=None if refusal else Trouble.NOT_AWS)
