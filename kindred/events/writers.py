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
        folder = marks_of(path)
        folder.mkdir(parents=True, exist_ok=True)
        self._path, aside = folder / writer, folder / f".{writer}"
        self._file = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            os.write(self._file, _MARK.pack(begun_at, 0))
            self._map = mmap.mmap(self._file, _MARK.size)
            aside.rename(self._path)
        except BaseException:
            os.close(self._file)
            raise

    def set(self, assigned: int) -> None:
        """Note the newest number; a memory write."""
        struct.pack_into("<q", self._map, 8, assigned)

    def close(self, db: sqlite3.Connection | None) -> None:
        """Put the count into the table; without a connection the file stays and tells it."""
        if db is not None:
            _keep(db, self._path)
        self._map.close()
        os.close(self._file)


def keep_ended(db: sqlite3.Connection, path: Path) -> None:
    """Put the counts of writers that have ended into the table, and remove their marks."""
    for mark in _marks(path):
        with try_lock(mark) as ended:
            if ended:
                _keep(db, mark)


def _keep(db: sqlite3.Connection, mark: Path) -> None:
    begun_at, assigned = _MARK.unpack(mark.read_bytes())
    db.execute(_KEEP, (mark.name, begun_at, assigned))
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

    Decisions that the lake has dropped for their age are not missed: a writer that began before
    the lake's first day counts from its oldest decision.
    """
    marked: dict[str, tuple[int, int, bool]] = {}
    for name, begun_at, assigned, running in _read_marks(path):
        marked[name] = (begun_at, assigned, running)
    seen = pl.DataFrame(schema={"writer": pl.String, "sequence": pl.Int64})
    with reading(path) as db:
        if db is not None:
            found = db.execute("SELECT writer, sequence FROM decisions").fetchall()
            seen = pl.DataFrame(found, schema=seen.schema, orient="row")
            for name, begun_at, assigned in db.execute("SELECT * FROM writers"):
                known = marked.get(name, (begun_at, 0, False))
                marked[name] = (begun_at, max(assigned, known[1]), known[2])
    kept = Lake(lake, DECISIONS).scan()
    counted = (
        pl.concat([kept.select("writer", "sequence"), seen.lazy()])
        .unique()
        .group_by("writer")
        .agg(pl.len().alias("written"), pl.min("sequence").alias("low"), pl.max("sequence"))
        .collect(engine="streaming")
    )
    oldest = kept.select(pl.min("occurred_at")).collect().item() or 0
    written = {name: (n, low, high) for name, n, low, high in counted.iter_rows()}
    counts = []
    for name in {*marked, *written}:
        begun_at, assigned, running = marked.get(name, (0, 0, False))
        n, low, high = written.get(name, (0, 1, 0))
        first = low if begun_at // DAY < oldest // DAY else 1
        assigned = max(assigned, high)
        missing = (high if running else assigned) - first + 1 - n
        counts.append(
            WriterCount(
                name, begun_at, assigned - first + 1, n, missing,
                assigned - high if running else 0, running,
            )
        )  # fmt: skip
    return sorted(counts, key=lambda count: (count.begun_at, count.writer))


def _read_marks(path: Path) -> Iterator[tuple[str, int, int, bool]]:
    for mark in _marks(path):
        try:
            begun_at, assigned = _MARK.unpack(mark.read_bytes())
        except FileNotFoundError:
            continue  # its writer has just ended: the table has it
        with try_lock(mark) as ended:
            yield mark.name, begun_at, assigned, not ended
