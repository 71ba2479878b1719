"""Arithmetic over ragged columns: entries of segment s are `offsets[s]:offsets[s + 1]`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.schemas.ranking import Rows


def offsets_of(lengths: NDArray[Any]) -> Rows:
    """int64[S + 1] from int[S] lengths."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def lengths_of(offsets: Rows) -> Rows:
    """int64[S]: entries of each segment."""
    return offsets[1:] - offsets[:-1]


def owners_of(offsets: Rows) -> Rows:
    """int64[n]: the segment that owns each entry."""
    return np.repeat(np.arange(len(offsets) - 1), lengths_of(offsets))


def segment_sum(values: NDArray[Any], offsets: Rows) -> NDArray[Any]:
    """Sums of `values` (n or n × d) by segment; an empty segment sums to zero."""
    out = np.zeros((len(offsets) - 1, *values.shape[1:]), values.dtype)
    filled = lengths_of(offsets).nonzero()[0]
    if len(filled):
        out[filled] = np.add.reduceat(values, offsets[filled], axis=0)
    return out


def last_of(values: NDArray[Any], offsets: Rows, missing: Any) -> NDArray[Any]:
    """The last entry of each segment, or `missing`."""
    out = np.full(len(offsets) - 1, missing, values.dtype)
    filled = lengths_of(offsets).nonzero()[0]
    out[filled] = values[offsets[filled + 1] - 1]
    return out


def places_in_runs(keys: NDArray[Any]) -> Rows:
    """int64[n]: 0-based place of each entry in its run of equal keys."""
    n = len(keys)
    first = np.ones(n, np.bool_)
    first[1:] = keys[1:] != keys[:-1]
    starts = first.nonzero()[0]
    places: Rows = np.arange(n) - starts[np.cumsum(first) - 1]
    return places


def ranks_within(owners: Rows, key: NDArray[Any]) -> tuple[Rows, Rows]:
    """(order, ranks): entries sorted by owner, then falling key, and their 0-based rank there."""
    order = np.lexsort((-key, owners))
    return order, places_in_runs(owners[order])


def unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Rows scaled to length one; a zero row stays zero."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    return (vectors / np.where(norms > 1e-12, norms, 1.0)).astype(np.float32, copy=False)
