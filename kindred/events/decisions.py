"""Reading the decisions: those of the log and those that have gone to the lake, each once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from uuid import UUID

import msgspec
import polars as pl
from polars.io.plugins import register_io_source

from kindred.events.database import begin
from kindred.events.decision_tables import (
    StoredDecision,
    decision_frame,
    from_columns,
    from_row,
    open_decisions,
    reading,
    translated,
)
from kindred.events.lake import Lake
from kindred.events.shown import DECISION_SCHEMA, DECISIONS
from kindred.schemas.clock import HOUR

AT_ONCE = 5_000
"""Decisions read from the log together: with their features some 100 MB."""
DELETED_AT_ONCE = 500
"""Decisions of one commit: writers wait for it."""
LISTED = ("decision_id", "occurred_at", "surface", "policy", "seed_item", "user_id", "device_id",
          "session_id", "shown_item", "candidate_count", "degraded")  # fmt: skip
"""Columns of `newest`."""

_FEATURES = "features"
_AMONG = "WHERE decision_id IN (SELECT value FROM json_each(?))"


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


def newest(lake: Path, path: Path, limit: int, since: int | None = None) -> pl.DataFrame:
    """The newest decisions, at most `limit`, newest first: the columns LISTED."""
    question = (
        "SELECT doc, NULL FROM decisions WHERE occurred_at >= ? ORDER BY occurred_at DESC LIMIT ?"
    )
    logged = DECISION_SCHEMA.to_frame()
    with reading(path) as db:
        if db is not None:
            logged = decision_frame(db.execute(question, (since or 0, limit)))
    order = pl.concat(
        [logged.lazy().select(LISTED), Lake(lake, DECISIONS).scan(since).select(LISTED)]
    ).unique("decision_id", keep="any")
    return order.top_k(limit, by="occurred_at").sort("occurred_at", descending=True).collect()


def all_decisions(
    lake: Path, path: Path, since: int | None = None, until: int | None = None
) -> pl.LazyFrame:
    """Decisions with since <= time < until, each once: the lake's and those still in the log.

    Which there are is settled now; their rows are read when the frame is, a few thousand at a
    time and without the features where nobody asks for them. LogError, ArtefactError.
    """
    question = "SELECT decision_id, occurred_at FROM decisions " + (
        "WHERE occurred_at >= ? AND occurred_at < ? ORDER BY occurred_at"
    )
    kept = Lake(lake, DECISIONS)
    with reading(path) as db:
        bounds = (0 if since is None else since, 2**62 if until is None else until)
        logged = [] if db is None else db.execute(question, bounds).fetchall()
    rolled = kept.scan(since, until)  # after the log: what is rolled meanwhile is in here
    if not logged:
        return rolled
    ids = pl.DataFrame(logged, schema=["decision_id", "occurred_at"], orient="row")
    both = rolled.filter(pl.col("occurred_at").is_between(logged[0][1], logged[-1][1]))
    known = both.select("decision_id").collect(engine="streaming")
    fresh = ids.join(known, on="decision_id", how="anti", maintain_order="left")
    return pl.concat([rolled, _of_log(kept, path, fresh["decision_id"].to_list())])


def _of_log(kept: Lake, path: Path, ids: Sequence[str]) -> pl.LazyFrame:
    """The decisions with these ids: from the log, or from the lake once they have gone there."""

    def parts(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        features = _FEATURES if columns is None or _FEATURES in columns else "NULL"
        for at in range(0, len(ids), AT_ONCE):
            part = _read(kept, path, ids[at : at + AT_ONCE], features)
            if columns is not None:
                part = part.select(columns)
            if predicate is not None:
                part = part.filter(predicate)
            if rows is not None:
                part = part.head(rows)
                rows -= part.height
            yield part
            if rows == 0:
                return

    return register_io_source(parts, schema=DECISION_SCHEMA)


def _read(kept: Lake, path: Path, ids: Sequence[str], features: str) -> pl.DataFrame:
    with reading(path) as db:
        held = DECISION_SCHEMA.to_frame()
        if db is not None:
            question = f"SELECT doc, {features} FROM decisions {_AMONG} ORDER BY occurred_at"
            held = decision_frame(db.execute(question, (msgspec.json.encode(ids).decode(),)))
    if held.height == len(ids):
        return held
    moved = pl.DataFrame({"decision_id": ids}).join(held, on="decision_id", how="anti")
    rest = kept.scan().join(moved.lazy(), on="decision_id", how="semi")
    return pl.concat([held, rest.collect(engine="streaming")])


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
    with translated(path):
        db = open_decisions(path)
        ids = [(held,) for held in decision_ids]
        try:
            for at in range(0, len(ids), DELETED_AT_ONCE):
                begin(db)
                db.executemany(question, ids[at : at + DELETED_AT_ONCE])
                db.execute("COMMIT")
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        finally:
            db.close()
