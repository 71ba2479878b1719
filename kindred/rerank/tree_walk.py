"""The loop that walks trees as machine code, made by numba beside the requests.

One tree at a time meets all rows, four of them together, and a comparison's outcome is an address,
so nothing is guessed. numba needs a second to make it, and a fifth of one to read what an earlier
process has kept; until then, and where it cannot be made, LightGBM walks the same trees to the same
scores.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from kindred.schemas.ranking import Doubles, Floats

Indices = NDArray[np.uint64]

SIGNATURE = (
    "void(float32[:, ::1], uint64[::1], float32[::1], uint64[::1], float64[::1], uint64[::1], "
    "uint64[::1], float64[::1])"
)
"""Of `_walk`; named ahead, so that nothing is left to be made at the first call."""

THREAD = "tree-walk"


class Walk(Protocol):
    """The compiled loop."""

    def __call__(
        self, both: Floats, nodes: Indices, thresholds: Floats, ways: Indices, leaves: Doubles,
        roots: Indices, depths: Indices, out: Doubles,
    ) -> None:  # fmt: skip
        """Add every tree's leaf to `out`."""


class TreeWalk:
    """The loop of one process: `compiled` is None until it is there."""

    def __init__(self) -> None:
        self.compiled: Walk | None = None
        self._tried = False
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Make it, once; what keeps it from being made is a line in the log."""
        with self._lock:
            if not self._tried:
                self.compiled = _compiled()
                self._tried = True

    def prepare_aside(self) -> None:
        """The same on a thread of its own, which nobody waits for until the process ends."""
        if not self._tried:
            threading.Thread(target=self.prepare, name=THREAD).start()


@cache
def process_walk() -> TreeWalk:
    """The one that all rankers of this process share."""
    return TreeWalk()


def _compiled() -> Walk | None:
    """`_walk` as machine code, kept beside this file or in the user's cache where that may be."""
    log = structlog.get_logger("kindred")
    for kept in (True, False):
        try:
            import numba

            walk: Walk = numba.njit(SIGNATURE, nogil=True, cache=kept, error_model="numpy")(_walk)
            if walk is _walk:
                raise RuntimeError("numba is told to compile nothing (NUMBA_DISABLE_JIT)")
        except Exception as error:  # a compiler, and files of its own: no answer depends on them
            reason = f"{type(error).__name__}: {error}"
        else:
            if not kept:
                log.warning("the compiled walk of trees is not kept for later", reason=reason)
            return walk
    log.warning("LightGBM walks the ranker's trees, four times slower", reason=reason)
    return None


def _walk(
    both: Floats, nodes: Indices, thresholds: Floats, ways: Indices, leaves: Doubles,
    roots: Indices, depths: Indices, out: Doubles,
) -> None:  # fmt: skip
    """In numba's Python. Indices are unsigned: none counts from the end."""
    values, width, n = both.ravel(), both.shape[1], len(out)
    whole = n - n % 4
    for tree in range(len(roots)):
        root, depth = roots[tree], depths[tree]
        for row in range(0, whole, 4):
            a = b = c = d = root
            at_a = np.uint64(row * width)
            at_b = np.uint64((row + 1) * width)
            at_c = np.uint64((row + 2) * width)
            at_d = np.uint64((row + 3) * width)
            for _ in range(depth):
                a = ways[np.uint64(2) * a + np.uint64(values[at_a + nodes[a]] > thresholds[a])]
                b = ways[np.uint64(2) * b + np.uint64(values[at_b + nodes[b]] > thresholds[b])]
                c = ways[np.uint64(2) * c + np.uint64(values[at_c + nodes[c]] > thresholds[c])]
                d = ways[np.uint64(2) * d + np.uint64(values[at_d + nodes[d]] > thresholds[d])]
            out[row] += leaves[a]
            out[row + 1] += leaves[b]
            out[row + 2] += leaves[c]
            out[row + 3] += leaves[d]
        for row in range(whole, n):
            a = root
            at_a = np.uint64(row * width)
            for _ in range(depth):
                a = ways[np.uint64(2) * a + np.uint64(values[at_a + nodes[a]] > thresholds[a])]
            out[row] += leaves[a]
