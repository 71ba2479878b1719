"""A trained module of a few numbers: the mean of what it reads, moved and of unit length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kindred.indexer.encoders.learned import Vectors
from kindred.indexer.models import Artefact, ModelStore
from kindred.indexer.representations import SPACES
from kindred.schemas.item import Item
from kindred.schemas.model import Card, Gate
from kindred.schemas.ranking import Floats, Mask

DIM = 4
NAME = __name__


@dataclass(frozen=True)
class Moved:
    """See the module; `others` is what it was given to load."""

    space: str
    version: str
    reads: tuple[str, ...]
    shift: Floats
    others: tuple[str, ...]
    dim: int = DIM

    def facts(self, item: Item) -> bytes:
        return (item.brand or "").encode()

    def embed(self, items: Sequence[Item], vectors: Vectors) -> tuple[Floats, Mask]:
        total = np.tile(self.shift, (len(items), 1))
        present = np.array([item.brand is not None for item in items])
        for values, has in vectors.values():
            total += np.where(has[:, None], values[:, :DIM], 0)
            present = present | has
        unit = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)
        return unit.astype(np.float32), present


def load(artefact: Artefact, others: Mapping[str, Artefact]) -> Moved:
    card = artefact.card
    return Moved(
        SPACES[card.stage], f"{card.stage}/{card.key}", tuple(artefact.texts["reads"].split()),
        artefact.arrays["shift"], tuple(f"{name} {a.version}" for name, a in others.items()),
    )  # fmt: skip


def publish(
    models: ModelStore, stage: str, reads: str, shift: float = 0.5, **inputs: str
) -> Artefact:
    """A version that serves, made with the stages `inputs` (name -> version)."""
    card = Card(
        stage=stage, key=f"{stage}-{shift:g}", code=1, inputs=inputs, created=1,
        gate=Gate(passed=True, reason="fine"),
    )  # fmt: skip
    arrays = {"shift": np.full(DIM, shift, np.float32)}
    return models.load(stage, models.publish(stage, card, arrays, {"reads": reads}))
