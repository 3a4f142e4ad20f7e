"""What is shipped says what the code needs: locks, image, unit, and the commands of the Makefile."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from relay.cli.health import TIMEOUT_S
from relay.settings.sections import Limits

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ["requirements.lock", "requirements-build.lock", "requirements-dev.lock", "requirements-interop.lock"]
LOCKED = re.compile(
    r"^(?P<name>[a-z0-9.-]+)==(?P<version>[^ ;\\]+)(?P<marker> ; [^\\]+)? \\\n(?P<hashes>(?: +--hash=\S+(?: \\)?\n)+)",
    re.MULTILINE,
)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    return tomllib.loads(text("pyproject.toml"))


def normal(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def named(requirements: list[Any]) -> set[str]:
    """The distributions of a list of requirements, without versions, extras and included groups."""
    return {normal(re.split(r"[^A-Za-z0-9._-]", item)[0]) for item in requirements if isinstance(item, str)}


def pinned(lock: str) -> dict[str, set[str]]:
    """Name to versions; more than one where a marker chooses."""
    found: dict[str, set[str]] = {}
    for match in LOCKED.finditer(text(lock)):
        found.setdefault(match["name"], set()).add(match["version"])
    return found


def instructions() -> list[str]:
    """The Dockerfile's instructions, continued lines joined, comments left out."""
    lines = [line for line in text("Dockerfile").splitlines() if not line.lstrip().startswith("#")]
    return [line for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line]


def unit(key: str) -> list[str]:
    """Every value that the systemd unit gives to `key`."""
    lines = [line.partition("=") for line in text("systemd/ses-relay.service").splitlines() if line[:1] not in "#["]
    return [value for name, _, value in lines if name == key]


def spool_folder() -> str:
    """Where the sample configuration has its spool."""
    (path,) = re.findall(r"^#  path: (\S+)/spool\.db$", text("config/relay.yaml"), re.MULTILINE)
    return str(path)


class TestLocks:
    """Every file from PyPI is pinned and checked, and no lock says where it comes from."""

    @pytest.mark.parametrize("lock", LOCKS)
    def test_holds_nothing_but_pins_and_hashes(self, lock: str) -> None:
        """No index, no address, no path, no option: the machine's own index is used, checked by hash."""
        rest = LOCKED.sub("", text(lock))

        assert pinned(lock)
        assert [line for line in rest.splitlines() if line and not line.lstrip().startswith("#")] == []
        assert not re.search(r"://|(?:^|\s)[~/]|file:|index|\\", rest)

    def test_has_every_dependency(self) -> None:
        """`make lock` was run after the last change of pyproject.toml."""
        groups = project()["dependency-groups"]

        assert named(project()["project"]["dependencies"]) <= pinned("requirements.lock").keys()
        for group, lock in (("build", "requirements-build.lock"), ("interop", "requirements-interop.lock")):
            assert named(groups[group]) <= pinned(lock).keys()
        assert named(groups["dev"] + groups["build"]) <= pinned("requirements-dev.lock").keys()

    def test_tests_run_against_what_is_shipped(self) -> None:
        """The development lock has the same versions as the other two."""
        tested = pinned("requirements-dev.lock")

        for lock in ("requirements.lock", "requirements-build.lock"):
            for name, versions in pinned(lock).items():
                assert tested[name] == versions

    def test_npm_lock_has_hashes_and_no_addresses(self) -> None:
        """The registry is the machine's own; what comes from it is checked."""
        packages = json.loads(text("tests/interop/package-lock.json"))["packages"]
        packages.pop("")

        assert packages
        assert all(
            package["integrity"].startswith("sha512-") and "resolved" not in package for package in packages.values()
        )


