"""Ranks of the answers under any score: exact, over all items that may be shown, ties in the mean.

A score that says the same of many items knows nothing of them, so an answer among t equal ones
stands in the middle of them, wherever the catalogue happens to list it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from kindred.indexer.store.tables import VectorTable
from kindred.rerank.examples import Examples
from kindred.rerank.metrics import MISSED
from kindred.retrieval.queries import Queries
from kindred.retrieval.segments import segment_sum
from kindred.retrieval.sources import Entries
from kindred.schemas.ranking import Floats, Mask, Rows

CELLS = 40_000_000
"""Scores held at once (float32: 160 MB)."""
COVERED = 10
"""Length of the lists whose distinct items are counted."""
COVERING = 2_000
"""Queries whose lists are counted."""
SAME = 1e-6
"""Scores that differ by less, relative to the larger one or to 1, are equal."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """One method's answers."""

    ranks: Rows
    """int64[Q]: place of the answer, 1 = first, `MISSED` where it was not found"""
    covered: int
    """Distinct items among the first ten of the first `COVERING` answers"""


Scores = Callable[[int, int], tuple[Floats, Mask]]
"""(low, high) -> (float32[q, N], bool[q]): scores of some queries; which of them have any."""


def rank_all(score: Scores, questions: Examples, allowed: Mask) -> Ranking:
    """Rank each answer among the rows of `allowed` bool[N], without the query's seeds.

    A row that cannot be scored has -inf; an answer without a score is missed.
    """
    count, size = len(questions), len(allowed)
    ranks = np.full(count, MISSED, np.int64)
    covered = np.zeros(size, np.bool_)
    owners = np.repeat(np.arange(count), np.diff(questions.offsets))
    step = max(1, CELLS // max(size, 1))
    for low in range(0, count, step):
        high = min(low + step, count)
        scores, has = score(low, high)
        span = slice(questions.offsets[low], questions.offsets[high])
        scores[:, ~allowed] = -np.inf
        scores[owners[span] - low, questions.seeds[span]] = -np.inf
        own = scores[np.arange(high - low), questions.followed[low:high]]
        near = np.float32(SAME) * np.maximum(np.abs(np.where(np.isfinite(own), own, 0)), 1)
        above = (scores > (own + near)[:, None]).sum(axis=1)
        equal = (scores >= (own - near)[:, None]).sum(axis=1) - above
        found = np.isfinite(own) & has
        ranks[low:high][found] = (1 + above + (equal - 1) // 2)[found]
        if low < COVERING:
            _cover(covered, scores[: COVERING - low], has[: COVERING - low])
    return Ranking(ranks, int(covered.sum()))


def _cover(covered: Mask, scores: Floats, has: Mask) -> None:
    best = np.argpartition(-scores, min(COVERED, scores.shape[1] - 1), axis=1)[:, :COVERED]
    shown = np.isfinite(np.take_along_axis(scores, best, axis=1)) & has[:, None]
    covered[best[shown]] = True


def rank_entries(entries: Entries, questions: Examples, size: int, *, ordered: bool) -> Ranking:
    """Ranks within lists, best first within a query; `ordered` lists have no ties."""
    count = len(questions)
    key = entries.queries * size + entries.rows
    place = (
        np.arange(len(key)) - np.searchsorted(entries.queries, np.arange(count))[entries.queries]
    )
    hit = np.flatnonzero(entries.rows == questions.followed[entries.queries])
    ranks = np.full(count, MISSED, np.int64)
    if ordered:
        ranks[entries.queries[hit]] = place[hit] + 1
    else:
        own = np.full(count, np.inf)
        own[entries.queries[hit]] = entries.scores[hit]
        near = SAME * np.maximum(np.abs(np.where(np.isfinite(own), own, 0)), 1)
        above = np.bincount(
            entries.queries[entries.scores > (own + near)[entries.queries]], minlength=count
        )
        least = np.bincount(
            entries.queries[entries.scores >= (own - near)[entries.queries]], minlength=count
        )
        asked = entries.queries[hit]
        ranks[asked] = 1 + above[asked] + (least[asked] - above[asked] - 1) // 2
    shown = entries.rows[(place < COVERED) & (entries.queries < COVERING)]
    return Ranking(ranks, len(np.unique(shown)))


def by_space(queries: Queries, space: str, table: VectorTable, size: int) -> Scores:
    """Cosine to the weighted mean of the seeds' vectors, as recall asks a space."""
    vectors, present = queries.vectors(space, table)
    matrix, there = spread(table, size)

    def score(low: int, high: int) -> tuple[Floats, Mask]:
        scores = vectors[low:high] @ matrix.T
        scores[:, ~there] = -np.inf
        return scores, present[low:high]

    return score


def spread(table: VectorTable, size: int) -> tuple[Floats, Mask]:
    """(float32[N, d], bool[N]): a table over all rows of the catalogue."""
    if table.size == size:
        return table.vectors, table.present
    matrix = np.zeros((size, table.dim), np.float32)
    present = np.zeros(size, np.bool_)
    matrix[: table.size] = table.vectors[:size]
    present[: table.size] = table.present[:size]
    return matrix, present


def by_concatenation(queries: Queries, tables: Mapping[str, VectorTable], size: int) -> Scores:
    """Cosine of all spaces' unit vectors side by side, zeros where one is missing, untrained."""
    parts = [spread(table, size) for table in tables.values()]
    spaces = np.sum([present for _, present in parts], axis=0).astype(np.float32)
    length = np.sqrt(np.maximum(spaces, 1))
    weights = (queries.weights / length[queries.seeds])[:, None]
    asked = [segment_sum(matrix[queries.seeds] * weights, queries.offsets) for matrix, _ in parts]
    has = np.any([vectors.any(axis=1) for vectors in asked], axis=0)

    def score(low: int, high: int) -> tuple[Floats, Mask]:
        scores = np.zeros((high - low, size), np.float32)
        for vectors, (matrix, _) in zip(asked, parts, strict=True):
            scores += vectors[low:high] @ matrix.T
        scores /= length
        scores[:, spaces == 0] = -np.inf
        return scores, has[low:high]

    return score
