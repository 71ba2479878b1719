"""What the catalogue states of some rows, each column read once for all groups that ask for it.

A request's rows lie far apart in columns of a million entries, so that a read costs more than what
is done with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.columns import Columns
from kindred.schemas.ranking import Doubles, Rows

Codes = NDArray[np.int32]


@dataclass(frozen=True)
class Facts:
    """Of n catalogue rows; every column is made when it is first asked for."""

    columns: Columns
    rows: Rows
    """int64[n]"""

    @cached_property
    def depth(self) -> Rows:
        """int64[n]: levels of the category path, 0 without one."""
        return self.columns.category_depth.take(self.rows).astype(np.int64)

    @cached_property
    def category(self) -> Codes:
        """int32[L, n]: a code for each level down to the deepest of them all, -1 below a leaf."""
        deepest = max(int(self.depth.max(initial=1)), 1)
        return self.columns.category.T[:deepest].take(self.rows, axis=1)

    @cached_property
    def leaf(self) -> Codes:
        """int32[n]: code of the whole category path, -1 without one."""
        n = len(self.rows)
        return self.category.take(np.maximum(self.depth - 1, 0) * n + np.arange(n))

    @cached_property
    def brand(self) -> Codes:
        """int32[n], -1 unknown."""
        return self.columns.brand.take(self.rows)

    @cached_property
    def seller(self) -> Codes:
        """int32[n], -1 unknown."""
        return self.columns.seller.take(self.rows)

    @cached_property
    def log_price(self) -> Doubles:
        """float64[n]: ln of the price in minor units, of at least one; NaN unknown."""
        price: Doubles = np.log(np.maximum(self.columns.price.take(self.rows), 1.0))
        return price
