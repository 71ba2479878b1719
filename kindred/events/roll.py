"""Closed hours go from the logs into the lake, exactly once (SPEC §3.2).

Rows are in the lake before they leave the log, and the lake takes each row once in its day: a kill
between the two costs a second look at the same rows, and nothing else.
"""

from __future__ import annotations

import shutil
import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import msgspec
import polars as pl

from kindred.events import decisions
from kindred.events.contract import EVENT_SCHEMA
from kindred.events.database import transaction, translated
from kindred.events.files import locked, try_lock
from kindred.events.history import event_frame
from kindred.events.joined_days import JoinedDays
from kindred.events.lake import EVENTS, Appended, Lake, LakeTable
from kindred.events.log_tables import open_log_file, reading
from kindred.events.shown import DECISIONS
from kindred.schemas.clock import DAY, EPOCH, HOUR, MINUTE
from kindred.schemas.errors import ArtefactError, LogError
from kindred.schemas.settings import EventSettings
from kindred.schemas.workspace import Workspace

EVENTS_AT_ONCE = 50_000
"""Events of one file of the lake; more would take more memory, and fewer make more files."""
READ_AT_ONCE = 10_000
"""Events read together: as rows of the log they take many times the memory of columns."""
DECISIONS_AT_ONCE = 5_000
DELETED_AT_ONCE = 5_000
"""Rows of one commit: writers wait for it."""
_OLDEST = (
    f"SELECT {', '.join(EVENT_SCHEMA.names())}, sequence FROM events WHERE occurred_at < ? "
    "ORDER BY occurred_at LIMIT ?"
)
_OLD_REJECTS = "SELECT number FROM rejects WHERE received_at < ? LIMIT ?"
_OLD_MERGES = "SELECT user_id, anonymous, at FROM merges WHERE at < ? LIMIT ?"


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
        parts, keys = [EVENT_SCHEMA.to_frame()], array("q")
        with reading(self._path) as db:
            if db is not None:
                cursor = db.execute(_OLDEST, (before, EVENTS_AT_ONCE))
                while rows := cursor.fetchmany(READ_AT_ONCE):
                    parts.append(event_frame([row[:-1] for row in rows], EVENT_SCHEMA.names()))
                    keys.extend(row[-1] for row in rows)
        return pl.concat(parts), keys

    def delete(self, keys: Sequence[int] | Sequence[str]) -> None:
        """See Source."""
        with _writing(self._path) as db:
            for at in range(0, len(keys), DELETED_AT_ONCE):
                few = ((key,) for key in keys[at : at + DELETED_AT_ONCE])
                with transaction(db):
                    db.executemany("DELETE FROM events WHERE sequence = ?", few)


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
        with _writing(log_path) as db:
            _delete(db, "rejects", "number", _OLD_REJECTS, now - settings.rejects_keep_days * DAY)
            # What was merged that long ago is in no session any more.
            merged = now - settings.late_minutes * MINUTE
            _delete(db, "merges", "(user_id, anonymous, at)", _OLD_MERGES, merged)
    if not settings.keep_days:
        return []
    first = f"dt={EPOCH + timedelta(days=now // DAY - settings.keep_days)}"
    gone = []
    for table in (EVENTS, DECISIONS):
        folder = lake / table.folder
        days = [day for day in folder.glob("dt=*") if day.name < first]
        if not days:
            continue
        try:
            with locked(folder / ".lock"):
                for day in sorted(days):
                    shutil.rmtree(day)
                    gone.append(f"{table.folder}/{day.name}")
        except OSError as error:
            raise ArtefactError(f"old days of {folder} cannot be deleted: {error}") from error
    return gone + JoinedDays(lake).expire(now // DAY - settings.keep_days)


def _delete(db: sqlite3.Connection, table: str, key: str, old: str, before: int) -> None:
    """Delete old rows, a few in each commit; where there are none nobody is held up."""
    few = (before, DELETED_AT_ONCE)
    while db.execute(f"SELECT EXISTS ({old})", few).fetchone()[0]:
        with transaction(db):
            db.execute(f"DELETE FROM {table} WHERE {key} IN ({old})", few)


@contextmanager
def _writing(log_path: Path) -> Iterator[sqlite3.Connection]:
    with translated(f"the event log {log_path}", LogError), closing(open_log_file(log_path)) as db:
        yield db


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
