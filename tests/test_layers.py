"""Imports point down the layers, never in a circle, and libraries stay with the modules that own them.

The tables below are the architecture; ARCHITECTURE.md tells it in prose. The most specific line wins: a module's
own, else that of the nearest package above it.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

ROOT = Path(__file__).resolve().parent.parent

LAYERS = {
    # 0: words
    "relay": 0,
    "relay.model": 0,
    "relay.address": 0,
    "relay.arn": 0,
    "relay.errors": 0,
    "relay.replies": 0,
    # 1: pure decisions
    "relay.policy": 1,
    "relay.settings": 1,
    "relay.smtp.collector": 1,
    # 2: effects
    "relay.aws": 2,
    "relay.delivery": 2,
    "relay.memory": 2,
    "relay.observe": 2,
    "relay.spool": 2,
    # 3: the story of a message
    "relay.intake": 3,
    "relay.delivery.acceptance": 3,
    "relay.delivery.claims": 3,
    "relay.delivery.courier": 3,
    "relay.delivery.healing": 3,
    "relay.delivery.leases": 3,
    "relay.delivery.lines": 3,
    "relay.delivery.memory_room": 3,
    "relay.delivery.queue_runner": 3,
    "relay.delivery.settlement": 3,
    "relay.delivery.spool_watch": 3,
    # 4: edges
    "relay.smtp": 4,
    "relay.observe.admin": 4,
    # 5: wiring
    "relay.app": 5,
    "relay.post": 5,
    "relay.service": 5,
    "relay.cli": 5,
    "relay.doctor": 5,
    "relay.simulator": 5,
    "relay.__main__": 5,
}

# Packages that only hold others: their name says nothing about what a new module in them would be.
BARE = {"relay"}

# Each library and the modules (or packages) that may import it.
OWNERS = {
    "aiosmtpd": {"relay.smtp.protocol"},
    "aiohttp": {"relay.aws.exchange", "relay.observe.admin", "relay.simulator"},
    "botocore": {"relay.aws"},
    "boto3": {"relay.aws"},
    "apsw": {"relay.spool"},
    "prometheus_client": {"relay.observe.metrics"},
    "pydantic": {"relay.settings"},
    "structlog": {"relay.observe.log_output"},
    "uvloop": {"relay.service"},
}

# Layer 1 decides and does nothing: clocks, randomness, sockets and tasks are handed in.
PURE = {"relay.policy", "relay.smtp.collector"}
IMPURE = {"asyncio", "random", "secrets", "select", "socket", "ssl", "subprocess", "threading", "time", "uuid"}

Imports = dict[str, set[str]]


def modules(tree: Path) -> dict[str, Path]:
    """Every module of the package `relay` under `tree`, by its dotted name; a package goes by its own name."""
    return {
        ".".join(path.relative_to(tree).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(tree.glob("relay/**/*.py"))
    }


def imported(name: str, path: Path) -> Iterator[str]:
    """Yield each dotted name that `path` imports anywhere in it, also in functions and for types alone."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def line(name: str, table: Container[str]) -> str | None:
    """The entry of `table` that speaks for the module: its own, else that of the nearest package above it."""
    while name not in table and name:
        name = name.rpartition(".")[0]
    return name or None


def within(tree: Path) -> tuple[Imports, Imports]:
    """Split the imports of every module into those of our own modules and those of libraries."""
    known = modules(tree)
    own: Imports = defaultdict(set)
    foreign: Imports = defaultdict(set)
    for name, path in known.items():
        for target in imported(name, path):
            module = line(target, known.keys() - BARE) or line(target, known.keys())
            if module is None:
                foreign[name].add(target.partition(".")[0])
            elif module != name:
                own[name].add(module)
    return own, foreign


def unplaced(tree: Path) -> list[str]:
    """Modules that the table of layers does not name and that no package of the table speaks for."""
    return [f"{name} has no layer" for name in modules(tree) if line(name, LAYERS) in BARE - {name}]


def upward(own: Imports) -> list[str]:
    """Imports of a higher layer."""
    return [
        f"{name} ({LAYERS[line(name, LAYERS) or 'relay']}) imports {target} ({LAYERS[line(target, LAYERS) or 'relay']})"
        for name, targets in own.items()
        for target in sorted(targets)
        if LAYERS[line(target, LAYERS) or "relay"] > LAYERS[line(name, LAYERS) or "relay"]
    ]


