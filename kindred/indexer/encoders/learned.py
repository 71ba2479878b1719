"""Encoders that were trained here: their vectors come from other encoders' and from the item.

A trained module is small; what it costs is its inputs, which the cache holds. So a new item has
the vectors of every learned space as soon as it has those they are made from, and a rebuild finds
the very same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Protocol, runtime_checkable

import numpy as np

from kindred.indexer.encoders.base import KEY_BYTES, Encoded, Encoder
from kindred.indexer.encoders.cache import EncodingCache
from kindred.indexer.encoders.run import Encodings, encode_missing
from kindred.schemas.item import Item
from kindred.schemas.outcome import RowError
from kindred.schemas.ranking import Floats, Mask

Vectors = Mapping[str, tuple[Floats, Mask]]
"""space -> (float32[n, d], bool[n])"""


class Learned(Protocol):
    """A trained module that gives items vectors. Nothing of it may need torch where it is small."""

    @property
    def space(self) -> str:
        """Name of the vector space."""

    @property
    def dim(self) -> int:
        """Width of the vectors."""

    @property
    def version(self) -> str:
        """Stage and key of what was trained: the same inputs give the same vectors."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Spaces whose vectors it reads; `embed` may get fewer of them."""

    def facts(self, item: Item) -> bytes:
        """What else of the item counts; empty for nothing."""

    def embed(self, items: Sequence[Item], vectors: Vectors) -> tuple[Floats, Mask]:
        """(float32[n, d] of unit length where present, bool[n])."""


@runtime_checkable
class Gated(Protocol):
    """A `Learned` that weighs its inputs."""

    def gates(self, items: Sequence[Item], vectors: Vectors) -> tuple[Sequence[str], Floats]:
        """(M names, float32[n, M]): what each input counts, exactly 0 where an item lacks it."""


class LearnedEncoder:
    """A module as an `Encoder`: `sources` are the encoders of the spaces that it reads."""

    path = "$"
    cached = True

    def __init__(
        self, module: Learned, sources: Mapping[str, Encoder], cache: EncodingCache
    ) -> None:
        self.module = module
        self.sources = {name: sources[name] for name in module.reads if name in sources}
        """By space; those that have no encoder are absent."""
        self._cache = cache

    @property
    def space(self) -> str:
        """See Encoder.space."""
        return self.module.space

    @property
    def dim(self) -> int:
        """See Encoder.dim."""
        return self.module.dim

    @property
    def version(self) -> str:
        """The module's, and those of everything that it reads."""
        read = "\n".join(f"{name} {source.version}" for name, source in self.sources.items())
        return f"{self.module.version}/{blake2b(read.encode(), digest_size=4).hexdigest()}"

    def key(self, item: Item) -> bytes | None:
        """Hash of the sources' keys and of the module's own facts; None where there is nothing."""
        keys = [source.key(item) for source in self.sources.values()]
        facts = self.module.facts(item)
        if not facts and not any(keys):
            return None
        text = b"\x1f".join([facts, *(key or b"" for key in keys)])
        return blake2b(text, digest_size=KEY_BYTES).digest()

    def size(self, item: Item) -> int:
        """As the sources have it."""
        return max((source.size(item) for source in self.sources.values()), default=1)

    def read(self, items: Sequence[Item]) -> dict[str, tuple[Floats, Mask]]:
        """The sources' vectors by space, from the cache where it has them.

        A source that no item has anything for is absent: its model is not loaded for nothing.
        """
        return {name: (m.vectors, m.present) for name, m in self._encodings(items).items()}

    def encode(self, items: Sequence[Item]) -> Encoded:
        """See Encoder.encode. An input that was refused is absent, and the item an error.

        A picture's host may be back tomorrow: such an item has a vector of what it has until then.
        """
        read = self._encodings(items)
        made = self.embed(items, {name: (m.vectors, m.present) for name, m in read.items()})
        lacking: dict[int, str] = {}
        for name, source in read.items():
            told = {r.index: f"{name}: {r.reason}" for r in source.rejects}
            again = dict.fromkeys(np.flatnonzero(source.partial).tolist(), f"{name} lacks an input")
            lacking = {**again, **told, **lacking}
        errors = [RowError(index=i, path=self.path, reason=why) for i, why in lacking.items()]
        return Encoded(made.vectors, made.ok, errors)

    def _encodings(self, items: Sequence[Item]) -> dict[str, Encodings]:
        return {
            name: encode_missing(items, source, self._cache)
            for name, source in self.sources.items()
            if any(source.key(item) is not None for item in items)
        }

    def embed(self, items: Sequence[Item], vectors: Vectors) -> Encoded:
        """`encode` where the sources' vectors are at hand."""
        made, present = self.module.embed(items, vectors)
        return Encoded(np.where(present[:, None], made, 0).astype(np.float32), present, [])


def encode_together(item: Item, encoders: Mapping[str, Encoder]) -> dict[str, Floats]:
    """float32[1, d] by space, for the spaces that the item has something for.

    Each encoder runs once, also where several modules read it, and nothing is kept: who asks about
    an item that is in no catalogue leaves nothing behind.
    """
    made: dict[int, Encoded | None] = {}

    def of(encoder: Encoder) -> Encoded | None:
        if id(encoder) not in made:
            made[id(encoder)] = _one(item, encoder, of)
        return made[id(encoder)]

    found = {space: of(encoder) for space, encoder in encoders.items()}
    return {space: one.vectors for space, one in found.items() if one is not None and one.ok[0]}


def _one(item: Item, encoder: Encoder, of: Callable[[Encoder], Encoded | None]) -> Encoded | None:
    if encoder.key(item) is None:
        return None
    if not isinstance(encoder, LearnedEncoder):
        return encoder.encode([item])
    read = {name: of(source) for name, source in encoder.sources.items()}
    there = {name: (one.vectors, one.ok) for name, one in read.items() if one is not None}
    return encoder.embed([item], there)
