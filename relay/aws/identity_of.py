"""Who the credentials belong to: the account and principal that STS names (STS API reference, GetCallerIdentity).

The call needs no permission. The account of a role stands in its ARN, so that nobody need be asked. Names are for
keeping accounts apart and for showing, never for deciding what may be sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from relay.aws.answers import element
from relay.aws.asking import Asker, NotTold

_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Caller:
    """The twelve digits of an account, and the ARN of the user, role session or root in it."""

    account: str
    arn: str


async def account_of(asker: Asker, credentials: str, region: str, *, ask: bool) -> str | None:
    """The account behind these credentials, for which STS is asked only if need be, and if `ask` permits it.

    None is when it may not be asked. Raises NotTold.
    """
    role = asker.role_of(credentials)
    if role is not None:
        return account_in(role)
    return (await identity_of(asker, credentials, region)).account if ask else None


def account_in(arn: str) -> str:
    """The account of an ARN of IAM."""
    return arn.split(":")[4]


async def identity_of(asker: Asker, credentials: str, region: str) -> Caller:
    """Who signs with these credentials. Raises NotTold."""
    body = await asker.ask("GetCallerIdentity", credentials, region)
    result = element(body.decode("utf-8", "replace"), "GetCallerIdentityResult")
    account = element(result, "Account").strip()
    if not _ACCOUNT.fullmatch(account):
        raise NotTold("the answer of STS names no account", lasting=False)
    return Caller(account, element(result, "Arn").strip())
