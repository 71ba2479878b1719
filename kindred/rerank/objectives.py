"""Lambdarank with a weight for each pair: what the better outcome is worth more than the worse.

LightGBM multiplies a row's gradient and hessian by the row's weight after the pairs of its list
were added up, so a click in a purchase-click pair keeps the click's weight, and the gradients of a
list no longer sum to zero (SPEC §2.3). Here each pair has its own weight, and they do.

Everything is LightGBM's else (rank_objective.hpp of 4.7): pairs by the lists' current order, those
alone that have a member above the truncation, the gap of their gains and discounts over the list's
best DCG, the division by the distance of the scores, the scaling of a whole list, and position
bias as one Newton step at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kindred.retrieval.segments import offsets_of, owners_of, segment_sum
from kindred.schemas.ranking import Doubles, Floats, Rows

CLOSE = 0.01
"""Added to the distance of two scores before it divides their pair."""
STEADY = 0.001
"""Added to a position's second derivative before it divides the first."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """All pairs of rows of one list of which one has the better label: m of n rows in Q lists."""

    offsets: Rows
    """int64[Q + 1]"""
    high: Rows
    """int64[m]: the better row"""
    low: Rows
    """int64[m]"""
    gap: Doubles
    """float64[m]: the difference of their gains over the best DCG of their list"""
    weight: Doubles
    """float64[m]: factor of the pair's gradient, after everything else"""

    @cached_property
    def owner(self) -> Rows:
        """int64[m]: the list of each pair."""
        owners: Rows = owners_of(self.offsets)[self.high]
        return owners

    @cached_property
    def blocks(self) -> list[Rows]:
        """int64[B, L] by length L of a list: the rows of the B lists of this length."""
        lengths = np.diff(self.offsets)
        return [
            self.offsets[:-1][lengths == length][:, None] + np.arange(length)
            for length in np.unique(lengths[lengths > 0]).tolist()
        ]

    def places(self, scores: Doubles) -> Rows:
        """int64[n]: 0-based place of each row in its list by falling score, ties in row order."""
        places = np.empty(len(scores), np.int64)
        for rows in self.blocks:
            order = np.argsort(-scores[rows], axis=1, kind="stable")
            places[np.take_along_axis(rows, order, axis=1)] = np.arange(rows.shape[1])
        return places


def pairs_of(
    grades: NDArray[np.integer],
    lengths: Rows,
    gains: Sequence[float],
    truncation: int,
    values: Doubles | None = None,
) -> Pairs:
    """The pairs of lists of so many rows, int64[Q], with int[n] `grades`.

    `gains` are by grade. A pair weighs the difference of float64[n] `values`, at least 0; 1 where
    none are told.
    """
    offsets = offsets_of(lengths)
    owners = owners_of(offsets)
    acted = np.flatnonzero(grades > 0)
    sizes = lengths[owners[acted]]
    starts = np.repeat(offsets[owners[acted]] - offsets_of(sizes)[:-1], sizes)
    high, low = np.repeat(acted, sizes), np.arange(int(sizes.sum())) + starts
    better = grades[high] > grades[low]
    high, low = high[better], low[better]
    gain = np.asarray(gains, np.float64)[grades]
    gap = (gain[high] - gain[low]) / best_dcg(gain, offsets, truncation)[owners[high]]
    weight = np.ones(len(high))
    if values is not None:
        weight = np.maximum(values[high] - values[low], 0.0)
    return Pairs(offsets=offsets, high=high, low=low, gap=gap, weight=weight)


def best_dcg(gain: Doubles, offsets: Rows, truncation: int) -> Doubles:
    """float64[Q]: the DCG of the best order of each list to `truncation`; 1 where it is 0."""
    owners = owners_of(offsets)
    order = np.lexsort((-gain, owners))
    places = np.arange(len(order)) - offsets[owners]
    best = np.where(places < truncation, gain[order] / np.log2(places + 2.0), 0.0)
    found: Doubles = segment_sum(best, offsets)
    return np.where(found > 0, found, 1.0)


def gradients(scores: Doubles, pairs: Pairs, truncation: int) -> tuple[Doubles, Doubles]:
    """(float64[n] gradient, float64[n] hessian) of the loss at float64[n] `scores`."""
    n, lists, owner = len(scores), len(pairs.offsets) - 1, pairs.owner
    places = pairs.places(scores)
    discount = 1 / np.log2(places + 2.0)
    high, low = pairs.high, pairs.low
    apart = scores[high] - scores[low]
    swap = pairs.gap * np.abs(discount[high] - discount[low])
    swap[np.minimum(places[high], places[low]) >= truncation] = 0.0
    spread = _spread(scores, pairs)[owner]
    swap /= np.where(spread > 0, CLOSE + np.abs(apart), 1.0)
    chance = 1 / (1 + np.exp(np.clip(apart, -500, 500)))
    pull = chance * swap
    total = np.bincount(owner, 2 * pull, minlength=lists)
    scale = np.where(total > 0, np.log2(1 + total) / np.where(total > 0, total, 1.0), 1.0)
    factor = scale[owner] * pairs.weight
    curve = pull * (1 - chance) * factor
    pull *= factor
    gradient: Doubles = np.bincount(low, pull, n).astype(np.float64)
    gradient -= np.bincount(high, pull, n)
    hessian: Doubles = np.bincount(low, curve, n).astype(np.float64)
    hessian += np.bincount(high, curve, n)
    return gradient, hessian


def _spread(scores: Doubles, pairs: Pairs) -> Doubles:
    """float64[Q]: highest less lowest score of each list."""
    spread = np.zeros(len(pairs.offsets) - 1)
    lengths = np.diff(pairs.offsets)
    for rows in pairs.blocks:
        spread[lengths == rows.shape[1]] = np.ptp(scores[rows], axis=1)
    return spread


class PairObjective:
    """What LightGBM asks for gradients; learns what positions earned as it goes along.

    `weights` float[n] are factors of a row's own gradient and hessian; `positions` int[n] are any
    numbers.
    """

    def __init__(
        self,
        pairs: Pairs,
        *,
        truncation: int,
        weights: Floats | None = None,
        positions: NDArray[np.int32] | None = None,
        learning_rate: float = 0.1,
        regularization: float = 0.0,
    ) -> None:
        self.pairs, self.truncation, self.weights = pairs, truncation, weights
        self.learning_rate, self.regularization = learning_rate, regularization
        self._place: Rows | None = None
        self.bias = np.zeros(0)
        if positions is not None:
            known, self._place = np.unique(positions, return_inverse=True)
            self.bias = np.zeros(len(known))

    def __call__(self, scores: NDArray[np.floating], _: object) -> tuple[Doubles, Doubles]:
        """(gradient, hessian) at raw scores float[n]."""
        raw = scores.astype(np.float64)
        if self._place is not None:
            raw = raw + self.bias[self._place]
        gradient, hessian = gradients(raw, self.pairs, self.truncation)
        if self.weights is not None:
            gradient, hessian = gradient * self.weights, hessian * self.weights
        if self._place is not None:
            self._learn_bias(self._place, gradient, hessian)
        return gradient, hessian

    def _learn_bias(self, place: Rows, gradient: Doubles, hessian: Doubles) -> None:
        size = len(self.bias)
        held = self.regularization * np.bincount(place, minlength=size)
        first = -np.bincount(place, gradient, minlength=size) - self.bias * held
        second = np.bincount(place, hessian, minlength=size) + held
        self.bias += self.learning_rate * first / (second + STEADY)
