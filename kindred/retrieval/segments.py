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


def owners_of(offsets: Rows) -> Rows:
    """int64[n]: the segment that owns each entry."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def segment_sum(values: NDArray[Any], offsets: Rows) -> NDArray[Any]:
    """Sums of `values` (n or n × d) by segment; an empty segment sums to zero."""
    out = np.zeros((len(offsets) - 1, *values.shape[1:]), values.dtype)
    filled = np.flatnonzero(np.diff(offsets))
    if len(filled):
        out[filled] = np.add.reduceat(values, offsets[filled], axis=0)
    return out


def last_of(values: NDArray[Any], offsets: Rows, missing: Any) -> NDArray[Any]:
    """The last entry of each segment, or `missing`."""
    out = np.full(len(offsets) - 1, missing, values.dtype)
    filled = np.flatnonzero(np.diff(offsets))
    out[filled] = values[offsets[filled + 1] - 1]
    return out


def ranks_within(owners: Rows, key: NDArray[Any]) -> tuple[Rows, Rows]:
    """(order, ranks): entries sorted by owner, then falling key, and their 0-based rank there."""
    order = np.lexsort((-key, owners))
    sorted_owners = owners[order]
    starts = np.flatnonzero(np.r_[True, sorted_owners[1:] != sorted_owners[:-1]][: len(order)])
    ranks = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    return order, ranks


def unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Rows scaled to length one; a zero row stays zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled = np.zeros(vectors.shape, np.float32)
    np.divide(vectors, norms, out=scaled, where=norms > 1e-12)
    return scaled
