"""The lake: events and decisions in bulk, one folder of zstd Parquet for each day (UTC)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from hashlib import blake2b
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

import polars as pl

from kindred.events.contract import EVENT_SCHEMA
from kindred.events.files import locked, sync, try_lock
from kindred.schemas.clock import DAY, EPOCH
from kindred.schemas.errors import ArtefactError

_LAST_DAY = (date.max - EPOCH).days
_STAGED = ".staged-"
_ASIDE = ".aside"
_WRITERS = 8


class LakeTable(NamedTuple):
    """What a table of the lake holds."""

    folder: str
    schema: pl.Schema
    """Its columns; `occurred_at` (microseconds UTC) is among them."""
    key: str
    """Column that names a row, once in its day."""


EVENTS = LakeTable("raw", EVENT_SCHEMA, "event_id")


class Appended(NamedTuple):
    """What became of rows: durable new ones, and those that the lake held already."""

    new: int
    duplicate: int


class Lake:
    """One table's rows by day, each key once in its day; events unless told otherwise.

    `raw/dt=YYYY-MM-DD/part-<hash of its bytes>.parquet` holds the columns of the table's schema,
    ordered by time. Files never change. Each is written aside, flushed and renamed, so that a
    kill at any moment leaves whole files; told the same rows again, the lake takes those that
    are missing. Several processes may append at once: they take turns.

    A key is looked for among the rows of the same day only, because a moment belongs to an event
    as its id does.
    """

    def __init__(self, root: Path, table: LakeTable = EVENTS) -> None:
        self.raw = root / table.folder
        self.table = table

    def append(self, frame: pl.DataFrame) -> Appended:
        """Add valid rows (columns of the table's schema); durable when it returns."""
        with self.bulk() as bulk:
            bulk.add(frame)
            return bulk.commit()

    @contextmanager
    def bulk(self, rows_at_once: int = 1_000_000) -> Iterator[BulkAppend]:
        """Add more rows than fit into memory; nothing is in the lake before `commit`."""
        with ExitStack() as ours:
            with _translated(self.raw):
                self.raw.mkdir(parents=True, exist_ok=True)
                folder = ours.enter_context(_staging_folder(self.raw))
            yield BulkAppend(self, folder, rows_at_once)

    def scan(
        self,
        since: int | None = None,
        until: int | None = None,
        among: Sequence[Path] | None = None,
    ) -> pl.LazyFrame:
        """Rows with since <= time < until (microseconds UTC), days in order.

        `among`: of these of its files only.
        """
        first = "" if since is None else _day_name(since // DAY)
        last = "dt=~" if until is None else _day_name((until - 1) // DAY)
        held = self.files() if among is None else among
        files = [f for f in held if first <= f.parent.name <= last]
        if not files:
            return pl.LazyFrame(schema=self.table.schema)
        events = pl.scan_parquet(
            files, hive_partitioning=False, missing_columns="insert", schema=self.table.schema
        )
        if since is not None:
            events = events.filter(pl.col("occurred_at") >= since)
        if until is not None:
            events = events.filter(pl.col("occurred_at") < until)
        return events

    def count(self) -> int:
        """How many rows there are, read off the files' footers."""
        return int(self.scan().select(pl.len()).collect().item())

    def fingerprint(self) -> str:
        """A hash that changes with the rows; it costs one listing of the folders."""
        names = (f"{f.parent.name}/{f.name}\n" for f in self.files())
        return blake2b("".join(names).encode(), digest_size=16).hexdigest()

    def files(self) -> list[Path]:
        """What there is; a file may vanish with its day, and never changes."""
        return sorted(self.raw.glob("dt=*/part-*.parquet"))

    def merge(self, frame: pl.DataFrame, held: list[Path]) -> int:
        """Write the rows of `frame` that the files `held` lack; returns how many."""
        key = self.table.key
        fresh = frame.unique(key, keep="first", maintain_order=True)
        if held:
            ids = fresh.lazy().select(key)
            known = pl.scan_parquet(held, hive_partitioning=False).select(key)
            known_ids = known.join(ids, on=key, how="semi").collect(engine="streaming")
            fresh = fresh.join(known_ids, on=key, how="anti", maintain_order="left")
        days = fresh.group_by(_day(), maintain_order=True)
        with ThreadPoolExecutor(_WRITERS) as writers:  # what takes time is waiting for the disk
            list(writers.map(lambda told: self._write(int(str(told[0][0])), told[1]), days))
        sync(self.raw)
        return fresh.height

    def held(self, first: int, last: int) -> list[Path]:
        """Files of the days first..last, in days since 1970."""
        return [f for f in self.files() if _day_name(first) <= f.parent.name <= _day_name(last)]

    def _write(self, day: int, events: pl.DataFrame) -> None:
        events = events.sort("occurred_at", self.table.key)
        folder = self.raw / _day_name(day)
        folder.mkdir(exist_ok=True)
        aside = folder / _ASIDE
        events.write_parquet(aside, compression="zstd", row_group_size=250_000)
        sync(aside)
        with aside.open("rb") as written:
            digest = _digest(written.read)
        aside.replace(folder / f"part-{digest}.parquet")
        sync(folder)


class BulkAppend:
    """Rows on their way into the lake, staged on disk in order of time."""

    def __init__(self, lake: Lake, folder: Path, rows_at_once: int) -> None:
        self._lake, self._folder, self._rows_at_once = lake, folder, rows_at_once
        self._days: dict[int, int] = {}
        self._staged: list[Path] = []

    def add(self, frame: pl.DataFrame) -> None:
        """Stage valid rows (columns of the table's schema)."""
        if frame.is_empty():
            return
        if frame.schema != self._lake.table.schema:
            raise ArtefactError(f"rows for {self._lake.raw} need the columns of its schema")
        path = self._folder / f"{len(self._staged):06}.parquet"
        # Small row groups, ordered by time: `commit` reads back days, not files.
        with _translated(self._lake.raw):
            frame.sort("occurred_at", maintain_order=True).write_parquet(
                path, compression="lz4", row_group_size=20_000
            )
        self._staged.append(path)
        for day, rows in frame.group_by(_day()).len().iter_rows():
            self._days[day] = self._days.get(day, 0) + rows

    def commit(self, advance: Callable[[int], object] = lambda rows: None) -> Appended:  # noqa: ARG005
        """Merge everything staged into the lake, some days at a time; durable when it returns."""
        new = 0
        with _translated(self._lake.raw), locked(self._lake.raw / ".lock"):
            for left in self._lake.raw.glob(f"dt=*/{_ASIDE}"):
                left.unlink()
            for first, last, parts in self._spans():
                held = self._lake.held(first, last)
                for part in range(parts):
                    frame = self._read(first, last, part, parts)
                    new += self._lake.merge(frame, held)
                    advance(frame.height)
        total = sum(self._days.values())
        self._days, self._staged = {}, []
        return Appended(new, total - new)

    def _spans(self) -> Iterator[tuple[int, int, int]]:
        """(first day, last day, parts): runs of days that fit into memory.

        A day that alone does not fit comes in parts by hash of the key.
        """
        run: list[int] = []
        rows = 0
        for day in sorted(self._days):
            if run and rows + self._days[day] > self._rows_at_once:
                yield run[0], run[-1], 1 + rows // self._rows_at_once
                run, rows = [], 0
            run.append(day)
            rows += self._days[day]
        if run:
            yield run[0], run[-1], 1 + rows // self._rows_at_once

    def _read(self, first: int, last: int, part: int, parts: int) -> pl.DataFrame:
        staged = pl.scan_parquet(self._staged).filter(
            pl.col("occurred_at").is_between(first * DAY, (last + 1) * DAY, closed="left")
        )
        if parts > 1:
            staged = staged.filter(pl.col(self._lake.table.key).hash() % parts == part)
        return staged.collect(engine="streaming")


def _day() -> pl.Expr:
    """Days since 1970."""
    return (pl.col("occurred_at") // DAY).alias("day")


def _day_name(day: int) -> str:
    return f"dt={EPOCH + timedelta(min(max(day, 0), _LAST_DAY))}"


def _digest(read: Callable[[int], bytes]) -> str:
    hasher = blake2b(digest_size=16)
    while block := read(1 << 20):
        hasher.update(block)
    return hasher.hexdigest()


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as e:
        raise ArtefactError(f"the lake {folder} failed: {e}") from e


@contextmanager
def _staging_folder(parent: Path) -> Iterator[Path]:
    """A folder for one process's staged files; those of processes that are gone are removed."""
    with ExitStack() as ours:
        with locked(parent / ".staging-lock"):
            for left in parent.glob(f"{_STAGED}*"):
                with try_lock(left) as gone:
                    if gone:
                        shutil.rmtree(left, ignore_errors=True)
            folder = Path(mkdtemp(prefix=_STAGED, dir=parent))
            ours.callback(shutil.rmtree, folder, ignore_errors=True)
            ours.enter_context(try_lock(folder))
        yield folder
