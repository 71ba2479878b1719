"""What a visitor did in the last hour: an indexed read of the log's tail (SPEC §3.4, E1-E3, E9).

There is no state beside the log: an event that one process has committed is in the session that
another reads next. `sessions_at` says the same of any moment from columns of events.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from kindred.events.actions import PASSIVE
from kindred.events.database import Readers, transaction, translated
from kindred.events.log_tables import open_log_file
from kindred.schemas.clock import MINUTE, micros_now
from kindred.schemas.errors import InputError, LogError
from kindred.schemas.event import ACTION_CODE, ACTIONS, Action, EntityKind
from kindred.schemas.query import Subject
from kindred.schemas.settings import SessionSettings

_MAPPED = 1 << 30
"""Bytes of the log that are read where they lie in memory."""
_LOOK_S = 0.1
_READ = "SELECT occurred_at, event_id, action, entity_kind, entity_id, text FROM events WHERE "
_ACTED = f" AND action > {max(ACTION_CODE[a.value] for a in PASSIVE)} AND occurred_at >= :since"
_NEWEST = " ORDER BY occurred_at DESC, event_id DESC LIMIT :most"
# Whose an action without a user has become: the user's who was the next to log in there.
_OWNER = (
    "(SELECT m.user_id FROM merges m WHERE m.anonymous IN ('device:' || device_id, 'session:' || "
    "session_id) AND m.at >= events.occurred_at ORDER BY m.at LIMIT 1)"
)
_FREE = f"user_id IS NULL AND {_OWNER} IS NULL"
_MINE = f"user_id IS NULL AND {_OWNER} = :user"
_USER = f"{_READ}user_id = :user{_ACTED}{_NEWEST}"
_DEVICE = f"{_READ}device_id = :device AND {_FREE}{_ACTED}{_NEWEST}"
_SESSION = (
    f"{_READ}session_id = :session AND (user_id = :user OR ({_FREE}) OR ({_MINE})){_ACTED}{_NEWEST}"
)
_LOG_INS = "SELECT DISTINCT anonymous FROM merges WHERE user_id = ?"
_BEFORE_LOGIN = {
    "device": f"{_READ}device_id = :id AND {_MINE}{_ACTED}{_NEWEST}",
    "session": f"{_READ}session_id = :id AND {_MINE}{_ACTED}{_NEWEST}",
}
_MERGE = "INSERT OR IGNORE INTO merges (anonymous, user_id, at) VALUES (?, ?, ?)"
_WAIT_S = 5.0
_Row = tuple[int, str, int, str, str, str | None]


@dataclass(frozen=True, slots=True)
class Session:
    """A visitor's actions, newest first, in parallel columns."""

    occurred_at: tuple[int, ...] = ()
    action: tuple[int, ...] = ()
    """ACTION_CODE"""
    entity_kind: tuple[str, ...] = ()
    entity_id: tuple[str, ...] = ()
    text: tuple[str | None, ...] = ()
    """The words of searches."""

    def __len__(self) -> int:
        return len(self.occurred_at)

    def streams(self) -> dict[tuple[EntityKind, Action], list[tuple[int, str]]]:
        """(time, entity) by (entity kind, action), newest first (SPEC E2)."""
        found: dict[tuple[EntityKind, Action], list[tuple[int, str]]] = {}
        told = zip(self.entity_kind, self.action, self.occurred_at, self.entity_id, strict=True)
        for kind, action, at, entity in told:
            found.setdefault((EntityKind(kind), ACTIONS[action]), []).append((at, entity))
        return found


