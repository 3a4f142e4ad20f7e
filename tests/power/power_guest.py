"""What the guest is given: the relay as it stands, or one that has been sabotaged, its configuration, and `start`."""

import compileall
import shlex
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import letters
import yaml
from stage import CALLS_AT_ONCE

from relay.simulator import Simulator

HERE: Final = Path(__file__).parent
PROJECT: Final = HERE.parent.parent
FAULTS: Final = HERE.parent / "faults"
GUEST: Final = ("start", "judge.py")
JUDGES: Final = ("witness.py", "conservation.py", "letters.py")
HOST: Final = (
    "10.0.2.2"  # the loopback of this host, as seen from the guest (qemu, "Using the user mode network stack")
)


@dataclass(frozen=True, slots=True)
class Sabotage:
    """A change to one file of the relay: `text`, which must stand there, becomes `instead`."""

    file: str
    text: str
    instead: str

    def apply(self, tree: Path) -> None:
        """Change the file in a copy of the project. Raises ValueError when the text is not there."""
        path = tree / self.file
        source = path.read_text("utf-8")
        if self.text not in source:
            raise ValueError(f"{self.file} has no {self.text!r} to sabotage")
        path.write_text(source.replace(self.text, self.instead), "utf-8")


WITHOUT_SYNC: Final = (
    Sabotage("relay/spool/schema.py", 'pragma("synchronous", "full")', 'pragma("synchronous", "off")'),
    Sabotage("relay/spool/schema.py", "os.fsync(descriptor)", "pass"),
    Sabotage("relay/spool/bodies.py", "os.fsync(descriptor)", "pass"),
)
WITHOUT_SYNC_OF_CONTENTS: Final = WITHOUT_SYNC[1:]


def relay_config(ses: Simulator) -> dict[str, Any]:
    """A relay that acknowledges as soon as its spool has the mail, and tries again soon."""
    config = ses.relay_config()
    concurrency = CALLS_AT_ONCE // len(config["identities"])
    config["ses"] |= {"api_endpoint": f"http://{HOST}:{ses.http_port}", "concurrency": concurrency}
    return config | {
        "listeners": [{"bind": "0.0.0.0:2525"}],
        "clients": [{"name": "host", "networks": [f"{HOST}/32"]}],
        "delivery": {"acknowledge": "on_spool", "retry": ["1s"]},
        "spool": {"path": "/run/disk/spool.db", "min_free_bytes": "1MB"},
        "bounces": {"from": letters.BOUNCES},
        "admin": "off",
    }


def environment(ses: Simulator) -> dict[str, str]:
    """The simulator's keys; its authority is not needed, for it speaks HTTP to the guest."""
    return {
        name: text for name, text in ses.relay_environment().items() if name.startswith("AWS_") and "CA" not in name
    }


def make_archive(archive: Path, ses: Simulator, sabotage: Sequence[Sabotage] = ()) -> None:
    """Write the archive for a guest."""
    tree = archive.with_suffix(".tree")
    shutil.copytree(PROJECT / "relay", tree / "relay", ignore=shutil.ignore_patterns("__pycache__"))
    for change in sabotage:
        change.apply(tree)
    for file in (*(HERE / "guest" / name for name in GUEST), *(FAULTS / name for name in JUDGES)):
        shutil.copy2(file, tree)
    (tree / "relay.yaml").write_text(yaml.safe_dump(relay_config(ses), sort_keys=False), "utf-8")
    exports = (f"export {name}={shlex.quote(text)}\n" for name, text in environment(ses).items())
    (tree / "environment").write_text("".join(exports), "utf-8")
    (tree / "relay.yaml").chmod(0o600)
    compileall.compile_dir(tree, quiet=1)  # of use where this Python is the guest's; emulated, it takes long
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as packed:
        packed.add(tree, ".", filter=_owned_by_root)
    shutil.rmtree(tree)


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    return entry
