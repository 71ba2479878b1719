"""Attribute vectors: category, brand, colour, materials, condition, attributes and price.

Signed feature hashing (Weinberger et al. 2009) with several slots for each token (Kane and Nelson
2014), so that one collision cannot make a stranger look like a twin. Numbers become soft buckets
on a fixed logarithmic scale, so no statistics of the catalogue are needed and an item's vector
depends on the item alone. This is FINN's remedy for cold items that match by accident: explicit
category and brand features (SPEC F21).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.encoders.base import KEY_BYTES, Encoded
from kindred.schemas.item import Item
from kindred.schemas.settings import AttributesEncoderSettings

RECIPE = 1
"""Version of the tokens, weights and hashes below."""
SLOTS = 4
"""Places of the vector that one token writes to."""

WEIGHTS = {
    "category": 1.5, "brand": 1.0, "colour": 0.75, "material": 0.75, "condition": 0.4,
    "attribute": 1.0, "price": 0.6,
}  # fmt: skip
"""Length of each group's part before the whole is brought to unit length."""

OCTAVE_STEPS = 8
"""Numbers are rounded to 1/8 octave (9 %): a smaller change leaves the vector as it is."""
BUCKETS_PER_OCTAVE = {"price": 1.0, "attribute": 2.0}
"""Buckets per doubling: two prices are alike (cosine > .7) within a factor of 1.4, two numeric
attributes within a factor of 1.2, and unrelated from the square of that on."""

Feature = tuple[str, float]
"""A token and its weight."""


class AttributesEncoder:
    """Hashes an item's facts into `dim` numbers; numpy only, microseconds an item."""

    space = "attributes"
    path = "$"
    cached = False

    def __init__(self, settings: AttributesEncoderSettings) -> None:
        self._settings = settings

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self._settings.dim

    @property
    def version(self) -> str:
        """Recipe and settings."""
        return f"hashed/r{RECIPE}/d{self.dim}/n{self._settings.numeric_scale:g}"

    def key(self, item: Item) -> bytes | None:
        """Hash of the tokens and weights; None where the item states none of its facts."""
        features = item_features(item, self._settings.numeric_scale)
        if not features:
            return None
        text = "\n".join(f"{token}\0{weight:.6f}" for token, weight in features)
        return blake2b(text.encode(), digest_size=KEY_BYTES).digest()

    def size(self, item: Item) -> int:  # noqa: ARG002
        """Every item costs the same."""
        return 1

    def encode(self, items: Sequence[Item]) -> Encoded:
        """See Encoder.encode. Items that state none of these facts get no vector."""
        owners: list[int] = []
        tokens: list[str] = []
        weights: list[float] = []
        for number, item in enumerate(items):
            features = item_features(item, self._settings.numeric_scale)
            owners.extend([number] * len(features))
            tokens.extend(token for token, _ in features)
            weights.extend(weight for _, weight in features)
        vectors = np.zeros((len(items), self.dim), np.float64)
        if tokens:
            hashed = [_slots(token, self.dim) for token in tokens]
            places = np.stack([p for p, _ in hashed])
            values = np.stack([v for _, v in hashed]) * np.asarray(weights)[:, None]
            np.add.at(vectors, (np.asarray(owners)[:, None], places), values)
        norms = np.linalg.norm(vectors, axis=1)
        ok = norms > 1e-9
        vectors[ok] /= norms[ok, None]
        vectors[~ok] = 0
        return Encoded(vectors.astype(np.float32), ok, [])


def item_features(item: Item, numeric_scale: float) -> list[Feature]:
    """Tokens with weights, in the order of the tokens. Price alone makes no vector."""
    features = _shared("category", ["\x1f".join(_folded(item.category[: level + 1]))
                                    for level in range(len(item.category))])  # fmt: skip
    for group, value in (("brand", item.brand), ("colour", item.colour)):
        features += _shared(group, _folded((value,)) if value else [])
    features += _shared("material", sorted(set(_folded(item.materials))))
    features += _shared("condition", [item.condition.value] if item.condition else [])
    features += _attributes(item, numeric_scale)
    if features and item.price_minor is not None:
        unit = f"price\x1f{item.currency}"
        features += _soft_buckets(unit, item.price_minor, WEIGHTS["price"], "price")
    return sorted(features)


def _attributes(item: Item, numeric_scale: float) -> list[Feature]:
    """The free attributes share one group's weight evenly, however many there are."""
    if not item.attributes:
        return []
    weight = WEIGHTS["attribute"] / math.sqrt(len(item.attributes))
    features: list[Feature] = []
    for name, value in item.attributes.items():
        token = f"attribute\x1f{name.casefold().strip()}"
        if isinstance(value, str):
            features.append((f"{token}\x1f{value.casefold().strip()}", weight))
        elif math.isfinite(value):
            features += _soft_buckets(token, value, weight * numeric_scale, "attribute")
    return features


def _shared(group: str, values: Sequence[str]) -> list[Feature]:
    """Each value as a token; together they weigh what their group weighs."""
    weight = WEIGHTS[group] / math.sqrt(max(1, len(values)))
    return [(f"{group}\x1f{value}", weight) for value in values]


def _folded(words: Sequence[str]) -> list[str]:
    return [word.casefold().strip() for word in words]


def _soft_buckets(token: str, value: float, weight: float, scale: str) -> list[Feature]:
    """A number as a unit vector between its two neighbouring buckets of log2(1 + |value|).

    The cosine of two numbers falls smoothly with their ratio: cos(π/2 · buckets between them)
    within a bucket, 0 from two buckets on.
    """
    octaves = round(math.log2(1 + abs(value)) * OCTAVE_STEPS) / OCTAVE_STEPS
    place = math.copysign(octaves, value) * BUCKETS_PER_OCTAVE[scale]
    low = math.floor(place)
    angle = (place - low) * math.pi / 2
    parts = ((low, math.cos(angle)), (low + 1, math.sin(angle)))
    return [(f"{token}\x1f{bucket}", weight * part) for bucket, part in parts if part > 1e-9]


@lru_cache(maxsize=65_536)
def _slots(token: str, dim: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Places and signed values of one token: one place in each of `SLOTS` blocks of the vector."""
    slots = min(SLOTS, dim)
    digest = blake2b(token.encode(), digest_size=8 * SLOTS).digest()
    words = np.frombuffer(digest, "<u8")[:slots]
    edges = np.linspace(0, dim, slots + 1).astype(np.int64)
    widths = np.diff(edges).astype(np.uint64)
    places = edges[:-1] + ((words >> np.uint64(1)) % widths).astype(np.int64)
    signs = np.where(words & np.uint64(1), 1.0, -1.0)
    return places, signs / math.sqrt(slots)
