"""What every adapter refuses, so that none accepts what another would not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kindred.schemas.errors import InputError
from kindred.schemas.ranking import Floats, Rows

UNIT_TOLERANCE = 1e-3
"""How far a vector's length may be from one."""


def check_vectors(
    vectors: Floats, dim: int, *, count: int | None = None, zeros: bool = False
) -> Floats:
    """float32[n, dim] lengths are one; InputError otherwise, naming the first row at fault.

    `count` is the n that is wanted. `zeros` lets rows of zeros pass (a question without content).
    Returns float32[n], the lengths.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise InputError(f"vectors of shape {vectors.shape} where width {dim} belongs", "$.vectors")
    if count is not None and len(vectors) != count:
        raise InputError(f"{len(vectors)} vectors for {count} rows", "$.vectors")
    # One pass: a NaN or an infinity anywhere makes the length NaN or infinite.
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    good = np.abs(lengths - 1) <= UNIT_TOLERANCE
    if zeros:
        good |= lengths == 0
    if not good.all():
        first = int(np.argmin(good))
        finite = bool(np.isfinite(vectors[first]).all())
        fault = f"has length {lengths[first]:.4g}, not 1" if finite else "is not finite"
        raise InputError(f"vector {first} {fault}", f"$.vectors[{first}]")
    return np.asarray(lengths, np.float32)


def check_rows(rows: Rows) -> None:
    """InputError where a row is negative."""
    if len(rows) and int(rows.min()) < 0:
        raise InputError("rows are 0 and up", f"$.rows[{int(np.argmin(rows))}]")


def check_space(spaces: Mapping[str, int], space: str) -> int:
    """The width of a space; InputError for one that the store does not hold."""
    if space not in spaces:
        raise InputError(
            f"unknown space {space!r}; there are {', '.join(sorted(spaces))}", "$.space"
        )
    return spaces[space]
