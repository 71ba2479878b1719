"""Who writes decisions, and how many of their sequence numbers are missing.

Each start of a serving process is a writer and numbers what it records 1, 2, 3, …. How far it has
come stands in a small file beside the log, in memory shared with the system: it outlives a kill
at any moment, so that decisions lost behind the last written one are counted too.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sqlite3
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from kindred.events.decision_tables import reading
from kindred.events.files import try_lock
from kindred.events.lake import Lake
from kindred.events.shown import DECISIONS
from kindred.schemas.clock import DAY

_MARK = struct.Struct("<qq")
_SEEN = {"writer": pl.String, "sequence": pl.Int64, "occurred_at": pl.Int64}
_KEEP = (
    "INSERT INTO writers (writer, begun_at, assigned) VALUES (?, ?, ?) "
    "ON CONFLICT DO UPDATE SET assigned = max(assigned, excluded.assigned)"
)


def marks_of(path: Path) -> Path:
    """The folder with the marks of the writers of the log at `path`."""
    return path.with_name(path.stem + ".marks")


class Mark:
    """How many sequence numbers a writer has given out; locked while its process lives."""

    def __init__(self, path: Path, writer: str, begun_at: int) -> None:
        """OSError where the file cannot be made."""
        self._path, self._begun_at = marks_of(path) / writer, begun_at
        self._lock = threading.Lock()
        self._file, self._map = self._made()

    def _made(self) -> tuple[int, mmap.mmap]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        aside = self._path.with_name(f".{self._path.name}")
        file = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.write(file, _MARK.pack(self._begun_at, 0))
            held = mmap.mmap(file, _MARK.size)
            aside.rename(self._path)
        except BaseException:
            os.close(file)
            raise
        return file, held

    def set(self, assigned: int) -> None:
        """Note the newest number; a memory write.

        After `close` the file is made anew, for the next start to count; OSError where it cannot.
        """
        with self._lock:
            if not self._map.closed:
                struct.pack_into("<q", self._map, 8, assigned)
                return
            file, held = self._made()
            struct.pack_into("<q", held, 8, assigned)
            held.close()
            os.close(file)

    def close(self, db: sqlite3.Connection | None) -> None:
        """Put the count into the table; without a connection the file stays and tells it."""
        assigned = self._assigned()
        if db is not None:
            db.execute(_KEEP, (self._path.name, self._begun_at, assigned))
        with self._lock:
            # The file goes where it has nothing to tell: not where a number came meanwhile.
            if (db is not None or not assigned) and self._assigned() == assigned:
                self._path.unlink(missing_ok=True)
            self._map.close()
            os.close(self._file)

    def _assigned(self) -> int:
        return int(_MARK.unpack(self._map)[1])


def keep_ended(db: sqlite3.Connection, path: Path) -> None:
    """Put the counts of writers that have ended into the table, and remove their marks."""
    for mark in _marks(path):
        with try_lock(mark) as ended:
            if ended:
                _keep(db, mark)


def _keep(db: sqlite3.Connection, mark: Path) -> None:
    told = mark.read_bytes()
    if len(told) == _MARK.size:  # after a loss of power it may be empty
        db.execute(_KEEP, (mark.name, *_MARK.unpack(told)))
    mark.unlink()


def _marks(path: Path) -> list[Path]:
    return sorted(m for m in marks_of(path).glob("*") if not m.name.startswith("."))


class WriterCount(NamedTuple):
    """What became of one writer's decisions."""

    writer: str
    begun_at: int
    """Microseconds since 1970; 0 unknown."""
    assigned: int
    """Sequence numbers given out, one for each answer."""
    written: int
    """Of them in the log or the lake."""
    lost: int
    """Gone for good."""
    waiting: int
    """Not written yet, by a writer that still runs."""
    running: bool


def count_writers(lake: Path, path: Path) -> list[WriterCount]:
    """Every writer's count, oldest first. Raises LogError, ArtefactError.

    Decisions that the lake has dropped for their age are not missed: a writer that began days
    before the oldest decision counts from the first that is left of its own.
    """
    known = {name: (begun, assigned, runs) for name, begun, assigned, runs in _read_marks(path)}
    seen = pl.DataFrame(schema=_SEEN)
    with reading(path) as db:
        if db is not None:
            found = db.execute("SELECT writer, sequence, occurred_at FROM decisions").fetchall()
            seen = pl.DataFrame(found, schema=_SEEN, orient="row")
            for name, begun_at, assigned in db.execute("SELECT * FROM writers"):
                marked = known.get(name, (begun_at, 0, False))
                known[name] = (begun_at, max(assigned, marked[1]), marked[2])
    counted = (
        pl.concat([Lake(lake, DECISIONS).scan().select(*_SEEN), seen.lazy()])
        .unique(["writer", "sequence"])
        .group_by("writer")
        .agg(
            pl.len().alias("written"),
            pl.min("sequence").alias("low"),
            pl.max("sequence").alias("high"),
            pl.min("occurred_at"),
        )
        .collect(engine="streaming")
    )
    oldest = counted["occurred_at"].min() if counted.height else 0
    assert isinstance(oldest, int)
    written = {name: (n, low, high) for name, n, low, high, _ in counted.iter_rows()}
    counts = [
        _count(name, *known.get(name, (0, 0, False)), written.get(name), oldest // DAY)
        for name in {*known, *written}
    ]
    return sorted(counts, key=lambda count: (count.begun_at, count.writer))


def _count(
    writer: str,
    begun_at: int,
    assigned: int,
    running: bool,
    found: tuple[int, int, int] | None,
    oldest_day: int,
) -> WriterCount:
    """`found`: (number, lowest, highest) of the writer's sequence numbers that are there."""
    dropped = begun_at // DAY < oldest_day
    if found is None:
        answers = 0 if dropped else assigned
        lost, waiting = (0, answers) if running else (answers, 0)
        return WriterCount(writer, begun_at, answers, 0, lost, waiting, running)
    n, low, high = found
    first, assigned = low if dropped else 1, max(assigned, high)
    last = high if running else assigned
    return WriterCount(
        writer, begun_at, assigned - first + 1, n, last - first + 1 - n, assigned - last, running
    )


def _read_marks(path: Path) -> Iterator[tuple[str, int, int, bool]]:
    """(writer, begun at, assigned, still running) of those that have not put it into the table."""
    for mark in _marks(path):
        try:
            told = mark.read_bytes()
        except FileNotFoundError:
            continue  # its writer has just ended: the table has it
        if len(told) != _MARK.size:
            continue
        begun_at, assigned = _MARK.unpack(told)
        with try_lock(mark) as ended:
            yield mark.name, begun_at, assigned, not ended
