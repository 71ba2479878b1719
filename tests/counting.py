"""An encoder that is quick, real in its contract, and counts what it is given."""

from __future__ import annotations

import time
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from kindred.indexer.encoders.base import Encoded
from kindred.schemas.item import Item
from kindred.schemas.outcome import RowError


class Counting:
    """A real encoder on titles that counts what it is given; titles with "bad" are refused."""

    space, path, cached, dim = "text", "$.title", True, 8

    def __init__(self, version: str = "v1", pause: float = 0.0) -> None:
        self.version = version
        self.pause = pause
        self.seen: list[str] = []
        self.calls = 0

    def key(self, item: Item) -> bytes | None:
        return blake2b(item.title.encode(), digest_size=16).digest() if item.title else None

    def size(self, item: Item) -> int:
        return len(item.title)

    def encode(self, items: Sequence[Item]) -> Encoded:
        self.calls += 1
        time.sleep(self.pause)
        self.seen += [i.title for i in items]
        vectors = np.zeros((len(items), 8), np.float32)
        for n, one in enumerate(items):
            raw = np.frombuffer(blake2b(one.title.encode(), digest_size=32).digest(), "<u4")
            vectors[n] = raw / np.linalg.norm(raw.astype(np.float64))
        ok = np.array(["bad" not in i.title for i in items])
        vectors[~ok] = 0
        errors = [
            RowError(index=int(n), path="$.title", reason=f"{items[n].title} is bad")
            for n in np.flatnonzero(~ok)
        ]
        return Encoded(vectors, ok, errors)
