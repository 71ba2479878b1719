"""The catalogue of record: items in SQLite, with stable rows and one durable change sequence.

Everything else that holds items (columns, vectors, payloads) is a view that follows `changes`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from kindred.events.database import Kept
from kindred.indexer.catalogue_tables import AMONG, CATALOGUE_TABLES, among
from kindred.indexer.listings import Listings, listing_of
from kindred.schemas.clock import micros_now
from kindred.schemas.errors import CatalogueError
from kindred.schemas.item import Item, Status
from kindred.schemas.ranking import Rows

_INSERT = (
    "INSERT INTO items (sequence, status, created, doc, row, item_id) VALUES (?, ?, ?, ?, ?, ?)"
)
_UPDATE = "UPDATE items SET sequence = ?, status = ?, created = ?, doc = ? WHERE row = ?"
_FORMER = "INSERT OR IGNORE INTO former_formats (row, until, formats) VALUES (?, ?, ?)"

# Sorted keys, so that the order in which a feed lists attributes changes nothing.
_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decoder = msgspec.msgpack.Decoder(Item)


class Change(NamedTuple):
    """An item as it stands since change number `sequence`."""

    sequence: int
    row: int
    item: Item


@dataclass(frozen=True, slots=True)
class UpsertResult:
    """What became of a batch."""

    accepted: int
    """Items written: new ones and changed ones."""
    unchanged: int
    """Items that made no difference: stored just so already, or repeated later in the batch."""
    sequence: int
    """The catalogue's change sequence after the batch."""
    unknown: tuple[str, ...] = ()
    """Ids to withdraw that the catalogue does not hold."""


