"""Shares of a query's own entries, its seeds or its user's items, that a candidate is like."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kindred.schemas.ranking import Doubles, Floats, Rows


@dataclass(frozen=True)
class Weighted:
    """m weighted catalogue rows of Q queries, each query's together."""

    owners: Rows
    """int64[m], never falling"""
    rows: Rows
    weights: Floats
    """float32[m] > 0"""
    count: int
    """Q"""

    @cached_property
    def alone(self) -> bool:
        """Whether there is one query, whose entries need no key."""
        return self.count == 1

    def sums(self, weights: Floats | Doubles) -> Doubles:
        """float64[Q]: of m values by query."""
        return np.bincount(self.owners, weights, self.count).astype(np.float64)

    def share(
        self,
        mine: NDArray[np.signedinteger],
        theirs: NDArray[np.signedinteger],
        asking: Rows,
    ) -> Floats:
        """float32[n] in [0, 1]: weight of the entries whose code is the candidate's.

        mine int[m] are codes of the entries, theirs int[n] of the candidates, -1 unknown; asking
        int64[n] is each candidate's query. Entries without a code do not count; NaN where the
        candidate has none, or no entry of its query does.
        """
        weights = np.where(mine >= 0, self.weights, np.float32(0))
        if self.alone:
            total = float(weights.sum())
            if total <= 0:
                return np.full(len(theirs), np.nan, np.float32)
            equal = (mine[:, None] == theirs[None, :]).astype(np.float32)
            share: Floats = (weights / np.float32(total)) @ equal
        else:
            span = max(int(mine.max(initial=-1)), int(theirs.max(initial=-1))) + 2
            keys, inverse = np.unique(self.owners * span + mine + 1, return_inverse=True)
            if not len(keys):
                return np.full(len(theirs), np.nan, np.float32)
            summed = np.bincount(inverse, weights)
            asked = asking * span + theirs + 1
            at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
            total_of = self.sums(weights)[asking]
            part = np.where(keys[at] == asked, summed[at], 0.0) / np.maximum(total_of, 1e-12)
            share = np.where(total_of > 0, part, np.nan).astype(np.float32)
        share[theirs < 0] = np.nan
        return share

    def mean(self, values: Doubles) -> Doubles:
        """float64[Q]: weighted mean of the entries' values, of those known; NaN without any."""
        known = np.isfinite(values)
        weights = np.where(known, self.weights, 0.0)
        sums, totals = self.sums(np.where(known, values, 0.0) * weights), self.sums(weights)
        mean: Doubles = np.divide(sums, totals, out=np.full(self.count, np.nan), where=totals > 0)
        return mean
