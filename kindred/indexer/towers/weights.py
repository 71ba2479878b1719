"""A trained tower in numpy: what serving computes, with no torch in the process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.towers.inputs import Inputs
from kindred.indexer.towers.tower import NORM_EPSILON
from kindred.schemas.ranking import Floats, Mask

AT_ONCE = 4096
"""Items computed at once."""


@dataclass(frozen=True, slots=True)
class TowerWeights:
    """See `tower`. `names` are its inputs, in order."""

    names: tuple[str, ...]
    arrays: Mapping[str, NDArray[Any]]

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return len(self.arrays["skip_bias"])

    @property
    def _depth(self) -> int:
        return sum(name.startswith("layers_") and name.endswith("_bias") for name in self.arrays)

    def __call__(self, inputs: Inputs) -> tuple[Floats, Mask, Floats]:
        """(float32[n, d] unit, bool[n], float32[n, M] gate weights).

        An item with none of the inputs has no vector. An input that the tower knows and `inputs`
        lacks is absent from every item.
        """
        parts = [
            self._some(inputs.take(np.arange(low, min(low + AT_ONCE, len(inputs)))))
            for low in range(0, len(inputs), AT_ONCE)
        ]
        if not parts:
            m = len(self.names)
            none = np.zeros((0, self.dim), np.float32)
            return none, np.zeros(0, np.bool_), np.zeros((0, m), np.float32)
        vectors, has, gates = (np.concatenate(column) for column in zip(*parts, strict=True))
        return vectors, has, gates

    def _some(self, inputs: Inputs) -> tuple[Floats, Mask, Floats]:
        a, n, m = self.arrays, len(inputs), len(self.names)
        present = np.zeros((n, m), np.bool_)
        h = np.zeros((n, m, a["projections_0_bias"].shape[0]), np.float32)
        for k, name in enumerate(self.names):
            if name not in inputs.present:
                continue
            present[:, k] = inputs.present[name]
            h[:, k] = _normed(
                self._value(inputs, name) @ a[f"projections_{k}_weight"].T
                + a[f"projections_{k}_bias"],
                a[f"norms_{k}_weight"],
                a[f"norms_{k}_bias"],
            )
        gates = self._gates(h, present)
        z = (np.float32(m) * gates)[:, :, None] * h
        z = np.concatenate([z.reshape(n, -1), present.astype(np.float32)], axis=1)
        out = z @ a["skip_weight"].T + a["skip_bias"]
        for layer in range(self._depth):
            z = z @ a[f"layers_{layer}_weight"].T + a[f"layers_{layer}_bias"]
            if layer < self._depth - 1:
                z = np.maximum(z, 0)
        if self._depth:
            out = out + z
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        has = present.any(axis=1) & (norms[:, 0] > 0)
        vectors = np.where(has[:, None], out / np.maximum(norms, 1e-12), 0).astype(np.float32)
        return vectors, has, gates

    def _value(self, inputs: Inputs, name: str) -> Floats:
        if name in inputs.vectors:
            return inputs.vectors[name]
        words = inputs.words[name]
        # Bucket 0 is the row of zeros.
        summed = self.arrays[f"bags_{name}_weight"][words].sum(axis=1)
        mean: Floats = summed / np.maximum((words != 0).sum(axis=1, keepdims=True), 1)
        return mean.astype(np.float32)

    def _gates(self, h: Floats, present: Mask) -> Floats:
        if "score_weight" not in self.arrays:
            return (present / np.float32(len(self.names))).astype(np.float32)
        a = self.arrays
        attended = np.tanh(h @ a["attend_weight"].T + a["attend_bias"])
        scores = (attended @ a["score_weight"].T)[..., 0] + a["prior"]
        scores = np.where(present, scores, -np.inf)
        highest = np.where(present.any(axis=1), scores.max(axis=1), 0)
        raised = np.where(present, np.exp(scores - highest[:, None]), 0)
        gates: Floats = raised / np.maximum(raised.sum(axis=1, keepdims=True), 1e-30)
        return gates.astype(np.float32)


def _normed(x: Floats, weight: Floats, bias: Floats) -> Floats:
    """Layer norm over the last axis."""
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + NORM_EPSILON)
    normed: Floats = centred / scale * weight + bias
    return normed
