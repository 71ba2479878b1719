"""Writing the decision log: what was shown, kept without a request waiting for it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import structlog

from kindred.events.database import file_number, transaction
from kindred.events.decision_tables import Row, open_decisions, to_row
from kindred.events.telling import tell
from kindred.events.tracing import hop
from kindred.events.writers import Mark, keep_ended
from kindred.schemas.clock import micros_now
from kindred.schemas.decision import Decision
from kindred.schemas.errors import LogError
from kindred.schemas.ranking import Floats

Outcome = Literal["written", "lost"]

AT_ONCE = 256
"""Decisions of one commit, at most."""
LINGER_S = 0.02
"""How long a commit waits for company."""
PAUSE_S = 0.25
"""Between two attempts while the disk fails."""
PATIENCE_S = 5.0
"""What a commit waits for other processes, and how long the end waits for a disk that fails."""
TELL_S = 30.0
"""Between two lines of the service's log about one trouble."""

_INSERT = "INSERT OR IGNORE INTO decisions VALUES (?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class LoggedDecision:
    """A decision as the request's thread leaves it: arrays at hand, the record yet to be made."""

    decision_id: str
    occurred_at: int
    build: Callable[[str, int], Decision]
    """The record from (writer, sequence); called on the log's own thread."""
    features: Floats | None = None
    """float32[candidates, F], nobody else's"""


class DecisionLog:
    """One process's writer; any number of processes write one file.

    A thread of its own makes the records and commits them in groups. While the disk fails `queue`
    decisions wait for it, and those that come then are lost. Each loss is a missing sequence
    number (`events.writers.count_writers`) and told to `on_outcome(outcome, count)`.
    """

    def __init__(
        self,
        path: Path,
        queue: int,
        writer: str,
        *,
        on_outcome: Callable[[Outcome, int], object] = lambda outcome, count: None,  # noqa: ARG005
        clock: Callable[[], int] = micros_now,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`writer` names this start of this process, and no other, in a file's name."""
        self.writer = writer
        self._path, self._most, self._on_outcome = path, queue, on_outcome
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int, LoggedDecision]] = deque()
        self._sequence = 0
        self._closed = False
        self._awake, self._ending = threading.Event(), threading.Event()
        self._db: sqlite3.Connection | None = None
        self._opened: int | None = None
        self._log = structlog.get_logger("kindred.decisions")
        self._told_at = -TELL_S
        self._mark: Mark | None = None
        try:
            self._mark = Mark(path, writer, clock())
        except OSError as error:
            self._tell("losses at the end of this process will not be counted", error)
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
        self._thread.start()

    def record(self, logged: LoggedDecision) -> bool:
        """Take a decision, without waiting; False where it is lost."""
        with self._lock:
            self._sequence += 1
            self._note(self._sequence)
            taken = not self._closed and len(self._waiting) < self._most
            if taken:
                self._waiting.append((self._sequence, logged))
        if not taken:
            self._count("lost", 1)
        elif not self._awake.is_set():
            self._awake.set()
        return taken

    def _note(self, sequence: int) -> None:
        if self._mark is not None:
            try:
                self._mark.set(sequence)
            except OSError as error:
                self._tell("the number of decisions cannot be kept", error)

    def close(self) -> None:
        """Write everything that waits, and let go of the file."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._ending.set()
        self._awake.set()
        self._thread.join()

    def _run(self) -> None:
        """Until the end: wait for decisions, let some gather, commit them."""
        while not self._ending.is_set():
            self._awake.wait()
            self._ending.wait(LINGER_S)
            self._awake.clear()
            self._drain(len(self._waiting))
        self._drain(len(self._waiting))
        self._finish()

    def _drain(self, count: int) -> None:
        while count > 0:
            with self._lock:
                batch = list(islice(self._waiting, min(count, AT_ONCE)))
            rows = [row for sequence, logged in batch if (row := self._row(sequence, logged))]
            try:
                written = self._write_patiently(rows)
            except Exception as error:  # not the disk's: waiting would not help
                self._tell("decisions are lost", error)
                self._disconnect()
                written = False
            with self._lock:
                for _ in batch:
                    self._waiting.popleft()
            self._count("written" if written else "lost", len(rows))
            count -= len(batch)

    def _row(self, sequence: int, logged: LoggedDecision) -> Row | None:
        time.sleep(0)  # lets a request that waits for the interpreter go first
        try:
            decision = logged.build(self.writer, sequence)
            with hop("decision", decision.traceparent, decision_id=logged.decision_id):
                return to_row(decision, logged.features)
        except Exception as error:
            self._tell(f"the decision {logged.decision_id} cannot be logged", error)
            self._count("lost", 1)
            return None

    def _write_patiently(self, rows: Sequence[Row]) -> bool:
        """Commit, again and again while the disk fails; at the end for a while only."""
        give_up: float | None = None
        while not self._write(rows):
            if self._ending.is_set():
                give_up = give_up or time.monotonic() + self._patience_s
                if time.monotonic() >= give_up:
                    return False
                time.sleep(PAUSE_S)
            else:
                self._ending.wait(PAUSE_S)
        return True

    def _write(self, rows: Sequence[Row]) -> bool:
        try:
            if self._db is not None and file_number(self._path) != self._opened:
                self._disconnect()
            if self._db is None:
                self._db = open_decisions(self._path, self._patience_s)
                self._opened = file_number(self._path)
                keep_ended(self._db, self._path)
            with transaction(self._db, self._patience_s):
                self._db.executemany(_INSERT, rows)
        except (sqlite3.Error, OSError, LogError) as error:
            self._tell("decisions cannot be written", error)
            self._disconnect()
            return False
        return True

    def _disconnect(self) -> None:
        """What was not committed is rolled back; the next attempt begins anew."""
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _finish(self) -> None:
        if self._mark is not None:
            try:
                self._mark.close(self._db)
            except (sqlite3.Error, OSError) as error:
                self._tell("the number of decisions cannot be kept", error)
        self._disconnect()

    def _count(self, outcome: Outcome, count: int) -> None:
        if count:
            try:
                self._on_outcome(outcome, count)
            except Exception as error:  # counts of several workers lie in files
                self._tell("decisions are not counted", error)

    def _tell(self, words: str, error: Exception) -> None:
        now = time.monotonic()
        if now - self._told_at >= TELL_S:
            self._told_at = now
            tell(self._log, words, error)
