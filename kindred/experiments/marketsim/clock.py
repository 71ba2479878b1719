"""Time in the market: what is on sale when, when people visit, which purchases are due."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kindred.experiments.marketsim.world import World
from kindred.schemas.clock import HOUR
from kindred.schemas.ranking import Doubles, Mask, Rows

BY_HOUR = np.array(
    [3, 2, 1, 1, 1, 2, 4, 6, 7, 8, 8, 8, 9, 9, 8, 8, 8, 9, 10, 12, 13, 12, 9, 6], np.float64
)  # fmt: skip
"""Visits by hour of the day (UTC), relative: an evening peak, four times the night."""
BY_HOUR /= BY_HOUR.mean()

NEVER = int(np.iinfo(np.int64).max)


def rhythm(at: Rows) -> Doubles:
    """float64[n]: how busy the moments are, 1 on average over a day."""
    return np.asarray(BY_HOUR[(at // HOUR) % 24])


class Shelf:
    """What is on sale: listed, not expired, and, where it is the only one, not sold."""

    def __init__(self, world: World, shift: int = 0) -> None:
        """`shift` µs is what the caller's clock is ahead of the world's."""
        self.world, self.shift = world, shift
        self.sold_at = np.full(len(world.category), NEVER)
        """int64[N] µs of the world: when a unique item was bought; `NEVER` for the others"""
        self.on_sale: Mask = np.zeros(len(world.category), bool)
        self._by_leaf: Rows = np.zeros(0, np.int64)
        self._first: Rows = np.zeros(0, np.int64)

    def open(self, now: int) -> Mask:
        """bool[N]: on sale at `now`; what is drawn from then on is what is on sale then."""
        world, now = self.world, now - self.shift
        self.on_sale = (world.listed <= now) & (now < world.expires) & (now < self.sold_at)
        rows = np.flatnonzero(self.on_sale)
        leaves = world.category[rows]
        order = np.argsort(leaves, kind="stable")
        self._by_leaf = rows[order]
        count = len(world.categories.centre)
        self._first = np.searchsorted(leaves[order], np.arange(count + 1))
        return self.on_sale

    def draw(self, leaf: NDArray[np.integer], width: int, rng: np.random.Generator) -> Rows:
        """int64[n, width]: items on sale in each category, repeats possible; -1 without any.

        Of an empty category anything on sale is drawn.
        """
        first, count = self._first[leaf], self._first[leaf + 1] - self._first[leaf]
        empty = count == 0
        first, count = np.where(empty, 0, first), np.where(empty, len(self._by_leaf), count)
        if not len(self._by_leaf):
            return np.full((len(leaf), width), -1, np.int64)
        at = first[:, None] + (rng.random((len(leaf), width)) * count[:, None]).astype(np.int64)
        return np.asarray(self._by_leaf[at])

    def sold(self, row: int) -> bool:
        """Whether a unique item was bought."""
        return bool(self.sold_at[row] < NEVER)

    def sell(self, rows: Rows, at: Rows) -> Mask:
        """bool[n]: the purchases that come about, of n in order of time.

        An item must be on sale at the time, and the only one of its kind goes to the first.
        """
        world, at = self.world, at - self.shift
        can = (world.listed[rows] <= at) & (at < world.expires[rows]) & (at < self.sold_at[rows])
        first = np.zeros(len(rows), bool)
        candidates = np.flatnonzero(can)
        first[candidates[np.unique(rows[candidates], return_index=True)[1]]] = True
        won: Mask = can & (first | ~world.unique[rows])
        gone = won & world.unique[rows]
        self.sold_at[rows[gone]] = at[gone]
        return won


@dataclass(frozen=True, slots=True, eq=False)
class Purchases:
    """n purchases that visitors mean to make, in columns."""

    due: Rows
    """int64[n] µs"""
    row: Rows
    visitor: Rows
    session: NDArray[np.object_]
    logged_in: Mask
    decision: NDArray[np.object_]
    """Decision id, or None where it will not be known any more"""
    trace: NDArray[np.object_]
    position: Rows
    """int64[n], -1 where there is none"""

    def __len__(self) -> int:
        return len(self.due)

    @classmethod
    def none(cls) -> Self:
        """No purchases."""
        ints, names = np.zeros(0, np.int64), np.zeros(0, object)
        return cls(ints, ints, ints, names, np.zeros(0, bool), names, names, ints)

    def take(self, index: Mask | Rows) -> Self:
        """The purchases at `index`."""
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def joined(self, other: Purchases) -> Self:
        """These, then the others."""
        both: dict[str, Any] = {
            f.name: np.concatenate([getattr(self, f.name), getattr(other, f.name)])
            for f in fields(self)
        }
        return replace(self, **both)
