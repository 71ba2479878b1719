"""The event log: durable before it is acknowledged, each event once (SPEC §3.2).

Any number of processes write one SQLite file. In each of them one thread commits what waits, all of
it in one transaction.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import structlog

from kindred.events.check import Refused, actions_named
from kindred.events.contract import Facts
from kindred.events.database import file_number, transaction
from kindred.events.history import logged_events
from kindred.events.log_tables import INSERT_EVENT, INSERT_REJECT, TRIM_REJECTS, open_log_file
from kindred.events.telling import tell
from kindred.schemas.clock import micros_now
from kindred.schemas.errors import LogError, LogFull
from kindred.schemas.event import ACTION_CODE, Action, Event
from kindred.schemas.settings import EventSettings

GROUP = 4_096
"""Events committed at once, at most one batch more: others' turn comes soon."""
LONGEST_RAW = 16_384
"""Bytes kept of a row that was refused."""
_CODE = {action: ACTION_CODE[action.value] for action in Action}


class Appended(NamedTuple):
    """What became of a batch."""

    accepted: int
    """Events that are in the log now and were not before."""
    unchanged: int
    """Events whose id the log held already."""


@dataclass(slots=True)
class _Batch:
    """One caller's rows on their way into the log."""

    events: list[tuple[Any, ...]]
    rejects: list[tuple[Any, ...]]
    durable: bool
    done: Future[Appended]
    awaited: bool = True
    """False where the caller has gone away: its events count all the same."""
    accepted: int = 0

    @property
    def rows(self) -> int:
        """Events and dead letters."""
        return len(self.events) + len(self.rejects)


