"""What a listing says in words, as short rows of numbers: title words, attributes, materials.

Each word is hashed as it stands, so that a row depends on its item alone: no vocabulary grows with
the catalogue, and rows of different processes agree. Two words meet in one hash of 32 bits about
once in four billion pairs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from kindred.schemas.item import Item

Hashes = NDArray[np.uint32]
WIDTHS = {"words": 16, "attributes": 12, "materials": 4}
"""Column -> entries kept of each item; what is more is left out."""
VALUE_BITS = 20
"""Lower bits of an attribute's entry, a hash of name and value; those above are of its name."""
STEPS = 8
"""A number is rounded to an eighth of an octave (9 %), as the attribute vectors have it."""
_WORD = re.compile(r"[^\W_]+")


@lru_cache(maxsize=200_000)
def word_hash(word: str) -> int:
    """Of a folded word, never 0, which stands for none."""
    return crc32(word.encode()) or 1


def title_words(title: str) -> list[int]:
    """Hashes of the first distinct words of a title."""
    words = dict.fromkeys(_WORD.findall(title.casefold()))
    return [word_hash(word) for word in words][: WIDTHS["words"]]


@lru_cache(maxsize=200_000)
def attribute_hash(name: str, value: str | float) -> int:
    """Name in the upper bits, name and value together in the lower ones; never 0."""
    name = name.casefold().strip()
    said = value.casefold().strip() if isinstance(value, str) else _rounded(value)
    upper = crc32(name.encode()) >> VALUE_BITS
    lower = crc32(f"{name}\x1f{said}".encode()) & ((1 << VALUE_BITS) - 1)
    return (max(upper, 1) << VALUE_BITS) | lower


def _rounded(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return str(value)
    return f"{math.copysign(1, value):g}·{round(STEPS * math.log2(abs(value)))}"


def trait_columns(items: Sequence[Item]) -> dict[str, Hashes]:
    """Each of WIDTHS for n items, uint32[width, n]: entries from the top, then 0."""
    return {
        "words": _filled("words", [title_words(item.title) for item in items]),
        "attributes": _filled(
            "attributes",
            [
                [attribute_hash(*pair) for pair in sorted(item.attributes.items(), key=_name)]
                for item in items
            ],
        ),
        "materials": _filled(
            "materials",
            [
                list(dict.fromkeys(word_hash(m.casefold().strip()) for m in item.materials))
                for item in items
            ],
        ),
    }


def _name(pair: tuple[str, str | float]) -> str:
    return pair[0]


def _filled(name: str, entries: Sequence[Sequence[int]]) -> Hashes:
    width = WIDTHS[name]
    kept = [found[:width] for found in entries]
    lengths = np.fromiter(map(len, kept), np.int64, len(kept))
    out = np.zeros((len(kept), width), np.uint32)
    out[np.arange(width) < lengths[:, None]] = np.fromiter(
        (entry for found in kept for entry in found), np.uint32, int(lengths.sum())
    )
    return out.T


def empty_traits(capacity: int) -> dict[str, Hashes]:
    """Each of WIDTHS for rows that say nothing: [width, capacity], an item's entries together."""
    return {name: np.zeros((capacity, width), np.uint32).T for name, width in WIDTHS.items()}
