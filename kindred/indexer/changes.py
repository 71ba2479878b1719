"""Changed items on their way into an index: what they have in each space, what is different."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kindred.indexer.encoders.base import Encoder
from kindred.indexer.encoders.cache import EncodingCache
from kindred.indexer.encoders.run import keys_of
from kindred.indexer.store.payload import INDEXES, payload
from kindred.indexer.store.port import Points, VectorStore
from kindred.indexer.store.tables import VectorTable
from kindred.indexer.versions import Space
from kindred.schemas.item import Item
from kindred.schemas.ranking import Floats, Mask, Rows

_FACTS = dict.fromkeys({key.partition(".")[0] for key in INDEXES} | {"colour", "currency"})
"""Every payload key that an item can have, with the value that removes it."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """What n items have in one space by now."""

    vectors: Floats
    """float32[n, d]"""
    present: Mask
    """bool[n]: has a vector"""
    known: Mask
    """bool[n]: settled; elsewhere the old vector stays, if there is one"""
    missing: dict[int, bytes]
    """Position -> key of what is still to be encoded"""


@dataclass(frozen=True, slots=True)
class Difference:
    """How `Fresh` differs from what a table has."""

    changed: Mask
    """bool[n]: gets another vector"""
    cleared: Mask
    """bool[n]: loses its vector"""


def fresh_vectors(
    encoder: Encoder, space: Space, cache: EncodingCache, items: Sequence[Item]
) -> Fresh:
    """From the cache, or made here where that takes microseconds."""
    n = len(items)
    if not encoder.cached:
        made = encoder.encode(items)
        return Fresh(made.vectors, made.ok, np.ones(n, np.bool_), {})
    keyed = keys_of(items, encoder)
    found = cache.get(encoder.space, space.version, keyed.keys, space.dim)
    has = np.flatnonzero(keyed.inverse >= 0)
    owner = keyed.inverse[has]
    vectors, present = np.zeros((n, space.dim), np.float32), np.zeros(n, np.bool_)
    vectors[has], present[has] = found.vectors[owner], found.present[owner]
    known = np.ones(n, np.bool_)
    known[has] = ~found.missing[owner]
    missing = {i: keyed.keys[int(keyed.inverse[i])] for i in np.flatnonzero(~known).tolist()}
    return Fresh(vectors, present, known, missing)


def difference(table: VectorTable, rows: Rows, fresh: Fresh) -> Difference:
    """Of int64[n] rows, each at most once."""
    old, had = table.gather(rows)
    same = had & (old == fresh.vectors).all(axis=1)
    return Difference(
        changed=fresh.known & fresh.present & ~same, cleared=fresh.known & ~fresh.present & had
    )


def points_of(rows: Rows, items: Sequence[Item], tables: Mapping[str, VectorTable]) -> Points:
    """Items with their payload and every vector that the tables have of them."""
    vectors = {}
    for space, table in tables.items():
        found, present = table.gather(rows)
        if present.any():
            vectors[space] = (np.flatnonzero(present), found[present])
    return Points(rows=rows, payloads=[payload(item) for item in items], vectors=vectors)


class StoreWriter:
    """Writes changed items to a store, and of each no more than what is different."""

    def __init__(self, store: VectorStore, tables: Mapping[str, VectorTable], stored: Mask) -> None:
        """`stored` bool[n]: the rows that the store is known to hold; others are written whole."""
        self._store = store
        self._tables = tables
        self._stored = stored

    def write(
        self, rows: Rows, items: Sequence[Item], active: Mask, fresh: Mapping[str, Fresh]
    ) -> None:
        """Delete what is withdrawn, write what is new; the tables are still as they were.

        After a failure the same call can be made again.
        """
        self._reserve(int(rows.max()) + 1)
        stored = self._stored[rows]
        # Deleting what a store does not hold is no error, and what it holds may be unknown.
        self._store.delete(rows[~active])
        changes = {s: difference(self._tables[s], rows, made) for s, made in fresh.items()}
        whole = active & ~stored
        for change in changes.values():
            whole |= active & change.cleared  # no store operation removes a single vector
        if whole.any():
            self._store.upsert(self._points(rows, items, whole, fresh))
        kept = active & ~whole
        if kept.any():
            told = [items[i] for i in np.flatnonzero(kept).tolist()]
            self._store.set_payload(rows[kept], [{**_FACTS, **payload(item)} for item in told])
        for space, change in changes.items():
            chosen = kept & change.changed
            if chosen.any():
                self._store.set_vectors(rows[chosen], space, fresh[space].vectors[chosen])
        self._stored[rows] = active

    def _points(
        self, rows: Rows, items: Sequence[Item], whole: Mask, fresh: Mapping[str, Fresh]
    ) -> Points:
        """Whole points: what is fresh, and the tables' vectors where nothing is."""
        places = np.flatnonzero(whole)
        old = points_of(rows[places], [items[i] for i in places.tolist()], self._tables)
        vectors = dict(old.vectors)
        for space, made in fresh.items():
            was, had = self._tables[space].gather(rows[places])
            known = made.known[places]
            there = np.where(known, made.present[places], had)
            values = np.where(known[:, None], made.vectors[places], was)
            vectors.pop(space, None)
            if there.any():
                vectors[space] = (np.flatnonzero(there), values[there])
        return Points(rows=old.rows, payloads=old.payloads, vectors=vectors)

    def _reserve(self, size: int) -> None:
        if size > len(self._stored):
            grown = np.zeros(max(size, 2 * len(self._stored)), np.bool_)
            grown[: len(self._stored)] = self._stored
            self._stored = grown
