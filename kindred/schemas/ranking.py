"""`Candidates`: the one list type, columns from recall to response."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]


def all_within(rows: Rows, count: int) -> bool:
    """Whether all rows int64[n] are in [0, count): read as unsigned, -1 lies beyond any."""
    return not len(rows) or bool(rows.view(np.uint64).max() < count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Candidates of a batch of Q queries, as a struct of arrays over n entries.

    Query q owns entries `offsets[q]:offsets[q + 1]`. S is the number of recall sources, F the
    number of features. Columns that a stage has not filled yet are None.
    """

    offsets: Rows
    """int64[Q + 1]"""
    rows: Rows
    """int64[n]: catalogue rows"""
    sources: NDArray[np.uint32]
    """uint32[n]: bit s is set where source s found the entry"""
    source_ranks: NDArray[np.uint16]
    """uint16[n, S]: 1 = first, 0 = not found"""
    source_scores: Floats
    """float32[n, S]: NaN = not found"""
    merged: Floats
    """float32[n]: the reciprocal-rank merge"""
    features: Floats | None = field(default=None)
    """float32[n, F]"""
    score: Doubles | None = field(default=None)
    """float64[n]: the ranker's score; no scale across queries"""
    probability: Doubles | None = field(default=None)
    """float64[n] in (0, 1]: calibrated"""
    blend: Doubles | None = field(default=None)
    """float64[n]: log scale, with ad rate and price"""

    @classmethod
    def unfound(cls, offsets: Rows, rows: Rows, sources: int, **columns: Any) -> Self:
        """Entries that none of the recall's `sources` found; of `columns` what else is known."""
        n = len(rows)
        nowhere: dict[str, Any] = {
            "sources": np.zeros(n, np.uint32),
            "source_ranks": np.zeros((n, sources), np.uint16),
            "source_scores": np.full((n, sources), np.nan, np.float32),
            "merged": np.zeros(n, np.float32),
        }
        return cls(offsets=offsets, rows=rows, **{**nowhere, **columns})

    @property
    def query_count(self) -> int:
        """Q."""
        return len(self.offsets) - 1

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def queries(self) -> Rows:
        """int64[n]: the query that owns each entry."""
        return np.repeat(np.arange(self.query_count), self.offsets[1:] - self.offsets[:-1])

    @property
    def ranks(self) -> Rows:
        """int64[n]: place of each entry in its query's list as it stands, 0 = first."""
        if self.query_count == 1:
            return np.arange(len(self.rows))
        lengths = self.offsets[1:] - self.offsets[:-1]
        return np.arange(len(self.rows)) - np.repeat(self.offsets[:-1], lengths)

    def with_columns(self, **columns: Any) -> Self:
        """The same entries with more columns."""
        return replace(self, **columns)

    def take(self, index: Rows | Mask) -> Self:
        """The entries at `index` (or where the mask holds); order within a query is the index's.

        `index` must keep each query's entries together and the queries in order.
        """
        if index.dtype == np.bool_:
            index = np.flatnonzero(index)
        if self.query_count == 1:
            offsets = np.array([0, len(index)])
        else:
            counts = np.bincount(self.queries[index], minlength=self.query_count)
            offsets = np.zeros(self.query_count + 1, np.int64)
            np.cumsum(counts, out=offsets[1:])
        picked: dict[str, Any] = {
            name: None if (column := getattr(self, name)) is None else column[index]
            for name in _COLUMNS
        }
        return replace(self, offsets=offsets, **picked)

    def followed_by(self, other: Self) -> tuple[Self, Rows]:
        """(each query's entries, then those of `other`; where each stood in the one + the other).

        Columns that either lacks are left out.
        """
        columns: dict[str, Any] = {}
        for name in _COLUMNS:
            own, theirs = getattr(self, name), getattr(other, name)
            columns[name] = None if own is None or theirs is None else np.concatenate([own, theirs])
        order = np.argsort(np.concatenate([self.queries, other.queries]), kind="stable")
        joined = replace(self, offsets=self.offsets + other.offsets, **columns)
        return joined.take(order), order

    def sorted_by(self, key: NDArray[Any]) -> Self:
        """Each query's entries by falling `key`; ties keep their order."""
        if self.query_count == 1:
            return self.take(np.argsort(-key, kind="stable"))
        return self.take(np.lexsort((-key, self.queries)))

    def head(self, k: int | Rows) -> Self:
        """The first k entries of each query: one number, or int64[Q]."""
        most = k if np.ndim(k) == 0 else np.asarray(k)[self.queries]
        return self.take(self.ranks < most)


_COLUMNS = (
    "rows", "sources", "source_ranks", "source_scores", "merged",
    "features", "score", "probability", "blend",
)  # fmt: skip
