"""`ses-relay policy`: what the owner of an identity and its delegate must attach, so that the relay may send.

Owns how the question is asked: for identities by their ARNs, or for the whole configuration. Exit status 2 when it
cannot be put into policies. The documents are made in `relay.policy`, what people read in `policy_report`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from relay.arn import parse_identity_arn
from relay.cli.config_option import ENVIRONMENT, find_config
from relay.cli.policy_report import Papers, facts, only_document, report
from relay.model import Identity
from relay.policy.delegates import Delegate, parse_delegate
from relay.policy.delegation import delegate_policies
from relay.policy.grants import RAW, SEND, Grant, Terms, owner_policies
from relay.policy.rule_grants import Askers, rule_grants
from relay.service import read_settings
from relay.settings.model import Settings
from relay.settings.problems import ConfigurationError

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--delegate", "delegates", multiple=True, help="Who sends: an account id, or a user's or role's ARN."),
    click.option("--org-id", "organization", help="Let every account of this AWS organization send, instead."),
    click.option("--from", "senders", multiple=True, help="Pattern of header From addresses; any of the identity."),
    click.option("--display-name", "names", multiple=True, help="Display name in From; * and ? stand for anything."),
    click.option("--feedback", multiple=True, help="Pattern of addresses that bounces may go to."),
    click.option("--recipients", multiple=True, help="Pattern of recipients; every recipient must match one."),
    click.option("--secure-transport", is_flag=True, help="Over TLS only."),
    click.option("--region", "regions", multiple=True, help="For an ARN whose region is *: where the identity is."),
    click.option("--configuration-set", "sets", multiple=True, help="A configuration set that the delegate names."),
    click.option(
        "--transport",
        type=click.Choice(["api", "smtp"]),
        default="api",
        show_default=True,
        help="smtp needs fewer actions.",
    ),
    click.option("--sandbox", is_flag=True, help="The delegate is in the sandbox: IAM is asked about recipients too."),
    click.option(
        "--with-reads",
        is_flag=True,
        help="The delegate may also read its quota (for ses.max_rate: auto) and what doctor looks at.",
    ),
    click.option("--name", default="ses-relay", show_default=True, help="Name of the policies."),
    click.option("--owner", is_flag=True, help="Only what the owner attaches."),
    click.option("--delegate-side", is_flag=True, help="Only what the delegate's account attaches."),
    click.option(
        "--json", "as_json", is_flag=True, help="Print JSON; with one side and one policy, its bare document."
    ),
)


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on the command line."""

    delegates: tuple[Delegate, ...]
    organization: str | None
    terms: Terms
    regions: tuple[str, ...]
    sets: tuple[str, ...]
    actions: tuple[str, ...]


def _all_options(command: F) -> F:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("policy")
@click.argument("identity_arn", nargs=-1)
@_all_options
@click.option("--config", type=click.Path(path_type=Path), envvar=ENVIRONMENT, help="Used when no ARN is given.")
@click.pass_context
def policy(context: click.Context, /, identity_arn: tuple[str, ...], config: Path | None, **options: Any) -> None:
    """Write the policies that let the relay send as identities of another account.

    With IDENTITY_ARN for these identities; without, for all identities of the configuration, whose senders become
    From patterns and whose roles become delegates. Patterns are those of the configuration: user@example.com,
    @example.com, @.example.com (subdomains).
    """
    if identity_arn and context.get_parameter_source("config") is ParameterSource.COMMANDLINE:
        raise click.UsageError("an ARN or --config, not both")
    try:
        request = _request(options)
        grants = _of_arns(identity_arn, request) if identity_arn else _of_configuration(find_config(config), request)
        papers = _papers(grants, options)
        click.echo(_printed(papers, as_json=options["as_json"]))
    except (ValueError, ConfigurationError) as error:
        raise click.UsageError(str(error)) from None


def _request(options: dict[str, Any]) -> Request:
    if options["organization"] and options["delegates"]:
        raise ValueError("--delegate or --org-id, not both")
    return Request(
        delegates=tuple(map(parse_delegate, dict.fromkeys(options["delegates"]))),
        organization=options["organization"],
        terms=Terms(
            senders=options["senders"],
            names=options["names"],
            feedback=options["feedback"],
            recipients=options["recipients"],
            secure_transport=options["secure_transport"],
        ),
        regions=options["regions"],
        sets=options["sets"],
        actions=(RAW,) if options["transport"] == "smtp" else (SEND, RAW),
    )


def _of_arns(texts: tuple[str, ...], request: Request) -> tuple[Grant, ...]:
    if not request.delegates and not request.organization:
        raise ValueError("who sends? Name it by --delegate ACCOUNT_OR_ARN, or an organization by --org-id")
    arns = [parse_identity_arn(text) for text in texts]
    if request.regions and not any(arn.region == "*" for arn in arns):
        raise ValueError("--region is for an ARN whose region is *; this one names its region")
    placed = [
        replace(arn, region=region)
        for arn in arns
        for region in (request.regions if arn.region == "*" and request.regions else (arn.region,))
    ]
    return tuple(
        Grant(arn, request.delegates, request.terms, request.organization, request.actions, request.sets)
        for arn in placed
    )


def _of_configuration(path: Path, request: Request) -> tuple[Grant, ...]:
    settings, _ = read_settings(path, os.environ)
    if request.regions or request.sets:
        raise ValueError("--region and --configuration-set belong to an ARN; the configuration has its own")
    return rule_grants(settings.identities, askers_of(settings, request), request.terms)


def askers_of(settings: Settings, request: Request) -> Askers:
    """Who the credentials of each rule are: the role that they assume, else whom the command line names."""
    if request.organization:
        return Askers({}, request.organization)
    return Askers({rule.credentials: _delegates(rule, settings, request) for rule in settings.identities})


def _delegates(rule: Identity, settings: Settings, request: Request) -> tuple[Delegate, ...]:
    role = settings.credentials[rule.credentials].assume_role
    if role:
        return (parse_delegate(role),)
    if not request.delegates:
        raise ValueError(
            f"the configuration does not say whose credentials {rule.credentials!r} are (identity {rule.name}): "
            "name it by --delegate ACCOUNT_OR_ARN"
        )
    return request.delegates


def _papers(grants: tuple[Grant, ...], options: dict[str, Any]) -> Papers:
    both = options["owner"] == options["delegate_side"]
    name = options["name"]
    return Papers(
        grants=grants,
        owner=owner_policies(grants, name) if both or options["owner"] else None,
        delegate=delegate_policies(grants, name, sandbox=options["sandbox"], reads=options["with_reads"])
        if both or options["delegate_side"]
        else None,
        sandbox=options["sandbox"],
        reads=options["with_reads"],
    )


def _printed(papers: Papers, *, as_json: bool) -> str:
    if not as_json:
        return report(papers)
    bare = only_document(papers)
    return json.dumps(facts(papers) if bare is None else bare, indent=2)
