"""AIR: an item from its content alone, trained on what is clicked together (SPEC E12).

One tower for source and candidate alike, title, picture, colour, attributes, category and price
in, no ids and nothing from behaviour, so that it is defined when an item is listed. In-batch
softmax over co-clicks, corrected for popularity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from kindred.indexer.encoders.learned import Vectors
from kindred.indexer.models import Artefact
from kindred.indexer.representations import Given
from kindred.indexer.stages import Made
from kindred.indexer.towers.inputs import BAGS, PRICE, Inputs, facts_of_items
from kindred.indexer.towers.judging import judged, made, parted, stopping_and_judging
from kindred.indexer.towers.learning import (
    FEW_PAIRS,
    Fold,
    hindrance,
    inputs_of_rows,
    train_tower,
    weights_of,
)
from kindred.indexer.towers.positives import co_clicks
from kindred.indexer.towers.weights import TowerWeights
from kindred.schemas.item import Item
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Floats, Mask

CODE = 6
"""Revision of what the stage does."""
FACTS = frozenset((*BAGS, PRICE))


def make(given: Given, artefacts: Mapping[str, Artefact], progress: Progress) -> Made:  # noqa: ARG001
    """Train on co-clicks; serve where it answers better than its baselines."""
    settings = given.settings.representations.air
    pairs = co_clicks(given.training, settings.pairs_per_visit, settings.pairs, given.settings.seed)
    if len(pairs) < FEW_PAIRS:
        return Made.refused(f"{len(pairs)} pairs of items seen together; it takes {FEW_PAIRS}")
    inputs = inputs_of_rows(given, {})
    learning, others = parted(pairs, given.settings.seed)
    if reason := hindrance(inputs, settings, learning, others):
        return Made.refused(reason)
    stopping, judging = stopping_and_judging(given.questions)
    tower = train_tower(
        given, inputs, [Fold(learning, inputs)], settings, stopping, progress, name="train air"
    )  # fmt: skip
    verdict = judged(tower, inputs, judging, others, given.settings.seed)
    return made(tower, inputs, pairs, verdict)


@dataclass(frozen=True, slots=True)
class Air:
    """AIR vectors of items. See `Learned`."""

    weights: TowerWeights
    version: str
    space: str = "air"

    @property
    def dim(self) -> int:
        """Width."""
        return self.weights.dim

    @property
    def reads(self) -> tuple[str, ...]:
        """Spaces of encoders among its inputs."""
        return tuple(n for n in self.weights.names if n not in FACTS)

    def facts(self, item: Item) -> bytes:
        """Category, brand, colour and price, of those that the tower reads."""
        return facts_key(item, self.weights.names)

    def embed(self, items: Sequence[Item], vectors: Vectors) -> tuple[Floats, Mask]:
        """See `Learned.embed`."""
        found, present, _ = self.weights(inputs_of_items(items, vectors))
        return found, present


def load(artefact: Artefact, others: Mapping[str, Artefact]) -> Air:  # noqa: ARG001
    """The trained module of an artefact."""
    return Air(weights_of(artefact), f"air/{artefact.card.key}")


def inputs_of_items(items: Sequence[Item], vectors: Vectors) -> Inputs:
    """What a tower reads of items whose vectors are at hand."""
    facts = facts_of_items(items)
    return Inputs(
        {**facts.vectors, **{name: values for name, (values, _) in vectors.items()}},
        {**facts.present, **{name: has for name, (_, has) in vectors.items()}},
        facts.words,
    )


def facts_key(item: Item, names: tuple[str, ...]) -> bytes:
    """Hash of the facts that a tower reads of an item besides vectors; empty where it has none."""
    told = {
        "category": item.category or None, "brand": item.brand, "colour": item.colour,
        PRICE: item.price_minor,
    }  # fmt: skip
    read = [(n, told[n]) for n in names if told.get(n) is not None]
    return blake2b(repr(read).encode(), digest_size=16).digest() if read else b""
