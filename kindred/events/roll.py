"""Closed hours go from the logs into the lake, exactly once (SPEC §3.2).

Rows are in the lake before they leave the log, and the lake takes each row once in its day: a kill
between the two costs a second look at the same rows, and nothing else.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Protocol

import msgspec
import polars as pl

from kindred.events import decisions
from kindred.events.contract import EVENT_SCHEMA
from kindred.events.database import begin
from kindred.events.files import locked, try_lock
from kindred.events.history import event_frame
from kindred.events.joined_days import JoinedDays
from kindred.events.lake import EVENTS, Appended, Lake, LakeTable
from kindred.events.log_tables import open_log_file, reading
from kindred.events.shown import DECISIONS
from kindred.schemas.clock import DAY, HOUR
from kindred.schemas.errors import ArtefactError, LogError
from kindred.schemas.settings import EventSettings
from kindred.schemas.workspace import Workspace

MINUTE = 60_000_000
EVENTS_AT_ONCE = 200_000
DECISIONS_AT_ONCE = 5_000
DELETED_AT_ONCE = 5_000
"""Rows of one commit: writers wait for it."""
_OLDEST = (
    f"SELECT {', '.join(EVENT_SCHEMA.names())}, sequence FROM events WHERE occurred_at < ? "
    "ORDER BY occurred_at LIMIT ?"
)
_EPOCH = date(1970, 1, 1)


class Source(Protocol):
    """A log whose rows belong into a table of the lake."""

    table: LakeTable

    def oldest(self, before: int) -> tuple[pl.DataFrame, Sequence[int] | Sequence[str]]:
        """Some of the rows of before that moment, in the table's columns, and their keys in the
        log; none when no row is that old."""

    def delete(self, keys: Sequence[int] | Sequence[str]) -> None:
        """Take rows out of the log."""


class LoggedEvents:
    """`log.sqlite` as a Source."""

    table = EVENTS

    def __init__(self, path: Path) -> None:
        self._path = path

    def oldest(self, before: int) -> tuple[pl.DataFrame, Sequence[int] | Sequence[str]]:
        """See Source."""
        with reading(self._path) as db:
            told = [] if db is None else db.execute(_OLDEST, (before, EVENTS_AT_ONCE)).fetchall()
        if not told:
            return EVENT_SCHEMA.to_frame(), ()
        return event_frame([row[:-1] for row in told], EVENT_SCHEMA.names()), [
            row[-1] for row in told
        ]

    def delete(self, keys: Sequence[int] | Sequence[str]) -> None:
        """See Source."""
        with _writing(self._path) as db:
            for at in range(0, len(keys), DELETED_AT_ONCE):
                begin(db)
                few = ((key,) for key in keys[at : at + DELETED_AT_ONCE])
                db.executemany("DELETE FROM events WHERE sequence = ?", few)
                db.execute("COMMIT")


class LoggedDecisions:
    """`decisions.sqlite` as a Source."""

    table = DECISIONS

    def __init__(self, path: Path) -> None:
        self._path = path

    def oldest(self, before: int) -> tuple[pl.DataFrame, Sequence[int] | Sequence[str]]:
        """See Source."""
        rows = decisions.closed_rows(self._path, before, DECISIONS_AT_ONCE)
        return rows, rows["decision_id"].to_list()

    def delete(self, keys: Sequence[int] | Sequence[str]) -> None:
        """See Source."""
        decisions.delete(self._path, [str(key) for key in keys])


def closed_before(now: int, settings: EventSettings) -> int:
    """Start (µs UTC) of the first hour that may still get events: late ones, and a minute."""
    return (now - (settings.late_minutes + 1) * MINUTE) // HOUR * HOUR


def roll(source: Source, lake: Path, before: int) -> Appended:
    """Move the rows of before that moment from the log to the lake.

    LogError, ArtefactError; what had been moved until then stays moved.
    """
    table, new, duplicate = Lake(lake, source.table), 0, 0
    while True:
        rows, keys = source.oldest(before)
        if not len(keys):
            return Appended(new, duplicate)
        appended = table.append(rows)
        source.delete(keys)
        new, duplicate = new + appended.new, duplicate + appended.duplicate


@contextmanager
def only_one(lake: Path, *, wait: bool) -> Iterator[bool]:
    """Keep other processes from rolling into this lake; False where one does, and `wait` is not
    wished."""
    lock = lake / ".rolling"
    try:
        lake.mkdir(parents=True, exist_ok=True)
        lock.touch()
    except OSError as error:
        raise ArtefactError(f"the lake {lake} cannot be written: {error}") from error
    if wait:
        with locked(lock):
            yield True
    else:
        with try_lock(lock) as ours:
            yield ours


def expire(lake: Path, log_path: Path, settings: EventSettings, now: int) -> list[str]:
    """Delete what has been kept long enough: days of the lake, dead letters, log-ins.

    Returns the folders that are gone, such as `raw/dt=2025-11-20`.
    """
    if log_path.exists():
        oldest = now - settings.rejects_keep_days * DAY
        with _writing(log_path) as db:
            db.execute("DELETE FROM rejects WHERE received_at < ?", (oldest,))
            # What was merged that long ago is in no session any more.
            db.execute("DELETE FROM merges WHERE at < ?", (now - settings.late_minutes * MINUTE,))
    if not settings.keep_days:
        return []
    first = f"dt={_EPOCH + timedelta(days=now // DAY - settings.keep_days)}"
    gone = []
    for table in (EVENTS, DECISIONS):
        folder = lake / table.folder
        days = [day for day in folder.glob("dt=*") if day.name < first]
        if not days:
            continue
        with locked(folder / ".lock"):
            for day in sorted(days):
                _remove(day)
                gone.append(f"{table.folder}/{day.name}")
    return gone + JoinedDays(lake).expire(now // DAY - settings.keep_days)


def _remove(day: Path) -> None:
    try:
        shutil.rmtree(day)
    except OSError as error:
        raise ArtefactError(f"{day} cannot be deleted: {error}") from error


@contextmanager
def _writing(log_path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(open_log_file(log_path)) as db:
            yield db
    except (sqlite3.Error, OSError) as error:
        raise LogError(f"the event log {log_path}: {error}") from error


class Rolled(msgspec.Struct, frozen=True, kw_only=True):
    """What went from the logs into the lake."""

    events: int = 0
    decisions: int = 0
    repeated: int = 0
    """Rows that the lake had already, after an interruption."""
    expired: list[str] = []
    """Days whose time is over, by table."""


def roll_closed(
    workspace: Workspace, settings: EventSettings, now: int, *, wait: bool = True
) -> Rolled | None:
    """Roll what is closed and delete what has expired; None where another process is at it.

    `wait`: for that process instead. LogError, ArtefactError.
    """
    with only_one(workspace.lake, wait=wait) as ours:
        if not ours:
            return None
        before = closed_before(now, settings)
        moved = {"events": Appended(0, 0), "decisions": Appended(0, 0)}
        if workspace.log.exists():
            moved["events"] = roll(LoggedEvents(workspace.log), workspace.lake, before)
        if workspace.decisions.exists():
            moved["decisions"] = roll(LoggedDecisions(workspace.decisions), workspace.lake, before)
        return Rolled(
            events=moved["events"].new,
            decisions=moved["decisions"].new,
            repeated=sum(m.duplicate for m in moved.values()),
            expired=expire(workspace.lake, workspace.log, settings, now),
        )
