"""Loads the configuration: one call from a path to settings, or to everything that is wrong with it.

The order is: read the file, validate each piece, resolve references and secret files, check the pieces against
each other. Every step goes on with what is well, so that all errors come at once, with file, line and key.
Guarantees that what it returns needs no further checks, and that nothing in the file was ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from relay.settings import agreement, coverage, credentials, exposure, identities
from relay.settings.document import IdentityEntry
from relay.settings.model import (
    Bounces,
    ClientEntry,
    Delivery,
    Limits,
    Listener,
    Log,
    MessageRules,
    Reload,
    Ses,
    Settings,
    Spool,
)
from relay.settings.problems import ConfigurationError, Problem
from relay.settings.source import Source
from relay.settings.validation import Pieces, validate
from relay.settings.yaml_file import read


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings that may be used, what there is to say about them, and where each key stands."""

    settings: Settings
    warnings: tuple[Problem, ...]
    source: Source


def load(
    path: Path,
    environ: Mapping[str, str],
    regions: coverage.Regions | None = None,
    standing: Sequence[Listener] = (),
) -> Loaded:
    """Load the configuration file at `path`.

    Args:
        path: The YAML file; relative paths in it are taken from its directory.
        environ: For `${NAME}` references.
        regions: Gives the regions that the AWS SDK lists for SES; without it regions are not looked up.
        standing: The listeners of a relay that runs and goes on with them: the clients have to suit these as well.

    Raises:
        ConfigurationError: Something is wrong; has all errors and warnings.
    """
    settings, source = examine(path, environ, regions, standing)
    return conclude(settings, source)


def examine(
    path: Path, environ: Mapping[str, str], regions: coverage.Regions | None, standing: Sequence[Listener] = ()
) -> tuple[Settings, Source]:
    """Load what can be loaded; what is wrong is among the source's problems, and has its default in the settings.

    Raises:
        ConfigurationError: The file cannot be read at all.
    """
    pieces = validate(read(path, environ))
    settings = _settings(pieces, environ)
    _check_edges(pieces, settings, standing)
    _check(pieces, settings, regions)
    return settings, pieces.source


def conclude(settings: Settings, source: Source) -> Loaded:
    """Raise ConfigurationError if there is an error among the source's problems."""
    if source.failed:
        raise ConfigurationError(source.problems)
    return Loaded(settings, tuple(sorted(source.problems)), source)


def _settings(pieces: Pieces, environ: Mapping[str, str]) -> Settings:
    """Resolve whatever validated; sections that are missing or wrong have their defaults."""
    chain = credentials.resolve_credentials(pieces)
    entries = pieces.entries("identities", IdentityEntry)
    default = Settings(identities=())
    return Settings(
        identities=identities.resolve_identities(pieces.source, entries, chain),
        listeners=tuple(entry for _, entry in pieces.entries("listeners", Listener)) or default.listeners,
        clients=tuple(entry for _, entry in pieces.entries("clients", ClientEntry)) or default.clients,
        users=credentials.resolve_users(pieces, environ),
        credentials=chain,
        ses=pieces.section("ses", Ses()),
        delivery=pieces.section("delivery", Delivery()),
        spool=pieces.optional("spool", Spool),
        bounces=pieces.optional("bounces", Bounces),
        message=pieces.section("message", MessageRules()),
        limits=pieces.section("limits", Limits()),
        admin=pieces.section("admin", default.admin),
        log=pieces.section("log", Log()),
        reload=pieces.section("reload", Reload()),
    )


def _check(pieces: Pieces, settings: Settings, regions: coverage.Regions | None) -> None:
    """Check the sections against each other and the file's permissions."""
    source = pieces.source
    agreement.check_ses(source, settings.ses)
    agreement.check_delivery(source, settings.delivery, settings.spool)
    exposure.check_admin(source, settings.admin)
    agreement.check_limits(source, settings.limits)
    credentials.check_own_secrets(source)
    agreement.warn_of_writers(source)
    entries = pieces.entries("identities", IdentityEntry)
    agreement.check_bounces(source, settings.bounces, settings.identities)
    coverage.warn_of_coverage(source, entries)
    coverage.warn_of_regions(source, entries, regions, own_smtp=settings.ses.smtp_endpoint is not None)


def _check_edges(pieces: Pieces, settings: Settings, standing: Sequence[Listener]) -> None:
    """Check listeners and clients; openness only when all of them are known."""
    source = pieces.source
    clients = pieces.entries("clients", ClientEntry)
    exposure.check_clients(source, clients, settings.users)
    exposure.check_listeners(source, pieces.entries("listeners", Listener), settings.admin)
    if not source.unsound("clients", "listeners"):
        exposure.check_exposure(source, settings.listeners, clients, standing)
    source.files.update(path for one in standing for path in (one.certificate, one.private_key) if path)
