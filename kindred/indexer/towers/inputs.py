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
"""The dense input made of the price: log, about -1 to 1."""


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


def price_value(price_minor: Doubles) -> Floats:
    """float32[n, 1] of prices in minor units: decades around 10.00, about -1 to 1."""
    known = np.isfinite(price_minor)
    value = np.where(known, (np.log10(np.where(known, price_minor, 0) + 1) - 3) / 2, 0)
    return value.astype(np.float32)[:, None]


def facts_of_rows(columns: Columns) -> Inputs:
    """Bags and price of every catalogue row."""
    words: dict[str, Rows] = {"category": _coded(columns, "category", columns.category)}
    words["brand"] = _coded(columns, "brand", columns.brand[:, None])
    words["colour"] = _coded(columns, "colour", columns.colour[:, None])
    price = columns.price
    present: dict[str, Mask] = {bag: np.any(found, axis=1) for bag, found in words.items()}
    return Inputs({PRICE: price_value(price)}, {**present, PRICE: np.isfinite(price)}, words)


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
    price = np.array(
        [np.nan if i.price_minor is None else i.price_minor for i in items], np.float64
    )
    present: dict[str, Mask] = {bag: np.any(found, axis=1) for bag, found in words.items()}
    return Inputs({PRICE: price_value(price)}, {**present, PRICE: np.isfinite(price)}, words)


def _padded(lists: list[list[int]]) -> Rows:
    out = np.zeros((len(lists), max(1, *map(len, lists), 1)), np.int64)
    for n, found in enumerate(lists):
        out[n, : len(found)] = found
    return out