class Sessions:
    """Reads sessions from `log.sqlite`, by any number of threads and processes.

    LogError where the log cannot be read. A log that is not there yet has no sessions.
    """

    def __init__(
        self, path: Path, settings: SessionSettings, clock: Callable[[], int] = micros_now
    ) -> None:
        self._path, self._clock = path, clock
        self._window = settings.window_minutes * MINUTE
        self._most = settings.actions
        # A reader waits for no writer in WAL; the time-out is for the moment of a checkpoint.
        self._readers = Readers(path, wait_s=_LOOK_S, mapped=_MAPPED)

    def of(self, subject: Subject) -> Session:
        """The visitor's last hour.

        A user's actions under any device, and those of before the log-in that `merge` told of;
        without a user the device's anonymous ones. A session id adds what was done in it by the
        same user, or by nobody. Nobody sees what a user did, before logging in too, without being
        named as that user: devices are shared.
        """
        since = self._clock() - self._window
        with translated("sessions", LogError):
            db = self._readers.connection()
            return newest([] if db is None else self._rows(db, subject, since), self._most)

    def merge(self, anonymous: Subject, user_id: str) -> None:
        """At log-in: what this device or session did without a user until now is the user's.

        Durable when it returns; twice is as good as once. What the device does without a user
        afterwards is not.
        """
        told = [("device", anonymous.device_id), ("session", anonymous.session_id)]
        now = self._clock()
        rows = [(f"{kind}:{name}", user_id, now) for kind, name in told if name is not None]
        if not rows:
            raise InputError("one of `device_id` and `session_id` is required", "$")
        with (
            translated("merging visitors", LogError),
            closing(open_log_file(self._path, _WAIT_S)) as db,
            transaction(db, _WAIT_S),
        ):
            db.executemany(_MERGE, rows)

    def close(self) -> None:
        """Release the files."""
        self._readers.close()

    def _rows(self, db: sqlite3.Connection, subject: Subject, since: int) -> list[_Row]:
        user, device, session = subject.user_id, subject.device_id, subject.session_id
        asked = {
            "user": user, "device": device, "session": session,
            "since": since, "most": self._most,
        }  # fmt: skip
        rows: list[_Row] = []
        if user is not None:
            rows += db.execute(_USER, asked)
            for (anonymous,) in db.execute(_LOG_INS, (user,)).fetchall():
                kind, _, name = anonymous.partition(":")
                rows += db.execute(_BEFORE_LOGIN[kind], {**asked, "id": name})
        elif device is not None:
            rows += db.execute(_DEVICE, asked)
        if session is not None:
            rows += db.execute(_SESSION, asked)
        return rows


def newest(rows: list[_Row], most: int) -> Session:
    """The session of rows (time, event id, …), each event once, whatever their order."""
    if not rows:
        return Session()
    ordered = sorted(set(rows), key=lambda row: row[:2], reverse=True)[:most]
    at, _, action, kind, entity, text = zip(*ordered, strict=True)
    return Session(at, action, kind, entity, text)


def sessions_at(
    events: pl.LazyFrame, asked: pl.DataFrame, settings: SessionSettings
) -> pl.DataFrame:
    """Sessions as of past moments, from events (EVENT_SCHEMA): what `Sessions.of` said then.

    `asked` has `ask` (any key), `user_id`, `device_id`, `session_id` (null where not named) and
    `at` µs. Answers `ask`, `place` (0 = newest), `occurred_at`, `action` code, `entity_kind`,
    `entity_id`. Log-ins are not in the events, so nothing is merged.
    """
    passive = [a.value for a in PASSIVE]
    acted = events.filter(~pl.col("action").is_in(passive)).select(
        "event_id", "occurred_at", "entity_kind", "entity_id", "user_id", "device_id",
        "session_id", action=pl.col("action").replace_strict(ACTION_CODE, return_dtype=pl.Int64),
    )  # fmt: skip
    named = asked.lazy().select("ask", "at", *_WHO, named="user_id")
    anonymous = pl.col("user_id").is_null()
    own = anonymous | (pl.col("user_id") == pl.col("named"))
    nobody = acted.filter(anonymous)
    found = [
        acted.join(named.drop("device_id", "session_id"), on="user_id"),
        nobody.join(named.filter(anonymous).drop("user_id", "session_id"), on="device_id"),
        acted.join(named.drop("user_id", "device_id"), on="session_id").filter(own),
    ]
    age = pl.col("at") - pl.col("occurred_at")
    ordered = (
        pl.concat([frame.select(_KEPT) for frame in found])
        .filter(age.is_between(0, settings.window_minutes * MINUTE))
        .unique(["ask", "event_id"])
        .sort("ask", "occurred_at", "event_id", descending=[False, True, True])
        .with_columns(place=pl.int_range(pl.len()).over("ask"))
        .filter(pl.col("place") < settings.actions)
    )
    return ordered.select(
        "ask", "place", "occurred_at", "action", "entity_kind", "entity_id"
    ).collect()


_WHO = ("user_id", "device_id", "session_id")
_KEPT = ("ask", "at", "event_id", "occurred_at", "action", "entity_kind", "entity_id")
