"""What every encoder is: a name for the space, a width, a version, and two functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from kindred.schemas.item import Item
from kindred.schemas.outcome import RowError
from kindred.schemas.ranking import Floats, Mask

KEY_BYTES = 16
"""Bytes of the hash of an encoder's input (blake2b)."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """n items in one space."""

    vectors: Floats
    """float32[n, d]: unit length where `ok`, zero elsewhere"""
    ok: Mask
    """bool[n]: which items have a vector"""
    errors: list[RowError]
    """Why an item that has an input has no vector, or one that lacks something and is to be made
    again; `index` counts the items of the call."""


class Encoder(Protocol):
    """Turns items into vectors of one space.

    `version` names everything that the vectors depend on besides the item: model, weights,
    precision, settings, recipe. Vectors of two versions never meet in one index. Neither
    `version` nor `key` nor `size` loads a model.
    """

    @property
    def space(self) -> str:
        """Name of the vector space."""

    @property
    def dim(self) -> int:
        """Width of the vectors; may load the model."""

    @property
    def version(self) -> str:
        """Changes whenever the same item would get another vector."""

    @property
    def path(self) -> str:
        """Where in an item its input lies, as a JSON path; rejects carry it."""

    @property
    def cached(self) -> bool:
        """True: vectors are kept in the encoding cache. False: they are made where needed."""

    def key(self, item: Item) -> bytes | None:
        """16-byte blake2b of this encoder's input; None: the item has nothing for it."""

    def size(self, item: Item) -> int:
        """Rough cost of an item: a batch of items of one size wastes nothing on padding."""

    def encode(self, items: Sequence[Item]) -> Encoded:
        """Encode items; an item that cannot be encoded is an error of the answer, not a raise.

        Raises ArtefactError where the model is missing or damaged.
        """
