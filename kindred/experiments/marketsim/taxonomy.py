"""The categories: what sells there, for how much, in what shapes, colours, materials and sizes.

`categories.csv` holds them, one leaf a line, those of a top category together; the median price is
that of a new one in major units, `cm:80` a median width of 80 cm.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "black": (28, 28, 30), "white": (240, 240, 236), "grey": (136, 138, 140),
    "silver": (192, 196, 202), "brown": (112, 68, 36), "beige": (214, 192, 152),
    "red": (200, 32, 36), "orange": (236, 124, 28), "yellow": (240, 208, 40),
    "green": (44, 132, 64), "olive": (110, 112, 44), "turquoise": (40, 178, 172),
    "blue": (36, 84, 184), "navy": (24, 34, 88), "purple": (112, 52, 148),
    "pink": (236, 132, 172),
}  # fmt: skip
"""Name -> what a picture paints it with, 0..255."""

PALETTES: Mapping[str, tuple[str, ...]] = {
    "home": ("grey", "beige", "brown", "white", "black", "green", "navy", "olive", "pink"),
    "wood": ("brown", "beige", "white", "black", "grey"),
    "bright": tuple(COLOURS),
    "gear": ("black", "silver", "white", "grey", "blue", "red", "navy", "green"),
    "leather": ("brown", "black", "beige", "red", "navy", "olive", "silver", "green"),
}

MATERIALS: tuple[str, ...] = (
    "wood", "metal", "leather", "cotton", "wool", "plastic", "glass", "ceramic", "linen", "velvet",
    "silk", "rattan", "jute", "paper", "marble",
)  # fmt: skip

COLLECTORS = frozenset({"Music", "Books", "Collecting"})
"""Top categories where auctions are the more usual form."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One leaf category."""

    path: tuple[str, ...]
    """root to leaf"""
    words: tuple[str, ...]
    """what people call such a thing, the plainest first"""
    price: float
    """median price of a new one, major units"""
    unique: float
    """share of second-hand, unique listings"""
    colours: tuple[str, ...]
    materials: tuple[str, ...]
    """the most usual first"""
    shape: str
    """name in `shapes.SHAPES`"""
    size: str
    """what its size is told in, with the median where it is measured: a key of `words.SIZES`, or
    `cm` or `litre`; empty for things without one"""
    median_size: float = 0.0


@cache
def leaves() -> tuple[Leaf, ...]:
    """All leaf categories, those of a top category together."""
    text = (resources.files(__package__) / "categories.csv").read_text(encoding="utf-8")
    found = []
    for row in csv.DictReader(text.splitlines(), delimiter=";"):
        size, _, median = row["size"].partition(":")
        found.append(
            Leaf(
                path=tuple(row["path"].split(" > ")),
                words=tuple(row["words"].split("|")),
                price=float(row["price"]),
                unique=float(row["unique_percent"]) / 100,
                colours=PALETTES[row["palette"]],
                materials=tuple(row["materials"].split()),
                shape=row["shape"],
                size="" if size == "none" else size,
                median_size=float(median or 0),
            )
        )
    return tuple(found)
