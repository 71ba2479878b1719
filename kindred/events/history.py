"""All events there are: those of the lake and those that are still in the log, each once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import polars as pl

from kindred.events.contract import EVENT_SCHEMA
from kindred.events.lake import Lake
from kindred.schemas.errors import LogError
from kindred.schemas.event import ACTIONS

_ROWS_AT_ONCE = 50_000
_LONG_AGO, _FAR_OFF = 0, 2**62
_ACTION_NAMES = [action.value for action in ACTIONS]
_READ = (
    f"SELECT {', '.join(EVENT_SCHEMA.names())} FROM events "
    "WHERE occurred_at >= ? AND occurred_at < ? ORDER BY sequence"
)


def all_events(
    lake: Path, log_path: Path, since: int | None = None, until: int | None = None
) -> pl.LazyFrame:
    """Events with since <= time < until (µs UTC): EVENT_SCHEMA, each once.

    The log is read at once and first: what is rolled meanwhile is then in the lake already.
    """
    logged = logged_events(log_path, since, until)
    rolled = Lake(lake).scan(since, until)
    if logged.is_empty():
        return rolled
    first, last = logged["occurred_at"].min(), logged["occurred_at"].max()
    both = rolled.filter(pl.col("occurred_at").is_between(first, last)).select("event_id")
    fresh = logged.lazy().join(both, on="event_id", how="anti", maintain_order="left")
    return pl.concat([rolled, fresh])


def logged_events(
    log_path: Path, since: int | None = None, until: int | None = None
) -> pl.DataFrame:
    """Events of the log that have not been rolled, in the order of their commits: EVENT_SCHEMA."""
    return pl.concat(event_parts(log_path, since, until))


def event_parts(
    log_path: Path, since: int | None = None, until: int | None = None
) -> Iterator[pl.DataFrame]:
    """`logged_events` in parts, of one moment; at least one, which may be empty."""
    yield EVENT_SCHEMA.to_frame()
    with reading(log_path) as db:
        if db is None:
            return
        bounds = (_LONG_AGO if since is None else since, _FAR_OFF if until is None else until)
        cursor = db.execute(_READ, bounds)
        while rows := cursor.fetchmany(_ROWS_AT_ONCE):
            yield event_frame(rows)


def event_frame(rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    """Rows of the table, in the order of EVENT_SCHEMA, as columns."""
    columns = dict(zip(EVENT_SCHEMA.names(), zip(*rows, strict=True), strict=True))
    columns["action"] = tuple(_ACTION_NAMES[code] for code in columns["action"])
    columns["logged_in"] = tuple(map(bool, columns["logged_in"]))
    return pl.DataFrame(columns, schema=EVENT_SCHEMA)


class Reject(msgspec.Struct, frozen=True):
    """A dead letter."""

    received_at: int
    """Microseconds UTC."""
    path: str
    reason: str
    raw: str
    """The row as it was told; bytes that are no UTF-8 are replaced."""


def newest_rejects(log_path: Path, limit: int) -> list[Reject]:
    """What the log refused, the newest first."""
    question = "SELECT received_at, path, reason, raw FROM rejects ORDER BY number DESC LIMIT ?"
    with reading(log_path) as db:
        rows = [] if db is None else db.execute(question, (limit,)).fetchall()
    return [Reject(at, path, why, raw.decode(errors="replace")) for at, path, why, raw in rows]


def fingerprint(lake: Path, log_path: Path) -> str:
    """A hash that changes with the events of the lake and of the log; it reads neither."""
    told = Lake(lake).fingerprint()
    with reading(log_path) as db:
        if db is not None:
            counted = db.execute("SELECT count(*), max(sequence) FROM events").fetchone()
            if counted[0]:
                told = blake2b(f"{told} {counted}".encode(), digest_size=16).hexdigest()
    return told


@contextmanager
def reading(log_path: Path) -> Iterator[sqlite3.Connection | None]:
    """A connection that only reads; None where there is no log yet. LogError where it fails."""
    if not log_path.exists():
        yield None
        return
    try:
        where = f"file:{quote(str(log_path))}?mode=ro"
        with closing(sqlite3.connect(where, uri=True, timeout=10, isolation_level=None)) as db:
            yield db if db.execute("PRAGMA user_version").fetchone()[0] else None
    except sqlite3.Error as error:
        raise LogError(f"the event log {log_path}: {error}") from error
