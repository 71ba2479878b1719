"""How an item did where it was shown beside one seed: clicks over expected clicks of the pair.

COEC of (seed, item), corrected for position as the item's own is (`exposure`), smoothed towards 1.
Of a pair little is ever seen: it says what the item's own figures cannot, that this one is clicked
beside that one. Pairs that were shown once without a click say nothing and are not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.exposure import LONGEST, position_curve
from kindred.indexer.behaviour.impressions import CLICK, Impressions
from kindred.schemas.clock import DAY
from kindred.schemas.ranking import Floats, Rows

PRIOR = 10.0
"""Impressions at the market's mean rate that a pair begins with."""
LEAST = 2
"""Times that a pair without a click must have been shown to be kept."""
MOST = 5_000_000
"""Pairs kept: those that were shown most often."""
SEED_BITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PairExposure:
    """P pairs of catalogue rows, as of one moment."""

    keys: Rows
    """int64[P], rising: `pair_key`"""
    coec: Floats
    """float32[P]: (clicks + c) / (expected clicks + c)"""

    def lookup(self, seeds: Rows, rows: Rows) -> Floats:
        """float32[n]: of each pair; NaN where it is not known, or there is no seed (-1)."""
        if not len(self.keys):
            return np.full(len(rows), np.nan, np.float32)
        key = pair_key(seeds, rows)
        at = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        known = (self.keys[at] == key) & (seeds >= 0)
        return np.where(known, self.coec[at], np.float32(np.nan))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The columns by name, to be kept."""
        return {"keys": self.keys, "coec": self.coec}

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> PairExposure:
        """From its arrays."""
        return cls(keys=arrays["keys"], coec=arrays["coec"])


def pair_key(seeds: Rows, rows: Rows) -> Rows:
    """int64[n]: one number for each (seed, item)."""
    return (seeds << SEED_BITS) + rows


def pair_exposure(shown: Impressions, now: int) -> PairExposure:
    """Facts of the pairs shown in the longest window before `now`, as they were known then."""
    since, until = np.searchsorted(shown.ts, [now - LONGEST * DAY, now], side="left")
    window = slice(int(since), int(until))
    owners, rows = shown.owners[window], shown.row[window]
    seeds = shown.seed[owners]
    known = (rows >= 0) & (seeds >= 0)
    chances = position_curve(shown, now).of(shown.platform[owners], shown.position[window])
    if not known.any() or not chances.any():
        return PairExposure(keys=np.zeros(0, np.int64), coec=np.zeros(0, np.float32))
    clicked = (shown.outcomes[window, CLICK] < now)[known]
    keys, inverse = np.unique(pair_key(seeds[known], rows[known]), return_inverse=True)
    times = np.bincount(inverse, minlength=len(keys))
    clicks = np.bincount(inverse, clicked, len(keys))
    expected = np.bincount(inverse, chances[known], len(keys))
    prior = PRIOR * float(chances.mean())
    over = ((clicks + prior) / (expected + prior)).astype(np.float32)
    kept = np.flatnonzero((times >= LEAST) | (clicks > 0))
    if len(kept) > MOST:
        kept = np.sort(kept[np.argsort(-times[kept], kind="stable")[:MOST]])
    return PairExposure(keys=keys[kept], coec=over[kept])
