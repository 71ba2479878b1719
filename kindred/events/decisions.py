"""Reading the decisions: those of the log and those that have gone to the lake, each once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from uuid import UUID

import polars as pl

from kindred.events.database import transaction, translated
from kindred.events.decision_tables import (
    StoredDecision,
    decision_frame,
    from_columns,
    from_row,
    open_decisions,
    reading,
)
from kindred.events.lake import Lake
from kindred.events.shown import DECISION_SCHEMA, DECISIONS
from kindred.events.union import LogTable, lake_and_log
from kindred.schemas.clock import HOUR
from kindred.schemas.errors import LogError

AT_ONCE = 5_000
"""Decisions read from the log together: with their features some 100 MB."""
DELETED_AT_ONCE = 500
"""Decisions of one commit: writers wait for it."""
LISTED = ("decision_id", "occurred_at", "surface", "policy", "seed_item", "user_id", "device_id",
          "session_id", "shown_item", "candidate_count", "degraded")  # fmt: skip
"""Columns of `newest`."""

_FEATURES = "features"


def _selected(columns: Sequence[str]) -> str:
    return f"doc, {_FEATURES if _FEATURES in columns else 'NULL'}"


def _frame(rows: list[tuple[bytes, bytes | None]], columns: Sequence[str]) -> pl.DataFrame:
    return decision_frame(rows).select(columns)


LOGGED = LogTable("decisions", reading, _selected, _frame, AT_ONCE)
"""The log's decisions as the lake's."""


def find(lake: Path, path: Path, decision_id: str) -> StoredDecision | None:
    """A decision from the log at `path`, else from the lake; None where neither has it."""
    with reading(path) as db:
        if db is not None:
            question = "SELECT doc, features FROM decisions WHERE decision_id = ?"
            found = db.execute(question, (decision_id,)).fetchone()
            if found is not None:
                return from_row(*found)
    at = made_at(decision_id)
    scan = Lake(lake, DECISIONS).scan(*(() if at is None else (at - HOUR, at + HOUR)))
    rows = scan.filter(pl.col("decision_id") == decision_id).collect(engine="streaming")
    return from_columns(rows.row(0, named=True)) if rows.height else None


def made_at(decision_id: str) -> int | None:
    """When an id was made, in microseconds, as a UUID of version 7 tells it to a millisecond."""
    try:
        told = UUID(decision_id)
    except ValueError:
        return None
    return (told.int >> 80) * 1000 if told.version == 7 else None


def newest(
    lake: Path,
    path: Path,
    limit: int,
    since: int | None = None,
    columns: Sequence[str] = LISTED,
) -> pl.DataFrame:
    """The newest decisions, at most `limit`, newest first: these `columns`, the time among them.

    The lake is read backwards, only as far as it takes.
    """
    question = (
        "SELECT doc, NULL FROM decisions WHERE occurred_at >= ? ORDER BY occurred_at DESC LIMIT ?"
    )
    logged = DECISION_SCHEMA.to_frame()
    with reading(path) as db:
        if db is not None:
            logged = decision_frame(db.execute(question, (since or 0, limit)))
    found = logged = logged.select(columns)
    if logged.height == limit:
        since = logged["occurred_at"].to_list()[-1]
    rolled = Lake(lake, DECISIONS)
    for files in _backwards(rolled.files()):
        older = rolled.scan(since, among=files).select(columns)
        both = pl.concat([logged.lazy(), older]).unique("decision_id", keep="any")
        found = both.top_k(limit, by="occurred_at").collect()
        if found.height == limit:
            break
    return found.sort("occurred_at", descending=True)


def _backwards(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    """The files of the newest day, then those of the four newest, of the sixteen newest, …"""
    days = sorted({file.parent.name for file in files}, reverse=True)
    count = 1
    while days:
        oldest = days[min(count, len(days)) - 1]
        yield [file for file in files if file.parent.name >= oldest]
        if count >= len(days):
            return
        count *= 4


def all_decisions(
    lake: Path, path: Path, since: int | None = None, until: int | None = None
) -> pl.LazyFrame:
    """Decisions with since <= time < until, each once: the lake's and those still in the log.

    See `events.union`; the features are not read where nobody asks for them.
    """
    return lake_and_log(Lake(lake, DECISIONS), LOGGED, path, since, until)


def closed_rows(path: Path, before: int, limit: int = 20_000) -> pl.DataFrame:
    """The oldest decisions of before `before`, DECISION_SCHEMA, at most `limit`, by time."""
    question = (
        "SELECT doc, features FROM decisions WHERE occurred_at < ? ORDER BY occurred_at LIMIT ?"
    )
    with reading(path) as db:
        if db is None:
            return DECISION_SCHEMA.to_frame()
        return decision_frame(db.execute(question, (before, limit)))


def delete(path: Path, decision_ids: Iterable[str]) -> None:
    """Remove decisions from the log, as the lake has them; LogError."""
    question = "DELETE FROM decisions WHERE decision_id = ?"
    with translated(f"the decision log {path}", LogError):
        db = open_decisions(path)
        ids = [(held,) for held in decision_ids]
        try:
            for at in range(0, len(ids), DELETED_AT_ONCE):
                with transaction(db):
                    db.executemany(question, ids[at : at + DELETED_AT_ONCE])
        finally:
            db.close()
