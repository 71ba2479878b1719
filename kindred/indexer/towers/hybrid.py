"""The hybrid: everything known of an item, weighed by attention (SPEC F10-F14, F20, F21).

Frozen vectors of the modules, factors of users × items and users × postcodes, and category, brand,
colour and price of their own, go through an attention gate into a tower, which learns from
conversions of one visitor on one day. Training hides inputs at random, the behaviour ones most, so
that an item without behaviour leans on its content. The gate's weights are told for each item; a
missing input has exactly none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.encoders.learned import Vectors
from kindred.indexer.models import Artefact
from kindred.indexer.representations import SPACES, Given, usable
from kindred.indexer.stages import Made
from kindred.indexer.towers.air import FACTS, facts_key, inputs_of_items
from kindred.indexer.towers.crossed import counted_rows, crossed
from kindred.indexer.towers.inputs import BY_ID, POPULARITY, popularity_value
from kindred.indexer.towers.judging import (
    judged,
    made,
    parted,
    stopping_and_judging,
    with_newcomers,
)
from kindred.indexer.towers.learning import (
    FEW_PAIRS,
    Fold,
    hindrance,
    inputs_of_rows,
    train_tower,
    weights_of,
)
from kindred.indexer.towers.positives import conversions
from kindred.indexer.towers.weights import TowerWeights
from kindred.schemas.item import Item
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Floats, Mask, Rows

CODE = 7
"""Revision of what the stage does."""
ALS, PLACE = "als", "place"


def make(given: Given, artefacts: Mapping[str, Artefact], progress: Progress) -> Made:
    """Train on conversions; serve where it answers better than its baselines.

    The linear control (F13) is the same stage without gate and layers: `kindred evaluate
    representations` trains it beside this one.
    """
    settings = given.settings.representations.hybrid
    pairs = conversions(
        given.training, settings.pairs_per_visit, settings.pairs, given.settings.seed
    )
    if len(pairs) < FEW_PAIRS:
        return Made.refused(f"{len(pairs)} pairs of items converted together; it takes {FEW_PAIRS}")
    used = usable(artefacts)
    learned = {
        SPACES.get(name, name): (np.asarray(a.arrays["unit"]), np.asarray(a.arrays["present"]))
        for name, a in used.items()
    }
    counts = counted_rows(given.training, given.size)
    learned[POPULARITY] = popularity_value(counts)
    inputs = inputs_of_rows(given, learned)
    learning, others = parted(pairs, given.settings.seed)
    if reason := hindrance(inputs, settings, learning, others):
        return Made.refused(reason)
    folds = [Fold(learning, inputs)]
    if ALS in used:
        folds = crossed(given, inputs, learning, progress)
    stopping, judging = stopping_and_judging(given.questions)
    asked = with_newcomers(inputs, given.settings.seed)
    tower = train_tower(
        given, asked, folds, settings, stopping, progress, name="train hybrid",
        start=given.previous("hybrid"),
    )  # fmt: skip
    verdict = judged(tower, asked, judging, others, given.settings.seed)
    hashes, rows = known_items(given.content.columns.item_ids)
    more = {"known": hashes, "known_row": rows, "counts": counts}
    return made(tower, inputs, pairs, verdict, more)


def known_items(item_ids: Sequence[str]) -> tuple[NDArray[np.uint64], Rows]:
    """(uint64[N] hashes, rising, int64[N] rows): the rows that ids had when this was trained."""
    hashes = np.array([id_hash(item_id) for item_id in item_ids], np.uint64)
    order = np.argsort(hashes, kind="stable")
    return hashes[order], order.astype(np.int64)


def id_hash(item_id: str) -> int:
    """Eight bytes of blake2b."""
    return int.from_bytes(blake2b(item_id.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class Hybrid:
    """Hybrid vectors of items, and the gate's weights. See `Learned`.

    `behaviour` are vectors by row of what is known by id: name -> (float32[N, d], bool[N]).
    """

    weights: TowerWeights
    version: str
    known: NDArray[np.uint64]
    known_row: Rows
    behaviour: Mapping[str, tuple[Floats, Mask]]
    space: str = "hybrid"

    @property
    def dim(self) -> int:
        """Width."""
        return self.weights.dim

    @property
    def reads(self) -> tuple[str, ...]:
        """Spaces of encoders among its inputs."""
        return tuple(n for n in self.weights.names if n not in FACTS and n not in BY_ID)

    def facts(self, item: Item) -> bytes:
        """Category, brand, colour and price; and the id, where behaviour is known of it."""
        facts = facts_key(item, self.weights.names)
        row = self.rows([item.item_id])
        known = any(has[row[0]] for _, has in self.behaviour.values()) if row[0] >= 0 else False
        return facts + (item.item_id.encode() if known else b"")

    def embed(self, items: Sequence[Item], vectors: Vectors) -> tuple[Floats, Mask]:
        """See `Learned.embed`."""
        found, present, _ = self._all(items, vectors)
        return found, present

    def gates(self, items: Sequence[Item], vectors: Vectors) -> tuple[tuple[str, ...], Floats]:
        """(names of the inputs, float32[n, M]): what each input counts for each item."""
        return self.weights.names, self._all(items, vectors)[2]

    def _all(self, items: Sequence[Item], vectors: Vectors) -> tuple[Floats, Mask, Floats]:
        rows = self.rows([item.item_id for item in items])
        behaviour = {}
        for name, (values, has) in self.behaviour.items():
            there = (rows >= 0) & has[np.maximum(rows, 0)]
            behaviour[name] = (
                np.where(there[:, None], values[np.maximum(rows, 0)], 0).astype(np.float32), there
            )  # fmt: skip
        return self.weights(inputs_of_items(items, {**vectors, **behaviour}))

    def rows(self, item_ids: Sequence[str]) -> Rows:
        """int64[n]: row of each id when this was trained, -1 for those it did not know."""
        asked = np.array([id_hash(item_id) for item_id in item_ids], np.uint64)
        if not len(self.known):
            return np.full(len(asked), -1, np.int64)
        at = np.minimum(np.searchsorted(self.known, asked), len(self.known) - 1)
        return np.where(self.known[at] == asked, self.known_row[at], -1)


def load(artefact: Artefact, others: Mapping[str, Artefact]) -> Hybrid:
    """The trained module of an artefact; `others` are the very versions that it was made with."""
    weights = weights_of(artefact)
    size = len(artefact.arrays["present"])
    behaviour = {
        name: (others[name].arrays["unit"][:size], others[name].arrays["present"][:size])
        for name in (ALS, PLACE)
        if name in weights.names and name in others
    }
    if POPULARITY in weights.names:
        behaviour[POPULARITY] = popularity_value(artefact.arrays["counts"])
    known, rows = artefact.arrays["known"], artefact.arrays["known_row"]
    return Hybrid(weights, f"hybrid/{artefact.card.key}", known, rows, behaviour)
