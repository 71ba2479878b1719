"""Rows of the lake and those that a log still holds, each once, read only when they are asked for.

Rows move from the log to the lake (`events.roll`) while somebody reads: they are in the lake before
they leave the log. So the log is looked at first, and the lake's files, which never change,
afterwards.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from polars.io.plugins import register_io_source

from kindred.events.lake import Lake

_LONG_AGO, _FAR_OFF = 0, 2**62


class LogTable(NamedTuple):
    """A table of a log in SQLite, with a column `occurred_at`, as rows of a table of the lake."""

    name: str
    reading: Callable[[Path], AbstractContextManager[sqlite3.Connection | None]]
    """A connection that only reads, None where there is no log; LogError."""
    select: Callable[[Sequence[str]], str]
    """What to select for columns of the lake's table."""
    frame: Callable[[list[tuple[Any, ...]], Sequence[str]], pl.DataFrame]
    """These columns from what was selected."""
    at_once: int
    """Rows to read together."""

    def in_span(self, columns: str) -> str:
        """Select columns of the rows with ? <= time < ?."""
        return f"SELECT {columns} FROM {self.name} WHERE occurred_at >= ? AND occurred_at < ?"


def closed_span(since: int | None, until: int | None) -> tuple[int, int]:
    """Bounds (µs UTC) for a question, None being without."""
    return (_LONG_AGO if since is None else since, _FAR_OFF if until is None else until)


def lake_and_log(
    lake: Lake, log: LogTable, path: Path, since: int | None, until: int | None
) -> pl.LazyFrame:
    """Rows with since <= time < until, each once: the lake's by day, then the log's by time.

    Which there are is settled now. Those of the log are read as the frame is, and of one moment:
    memory holds some of them, and of these the columns that are used. LogError, ArtefactError.
    """
    with log.reading(path) as db:
        last = 0 if db is None else _last(db, log, closed_span(since, until))
    files = lake.files()
    rolled = lake.scan(since, until, files)
    if not last:
        return rolled
    schema = lake.table.schema
    unrolled = _Unrolled(lake, log, path, since, until, last, frozenset(files))

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        used = set(schema if columns is None else columns)
        used |= set(() if predicate is None else predicate.meta.root_names())
        for part in unrolled.parts([name for name in schema if name in used]):
            kept = part if predicate is None else part.filter(predicate)
            kept = kept if columns is None else kept.select(columns)
            if rows is not None:
                kept = kept.head(rows)
                rows -= kept.height
            yield kept
            if rows == 0:
                return

    return pl.concat([rolled, register_io_source(source, schema=schema)])


def _last(db: sqlite3.Connection, log: LogTable, span: tuple[int, int]) -> int:
    """The number of the log's newest row; 0 where none is in the span."""
    question = f"SELECT max(rowid) FROM {log.name} WHERE EXISTS ({log.in_span('1')})"
    return int(db.execute(question, span).fetchone()[0] or 0)


class _Unrolled(NamedTuple):
    """The rows of a log up to a number, wherever they are by now."""

    lake: Lake
    log: LogTable
    path: Path
    since: int | None
    until: int | None
    last: int
    files: frozenset[Path]
    """The lake's when the number was read."""

    def parts(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """These columns of them, some rows at once."""
        key = self.lake.table.key
        with self.log.reading(self.path) as db:
            bounds = None if db is None else self._snapshot(db)
            files = self.lake.files()
            for file in files:
                if file not in self.files:  # rolled since then
                    rolled = self.lake.scan(self.since, self.until, [file])
                    yield rolled.select(columns).collect(engine="streaming")
            if db is None or bounds is None:
                return
            both = self.lake.scan(bounds[0], bounds[1] + 1, files).select(key)
            known = both.collect(engine="streaming")
            needed = columns if known.is_empty() or key in columns else [*columns, key]
            for part in self._logged(db, needed):
                if not known.is_empty():
                    part = part.join(known, on=key, how="anti", maintain_order="left")
                yield part.select(columns)

    def _snapshot(self, db: sqlite3.Connection) -> tuple[int, int] | None:
        """The times of the first row and the last. What `db` sees from here on is of one moment."""
        db.execute("BEGIN")
        span = closed_span(self.since, self.until)
        first, last = (self.log.in_span(f"{end}(occurred_at)") for end in ("min", "max"))
        found = db.execute(f"SELECT ({first}), ({last})", span * 2).fetchone()
        return None if found[0] is None else (found[0], found[1])

    def _logged(self, db: sqlite3.Connection, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        # The plus keeps SQLite from reading by number, which would mean to sort everything.
        wanted = self.log.in_span(self.log.select(columns))
        question = f"{wanted} AND +rowid <= ? ORDER BY occurred_at, rowid"
        cursor = db.execute(question, (*closed_span(self.since, self.until), self.last))
        while rows := cursor.fetchmany(self.log.at_once):
            yield self.log.frame(rows, columns)
