"""LightGBM's trees as one table of nodes that compiled code walks, to the same bits, in a quarter
of LightGBM's time.

LightGBM walks all trees for one row, and then the next: at each node the processor guesses the way
and is wrong half of the time. `tree_walk` guesses nothing. A missing value takes its node's default
way because the row is held twice, with -inf and with +inf in its place, and the node reads the one
that goes its way. Leaves lead to themselves, so that rows need not agree on when to stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.rerank.tree_walk import Indices, Walk
from kindred.schemas.ranking import Doubles, Floats

CATEGORICAL, DEFAULT_LEFT = 1, 2
MISSING_SHIFT, NO_MISSING, MISSING_ZERO = 2, 0, 1
"""Bits of LightGBM's `decision_type` (tree.h)."""
ZERO = np.float32(1e-35)
"""What is no larger is zero to LightGBM (`kZeroThreshold`)."""
UNTRANSFORMED = ("lambdarank", "rank_xendcg", "regression")
"""Objectives whose prediction is the plain sum; a model without one was grown by another's
gradients, and is summed as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """T trees as one table of nodes, leaves included."""

    columns: Indices
    """uint64[nodes]: of the row and its copy; past the features where missing goes left"""
    thresholds: Floats
    """float32[nodes]: rounded down, so that no float32 falls on another side; +inf at a leaf"""
    ways: Indices
    """uint64[2 * nodes]: where to go at or under the threshold, and above"""
    leaves: Doubles
    """float64[nodes]: what a leaf adds"""
    roots: Indices
    """uint64[T]"""
    depths: Indices
    """uint64[T]: steps to the deepest leaf"""

    def score(self, features: Floats, walk: Walk) -> Doubles:
        """float64[n] from float32[n, F]: what `lightgbm.Booster.predict` gives, to the bit."""
        missing, zero = np.isnan(features), np.abs(features) <= ZERO
        width = features.shape[1]
        both = np.empty((len(features), 2 * width), np.float32)
        np.copyto(both[:, :width], features)
        np.copyto(both[:, :width], np.float32(0), where=zero)
        np.copyto(both[:, width:], both[:, :width])
        np.copyto(both[:, :width], np.float32(np.inf), where=missing)
        np.copyto(both[:, width:], np.float32(-np.inf), where=missing)
        out = np.zeros(len(features))
        walk(
            both, self.columns, self.thresholds, self.ways, self.leaves, self.roots, self.depths,
            out,
        )  # fmt: skip
        return out


def forest_of(text: str) -> Forest | None:
    """The trees of LightGBM's `text` form; None where they are of a kind that is not walked here.

    Those are trees with categories, with linear leaves, or with zero for missing, and objectives
    that transform the sum, as `binary` does.
    """
    head, *trees = text.split("\nTree=")
    facts = _facts(head)
    objective = facts.get("objective", "").split(" ")[0]
    if objective and objective not in UNTRANSFORMED:
        return None
    width = int(facts["max_feature_idx"]) + 1
    parts = []
    start = 0
    for tree in trees:
        part = _tree(_facts(tree), width, start)
        if part is None:
            return None
        parts.append(part)
        start += len(part["leaves"])
    if not parts or "average_output" in head.split("\n"):
        return None
    joined = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    return Forest(**joined)


def _facts(text: str) -> dict[str, str]:
    lines = (line.partition("=") for line in text.split("\n"))
    return {name: value for name, equals, value in lines if equals}


def _tree(facts: Mapping[str, str], width: int, start: int) -> dict[str, NDArray[Any]] | None:
    """One tree's nodes from `start` on: inner ones first, then its leaves."""
    if facts["num_cat"] != "0" or facts.get("is_linear", "0") != "0":
        return None

    def column(name: str, kind: type) -> NDArray[Any]:
        return np.array(facts.get(name, "").split(), kind)

    leaves = column("leaf_value", np.float64)
    inner = len(leaves) - 1
    names = ("left_child", "right_child", "split_feature", "decision_type")
    left, right, feature, decision = (
        column(name, np.int64)[:inner] if inner else np.zeros(0, np.int64) for name in names
    )
    threshold = column("threshold", np.float64)[:inner]
    kind = decision >> MISSING_SHIFT & 3
    if (decision & CATEGORICAL).any() or (kind == MISSING_ZERO).any():
        return None
    # Where nothing was missing in training, a missing value is a zero.
    goes_left = np.where(kind == NO_MISSING, threshold >= 0, decision & DEFAULT_LEFT > 0)
    own = np.arange(inner + len(leaves))
    ways = np.stack([own, own], axis=1)
    ways[:inner] = np.stack([left, right], axis=1)
    ways = np.where(ways < 0, inner + ~ways, ways)
    return {
        "columns": np.append(
            feature + width * goes_left, np.zeros(len(leaves), np.int64)
        ).astype(np.uint64),
        "thresholds": np.append(_rounded_down(threshold), np.full(len(leaves), np.inf)).astype(
            np.float32
        ),
        "ways": (ways.ravel() + start).astype(np.uint64),
        "leaves": np.append(np.zeros(inner), leaves),
        "roots": np.array([start], np.uint64),
        "depths": np.array([_depth(ways, inner)], np.uint64),
    }  # fmt: skip


def _rounded_down(threshold: Doubles) -> Floats:
    """float32: the largest that is not above each float64."""
    top = np.finfo(np.float32).max
    near = np.clip(threshold, -top, top).astype(np.float32)
    above = near > threshold
    near[above] = np.nextafter(near[above], np.float32(-np.inf))
    return near


def _depth(ways: NDArray[np.int64], inner: int) -> int:
    """Steps from the root, node 0, to the deepest leaf."""
    reached, steps = np.zeros(1, np.int64), 0
    while (reached := np.unique(ways[reached[reached < inner]])).size:
        steps += 1
    return steps
