"""Dense layers: trained in torch with batch norm, kept and computed as plain matrices in numpy.

Batch norm at inference is a scale and a shift, and so is the standardisation of the inputs; both
are folded into the weights, so what serves is matrix products and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.runtime import load_torch
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows

AT_ONCE = 8192
"""Items computed at once."""
LEAST_SPREAD = 1e-6
"""Standard deviation below which an input counts as constant."""


def dense_layers(sizes: Sequence[int]) -> Any:
    """torch layers from sizes[0] to sizes[-1]: linear, batch norm, ReLU; the last linear alone."""
    nn = load_torch().nn
    layers: list[Any] = []
    for wide, narrow in pairwise(sizes):
        layers += [nn.Linear(wide, narrow), nn.BatchNorm1d(narrow), nn.ReLU()]
    return nn.Sequential(*layers[:-2])


@dataclass(frozen=True, slots=True)
class Scale:
    """What makes inputs of mean 0 and spread 1."""

    mean: Floats
    """float32[d]"""
    spread: Floats
    """float32[d]"""

    @classmethod
    def of(cls, features: Floats) -> Scale:
        """Of float32[n, d]."""
        spread = features.std(axis=0)
        kept = np.where(spread > LEAST_SPREAD, spread, 1)
        return cls(features.mean(axis=0).astype(np.float32), kept.astype(np.float32))

    def __call__(self, features: Floats) -> Floats:
        """float32[n, d], standardised."""
        scaled: Floats = ((features - self.mean) / self.spread).astype(np.float32)
        return scaled


def folded(net: Any, scale: Scale) -> dict[str, NDArray[Any]]:
    """Weights of `dense_layers` behind `scale`, as `Dense` reads them."""
    arrays: dict[str, NDArray[Any]] = {}
    linear = 0
    for layer in net:
        kind = type(layer).__name__
        if kind == "Linear":
            weight = layer.weight.detach().cpu().double().numpy()
            bias = layer.bias.detach().cpu().double().numpy()
            if linear == 0:
                weight = weight / scale.spread
                bias = bias - weight @ scale.mean.astype(np.float64)
            arrays[f"layer_{linear}_weight"], arrays[f"layer_{linear}_bias"] = weight, bias
            linear += 1
        elif kind == "BatchNorm1d":
            facts = [layer.running_mean, layer.running_var, layer.weight, layer.bias]
            mean, variance, gain, shift = (t.detach().cpu().double().numpy() for t in facts)
            gain = gain / np.sqrt(variance + layer.eps)
            name = f"layer_{linear - 1}"
            arrays[f"{name}_weight"] = arrays[f"{name}_weight"] * gain[:, None]
            arrays[f"{name}_bias"] = (arrays[f"{name}_bias"] - mean) * gain + shift
    return {name: value.astype(np.float32) for name, value in arrays.items()}


@dataclass(frozen=True, slots=True)
class Dense:
    """Linear layers with ReLU between them, in numpy."""

    arrays: Mapping[str, NDArray[Any]]
    """`layer_<k>_weight` float32[out, in], `layer_<k>_bias` float32[out]"""

    @property
    def depth(self) -> int:
        """Number of layers."""
        return sum(n.startswith("layer_") and n.endswith("_bias") for n in self.arrays)

    @property
    def dim(self) -> int:
        """Width of the output."""
        return len(self.arrays[f"layer_{self.depth - 1}_bias"])

    def __call__(self, x: Floats) -> Floats:
        """float32[n, dim] of float32[n, d]."""
        found = np.empty((len(x), self.dim), np.float32)
        for low in range(0, len(x), AT_ONCE):
            found[low : low + AT_ONCE] = self._some(x[low : low + AT_ONCE])
        return found

    def _some(self, x: Floats) -> Floats:
        for k in range(self.depth):
            x = x @ self.arrays[f"layer_{k}_weight"].T + self.arrays[f"layer_{k}_bias"]
            if k < self.depth - 1:
                x = np.maximum(x, 0)
        return x


def unit_rows(vectors: Floats, present: Mask | None = None) -> tuple[Floats, Mask]:
    """(float32[n, d] of unit length or zero, bool[n]: those that have a direction)."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    has = np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)
    has = has if present is None else has & present
    unit = np.zeros_like(vectors, np.float32)
    np.divide(vectors, lengths, out=unit, where=has[:, None])
    return unit, has


def cosines(found: NDArray[Any], wanted: NDArray[Any]) -> Doubles:
    """float64[n]: cosine of each pair of rows; 0 where one of them is zero."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    products = (found * wanted).sum(axis=1)
    cosine: Doubles = np.divide(products, lengths, out=np.zeros(len(found)), where=lengths > 0)
    return cosine


def ridge(x: Floats, y: Floats, penalty: float) -> tuple[Doubles, Doubles]:
    """(float64[d, m], float64[m]): weights and intercept of least |xW + b - y|² + penalty |W|²."""
    mean_x, mean_y = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
    centred = x - mean_x
    gram = centred.T @ centred + penalty * np.eye(x.shape[1])
    weights: Doubles = np.linalg.solve(gram, centred.T @ (y - mean_y))
    return weights, mean_y - mean_x @ weights


@dataclass(frozen=True, slots=True)
class Split:
    """Positions in three parts that share no group."""

    training: Rows
    development: Rows
    tested: Rows

    @classmethod
    def of(
        cls, groups: NDArray[Any], seed: int, *, tested: float = 0.2, development: float = 0.1
    ) -> Split:
        """Of n examples with their groups [n]: what is equal stays on one side."""
        _, group = np.unique(groups, return_inverse=True)
        count = int(group.max(initial=-1)) + 1
        place = np.random.default_rng(seed).permutation(count)[group] / max(count, 1)
        asked, chosen = place < tested, (place >= tested) & (place < tested + development)
        return cls(
            training=np.flatnonzero(~asked & ~chosen),
            development=np.flatnonzero(chosen),
            tested=np.flatnonzero(asked),
        )
