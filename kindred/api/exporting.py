"""Tables of the lake, copied into a folder of the same shape."""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path

import msgspec
import polars as pl

from kindred.events.decisions import all_decisions
from kindred.events.files import sync, unchanged
from kindred.events.history import all_events
from kindred.events.lake import EVENTS, Lake, LakeTable
from kindred.events.shown import DECISIONS, JOINED
from kindred.schemas.clock import DAY, EPOCH
from kindred.schemas.errors import ArtefactError
from kindred.schemas.progress import Progress
from kindred.schemas.workspace import Workspace

TABLES: dict[str, LakeTable] = {"events": EVENTS, "decisions": DECISIONS, "joined": JOINED}
_LAST = (date.max - EPOCH).days


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """One table's copy."""

    what: str
    rows: int
    days: int
    folder: str


def export(
    workspace: Workspace,
    output: Path,
    what: str,
    since: int | None,
    until: int | None,
    progress: Progress,
    *,
    open_hours: bool,
) -> Exported:
    """Copy a table's rows with since <= time < until, a Parquet file for each day.

    `open_hours`: what is still in the logs too. The file of a day that was exported before is
    replaced.
    """
    table = TABLES[what]
    rows, folder = 0, output / table.folder
    with unchanged(workspace.lake / table.folder):
        days = _days(_rows(workspace, what, since, until, open_hours=open_hours))
    try:
        with progress.task(f"exporting {what}", len(days)) as advance:
            for day in days:
                first, last = max(day * DAY, since or 0), (day + 1) * DAY
                last = last if until is None else min(last, until)
                with unchanged(workspace.lake / table.folder):
                    told = _rows(workspace, what, first, last, open_hours=open_hours)
                    rows += _write(told, folder / f"dt={EPOCH + timedelta(days=min(day, _LAST))}")
                advance(1)
        if what == "decisions":
            _copy_feature_names(workspace.lake, output)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtefactError(f"the export to {folder} failed: {error}") from error
    return Exported(what=what, rows=rows, days=len(days), folder=str(folder))


def _rows(
    workspace: Workspace, what: str, since: int | None, until: int | None, *, open_hours: bool
) -> pl.LazyFrame:
    if open_hours and what == "events":
        return all_events(workspace.lake, workspace.log, since, until)
    if open_hours and what == "decisions":
        return all_decisions(workspace.lake, workspace.decisions, since, until)
    return Lake(workspace.lake, TABLES[what]).scan(since, until)


def _days(rows: pl.LazyFrame) -> list[int]:
    """Days since 1970 that have rows."""
    days = rows.select((pl.col("occurred_at") // DAY).unique().sort())
    return [int(day) for day in days.collect(engine="streaming").to_series()]


def _write(rows: pl.LazyFrame, folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    aside, path = folder / f".part.{os.getpid()}", folder / "part-0.parquet"
    rows.sink_parquet(aside, compression="zstd")
    sync(aside)
    aside.replace(path)
    sync(folder)
    return int(pl.scan_parquet(path).select(pl.len()).collect().item())


def _copy_feature_names(lake: Path, output: Path) -> None:
    """What the columns of `features` are, by `feature_spec`."""
    for names in (lake / "features").glob("*.json"):
        (output / "features").mkdir(parents=True, exist_ok=True)
        (output / "features" / names.name).write_bytes(names.read_bytes())