class TestDependencies:
    """pyproject.toml names what the relay imports, no less and no more."""

    @staticmethod
    def imported() -> set[str]:
        """Distributions of the libraries that relay/ imports."""
        modules = set()
        for path in ROOT.glob("relay/**/*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    modules |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    modules.add(node.module.partition(".")[0])
        owners = packages_distributions()
        foreign = modules - sys.stdlib_module_names - {"relay"}
        return {normal(owners[module][0]) if module in owners else module for module in foreign}

    def test_each_import_is_declared(self) -> None:
        """A library that comes only with another one, or only with the tests, would be missing at a user's."""
        implied = {"pydantic-core": "pydantic", "multidict": "aiohttp", "yarl": "aiohttp"}

        assert {implied.get(name, name) for name in self.imported()} <= named(project()["project"]["dependencies"])

    def test_each_declared_library_is_imported(self) -> None:
        """What nobody uses is not shipped."""
        assert named(project()["project"]["dependencies"]) - self.imported() == set()


class TestImage:
    """The Dockerfile keeps what it promises in its first lines."""

    def test_base_image_can_be_chosen(self) -> None:
        """Before the first FROM, and used by every stage."""
        assert instructions()[0].startswith("ARG BASE_IMAGE=")
        assert {line.split()[1] for line in instructions() if line.startswith("FROM ")} == {"${BASE_IMAGE}"}

    def test_every_installation_is_checked_or_local(self) -> None:
        """By hash from the locks, or of our own wheel without looking anywhere."""
        installs = [step for line in instructions() for step in line.split("&&") if " install " in step]

        assert len(installs) == 3
        assert all(
            "--require-hashes --only-binary=:all:" in step.replace("  ", "") or "--no-index" in step
            for step in installs
        )

    def test_runs_as_nobody_in_particular_and_stops_cleanly(self) -> None:
        """A number, so that Kubernetes can verify runAsNonRoot; the relay itself is process 1 and hears SIGTERM."""
        final = instructions()[max(i for i, line in enumerate(instructions()) if line.startswith("FROM ")) :]

        for line in (
            "USER 10001:10001", "STOPSIGNAL SIGTERM", 'ENTRYPOINT ["ses-relay"]', 'CMD ["run"]', "EXPOSE 2525 9525",
        ):  # fmt: skip
            assert line in final
        assert next(line for line in final if line.startswith("HEALTHCHECK")).endswith('CMD ["ses-relay", "health"]')

    def test_a_probe_may_take_its_time(self) -> None:
        """Docker must not cut `health` short, which may ask two addresses; nor a spool that is mended at the start."""
        (check,) = (line for line in instructions() if line.startswith("HEALTHCHECK"))
        given = dict(re.findall(r"--([a-z-]+)=(\S+)", check))

        assert int(given["timeout"].removesuffix("s")) >= 2 * TIMEOUT_S + 5
        assert int(given["start-period"].removesuffix("m")) >= 5

    def test_a_named_volume_for_the_spool_belongs_to_the_relay(self) -> None:
        """An empty volume takes owner and mode of the folder that it covers, and the sample's spool is in there."""
        made = re.search(r"mkdir -m 700 (\S+) && chown 10001:10001 (\S+)", "\n".join(instructions()))

        assert made
        assert made[1] == made[2] == spool_folder()

    def test_older_builders_can_read_it(self) -> None:
        """No here-documents, no COPY --link."""
        assert not re.search(r"<<|--link", "\n".join(instructions()))

    def test_context_has_what_is_copied_and_nothing_else(self) -> None:
        """.dockerignore keeps secrets and the rest of the project out of the build."""
        lines = [line for line in text(".dockerignore").splitlines() if line and not line.startswith("#")]
        let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
        copied = {
            source
            for line in instructions()
            if line.startswith("COPY ") and "--from=" not in line
            for source in line.split()[1:-1]
        }

        assert lines[0] == "*"
        assert let_in == copied
        assert all((ROOT / name).exists() for name in copied)


class TestUnit:
    """The systemd unit fits the relay's own defaults and keeps its sandbox."""

    def test_gives_the_drain_its_time(self) -> None:
        """The service manager must not kill what `drain_s` still lets finish."""
        (stop,) = unit("TimeoutStopSec")

        assert int(stop.removesuffix("s")) > Limits().drain_s + 5

    def test_is_told_and_watched(self) -> None:
        """Ready when the listeners are, reloaded by SIGHUP, restarted when stuck or killed, not when misconfigured."""
        assert unit("Type") == ["notify"]
        assert unit("ExecStart") == ["/opt/ses-relay/bin/ses-relay run"]
        assert unit("Restart") == ["on-failure"]
        assert unit("RestartPreventExitStatus") == ["2"]
        assert int(unit("WatchdogSec")[0].removesuffix("s")) >= 10

    def test_a_reload_that_is_refused_fails(self) -> None:
        """The signal alone would always succeed; systemd sends it only when the command before it has."""
        assert unit("ExecReload") == ["/opt/ses-relay/bin/ses-relay check", "/bin/kill -HUP $MAINPID"]
        assert unit("Environment") == ["SES_RELAY_CONFIG=/etc/ses-relay/relay.yaml"]

    def test_waits_for_what_may_come(self) -> None:
        """Systemd gives up neither on a port or a disk that is not there, nor on a spool that is being mended."""
        assert unit("StartLimitIntervalSec") == ["0"]
        assert int(unit("TimeoutStartSec")[0].removesuffix("min")) >= 15

    def test_runs_as_a_user_that_root_can_stand_in_for(self) -> None:
        """Not a dynamic one: its folder is closed to `ses-relay queue`, and no key can be given to it."""
        assert unit("User") == unit("Group") == ["ses-relay"]
        assert unit("DynamicUser") == []
        assert re.search(
            r"^# Install: +useradd --system .* ses-relay$", text("systemd/ses-relay.service"), re.MULTILINE
        )

    def test_has_its_two_folders(self) -> None:
        """For the spool, where the sample has it, and for a Unix socket; nothing else can be written to."""
        assert ["/var/lib/" + name for name in unit("StateDirectory")] == [spool_folder()]
        assert unit("StateDirectoryMode") == ["0700"]
        assert unit("RuntimeDirectory") == ["ses-relay"]
        assert unit("ReadWritePaths") == []

    def test_has_descriptors_for_every_connection(self) -> None:
        """One for the client and one towards SES, with room for the rest."""
        assert int(unit("LimitNOFILE")[0]) >= 4 * Limits().connections

    @pytest.mark.parametrize(
        "setting",
        [
            "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict",
            "ProtectHome=yes", "PrivateDevices=yes", "PrivateTmp=yes", "PrivateUsers=yes",
            "ProtectKernelTunables=yes",
            "ProtectControlGroups=yes", "RestrictNamespaces=yes", "MemoryDenyWriteExecute=yes", "LockPersonality=yes",
            "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX", "SystemCallFilter=@system-service",
            "SystemCallFilter=~@privileged @resources", "SystemCallArchitectures=native", "RestrictSUIDSGID=yes",
            "RemoveIPC=yes", "UMask=0077",
        ],
    )  # fmt: skip
    def test_sandbox(self, setting: str) -> None:
        """Each of these was tried on a real systemd; none may go by accident."""
        key, _, value = setting.partition("=")

        assert value in unit(key)


class TestCommands:
    """What a person and a machine call."""

    def test_ci_runs_both_suites(self) -> None:
        """And stops at the first that fails."""
        lines = text(".ci/run").splitlines()

        assert os.access(ROOT / ".ci/run", os.X_OK)
        assert lines[0] == "#!/usr/bin/env bash"
        assert "set -euo pipefail" in lines
        assert [line for line in lines if line.startswith("make ")] == ["make test", "make test-interop"]

    def test_help_lists_every_target(self) -> None:
        """`make` alone says what there is."""
        makefile = text("Makefile")
        (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)

        assert set(phony.split()) == set(re.findall(r"^([a-z-]+):.* ## \S", makefile, re.MULTILINE))

    def test_the_licence_is_whole(self) -> None:
        """Apache-2.0, as pyproject.toml says."""
        assert project()["project"]["license"] == "Apache-2.0"
        assert text("LICENSE").lstrip().startswith("Apache License\n")
        assert "END OF TERMS AND CONDITIONS" in text("LICENSE")