def cycles(own: Imports) -> list[str]:
    """Circles among modules, and among packages of one layer; one of each is enough to fail."""
    packages: Imports = defaultdict(set)
    for name, targets in own.items():
        packages[line(name, LAYERS) or name] |= {line(target, LAYERS) or target for target in targets}
    for name, targets in packages.items():
        targets.discard(name)
    found = []
    for graph in (own, packages):
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            found.append("circle: " + " <- ".join(error.args[1]))
    return found


def strayed(foreign: Imports) -> list[str]:
    """Libraries outside the modules that own them, and effects in pure modules."""
    owned = [
        f"{name} imports {library}"
        for name, libraries in foreign.items()
        for library in sorted(libraries & OWNERS.keys())
        if line(name, OWNERS[library]) is None
    ]
    effects = [
        f"{name} is pure and imports {library}"
        for name, libraries in foreign.items()
        for library in sorted(libraries & IMPURE)
        if line(name, PURE)
    ]
    return owned + effects


def violations(tree: Path) -> list[str]:
    """Everything under `tree` that breaks the tables."""
    own, foreign = within(tree)
    return unplaced(tree) + upward(own) + cycles(own) + strayed(foreign)


def test_the_relay_keeps_its_layers() -> None:
    """No module imports upward, in a circle, or a library that belongs to another module."""
    assert violations(ROOT) == []


def test_every_owner_exists_or_is_planned() -> None:
    """The tables name real places, so that a module that is renamed cannot slip through."""
    planned = {"relay.spool", "relay.doctor"}
    named = LAYERS.keys() | PURE | set().union(*OWNERS.values())

    assert named - modules(ROOT).keys() <= planned


def test_libraries_of_the_table_are_real() -> None:
    """A misspelt library or standard module would check nothing."""
    assert sys.stdlib_module_names >= IMPURE
    assert OWNERS.keys().isdisjoint(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("module", "code", "complaint"),
    [
        (
            "relay/policy/routing.py",
            "from relay.intake import accept",
            "relay.policy.routing (1) imports relay.intake (3)",
        ),
        ("relay/intake.py", "from relay import app", "relay.intake (3) imports relay.app (5)"),
        (
            "relay/model.py",
            "def late():\n    import relay.policy.routing",
            "relay.model (0) imports relay.policy.routing (1)",
        ),
        ("relay/smtp/collector.py", "from . import server", "relay.smtp.collector (1) imports relay.smtp.server (4)"),
        (
            "relay/delivery/ses_api.py",
            "from .courier import x",
            "relay.delivery.ses_api (2) imports relay.delivery.courier (3)",
        ),
        ("relay/aws/keys.py", "from ..smtp.server import x", "relay.aws.keys (2) imports relay.smtp.server (4)"),
        ("relay/errors.py", "from relay.model import Reply", "circle: relay.errors <- relay.model <- relay.errors"),
        (
            "relay/aws/keys.py",
            "from relay.delivery.ses_api import x",
            "circle: relay.aws <- relay.delivery <- relay.aws",
        ),
        ("relay/smtp/server.py", "import aiosmtpd.smtp", "relay.smtp.server imports aiosmtpd"),
        (
            "relay/delivery/courier.py",
            "from botocore.exceptions import ClientError",
            "relay.delivery.courier imports botocore",
        ),
        ("relay/policy/routing.py", "from time import time", "relay.policy.routing is pure and imports time"),
        ("relay/helpers.py", "", "relay.helpers has no layer"),
    ],
)
def test_the_check_catches(tmp_path: Path, module: str, code: str, complaint: str) -> None:
    """In a made-up tree that is clean, one bad line is found and named."""
    made_up = {
        "relay/__init__.py": "",
        "relay/model.py": "from relay.errors import Rejection",
        "relay/errors.py": "",
        "relay/app.py": "from relay import intake",
        "relay/intake.py": "from relay.policy import routing",
        "relay/policy/routing.py": "from relay.model import Reply",
        "relay/smtp/collector.py": "",
        "relay/smtp/server.py": "from relay.smtp import collector",
        "relay/aws/keys.py": "import boto3",
        "relay/delivery/courier.py": "from .ses_api import x",
        "relay/delivery/ses_api.py": "from relay.aws import keys",
    }
    for name, text in made_up.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(dedent(text))
    clean = violations(tmp_path)

    (tmp_path / module).write_text(code)

    assert clean == []
    assert complaint in violations(tmp_path)
