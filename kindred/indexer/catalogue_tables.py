"""Tables of the catalogue, and how a connection to them is opened."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from kindred.schemas.errors import CatalogueError

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE items (
    row INTEGER PRIMARY KEY,
    item_id TEXT NOT NULL UNIQUE,
    sequence INTEGER NOT NULL,
    status TEXT NOT NULL,
    created INTEGER NOT NULL,
    doc BLOB NOT NULL
);
CREATE UNIQUE INDEX items_by_sequence ON items (sequence);
CREATE TABLE totals (active INTEGER NOT NULL);
INSERT INTO totals VALUES (0);
"""
_WAIT_MS = 10_000


def connect(path: Path) -> sqlite3.Connection:
    """A connection that threads may share under a lock and that waits for other processes."""
    db = sqlite3.connect(
        path, timeout=_WAIT_MS / 1000, isolation_level=None, check_same_thread=False
    )
    db.execute("PRAGMA synchronous = FULL")
    return db


def prepare(db: sqlite3.Connection) -> None:
    """Make the tables once, whichever process comes first."""
    if _schema_version(db) == 0:
        _use_wal(db)
        db.execute("BEGIN IMMEDIATE")
        if _schema_version(db) == 0:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        db.execute("COMMIT")
    if (found := _schema_version(db)) != _SCHEMA_VERSION:
        raise CatalogueError(
            f"the catalogue's format is {found}, this version reads {_SCHEMA_VERSION}"
        )


def _use_wal(db: sqlite3.Connection) -> None:
    """Change the journal's mode, for which SQLite does not wait by itself."""
    deadline = time.monotonic() + _WAIT_MS / 1000
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _schema_version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
