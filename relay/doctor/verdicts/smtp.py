"""Verdicts on an SMTP login, in the order of its steps: name, connection, TLS, login. Pure.

A step that was reached shows that those before it went well; what comes after a failure is not known.
Sources: SES developer guide, "Connecting to an Amazon SES SMTP endpoint", "Obtaining SES SMTP credentials",
"Amazon SES SMTP response codes".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from relay.aws.endpoints import SmtpEndpoint
from relay.aws.keys import CredentialTrouble
from relay.delivery.smtp_dialogue import Refused
from relay.delivery.smtp_wire import Broken
from relay.doctor.findings import About, Finding, bad, ok, unknown
from relay.policy.outcomes import Stage, Trouble

_PUT_OFF: Final = "mail of this region goes by SMTP: it is put off with a 451"
_STEPS: Final = ("name", "connection", "tls", "login")
_BY_TROUBLE: Final = {Trouble.DNS: "name", Trouble.TLS: "tls"}
_BY_STAGE: Final = {Stage.STARTTLS: "tls", Stage.AUTH: "login"}


@dataclass(frozen=True, slots=True)
class Login:
    """What was tried: where, as whom, and what stood in the way (None: nothing).

    CredentialTrouble (nobody to log in as) and OSError (no authorities to believe) stand before the first step.
    """

    endpoint: SmtpEndpoint
    username: str
    trouble: Refused | Broken | CredentialTrouble | OSError | None


def on_login(about: About, region: str, login: Login) -> Iterator[Finding]:
    """What is to be said of each step."""
    trouble = login.trouble
    if isinstance(trouble, CredentialTrouble):
        yield bad(about, "login", trouble.detail, f"there is nothing to log in with: {_PUT_OFF}", _no_login(region))
        return
    if isinstance(trouble, OSError):
        yield bad(about, "tls", f"certificate authorities: {trouble}", _PUT_OFF, "see AWS_CA_BUNDLE")
        return
    failed = _step(trouble)
    for step in _STEPS:
        if step == failed:
            yield _failure(about, region, login, step, trouble)
            return
        yield ok(about, step, _well(login, step))


def _step(trouble: Refused | Broken | None) -> str:
    """The step that failed; "" for none."""
    if trouble is None:
        return ""
    if isinstance(trouble, Refused):
        return _BY_STAGE.get(trouble.stage, "connection")
    return _BY_TROUBLE.get(trouble.trouble, "connection")


def _well(login: Login, step: str) -> str:
    endpoint = login.endpoint
    if step == "tls":
        return "none, on this machine" if endpoint.tls == "none" else f"{endpoint.tls}, certificate and name verified"
    return {
        "name": f"{endpoint.host} resolves",
        "connection": f"port {endpoint.port} answers",
        "login": f"as {login.username}",
    }[step]


def _failure(about: About, region: str, login: Login, step: str, trouble: Refused | Broken | None) -> Finding:
    what = f"{login.endpoint.host} port {login.endpoint.port}: {trouble}"
    if isinstance(trouble, Refused) and trouble.reply.code < 500:
        return unknown(about, step, what, "SES puts the login off, which may pass", "try again in a minute")
    return bad(about, step, what, _PUT_OFF, _remedies(region, login.endpoint)[step])


def _remedies(region: str, endpoint: SmtpEndpoint) -> dict[str, str]:
    return {
        "name": "SES has no SMTP endpoint in some regions: transport: api; or name another by ses.smtp_endpoint",
        "connection": f"let TCP port {endpoint.port} out; or another port of SES, ses.smtp_endpoint: "
        f"{endpoint.host}:{2465 if endpoint.tls == 'implicit' else 2587}; or transport: api",
        "tls": "name the authority of whatever stands between by AWS_CA_BUNDLE=FILE; with ses.smtp_tls: starttls "
        "ports are 25, 587, 2587, with implicit 465, 2465",
        "login": f"SMTP passwords belong to one region, here {region}, and a user that IAM lets ses:SendRawEmail: give "
        "access_key_id and secret_access_key, which serve all regions, or new SMTP credentials of this one",
    }


def _no_login(region: str) -> str:
    return (
        "SES takes no temporary keys by SMTP: give access_key_id and secret_access_key of an IAM user, or "
        f"smtp_username and smtp_password of {region}; or transport: api"
    )
