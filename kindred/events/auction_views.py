"""How often each item has stood at an auction place: all processes' decisions, counted once.

Every process counts for itself, in a thread beside its requests. What was decided before it began
is read once, from the lake and the log; then only what has come since. The decisions of one writer
are numbered and committed in order, so the last number seen of each is all there is to remember,
and rows that go from the log to the lake in between change nothing.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import polars as pl
import structlog

from kindred.events.decision_tables import reading
from kindred.events.decisions import all_decisions
from kindred.events.telling import tell
from kindred.schemas.clock import DAY, micros_now
from kindred.schemas.errors import KindredError
from kindred.schemas.item import Campaign

_WRITERS = """
WITH RECURSIVE found(writer) AS (
    SELECT min(writer) FROM decisions
    UNION ALL
    SELECT (SELECT min(writer) FROM decisions WHERE writer > found.writer)
    FROM found WHERE writer IS NOT NULL
)
SELECT writer, (SELECT max(sequence) FROM decisions WHERE writer = found.writer)
FROM found WHERE writer IS NOT NULL
"""
"""Jumps from writer to writer along the index, however many decisions each has."""
_FRESH = """
SELECT doc FROM decisions WHERE writer = ? AND sequence > ? AND sequence <= ?
AND instr(doc, CAST('plx' AS BLOB)) > 0
"""


class _ShownAlone(msgspec.Struct):
    item_id: list[str]
    campaign: list[str | None] = []


class _Told(msgspec.Struct):
    """The part of a decision that is read; the rest is passed over."""

    shown: _ShownAlone


_decoder = msgspec.msgpack.Decoder(_Told)


class AuctionViews:
    """The counts of one process; `refresh` brings them up to date, `start` does so for ever."""

    def __init__(
        self,
        lake: Path,
        path: Path,
        *,
        every_s: float,
        look_back_days: int,
        clock: Callable[[], int] = micros_now,
    ) -> None:
        """Decisions in the `lake` and in the log at `path`, none older than `look_back_days`."""
        self._lake, self._path, self._clock = lake, path, clock
        self._every_s, self._back = every_s, look_back_days * DAY
        self._counts: Counter[str] = Counter()
        self._seen: dict[str, int] | None = None
        self._version = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._log = structlog.get_logger("kindred.auctions")

    def counts(self) -> tuple[int, dict[str, int]]:
        """(a number that rises with every change, views by item id)."""
        with self._lock:
            return self._version, dict(self._counts)

    @property
    def version(self) -> int:
        """Rises with every change of the counts."""
        return self._version

    def refresh(self) -> None:
        """Count what has been decided since the last time. LogError, ArtefactError."""
        fresh, seen = self._fresh() if self._seen is not None else self._everything()
        with self._lock:
            self._seen = {**(self._seen or {}), **seen}
            if fresh:
                self._counts.update(fresh)
                self._version += 1

    def start(self) -> None:
        """Refresh again and again in a thread; a failure is told, and tried again."""
        self._thread = threading.Thread(target=self._run, name="auction-views", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.refresh()
            except (KindredError, sqlite3.Error, OSError, pl.exceptions.PolarsError) as error:
                tell(self._log, "views of auction campaigns are not counted", error)
            self._stop.wait(self._every_s)

    def _everything(self) -> tuple[Counter[str], dict[str, int]]:
        """All that was decided within the look-back, and the last number of each writer."""
        # Which decisions there are is settled here, for both questions alike.
        told = all_decisions(self._lake, self._path, self._clock() - self._back)
        pairs = ("shown_item", "shown_campaign")
        auctioned = pl.col("shown_campaign").fill_null([]).list.contains(Campaign.PLX.value)
        shown = told.select(pairs).filter(auctioned).explode(pairs)
        named = shown.filter(pl.col("shown_campaign") == Campaign.PLX.value)
        counted, writers = pl.collect_all(
            [
                named.group_by("shown_item").len(),
                told.group_by("writer").agg(pl.col("sequence").max()),
            ],
            engine="streaming",
        )
        return Counter(dict(counted.iter_rows())), dict(writers.iter_rows())

    def _fresh(self) -> tuple[Counter[str], dict[str, int]]:
        """What the log has beyond the numbers seen."""
        counts: Counter[str] = Counter()
        before = self._seen or {}
        with reading(self._path) as db:
            if db is None:
                return counts, {}
            db.execute("BEGIN")
            newest = dict(db.execute(_WRITERS))
            for writer, last in newest.items():
                known = before.get(writer, 0)
                if last > known:
                    for (doc,) in db.execute(_FRESH, (writer, known, last)):
                        shown = _decoder.decode(doc).shown
                        counts.update(
                            item
                            for item, kind in zip(shown.item_id, shown.campaign, strict=False)
                            if kind == Campaign.PLX.value
                        )
        return counts, newest
