"""What a listing says in words, as short rows of numbers: title words, attributes, materials.

Each word is hashed as it stands, so that a row depends on its item alone: no vocabulary grows with
the catalogue, and rows of different processes agree. Two words meet in one hash of 32 bits about
once in four billion pairs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from kindred.schemas.item import Item
from kindred.schemas.ranking import Floats

Hashes = NDArray[np.uint32]
WIDTHS = {"words": 16, "attributes": 12, "materials": 4}
"""Column -> entries kept of each item; what is more is left out."""
VALUE_BITS = 20
"""Lower bits of an attribute's entry, a hash of name and value; those above are of its name."""
STEPS = 8
"""A number is rounded to an eighth of an octave (9 %), as the attribute vectors have it."""
BUCKETS = 1 << 18
"""Of word frequencies: words that share one count as one."""
MASK = np.uint32(BUCKETS - 1)
COUNTED_AT_ONCE = 100_000
_WORD = re.compile(r"[^\W_]+")


@lru_cache(maxsize=200_000)
def word_hash(word: str) -> int:
    """Of a folded word."""
    return _no_zero(crc32(word.encode()))


def _no_zero(found: int) -> int:
    """The same, or another one where its lower bits are 0, the bucket of no word."""
    return found if found % BUCKETS else found + 1


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


@dataclass(frozen=True, slots=True)
class WordWeights:
    """How rare each title word is in one catalogue, by the lower bits of its hash.

    As of when an index was opened or a training began; a word that came later is as rare as any.
    """

    idf: Floats
    """float32[BUCKETS]: ln(1 + (N - n + 0.5) / (n + 0.5)), 0 in the bucket of no word; BM25's"""
    mean_length: float
    """Words of a title, of those that have any"""

    @classmethod
    def of(cls, words: Hashes) -> WordWeights:
        """Counted over uint32[N, 16]."""
        size, titled = len(words), int((words[:, 0] != 0).sum()) if len(words) else 0
        counts = np.zeros(BUCKETS, np.int64)
        for start in range(0, size, COUNTED_AT_ONCE):
            part = words[start : start + COUNTED_AT_ONCE]
            counts += np.bincount((part[part != 0] & MASK).astype(np.int64), minlength=BUCKETS)
        idf = np.log1p((titled - counts + 0.5).clip(0.0) / (counts + 0.5)).astype(np.float32)
        idf[0] = 0
        return cls(idf, float(counts.sum() / max(titled, 1)))

    def __call__(self, words: Hashes) -> Floats:
        """float32: the idf of each word, 0 for none."""
        return self.idf.take(words & MASK)
