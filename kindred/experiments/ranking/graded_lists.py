"""Lists of documents with grades: what was judged, and what is found in the whole catalogue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.experiments.ranking.judgments import Judgments
from kindred.experiments.ranking.lexical import words_of
from kindred.experiments.ranking.query_features import BM25, TEXT, Signals
from kindred.rerank.lambdamart import GAINS
from kindred.rerank.metrics import tied_discounts, tied_ranks
from kindred.retrieval.segments import offsets_of, owners_of, segment_sum
from kindred.schemas.ranking import Doubles, Mask, Rows

DEPTH = 10
"""Of NDCG."""
FOUND = 60
"""Documents of each of both orders that the catalogue's list is made of."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """n documents of Q queries, by query: what is ranked."""

    query: Rows
    row: Rows
    grades: NDArray[np.int8]
    """0 also where nobody judged"""
    asked: Mask
    """bool[n]: ranked when the query is asked; the others are for learning alone"""
    best: Doubles
    """float64[Q]: DCG@10 of the best order there is, of all that was judged"""
    group: Rows
    """int64[Q]: queries of the same words share one, and are learned from or asked together"""

    @property
    def queries(self) -> int:
        """How many."""
        return len(self.best)

    @property
    def offsets(self) -> Rows:
        """int64[Q + 1]"""
        return offsets_of(np.bincount(self.query, minlength=self.queries))

    def ranks(self, scores: Doubles) -> Doubles:
        """float64[n]: 1-based place among the query's asked documents; the others come behind."""
        return tied_ranks(np.where(self.asked, scores, -np.inf), self.offsets)

    def ndcg(self, scores: Doubles) -> Doubles:
        """float64[Q]: NDCG@10 of the asked documents by falling score, ties broken at random; NaN
        without a relevant document."""
        counted = np.where(self.asked, scores, -np.inf)
        gains = np.asarray(GAINS, np.float64)[self.grades] * self.asked
        worth = gains * tied_discounts(counted, self.offsets, DEPTH)
        gained = segment_sum(worth, self.offsets)
        return np.where(self.best > 0, gained / np.maximum(self.best, 1e-12), np.nan)

    def standard(self, scores: Doubles) -> Doubles:
        """float64[n]: less the mean of the query's asked documents, over their deviation.

        0 where a score is NaN, and where all are the same.
        """
        counted = self.asked & ~np.isnan(scores)
        lengths = np.maximum(segment_sum(counted.astype(np.float64), self.offsets), 1)
        means = segment_sum(np.where(counted, scores, 0.0), self.offsets) / lengths
        centred = np.where(np.isnan(scores), 0.0, scores - means[self.query])
        spread = np.sqrt(segment_sum(np.where(counted, centred**2, 0.0), self.offsets) / lengths)
        told = (spread > 1e-9)[self.query]
        return np.where(told, centred / np.maximum(spread, 1e-9)[self.query], 0.0)


def judged_lists(judgments: Judgments) -> Ranked:
    """What was judged for each query."""
    return Ranked(
        query=owners_of(judgments.offsets),
        row=judgments.row,
        grades=judgments.grades,
        asked=np.ones(len(judgments.row), np.bool_),
        best=_best(judgments),
        group=_groups(judgments),
    )


def found_lists(judgments: Judgments, signals: Signals, found: int = FOUND) -> Ranked:
    """The first documents by BM25 and by text; what else was judged is there to learn from."""
    shape = signals[BM25].shape
    asked = np.zeros(shape, np.bool_)
    for name in (BM25, TEXT):
        first = np.argsort(-signals[name], axis=1, kind="stable")[:, :found]
        np.put_along_axis(asked, first, True, axis=1)
    grades = np.zeros(shape, np.int8)
    owner = owners_of(judgments.offsets)
    judged = np.zeros(shape, np.bool_)
    grades[owner, judgments.row], judged[owner, judgments.row] = judgments.grades, True
    query, row = np.nonzero(asked | judged)
    return Ranked(
        query=query,
        row=row,
        grades=grades[query, row],
        asked=asked[query, row],
        best=_best(judgments),
        group=_groups(judgments),
    )


def _best(judgments: Judgments) -> Doubles:
    """float64[Q]: DCG@10 of each query's judged documents in the best order."""
    gains = np.asarray(GAINS, np.float64)[judgments.grades]
    worth = gains * tied_discounts(gains, judgments.offsets, DEPTH)
    return segment_sum(worth, judgments.offsets)


def _groups(judgments: Judgments) -> Rows:
    """int64[Q]: `headset` is `head set`, `bluetooth speakers` is `bluetooth speaker`."""
    said = ["".join(words_of(query)) for query in judgments.queries]
    return np.unique(said, return_inverse=True)[1].astype(np.int64)
