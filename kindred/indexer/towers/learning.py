"""Trains a tower on pairs of items, and says what it is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.holdout import NextItem, vector_ranks
from kindred.indexer.models import Artefact
from kindred.indexer.representations import Given
from kindred.indexer.runtime import choose_precision
from kindred.indexer.towers.inputs import Inputs, facts_of_rows
from kindred.indexer.towers.losses import (
    Batch,
    Negatives,
    expected,
    logistic_loss,
    softmax_loss,
    triplet_loss,
)
from kindred.indexer.towers.positives import Together
from kindred.indexer.towers.tower import Tensors, arrays_of, make_tower
from kindred.indexer.towers.weights import TowerWeights
from kindred.indexer.training import Trained, fit, seeded
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Floats, Mask
from kindred.schemas.settings import TowerSettings

FEW_PAIRS = 100
"""With fewer examples nothing is learned."""
NAMES = "inputs"
"""Text of an artefact with the names of its inputs, a line each."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Pairs, and inputs that were made without the visitors that they come from."""

    pairs: Together
    inputs: Inputs


@dataclass(frozen=True, slots=True)
class Tower:
    """A trained tower with how it went."""

    weights: TowerWeights
    untrained: TowerWeights
    """As it began, before any training"""
    trained: Trained
    started_from: str | None
    """Version that the training started from"""


def dense_of(vectors: Floats, present: Mask, size: int) -> tuple[Floats, Mask]:
    """(float32[size, d], bool[size]) of shorter or longer columns."""
    out, has = np.zeros((size, vectors.shape[1]), np.float32), np.zeros(size, np.bool_)
    n = min(size, len(vectors))
    out[:n], has[:n] = vectors[:n], present[:n]
    return out, has


def inputs_of_rows(given: Given, learned: Mapping[str, tuple[Floats, Mask]]) -> Inputs:
    """Everything known of every row: facts, encoders' vectors, and those of trained modules.

    Inputs that no item has are left out.
    """
    facts = facts_of_rows(given.content.columns)
    vectors, present = dict(facts.vectors), dict(facts.present)
    for name, table in given.content.tables.items():
        vectors[name], present[name] = dense_of(table.vectors, table.present, given.size)
    for name, (values, has) in learned.items():
        vectors[name], present[name] = dense_of(values, has, given.size)
    kept = [name for name, has in present.items() if has.any()]
    return Inputs(vectors, present, facts.words).only(kept)


def chosen_inputs(inputs: Inputs, settings: TowerSettings) -> tuple[str, ...]:
    """The inputs that the settings let in, in a fixed order."""
    wanted: tuple[str, ...] = settings.inputs or tuple(sorted(inputs.present))
    return tuple(n for n in wanted if n in inputs.present and n not in settings.without)


def hindrance(
    inputs: Inputs, settings: TowerSettings, learning: Together, judging: Together
) -> str:
    """Why a tower cannot be trained, or not be judged, on what there is; empty where it can."""
    if not chosen_inputs(inputs, settings):
        return "no item has anything that the tower reads"
    if not len(learning) or not len(judging):
        return "all pairs are of a few visitors: some must judge what it learns from others"
    return ""


def train_tower(
    given: Given,
    inputs: Inputs,
    folds: Sequence[Fold],
    settings: TowerSettings,
    questions: NextItem,
    progress: Progress,
    *,
    name: str,
    start: Artefact | None = None,
) -> Tower:
    """Train on the folds' pairs, in turn; the epoch that answers `questions` best stays.

    With a `start` of the same shape its weights are where training begins, and it is short.
    """
    chosen = given.settings.representations
    names, seed = chosen_inputs(inputs, settings), given.settings.seed
    folds = [fold for fold in folds if len(fold.pairs)]
    frequencies = [fold.pairs.frequency(given.size) for fold in folds]
    count = sum(len(fold.pairs) for fold in folds)
    category = given.content.columns.category[:, 0].astype(np.int64)
    loop = settings.loop
    with seeded(seed, chosen.threads or given.threads) as torch:
        rng = np.random.default_rng(seed)
        kind = chosen.device.split(":")[0]
        fast = choose_precision(given.settings.encoders.precision, chosen.device) == "bfloat16"
        # Among the items that pairs have: one that nobody could choose yet is no wrong answer.
        drawable = [np.flatnonzero(frequency) for frequency in frequencies]
        negatives = [
            Negatives(rows, frequency, category, rng)
            for rows, frequency in zip(drawable, frequencies, strict=True)
        ]
        tower = make_tower(inputs, names, settings).to(chosen.device)
        untrained = TowerWeights(names, {n: a.copy() for n, a in arrays_of(tower).items()})
        started = start is not None and start_from(tower, names, start)
        if started:
            loop = msgspec.structs.replace(loop, epochs=min(loop.epochs, chosen.refresh_epochs))
        tensors = [Tensors(fold.inputs, names, chosen.device) for fold in folds]
        turn = cycle(range(len(folds)))

        def loss_of(part: NDArray[np.int64]) -> Any:
            f = next(turn)
            pairs = folds[f].pairs
            groups, rows, partners = pairs.draw(part % len(pairs), rng)
            others = negatives[f].beside(partners, settings)
            batch = Batch(groups=groups, rows=rows, partners=partners, others=others)
            asked = np.concatenate([rows, batch.columns])
            distinct, back = np.unique(asked, return_inverse=True)
            with torch.autocast(kind, dtype=torch.bfloat16, enabled=fast):
                made, gates = tower(*tensors[f].take(distinct))
            vectors = made.float()[torch.from_numpy(back)]
            unknown = (gates[:, tower.by_id] == 0).all(1).float()[torch.from_numpy(back)]
            here, there = vectors[: len(rows)], vectors[len(rows) :]
            if settings.loss == "triplet":
                return triplet_loss(here, there, batch)
            if settings.loss == "logistic":
                return logistic_loss(here, there, batch, tower.temperature)
            chances = expected(
                batch.columns, frequencies[f], len(rows), len(others), len(drawable[f])
            )
            return softmax_loss(
                here, there, batch, np.log(np.maximum(chances, 1e-9)), tower.temperature,
                settings.popularity, settings.newcomers * unknown[len(rows) :],
            )  # fmt: skip

        def score() -> float:
            weights = TowerWeights(names, arrays_of(tower))
            return float((vector_ranks(weights(inputs)[0], questions) < 10).mean())

        trained = fit(
            tower, count, loss_of, loop, seed=seed, name=name, progress=progress,
            score=score if len(questions) else None,
        )  # fmt: skip
        weights = TowerWeights(names, arrays_of(tower))
    return Tower(
        weights, untrained, trained, start.version if start is not None and started else None
    )


def start_from(tower: Any, names: tuple[str, ...], start: Artefact) -> bool:
    """Put an earlier version's weights into a tower of the same shape; whether they fit."""
    torch_state = tower.state_dict()
    if start.texts.get(NAMES, "").split("\n") != list(names):
        return False
    kept = {}
    for name, value in torch_state.items():
        array = start.arrays.get(name.replace(".", "_"))
        if array is None or tuple(array.shape) != tuple(value.shape):
            return False
        kept[name] = value.new_tensor(np.array(array))
    tower.load_state_dict(kept)
    return True


def weights_of(artefact: Artefact) -> TowerWeights:
    """The tower of an artefact."""
    arrays = {n: a for n, a in artefact.arrays.items() if n not in ("unit", "present")}
    return TowerWeights(tuple(artefact.texts[NAMES].split("\n")), arrays)
