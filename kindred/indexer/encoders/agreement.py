"""How often an item's nearest neighbours share a label with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.schemas.ranking import Doubles, Floats, Rows

AT_ONCE = 20_000_000
"""Cosines held at once (float32: 80 MB)."""
NEIGHBOURS = 5


def nearest(asking: Floats, pool: Floats, same: Rows, k: int = NEIGHBOURS) -> Rows:
    """int64[q, k]: places in `pool` of the highest products with float32[q, d], best first.

    `same` int64[q] is each question's own place in the pool, which is left out; -1 for none. Where
    the pool is too small the places are -1.
    """
    k_there = min(k, max(len(pool) - 1, 0))
    found = np.full((len(asking), k), -1, np.int64)
    if not k_there:
        return found
    step = max(1, AT_ONCE // len(pool))
    for low in range(0, len(asking), step):
        cosines = asking[low : low + step] @ pool.T
        own = same[low : low + step]
        at = np.flatnonzero(own >= 0)
        cosines[at, own[at]] = -np.inf
        best = np.argpartition(-cosines, k_there - 1, axis=1)[:, :k_there]
        order = np.argsort(-np.take_along_axis(cosines, best, axis=1), axis=1, kind="stable")
        found[low : low + step, :k_there] = np.take_along_axis(best, order, axis=1)
    return found


def agreement(wanted: NDArray[Any], of_pool: NDArray[Any], found: Rows) -> Doubles:
    """float64[q]: share of the neighbours `found` with the label that is wanted.

    Labels are codes, -1 unknown; NaN where the wanted one is. A neighbour of unknown label, and a
    missing one, does not agree.
    """
    theirs = np.where(found >= 0, of_pool[found], -1)
    shares = (theirs == wanted[:, None]).mean(axis=1)
    agreed: Doubles = np.where(wanted >= 0, shares, np.nan)
    return agreed


def mean_interval(values: Doubles) -> tuple[float, float, float]:
    """(mean, low, high): 95 % normal interval over the values that are not NaN."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan"), float("nan")
    mean = float(known.mean())
    error = 1.96 * float(known.std()) / np.sqrt(len(known))
    return mean, mean - error, mean + error
