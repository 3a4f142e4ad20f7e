"""These tests share letters, sessions and the account with the kill campaigns."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))
