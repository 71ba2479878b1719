"""Tables of the event log: events of the open hours, what was refused, who became whom."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path

from kindred.events import database
from kindred.events.database import WAIT_S, Tables
from kindred.schemas.errors import LogError

# Codes 0 and 1 of `action` are impression and inview: no part of a session, so not in its indexes.
LOG_TABLES = Tables(
    "event log",
    (
        """
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    occurred_at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    action INTEGER NOT NULL,
    entity_kind TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    user_id TEXT,
    device_id TEXT,
    session_id TEXT,
    logged_in INTEGER NOT NULL,
    role TEXT NOT NULL,
    platform TEXT NOT NULL,
    text TEXT,
    surface TEXT,
    decision_id TEXT,
    position INTEGER,
    traceparent TEXT,
    country TEXT,
    postcode TEXT,
    value_minor INTEGER,
    dwell_ms INTEGER,
    formats INTEGER,
    seller_id TEXT,
    ad_rate_bp INTEGER
);
CREATE INDEX events_by_time ON events (occurred_at);
CREATE INDEX events_by_user ON events (user_id, occurred_at)
    WHERE user_id IS NOT NULL AND action > 1;
CREATE INDEX events_by_device ON events (device_id, occurred_at)
    WHERE device_id IS NOT NULL AND user_id IS NULL AND action > 1;
CREATE INDEX events_by_session ON events (session_id, occurred_at)
    WHERE session_id IS NOT NULL AND action > 1;
CREATE TABLE rejects (
    number INTEGER PRIMARY KEY,
    received_at INTEGER NOT NULL,
    path TEXT NOT NULL,
    reason TEXT NOT NULL,
    raw BLOB NOT NULL
);
CREATE TABLE merges (
    anonymous TEXT NOT NULL,
    user_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (user_id, anonymous, at)
) WITHOUT ROWID;
CREATE INDEX merges_by_anonymous ON merges (anonymous, at)
""",
        """
CREATE INDEX rejects_by_time ON rejects (received_at);
CREATE INDEX merges_by_time ON merges (at)
""",
    ),
)

EVENT_COLUMNS = (
    "event_id", "occurred_at", "received_at", "action", "entity_kind", "entity_id", "user_id",
    "device_id", "session_id", "logged_in", "role", "platform", "text", "surface", "decision_id",
    "position", "traceparent", "country", "postcode", "value_minor", "dwell_ms", "formats",
    "seller_id", "ad_rate_bp",
)  # fmt: skip
"""Columns of `events` but its sequence, which says in what order events were committed."""
_PLACES = ", ".join("?" * len(EVENT_COLUMNS))
INSERT_EVENT = (
    f"INSERT INTO events ({', '.join(EVENT_COLUMNS)}) VALUES ({_PLACES}) "
    "ON CONFLICT (event_id) DO NOTHING"
)
INSERT_REJECT = "INSERT INTO rejects (received_at, path, reason, raw) VALUES (?, ?, ?, ?)"
MOST_REJECTS = 100_000
"""Dead letters kept, the newest: a sender of nothing else must not fill the disk."""
TRIM_REJECTS = (
    f"DELETE FROM rejects WHERE number <= (SELECT max(number) FROM rejects) - {MOST_REJECTS}"
)


def reading(path: Path) -> AbstractContextManager[sqlite3.Connection | None]:
    """A connection that only reads; None where there is no log yet. LogError where it fails."""
    return database.reading(path, LOG_TABLES.what, LogError)


def open_log_file(path: Path, wait_s: float = WAIT_S) -> sqlite3.Connection:
    """A connection to the event log at `path`, made when missing; sqlite3.Error where it fails."""
    return database.open_log(path, LOG_TABLES, LogError, wait_s)
