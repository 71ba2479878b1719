"""What answers a visitor's page: the pages that ask, the lists they get, and the shelf alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kindred.experiments.marketsim.clock import Shelf
from kindred.experiments.marketsim.visitors import Visits
from kindred.schemas.ranking import Mask, Rows


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """n pages that want similar items."""

    visits: Visits
    session: NDArray[np.object_]
    seed: Rows
    """int64[n]: the page's item, a row of the world"""
    at: Rows
    """int64[n] µs"""

    def take(self, index: Rows) -> Asked:
        """The pages at `index`."""
        return Asked(self.visits.take(index), self.session[index], self.seed[index], self.at[index])


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """Their answers: list q holds rows `rows[offsets[q]:offsets[q + 1]]`, best first."""

    offsets: Rows
    rows: Rows
    decision: NDArray[np.object_]
    """object[n]: decision id, None where nothing was logged"""
    trace: NDArray[np.object_]


class Shop(Protocol):
    """What answers the pages."""

    def similar(self, asked: Asked) -> Lists:
        """Lists of similar items."""


class LoggedShop(Shop, Protocol):
    """A shop that keeps its decisions until they are taken."""

    def __len__(self) -> int:
        """Decisions that wait."""

    def open(self, on_sale: Mask) -> None:
        """From now on show what is on sale: bool[N] of the world's rows."""

    def frame(self) -> pl.DataFrame:
        """The decisions since the last call, in the columns of `DECISION_SCHEMA`."""


class Organic:
    """No recommendations: what stands on the shelf beside the page's item, logged nowhere."""

    def __init__(self, shelf: Shelf, width: int, rng: np.random.Generator) -> None:
        self._shelf, self._width, self._rng = shelf, width, rng

    def similar(self, asked: Asked) -> Lists:
        """See Shop.similar."""
        leaf = self._shelf.world.category[asked.seed]
        rows = self._shelf.draw(leaf, self._width, self._rng)
        n = len(rows)
        nobody = np.full(n, None, object)
        order = np.argsort(rows, axis=1, kind="stable")
        ordered = np.take_along_axis(rows, order, axis=1)
        again = np.zeros(rows.shape, bool)
        np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
        keep = (rows >= 0) & (rows != asked.seed[:, None]) & ~again
        offsets = np.concatenate([[0], np.cumsum(keep.sum(axis=1))])
        return Lists(offsets, rows[keep], nobody, nobody)
