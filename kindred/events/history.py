"""All events there are: those of the lake and those that are still in the log, each once."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from kindred.events.contract import EVENT_SCHEMA
from kindred.events.lake import Lake
from kindred.events.log_tables import reading
from kindred.events.union import LogTable, closed_span, lake_and_log
from kindred.schemas.event import ACTIONS

_ROWS_AT_ONCE = 50_000
_ACTION_NAMES = [action.value for action in ACTIONS]


def all_events(
    lake: Path, log_path: Path, since: int | None = None, until: int | None = None
) -> pl.LazyFrame:
    """Events with since <= time < until (µs UTC): EVENT_SCHEMA, each once (`events.union`)."""
    return lake_and_log(Lake(lake), LOGGED, log_path, since, until)


def logged_events(
    log_path: Path, since: int | None = None, until: int | None = None
) -> pl.DataFrame:
    """Events of the log that have not been rolled, in the order of their commits: EVENT_SCHEMA."""
    columns = EVENT_SCHEMA.names()
    question = f"{LOGGED.in_span(LOGGED.select(columns))} ORDER BY sequence"
    parts = [EVENT_SCHEMA.to_frame()]
    with reading(log_path) as db:
        if db is not None:
            cursor = db.execute(question, closed_span(since, until))
            while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                parts.append(event_frame(rows, columns))
    return pl.concat(parts)


def event_frame(rows: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> pl.DataFrame:
    """Rows of the table, of these columns of EVENT_SCHEMA, as columns."""
    told = dict(zip(columns, zip(*rows, strict=True), strict=True))
    if "action" in told:
        told["action"] = tuple(_ACTION_NAMES[code] for code in told["action"])
    if "logged_in" in told:
        told["logged_in"] = tuple(map(bool, told["logged_in"]))
    return pl.DataFrame(told, schema={name: EVENT_SCHEMA[name] for name in columns})


LOGGED = LogTable("events", reading, ", ".join, event_frame, _ROWS_AT_ONCE)
"""The log's events as the lake's."""


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
