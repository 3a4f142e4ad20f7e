"""A wall clock that can be set for a relay's process alone, while the machine's clock stays as it is."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

SHIM = Path(__file__).parent / "e2e" / "clock_shim.py"
DAY_S = 86_400.0


class WallClock:
    """It is moved inside Python, where the relay reads it.

    Not by libfaketime (0.9.10): Python's sleeps fail with it, once it is told to leave the steady clocks alone.
    """

    def __init__(self, folder: Path) -> None:
        self.offset = 0.0
        self._file = folder / "wall-clock"
        self._folder = folder / "clock"
        self.set(0)

    def set(self, offset: float) -> None:
        """From now on it is so many seconds ahead of the machine's; negative: behind."""
        self.offset = offset
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(str(offset), "ascii")
        unfinished.rename(self._file)

    def now(self) -> datetime:
        """The time by this clock."""
        return datetime.now(UTC) + timedelta(seconds=self.offset)

    def environment(self) -> dict[str, str]:
        """What a process needs that is to go by it."""
        self._folder.mkdir(exist_ok=True)
        shutil.copy(SHIM, self._folder / "sitecustomize.py")
        path = [str(self._folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {"PYTHONPATH": os.pathsep.join(path), "WALL_CLOCK": str(self._file)}
