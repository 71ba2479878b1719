"""SQLite files that several processes write: how a connection is opened and tables are brought up
to date."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

WAIT_S = 10.0
_LOOK_S = 0.001


class Tables(NamedTuple):
    """The tables of a file, by format: step i brings a file of format i to format i + 1."""

    what: str
    """What the file is, for messages."""
    steps: tuple[str, ...]
    """SQL statements, parted by semicolons; a step that has been released never changes."""


def connect(path: Path, wait_s: float = WAIT_S) -> sqlite3.Connection:
    """A connection that threads may share under a lock and that waits for other processes."""
    db = sqlite3.connect(path, timeout=wait_s, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA synchronous = FULL")
    return db


def prepare(
    db: sqlite3.Connection,
    tables: Tables,
    error: Callable[[str], Exception],
    wait_s: float = WAIT_S,
) -> None:
    """Make the tables, or bring older ones up to date, once: whichever process comes first.

    A file of a later version raises `error`.
    """
    newest = len(tables.steps)
    if _format(db) < newest:
        _use_wal(db, wait_s)
        db.execute("BEGIN IMMEDIATE")
        try:
            for step in tables.steps[_format(db) :]:
                for statement in filter(str.strip, step.split(";")):
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {max(newest, _format(db))}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
    if (found := _format(db)) != newest:
        raise error(f"the format of the {tables.what} is {found}, this version reads {newest}")


def begin(db: sqlite3.Connection, wait_s: float = WAIT_S) -> None:
    """Begin a transaction that writes; sqlite3.OperationalError where others write for `wait_s`.

    SQLite's own wait looks ever more seldom, ten times a second in the end: beside a process that
    commits without pause it may come away with nothing for seconds. Looking every millisecond
    gives each its turn.
    """
    db.execute("PRAGMA busy_timeout = 0")
    deadline = time.monotonic() + wait_s
    try:
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_S)
    finally:
        db.execute(f"PRAGMA busy_timeout = {round(wait_s * 1000)}")


def _use_wal(db: sqlite3.Connection, wait_s: float) -> None:
    """Change the journal's mode, for which SQLite does not wait by itself."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _format(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
