"""Pictures with what is known of their items: what the visual embedding learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kindred.indexer.content import Content
from kindred.indexer.encoders.altered import altered_vectors
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Floats, Rows
from kindred.schemas.settings import KindredSettings

IMAGE = "image"
"""The space of the frozen backbone's vectors."""
HEADS = ("taxonomy", "colour", "material")
JUDGED = ("taxonomy", "colour")
FEWEST = 200
"""With fewer labelled pictures than this nothing is learned."""
FEWEST_OF_CLASS = 3
"""Pictures to learn from that make a class; rarer labels count as unknown in training."""


@dataclass(frozen=True)
class LabelledPictures:
    """n pictures with what is known of their items."""

    rows: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    """int64[n]: of the catalogue"""
    pictures: Floats = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    """float32[n, d]: backbone vectors"""
    references: tuple[str, ...] = ()
    """Of the pictures."""
    labels: Mapping[str, Rows] = field(default_factory=dict)
    """head -> int64[n]: code, -1 unknown; heads that tell nothing apart are left out"""
    reason: str = ""
    """Why there is nothing to learn, where that is so."""


def labelled_pictures(content: Content, items: int, seed: int) -> LabelledPictures:
    """Of the catalogue's rows those to learn from, at most `items`, drawn."""
    if (table := content.tables.get(IMAGE)) is None or not table.present.any():
        return LabelledPictures(reason="no item has a picture")
    columns = content.columns
    rows = np.flatnonzero(table.present[: columns.size])
    depth = np.maximum(columns.category_depth[rows].astype(np.int64) - 1, 0)
    depth = np.minimum(depth, columns.category.shape[1] - 1)
    labels = {
        "taxonomy": columns.category[rows, depth].astype(np.int64),
        "colour": columns.colour[rows].astype(np.int64),
        "material": _coded([content.materials[r] for r in rows] if content.materials else []),
    }
    labels = {
        head: codes for head, codes in labels.items() if len(np.unique(codes[codes >= 0])) > 1
    }
    if len(rows) < FEWEST or not set(JUDGED) & set(labels):
        reason = f"{len(rows)} pictures with category or colour are too few to learn from"
        return LabelledPictures(reason=reason)
    if len(rows) > items:
        drawn = np.random.default_rng(seed).choice(len(rows), items, replace=False)
        rows, labels = rows[drawn], {head: codes[drawn] for head, codes in labels.items()}
    return LabelledPictures(
        rows=rows,
        pictures=table.vectors[rows],
        references=tuple(content.images[r] if content.images else "" for r in rows),
        labels=labels,
    )


def _coded(words: Sequence[str]) -> Rows:
    """int64[n]: a number for each word, -1 for none."""
    names, codes = np.unique(np.array(words, np.str_), return_inverse=True)
    codes = codes.astype(np.int64)
    return codes - 1 if len(names) and names[0] == "" else codes


@dataclass(frozen=True)
class Altered:
    """m altered copies."""

    owner: Rows
    """int64[m]: position of the picture"""
    vectors: Floats
    """float32[m, d]: backbone vectors"""


def alter(
    data: LabelledPictures,
    among: Rows,
    copies: int,
    settings: KindredSettings,
    progress: Progress | None = None,
) -> Altered:
    """`copies` altered pictures of those in `among` int64[a]: each before any a second time."""
    if not copies or not len(among):
        return Altered(among[:0], data.pictures[:0])
    draw = np.random.default_rng(settings.seed)
    rounds = -(-copies // len(among))
    owner = np.concatenate([draw.permutation(among) for _ in range(rounds)])[:copies]
    vectors, present = altered_vectors(
        [data.references[i] for i in owner], settings.encoders, settings.seed, progress
    )
    return Altered(owner[present], vectors[present])


def frequent(codes: Rows, learned: Rows) -> Rows:
    """Codes without gaps, -1 where the training part has fewer than a class needs."""
    there = codes[learned]
    counts = np.bincount(there[there >= 0], minlength=int(codes.max(initial=0)) + 1)
    often = np.flatnonzero(counts >= FEWEST_OF_CLASS)
    number = np.full(len(counts) + 1, -1, np.int64)  # the last place: code -1
    number[often] = np.arange(len(often))
    found: Rows = number[codes]
    return found
