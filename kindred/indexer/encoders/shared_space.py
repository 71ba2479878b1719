"""Words and pictures in one space, as it serves; how it is learned is in `image_title`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kindred.indexer.encoders.dense import Dense, unit_rows
from kindred.indexer.encoders.learned import Vectors
from kindred.indexer.encoders.words import Words
from kindred.indexer.models import Artefact
from kindred.indexer.representations import SPACES
from kindred.schemas.item import Item
from kindred.schemas.ranking import Floats, Mask

IMAGE = "image"
"""The space of the frozen backbone's vectors."""


@dataclass(frozen=True)
class SharedSpace:
    """The trained layers and the words, as a `Learned` module."""

    words: Words
    layers: Dense
    centre: Floats
    """float32[d]: what all titles have in common"""
    first: int
    """Words read of a title."""
    version: str = ""
    space: str = SPACES["image_title"]
    reads: tuple[str, ...] = (IMAGE,)

    @classmethod
    def of(cls, artefact: Artefact) -> SharedSpace:
        """As kept by `image_title.make`."""
        arrays = artefact.arrays
        words = Words(tuple(artefact.texts["words"].split("\n")), arrays["vectors"])
        version = f"image_title/{artefact.card.key}"
        return cls(words, Dense(arrays), arrays["centre"], int(arrays["first"]), version)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.words.dim

    def facts(self, item: Item) -> bytes:
        """The title."""
        return item.title.encode()

    def embed(self, items: Sequence[Item], vectors: Vectors) -> tuple[Floats, Mask]:
        """See Learned.embed."""
        none = np.zeros((len(items), 0), np.float32), np.zeros(len(items), np.bool_)
        return self.joined([item.title for item in items], *vectors.get(IMAGE, none))

    def joined(self, titles: Sequence[str], pictures: Floats, shown: Mask) -> tuple[Floats, Mask]:
        """(float32[n, d] unit, bool[n]) of n titles and backbone vectors, `shown` where there."""
        said, has_words = self.of_titles(titles)
        seen, has_picture = said * 0, np.zeros(len(said), np.bool_)
        at = np.flatnonzero(shown)
        if len(at):
            seen[at], has_picture[at] = self.of_pictures(pictures[at])
        return unit_rows(said + seen, has_words | has_picture)

    def of_titles(self, titles: Sequence[str]) -> tuple[Floats, Mask]:
        """(float32[n, d] unit, bool[n]): the words' side."""
        means, present = self.words.mean_of_first(titles, self.first)
        return unit_rows(means - self.centre, present)

    def of_pictures(self, pictures: Floats) -> tuple[Floats, Mask]:
        """(float32[n, d] unit, bool[n]): the pictures' side."""
        return unit_rows(self.layers(pictures))
