"""Lakes for tests of the join over them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from join_rows import DAY, SECOND, decision, decisions, event, events

from kindred.events.joining import JoinReport, join_lake
from kindred.events.lake import Lake
from kindred.events.shown import DECISIONS, JOINED
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import JoinSettings

WINDOWS = JoinSettings()


def join_all(lake: Path, as_of: int, windows: JoinSettings = WINDOWS) -> JoinReport:
    return join_lake(
        lake, Lake(lake, DECISIONS).scan, Lake(lake).scan, windows, as_of, SilentProgress()
    )


def rows_of(lake: Path) -> pl.DataFrame:
    return Lake(lake, JOINED).scan().collect()


def small_lake(lake: Path, days: int = 4) -> None:
    """Each day an answer with a click in it and, the last day aside, one without."""
    told = [decision(f"d{n}", "a", at=n * DAY + 1) for n in range(days)]
    told += [decision(f"e{n}", "b", at=n * DAY + 2) for n in range(days - 1)]
    clicks = [event("click", "a", n * DAY + SECOND, decision_id=f"d{n}") for n in range(days)]
    Lake(lake, DECISIONS).append(decisions(*told))
    Lake(lake).append(events(*clicks))


def parts(lake: Path) -> dict[str, int]:
    """Which bytes lie on which day, and when they were put there."""
    found = sorted(lake.glob("joined/dt=*/part-*.parquet"))
    assert len({f.parent for f in found}) == len(found), "one part a day"
    return {str(f.relative_to(lake)): f.stat().st_mtime_ns for f in found}
