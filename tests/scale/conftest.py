"""These tests share figures and their table with the campaigns."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "campaigns"))