class EventLog:
    """One per process; any number of processes on one file. Safe for several threads.

    A future is done after the COMMIT of its rows. A group that holds an action of
    `settings.durable` then survives power loss, any other the end of the process. When the file
    cannot be written, the callers of the group that failed get a LogError, and the next group is
    tried afresh: nothing need be restarted when the cause is gone.
    """

    def __init__(self, path: Path, settings: EventSettings, clock: Callable[[], int]) -> None:
        self._path, self._clock = path, clock
        self._durable = actions_named(settings.durable, "$.events.durable")
        self._room, self._busy_s = settings.queue, settings.busy_s
        self._ready = threading.Condition()
        self._queue: deque[_Batch] = deque()
        self._waiting = 0
        self._closed = False
        self._db: sqlite3.Connection | None = None
        self._opened: int | None = None
        self._log = structlog.get_logger("kindred.events")
        self._thread = threading.Thread(target=self._run, name="event-log", daemon=True)

    @classmethod
    def open(
        cls, path: Path, settings: EventSettings, clock: Callable[[], int] = micros_now
    ) -> EventLog:
        """The log at `path`, made when missing, by its first write.

        SettingsError where `settings` name unknown actions. A file that cannot be opened is no
        error here, but one of every append until it can.
        """
        log = cls(path, settings, clock)
        log._thread.start()
        return log

    @property
    def waiting(self) -> int:
        """Rows that wait for their commit."""
        return self._waiting

    def append(
        self,
        events: Sequence[Event],
        facts: Sequence[Facts | None] = (),
        *,
        refused: Sequence[Refused] = (),
        traceparent: str | None = None,
    ) -> Future[Appended]:
        """Commit events, and keep `refused` rows as dead letters, in one transaction.

        facts: of each event, or none at all. traceparent: of the events that tell none.
        LogFull where too many rows wait; the future's exception is a LogError where the commit
        fails.
        """
        now = self._clock()
        told = facts or [None] * len(events)
        rows = [_row(e, f, now, traceparent) for e, f in zip(events, told, strict=True)]
        rejects = [(now, r.path, r.reason, r.raw[:LONGEST_RAW]) for r in refused]
        durable = any(e.action in self._durable for e in events) or any(r.durable for r in refused)
        return self._enqueue(_Batch(rows, rejects, durable, Future()))

    def reject(self, rows: Sequence[Refused]) -> Future[Appended]:
        """Keep rows as dead letters."""
        return self.append((), refused=rows)

    def scan(self, since: int | None = None, until: int | None = None) -> pl.DataFrame:
        """Events with since <= time < until that have not been rolled: EVENT_SCHEMA."""
        return logged_events(self._path, since, until)

    def close(self) -> None:
        """Commit everything that waits, then release the file."""
        with self._ready:
            self._closed = True
            self._ready.notify()
        self._thread.join()

    def _enqueue(self, batch: _Batch) -> Future[Appended]:
        size = batch.rows
        if not size:
            batch.done.set_result(Appended(0, 0))
            return batch.done
        with self._ready:
            if self._closed:
                raise LogError(f"the event log {self._path} is closed")
            if self._waiting and self._waiting + size > self._room:
                raise LogFull(f"{self._waiting} events wait for their commit")
            self._waiting += size
            self._queue.append(batch)
            self._ready.notify()
        return batch.done

    def _run(self) -> None:
        """Commit until the log is closed. Should the thread end before, nobody waits for it."""
        try:
            while group := self._next_group():
                self._write(group)
        finally:
            with self._ready:
                self._closed = True
                left, self._waiting = [*self._queue], 0
                self._queue.clear()
            failure = LogError(f"the event log {self._path} is closed")
            _settle([batch for batch in left if batch.done.set_running_or_notify_cancel()], failure)
            self._let_go()

    def _write(self, group: list[_Batch]) -> None:
        failure = LogError(f"the event log {self._path} is closed")
        done = False
        try:
            self._commit(group)
            done = True
        except Exception as error:
            failure = LogError(f"the event log {self._path}: {error}")
            failure.__cause__ = error
        finally:  # whoever waits is told first: nothing may come between
            with self._ready:
                self._waiting -= sum(batch.rows for batch in group)
            _settle([batch for batch in group if batch.awaited], None if done else failure)
        if not done:
            self._let_go()
            tell(self._log, "events were not logged", failure, batches=len(group))

    def _next_group(self) -> list[_Batch]:
        """Batches that wait, about GROUP rows of them; none when the log is closed."""
        with self._ready:
            self._ready.wait_for(lambda: self._queue or self._closed)
            group: list[_Batch] = []
            rows = 0
            while self._queue and rows < GROUP:
                batch = self._queue.popleft()
                batch.awaited = batch.done.set_running_or_notify_cancel()
                group.append(batch)
                rows += batch.rows
            return group

    def _commit(self, group: list[_Batch]) -> None:
        db = self._file()
        durable = any(batch.durable for batch in group)
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        with transaction(db, self._busy_s):
            for batch in group:
                if batch.events:
                    batch.accepted = db.executemany(INSERT_EVENT, batch.events).rowcount
                if batch.rejects:
                    db.executemany(INSERT_REJECT, batch.rejects)
                    db.execute(TRIM_REJECTS)

    def _file(self) -> sqlite3.Connection:
        """The open file; opened anew where another has taken its place."""
        if self._db is not None and file_number(self._path) != self._opened:
            self._let_go()
        if self._db is None:
            self._db = open_log_file(self._path, self._busy_s)
            self._opened = file_number(self._path)
        return self._db

    def _let_go(self) -> None:
        """Close the file, so that the next group begins afresh; what was begun is rolled back."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):  # the failure that led here has been told
                db.close()


def _settle(batches: Sequence[_Batch], failure: LogError | None) -> None:
    """Tell callers what became of their batches."""
    for batch in batches:
        if failure is None:
            accepted = batch.accepted
            batch.done.set_result(Appended(accepted, len(batch.events) - accepted))
        else:
            batch.done.set_exception(failure)


def _row(event: Event, facts: Facts | None, now: int, traceparent: str | None) -> tuple[Any, ...]:
    """The columns of `log_tables.EVENT_COLUMNS`."""
    return (
        event.event_id,
        event.occurred_at,
        now,
        _CODE[event.action],
        event.entity_kind._value_,
        event.entity_id,
        event.user_id,
        event.device_id,
        event.session_id,
        event.logged_in,
        event.role._value_,
        event.platform._value_,
        event.text,
        event.surface,
        event.decision_id,
        event.position,
        event.traceparent or traceparent,
        event.country,
        event.postcode,
        event.value_minor,
        event.dwell_ms,
        *((None, None, None) if facts is None else facts[:3]),
    )
