"""95 % bootstrap intervals that draw whole visitors: what one of them does hangs together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kindred.schemas.ranking import Doubles

RESAMPLES = 1000


class Clusters:
    """Draws of visitors, made once for all methods of a slice."""

    def __init__(self, subject: NDArray[np.int32], seed: int) -> None:
        _, self._cluster = np.unique(subject, return_inverse=True)
        count = int(self._cluster.max(initial=-1)) + 1
        random = np.random.default_rng(seed)
        self._draws = np.zeros((RESAMPLES, count), np.float32)
        for draw in self._draws:
            draw[:] = np.bincount(random.integers(0, count, count), minlength=count)
        self._sizes = self._draws @ np.bincount(self._cluster, minlength=count)

    def interval(self, values: Doubles) -> tuple[float, float, float]:
        """(mean, low, high) of values float64[Q]."""
        sums = np.bincount(self._cluster, values)
        means = (self._draws @ sums) / np.maximum(self._sizes, 1)
        low, high = np.quantile(means, [0.025, 0.975])
        return float(values.mean()), float(low), float(high)
