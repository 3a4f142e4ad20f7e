"""How commands get at the spool that a configuration names: beside the relay that uses it, or without it.

Guarantees that nothing a command leaves behind locks the relay out. SQLite makes files beside the spool, and a file of
root's would be closed to a relay that is not root: so root acts as the spool's owner for as long as it is open, and
anybody else is refused. What goes wrong is told in words, with exit status 1; a configuration without a spool is a
usage error.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

import click

from relay.cli.wording import printable
from relay.model import Buffer
from relay.settings.load import load
from relay.settings.model import Settings
from relay.settings.problems import ConfigurationError
from relay.spool.interface import Query, Spool, Spooled
from relay.spool.lock import holder
from relay.spool.opening import Opening
from relay.spool.sqlite import share_spool
from relay.spool.trouble import Kind, SpoolRefused, SpoolTrouble

T = TypeVar("T")

PAGE: Final = 500  # parcels in memory, and in one step of the spool's writer
_HINTS: Final = {
    Kind.UNTRUSTED: "; a relay mends a damaged spool when it starts, or as soon as it meets the damage",
    Kind.FULL: "; make room on its disk",
    Kind.FAILING: "",
    Kind.DAMAGED: "",
    Kind.DAMAGED: "",
}


def settings_of(config: Path) -> Settings:
    """The settings of a configuration; click.UsageError says what is wrong with it."""
    try:
        return load(config, os.environ).settings
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None


def opening_of(settings: Settings) -> Opening | None:
    """The spool that settings name, None where they name none."""
    spool = settings.spool
    return None if spool is None else Opening(Path(spool.path), min_free_bytes=spool.min_free_bytes)


def spool_of(config: Path) -> Opening:
    """The spool that a configuration names; click.UsageError when it names none."""
    opening = opening_of(settings_of(config))
    if opening is None:
        raise click.UsageError(f"{config} has no section spool: without one the relay keeps no mail")
    return opening


def ask(opening: Opening, work: Callable[[Spool], Awaitable[T]]) -> T:
    """Do something with a spool. Raises click.ClickException when it cannot be had."""
    try:
        with acting_as_owner(opening.path):
            return asyncio.run(_opened(opening, work))
    except SpoolRefused as refused:
        raise click.ClickException(str(refused)) from None
    except SpoolTrouble as trouble:
        raise click.ClickException(words(opening.path, trouble)) from None


def relay_of(opening: Opening) -> str | None:
    """The process id of the relay that uses a spool, None when none does. Raises click.ClickException."""
    try:
        with acting_as_owner(opening.path):
            return holder(opening.path)
    except OSError as error:
        raise click.ClickException(f"cannot look who uses the spool: {error}") from None


def no_such(identifier: str) -> str:
    """That nothing has this id."""
    return f"there is no {printable(identifier)} in the queue; what was delivered is in the log"


def as_found(parcel: Spooled, relay: str | None, now: float) -> Spooled:
    """A parcel as it stands: where no relay runs, nobody has it in hand, and a lease that is left ends at a start."""
    if relay is not None or not parcel.leased:
        return parcel
    return replace(parcel, leased=False, part=replace(parcel.part, due=min(parcel.part.due, now)))


def words(path: Path, trouble: SpoolTrouble) -> str:
    """What is wrong with a spool, and what mends it."""
    return f"the spool {path} does not work: {trouble.detail}{_HINTS[trouble.kind]}"


@contextmanager
def acting_as_owner(path: Path) -> Iterator[None]:
    """Have root be the owner of `path` meanwhile. Raises click.ClickException: it is not there, or somebody else's."""
    owner, user, group = _owner(path), os.geteuid(), os.getegid()
    if owner.st_uid == user:
        yield
        return
    try:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
    except PermissionError:
        os.setegid(group)
        raise click.ClickException(f"{path} belongs to {_name(owner.st_uid)}: run this as that user") from None
    try:
        yield
    finally:
        os.seteuid(user)
        os.setegid(group)


async def content_of(spool: Spool, mail: str) -> Buffer | None:
    """The content of a mail, None when it is gone. Raises click.ClickException when this one cannot be read."""
    try:
        return await spool.content(mail)
    except SpoolTrouble as trouble:
        if trouble.kind is not Kind.DAMAGED:
            raise
        raise click.ClickException(
            f"the message {mail} cannot be read, only its envelope (ses-relay queue show {mail}): {trouble.detail}"
        ) from None


async def pages(spool: Spool, query: Query, limit: int = 0) -> AsyncIterator[tuple[Spooled, ...]]:
    """The parcels of a query, whatever its own limit: at most `limit`, or all when that is 0."""
    left = limit or sys.maxsize
    for start in range(0, max(1, len(query.ids)), PAGE):
        some, after = query.ids[start : start + PAGE], 0
        while left > 0:
            page = await spool.inspect(replace(query, ids=some, after=after, limit=min(PAGE, left)))
            if not page:
                break
            yield page
            after, left = page[-1].number, left - len(page)


async def _opened(opening: Opening, work: Callable[[Spool], Awaitable[T]]) -> T:
    spool = share_spool(opening)
    try:
        return await work(spool)
    finally:
        await spool.close()


def _owner(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError:
        raise click.ClickException(f"there is no spool {path}: a relay makes it when it starts") from None
    except OSError as error:
        hint = "; run this as the relay's user" if isinstance(error, PermissionError) else ""
        raise click.ClickException(f"cannot look at the spool {path}: {error.strerror}{hint}") from None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user {uid}"
