"""Which text vector serves: the same questions to each space, and the same neighbours asked for.

The sentence encoder as it comes, the classifier's top layer and the tuned encoder answer two
tasks: the next item of a visit, by the vectors alone, and whether the nearest items of other words
are of the same category. Each is compared with the sentence encoder, item by item.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.holdout import NextItem, vector_ranks
from kindred.schemas.base import Record
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows

BASE = "text"
"""Space of the sentence encoder as it comes."""
NEIGHBOURS = 10
QUERIES = 1000
"""At most this many items are asked for their neighbours."""
NORMAL = 1.96
"""Half-width of a 95 % interval in standard errors."""


class Figure(Record, frozen=True, kw_only=True, omit_defaults=False):
    """A mean with half its 95 % interval, and its paired difference from the base."""

    mean: float
    within: float
    gain: float = 0.0
    gain_within: float = 0.0


class TextRow(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One space on both tasks."""

    space: str
    items: int
    """Items that have a vector."""
    measures: dict[str, Figure]


@dataclass(frozen=True, slots=True)
class Compared:
    """The table, and what it says."""

    rows: list[TextRow]
    verdict: str


def compare_texts(
    spaces: Mapping[str, tuple[Floats, Mask]],
    questions: NextItem,
    category: NDArray[np.int32],
    text_of: Rows,
    asked: Rows,
) -> Compared:
    """Ask every space; `spaces` hold float32[N, d] unit vectors and bool[N], one of them BASE.

    `category` int32[N] is the label that neighbours should share, -1 unknown. `text_of` int64[N]
    numbers the distinct texts: an item of the same text is no neighbour. `asked` are the rows
    whose neighbours are looked at: those that no classifier learned from.
    """
    size = len(text_of)
    base_ranks = vector_ranks(_spread(spaces[BASE], size), questions)
    usable = asked[(category[asked] >= 0) & np.all([_has(s, size)[asked] for s in spaces.values()],
                                                   axis=0)][:QUERIES]  # fmt: skip
    base_shares = agreement(_spread(spaces[BASE], size), category, text_of, usable)
    rows = []
    for name, space in spaces.items():
        vectors = _spread(space, size)
        ranks = base_ranks if name == BASE else vector_ranks(vectors, questions)
        shares = base_shares if name == BASE else agreement(vectors, category, text_of, usable)
        measures = {}
        if len(questions):
            for k in (10, 50):
                measures[f"HR@{k}"] = _figure(
                    (ranks < k).astype(np.float64), (base_ranks < k).astype(np.float64)
                )
            measures["MRR"] = _figure(_reciprocal(ranks, size), _reciprocal(base_ranks, size))
        if len(usable):
            measures[f"category@{NEIGHBOURS}"] = _figure(shares, base_shares)
        rows.append(TextRow(space=name, items=int(space[1].sum()), measures=measures))
    return Compared(rows, _verdict(rows))


def agreement(vectors: Floats, category: NDArray[np.int32], text_of: Rows, asked: Rows) -> Doubles:
    """float64[q]: share of each asked row's nearest neighbours that are of its category.

    Neighbours are one item for each distinct text, with a vector and a known category.
    """
    _, first = np.unique(text_of, return_index=True)
    pool = first[(category[first] >= 0) & vectors[first].any(axis=1)]
    found = np.zeros(len(asked), np.float64)
    for low in range(0, len(asked), 256):
        part = asked[low : low + 256]
        scores = vectors[part] @ vectors[pool].T
        scores[text_of[part][:, None] == text_of[pool][None, :]] = -np.inf
        k = min(NEIGHBOURS, len(pool) - 1)
        near = pool[np.argpartition(-scores, k - 1, axis=1)[:, :k]]
        found[low : low + 256] = (category[near] == category[part][:, None]).mean(axis=1)
    return found


def _spread(space: tuple[Floats, Mask], size: int) -> Floats:
    """float32[size, d], zero where absent."""
    vectors, present = space
    out = np.zeros((size, vectors.shape[1]), np.float32)
    n = min(size, len(vectors))
    out[:n] = np.where(present[:n, None], vectors[:n], 0)
    return out


def _has(space: tuple[Floats, Mask], size: int) -> Mask:
    has = np.zeros(size, np.bool_)
    n = min(size, len(space[1]))
    has[:n] = space[1][:n]
    return has


def _reciprocal(ranks: Rows, size: int) -> Doubles:
    """1 / (rank + 1), and 0 for a target that was not found."""
    return np.where(ranks < size, 1 / (ranks + 1.0), 0.0)


def _figure(values: Doubles, base: Doubles) -> Figure:
    def within(x: Doubles) -> float:
        return round(NORMAL * float(np.std(x)) / float(np.sqrt(len(x))), 5)

    gain = values - base
    return Figure(
        mean=round(float(values.mean()), 5),
        within=within(values),
        gain=round(float(gain.mean()), 5),
        gain_within=within(gain),
    )


def _verdict(rows: list[TextRow]) -> str:
    """The base stays unless another is better at the next item beyond doubt."""
    asked = [row for row in rows if "HR@10" in row.measures]
    if not asked:
        return "no visit was asked about, so nothing is shown to be better than the base"
    best = max(asked, key=lambda row: row.measures["HR@10"].mean)
    figure = best.measures["HR@10"]
    if best.space != BASE and figure.gain > figure.gain_within:
        return (
            f"{best.space} serves: HR@10 {figure.mean:.4f}, {figure.gain:+.4f} ± "
            f"{figure.gain_within:.4f} over {BASE}"
        )
    return f"{BASE} serves: no other is better at the next item beyond doubt"