class Catalogue:
    """Items by id and by row. Safe for several threads and several processes at once.

    A row is given to an item once and for ever, also when it is withdrawn and comes back. Each
    written item gets the next number of the change sequence; writers queue up for the database,
    so numbers become visible in their order. A write that has returned survives kill -9 and
    power loss (WAL, synchronous=FULL). Every failure of the database is a CatalogueError, after
    which the catalogue works on as soon as the cause is gone.
    """

    def __init__(self, kept: Kept, listings: Listings, clock: Callable[[], int]) -> None:
        self.listings = listings
        self._kept, self._clock = kept, clock

    @classmethod
    def open(cls, path: Path, clock: Callable[[], int] = micros_now) -> Catalogue:
        """Open the catalogue at `path`, made when missing."""
        return cls(Kept(path, CATALOGUE_TABLES, CatalogueError), Listings(path), clock)

    def close(self) -> None:
        """Release the files."""
        self._kept.close()
        self.listings.close()

    def upsert(self, items: Sequence[Item]) -> UpsertResult:
        """Write items in one transaction; of an id that comes twice the last one counts.

        `created_at` is kept from before, or read off the clock, where the feed does not say.
        """
        latest = {item.item_id: item for item in items}
        with self._kept.write() as db:
            known = _known(db, latest)
            row, sequence, now = _next_row(db), _sequence(db), self._clock()
            new, changed, former, active = [], [], [], 0
            for item_id, item in latest.items():
                old = known.get(item_id)
                if item.created_at is None:
                    created = now if old is None else old[2]
                    item = msgspec.structs.replace(item, created_at=created)
                doc = _encode(item)
                if old is not None and old[3] == doc:
                    continue
                sequence += 1
                facts = (sequence, item.status.value, item.created_at, doc)
                active += item.status is Status.ACTIVE
                if old is None:
                    new.append((*facts, row, item_id))
                    row += 1
                else:
                    changed.append((*facts, old[0]))
                    active -= old[1] == Status.ACTIVE.value
                    if (formats := listing_of(old[3], old[0]).bits) != item.format_bits:
                        former.append((old[0], now, formats))
            db.executemany(_INSERT, new)
            db.executemany(_UPDATE, changed)
            db.executemany(_FORMER, former)
            db.execute("UPDATE totals SET active = active + ?", (active,))
        accepted = len(new) + len(changed)
        return UpsertResult(accepted, len(items) - accepted, sequence)

    def withdraw(self, item_ids: Sequence[str], at: int | None = None) -> UpsertResult:
        """Mark items as ended, at `at` or now; their rows stay, and so does what is known."""
        latest = dict.fromkeys(item_ids)
        ended_at = self._clock() if at is None else at
        with self._kept.write() as db:
            known, sequence = _known(db, latest), _sequence(db)
            changed, active = [], 0
            for item_id in latest:
                old = known.get(item_id)
                if old is None or old[1] == Status.ENDED.value:
                    continue
                sequence += 1
                item = _decode(old[3], old[0])
                item = msgspec.structs.replace(item, status=Status.ENDED, ended_at=ended_at)
                changed.append((sequence, item.status.value, old[2], _encode(item), old[0]))
                active += old[1] == Status.ACTIVE.value
            db.executemany(_UPDATE, changed)
            db.execute("UPDATE totals SET active = active - ?", (active,))
        unknown = tuple(i for i in latest if i not in known)
        unchanged = len(item_ids) - len(changed) - len(unknown)
        return UpsertResult(len(changed), unchanged, sequence, unknown)

    @property
    def sequence(self) -> int:
        """Number of the latest change; 0 before the first."""
        with self._kept.read() as db:
            return _sequence(db)

    @property
    def count(self) -> int:
        """Items ever seen, withdrawn ones included; the next new item's row."""
        with self._kept.read() as db:
            return _next_row(db)

    @property
    def active(self) -> int:
        """Items that may be shown."""
        with self._kept.read() as db:
            return int(db.execute("SELECT active FROM totals").fetchone()[0])

    def get(self, item_id: str) -> Item | None:
        """One item, or None."""
        return self.get_many([item_id])[0]

    def get_many(self, item_ids: Sequence[str]) -> list[Item | None]:
        """The item of each id, None for unknown ones."""
        question = f"SELECT item_id, row, doc FROM items WHERE item_id {AMONG}"
        found = {i: _decode(doc, row) for i, row, doc in self._fetch(question, among(item_ids))}
        return [found.get(i) for i in item_ids]

    def by_rows(self, rows: Rows | Sequence[int]) -> list[Item]:
        """The item of each row; CatalogueError for a row that was never given."""
        wanted = [int(r) for r in rows]
        question = f"SELECT row, doc FROM items WHERE row {AMONG}"
        docs: dict[int, bytes] = dict(self._fetch(question, among(wanted)))
        items = {row: _decode(doc, row) for row, doc in docs.items()}
        if missing := [r for r in wanted if r not in items]:
            raise CatalogueError(f"no item was ever given row {missing[0]}")
        return [items[r] for r in wanted]

    def rows_of(self, item_ids: Sequence[str]) -> Rows:
        """int64[n]: the row of each id, -1 for unknown ones."""
        question = f"SELECT item_id, row FROM items WHERE item_id {AMONG}"
        found: dict[str, int] = dict(self._fetch(question, among(item_ids)))
        return np.fromiter((found.get(i, -1) for i in item_ids), np.int64, len(item_ids))

    def page(self, after_row: int = -1, limit: int = 100) -> list[tuple[int, Item]]:
        """At most `limit` (row, item) with row > after_row, by row."""
        question = "SELECT row, doc FROM items WHERE row > ? ORDER BY row LIMIT ?"
        return [(row, _decode(doc, row)) for row, doc in self._fetch(question, after_row, limit)]

    def changes(self, since: int, limit: int) -> list[Change]:
        """At most `limit` changes with sequence > since, in order.

        Compacted: each row comes once, as it stands now, at the number of its latest change.
        """
        question = (
            "SELECT sequence, row, doc FROM items WHERE sequence > ? ORDER BY sequence LIMIT ?"
        )
        return [
            Change(s, row, _decode(doc, row)) for s, row, doc in self._fetch(question, since, limit)
        ]

    def scan(self, chunk: int = 10_000) -> Iterator[list[Change]]:
        """Everything by row, in lists of at most `chunk`.

        No snapshot: note `sequence` first, and what changed meanwhile comes again in `changes`.
        """
        question = "SELECT sequence, row, doc FROM items WHERE row > ? ORDER BY row LIMIT ?"
        after = -1
        while fetched := self._fetch(question, after, chunk):
            yield [Change(s, row, _decode(doc, row)) for s, row, doc in fetched]
            after = fetched[-1][1]

    def _fetch(self, question: str, *arguments: Any) -> list[Any]:
        with self._kept.read() as db:
            return db.execute(question, arguments).fetchall()


def _known(
    db: sqlite3.Connection, item_ids: Iterable[str]
) -> dict[str, tuple[int, str, int, bytes]]:
    """Id -> (row, status, created, doc) of those that the catalogue holds."""
    question = f"SELECT item_id, row, status, created, doc FROM items WHERE item_id {AMONG}"
    found = db.execute(question, (among(list(item_ids)),))
    return {item_id: (row, status, created, doc) for item_id, row, status, created, doc in found}


def _next_row(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT ifnull(max(row) + 1, 0) FROM items").fetchone()[0])


def _sequence(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT ifnull(max(sequence), 0) FROM items").fetchone()[0])


def _decode(doc: bytes, row: int) -> Item:
    try:
        return _decoder.decode(doc)
    except msgspec.MsgspecError as e:
        raise CatalogueError(f"the item in row {row} cannot be read: {e}") from e
