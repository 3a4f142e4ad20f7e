"""What the postmaster hears of the state in which a start found the spool."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.post import found_news
from relay.spool.mend import Mended
from relay.spool.opening import Before, Found

SPOOL, OLD, ASIDE = Path("/var/spool.db"), Path("/var/spool.db.damaged-7"), Path("/var/old.contents")


@pytest.mark.parametrize(
    ("found", "subjects"),
    [
        (Found(), []),
        (Found(kept=3), []),
        (Found(missing=("a",)), ["1 mail in the spool without content"]),
        (Found(before=Before(database_gone=True)), ["The database of the spool was gone"]),
        (Found(before=Before(log_gone=True)), ["The log of the spool was gone"]),
        (
            Found(before=Before(damaged_log=Path("/var/log")), mended=Mended(3, (), OLD)),
            ["The log of the spool was damaged", "The spool was damaged: it is mended"],
        ),
    ],
)
def test_each_ill_has_its_letter(found: Found, subjects: list[str]) -> None:
    """And a start that found nothing has none."""
    assert [news.subject for news in found_news(found, SPOOL)] == subjects


@pytest.mark.parametrize("before", [Before(database_gone=True), Before(log_gone=True)])
def test_what_was_put_aside_is_told(before: Before) -> None:
    """It may be all that is left of mail."""
    [news] = found_news(Found(rubbish=1, aside=ASIDE, before=before), SPOOL)

    assert f"    {ASIDE}" in news.lines
