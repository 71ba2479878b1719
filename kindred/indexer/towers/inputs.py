"""What a tower reads of an item: dense vectors with presence, and bags of hashed words.

The same inputs come from rows of the catalogue (training) and from items (serving); a test holds
them equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.columns import Columns
from kindred.schemas.item import Item
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows

BAGS = ("category", "brand", "colour")
"""Groups of words that every tower may read."""
BUCKETS = 1 << 13
"""Places that words are hashed to, 0 left for none."""
PRICE = "price"
"""The dense input made of the price."""
POPULARITY = "popularity"
"""The dense input made of how often an item was acted on; known by id, like factors."""
BY_ID = ("als", "place", POPULARITY)
"""Inputs that are known of an item by its id, from what people did."""
HATS = 16
"""Width of an input made of one number."""
PRICE_SPAN = (1.0, 7.0)
"""log10 of prices in minor units that are told apart."""
COUNT_SPAN = (0.0, 16.0)
"""log2 of counts that are told apart."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """n items. Absent vectors are zero, absent words are bucket 0."""

    vectors: Mapping[str, Floats]
    """name -> float32[n, d]"""
    present: Mapping[str, Mask]
    """name -> bool[n], for vectors and bags"""
    words: Mapping[str, Rows] = field(default_factory=dict)
    """bag -> int64[n, w]: buckets, 0 where there are fewer words"""

    def __len__(self) -> int:
        return len(next(iter(self.present.values())))

    def take(self, rows: Rows) -> Inputs:
        """Those of some items."""
        return Inputs(
            {name: value[rows] for name, value in self.vectors.items()},
            {name: value[rows] for name, value in self.present.items()},
            {name: value[rows] for name, value in self.words.items()},
        )

    def only(self, names: Sequence[str]) -> Inputs:
        """Those inputs alone."""
        return Inputs(
            {n: v for n, v in self.vectors.items() if n in names},
            {n: v for n, v in self.present.items() if n in names},
            {n: v for n, v in self.words.items() if n in names},
        )


@lru_cache(maxsize=1 << 17)
def bucket(group: str, word: str) -> int:
    """1 to BUCKETS - 1, the same in every process."""
    digest = blake2b(f"{group}\x1f{word.casefold().strip()}".encode(), digest_size=8).digest()
    return 1 + int.from_bytes(digest, "little") % (BUCKETS - 1)


def hats(values: Doubles, span: tuple[float, float]) -> Floats:
    """float32[n, HATS]: each number shared between the two nearest of evenly spaced marks.

    A layer that reads it can bend where it likes; a bare number passes layer norm as no more than
    its sign.
    """
    low, high = span
    place = np.clip((values - low) / (high - low), 0, 1) * (HATS - 1)
    heights: Floats = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(HATS)))
    return heights.astype(np.float32)


def price_value(price_minor: Doubles) -> tuple[Floats, Mask]:
    """(float32[n, HATS], bool[n]) of prices in minor units, NaN unknown."""
    known = np.isfinite(price_minor)
    value = hats(np.log10(np.where(known, np.maximum(price_minor, 0), 0) + 1), PRICE_SPAN)
    return np.where(known[:, None], value, np.float32(0)), known


def popularity_value(counts: Rows) -> tuple[Floats, Mask]:
    """(float32[n, HATS], bool[n]) of how often items were acted on; 0 is unknown."""
    known = counts > 0
    value = hats(np.log2(counts + 1.0), COUNT_SPAN)
    return np.where(known[:, None], value, np.float32(0)), known


def facts_of_rows(columns: Columns) -> Inputs:
    """Bags and price of every catalogue row."""
    words: dict[str, Rows] = {"category": _coded(columns, "category", columns.category)}
    words["brand"] = _coded(columns, "brand", columns.brand[:, None])
    words["colour"] = _coded(columns, "colour", columns.colour[:, None])
    price, priced = price_value(columns.price)
    present: dict[str, Mask] = {bag: np.any(found, axis=1) for bag, found in words.items()}
    return Inputs({PRICE: price}, {**present, PRICE: priced}, words)


def _coded(columns: Columns, name: str, codes: NDArray[np.int32]) -> Rows:
    """Buckets of coded words; int[n, w] codes, -1 none."""
    vocabulary = columns.vocabularies[name]
    table = np.array([bucket(name, word) for word in vocabulary.names] + [0], np.int64)
    return table[codes]  # -1 is the last place: none


def facts_of_items(items: Sequence[Item]) -> Inputs:
    """The same of items."""
    lists_of: dict[str, list[list[int]]] = {bag: [] for bag in BAGS}
    for item in items:
        path = ["\x1f".join(item.category[: k + 1]) for k in range(len(item.category))]
        lists_of["category"].append([bucket("category", p) for p in path])
        lists_of["brand"].append([bucket("brand", item.brand)] if item.brand else [])
        lists_of["colour"].append([bucket("colour", item.colour)] if item.colour else [])
    words = {bag: _padded(lists) for bag, lists in lists_of.items()}
    price, priced = price_value(
        np.array([np.nan if i.price_minor is None else i.price_minor for i in items], np.float64)
    )
    present: dict[str, Mask] = {bag: np.any(found, axis=1) for bag, found in words.items()}
    return Inputs({PRICE: price}, {**present, PRICE: priced}, words)


def _padded(lists: list[list[int]]) -> Rows:
    out = np.zeros((len(lists), max(1, *map(len, lists), 1)), np.int64)
    for n, found in enumerate(lists):
        out[n, : len(found)] = found
    return out
