"""`ExactStore`: exact search in numpy over tables and columns.

The oracle of the others, the `scan` plan of requests, and the engine of batch jobs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kindred.indexer.columns import Columns
from kindred.indexer.store.answers import asked
from kindred.indexer.store.checks import check_space
from kindred.indexer.store.port import Found, Search
from kindred.indexer.store.tables import VectorTable
from kindred.schemas.query import Filters
from kindred.schemas.ranking import Floats, Mask, Rows

_GATHER = 2048
"""Rows gathered at once: they stay in the second-level cache until they are scored."""
_WHOLE = 0.25
"""Share of a table's rows from which scoring all of them beats gathering some."""
_GATHER_ONCE = 8
"""Questions from which the allowed rows are copied out once rather than for each part."""
_SCORES = 1 << 24
"""Scores held at once in a batch: 64 MiB."""


class ExactStore:
    """A `VectorSearch` over columns and tables that their owner writes.

    Rows are withdrawn there, too: by their status, or by clearing their vectors.
    """

    def __init__(self, columns: Columns, tables: Mapping[str, VectorTable]) -> None:
        self._columns = columns
        self._tables = tables

    @property
    def spaces(self) -> Mapping[str, int]:
        """See VectorSearch.spaces."""
        return {space: table.dim for space, table in self._tables.items()}

    def count(self, filters: Filters | None = None) -> int:
        """See VectorSearch.count."""
        if filters is None:
            return int(np.count_nonzero(self._columns.status >= 0))
        return int(np.count_nonzero(self._columns.mask(filters)))

    def retrieve(self, rows: Rows, space: str) -> tuple[Floats, Mask]:
        """See VectorSearch.retrieve."""
        check_space(self.spaces, space)
        return self._tables[space].gather(rows)

    def search(self, searches: Sequence[Search]) -> list[Found]:
        """See VectorSearch.search; every plan is an exact scan here.

        Equal scores are in the order of rows.
        """
        return [self._search(search) for search in searches]

    def _search(self, search: Search) -> Found:
        wanted = asked(search, self.spaces)
        result = Found.nothing(len(search.vectors), search.k)
        if len(wanted) == 0:
            return result
        table = self._tables[search.space]
        matrix, rows = table.vectors, self._rows(search, table)
        if len(wanted) > _GATHER_ONCE and len(rows) < len(matrix):
            matrix, names = matrix[rows], rows
            rows = np.arange(len(names))
        else:
            names = None
        step = max(1, _SCORES // max(len(rows), 1))
        for start in range(0, len(wanted), step):
            part = wanted[start : start + step]
            scores = score_rows(matrix, rows, search.vectors[part])
            for question, of_one in zip(part.tolist(), scores, strict=True):
                best = top(of_one, search.k)
                found = rows[best] if names is None else names[best]
                result.rows[question, : len(best)] = found
                result.scores[question, : len(best)] = of_one[best]
        return result

    def _rows(self, search: Search, table: VectorTable) -> Rows:
        """The rows to score: they pass, and they have a vector."""
        present = table.present
        if search.allowed is not None:
            passing = search.allowed.rows
        elif search.filters is not None:
            passing = np.flatnonzero(self._columns.mask(search.filters))
        else:
            return np.flatnonzero(present)
        passing = passing[: np.searchsorted(passing, len(present))]
        having = present[passing]
        return passing if having.all() else passing[having]


def score_rows(matrix: Floats, rows: Rows, vectors: Floats) -> Floats:
    """float32[q, m]: dot products of float32[q, d] with rows int64[m] of float32[N, d]."""
    if len(rows) == len(matrix):
        return _dot(vectors, matrix)
    if len(vectors) == 1 and len(rows) >= _WHOLE * len(matrix):
        return np.asarray(_dot(vectors, matrix)[:, rows])
    scores = np.empty((len(vectors), len(rows)), np.float32)
    block = np.empty((min(_GATHER, len(rows)), matrix.shape[1]), np.float32)
    for start in range(0, len(rows), _GATHER):
        part = rows[start : start + _GATHER]
        gathered = block[: len(part)]
        # `clip` lets numpy write into `out` directly; no row is out of bounds.
        np.take(matrix, part, axis=0, out=gathered, mode="clip")
        scores[:, start : start + len(part)] = _dot(vectors, gathered)
    return scores


def top(scores: Floats, k: int) -> Rows:
    """int64[min(k, m)]: places of the best of float32[m], best first, equal ones in order."""
    places: Rows = np.arange(len(scores))
    if len(scores) > 16 * k:
        # The k-th best of every eighth score is a bound below the k-th best of all.
        bound = np.partition(scores[::8], -k)[-k]
        places = np.flatnonzero(scores >= bound)
        scores = scores[places]
    if len(scores) > k:
        kept = np.sort(np.argpartition(scores, -k)[-k:])
        places, scores = places[kept], scores[kept]
    return places[np.argsort(-scores, kind="stable")]


def _dot(vectors: Floats, matrix: Floats) -> Floats:
    if len(vectors) == 1:
        return np.asarray(matrix @ vectors[0])[None]
    return np.asarray(vectors @ matrix.T)
