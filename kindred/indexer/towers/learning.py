"""Trains a tower on pairs of items, and says what it is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.holdout import NextItem, vector_ranks
from kindred.indexer.models import Artefact
from kindred.indexer.representations import Given
from kindred.indexer.runtime import choose_precision
from kindred.indexer.stages import Made
from kindred.indexer.towers.inputs import BUCKETS, POPULARITY, PRICE, Inputs, facts_of_rows
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
NULL_PAIRS = 5_000
"""Shuffled pairs that the last of the baselines learns from, of each fold."""
PLAIN = (PRICE, POPULARITY)
"""Inputs that say nothing about what is alike."""
FEW_QUESTIONS = 50
"""With fewer questions a gate cannot tell, and nothing new serves."""
SHUFFLED = "shuffled pairs"
"""Baseline of a tower that has learned nothing but what any tower knows."""
FACTS_SIZE = 32
"""Width of a word's random place."""
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
    wanted = settings.inputs or tuple(sorted(inputs.present))
    return tuple(n for n in wanted if n in inputs.present and n not in settings.without)


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
                made = tower(*tensors[f].take(distinct))[0]
            vectors = made.float()[torch.from_numpy(back)]
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
                settings.popularity,
            )  # fmt: skip

        def score() -> float:
            weights = TowerWeights(names, arrays_of(tower))
            return float((vector_ranks(weights(inputs)[0], questions) < 10).mean())

        trained = fit(
            tower, count, loss_of, loop, seed=seed, name=name, progress=progress,
            score=score if len(questions) else None,
        )  # fmt: skip
        weights = TowerWeights(names, arrays_of(tower))
    return Tower(weights, trained, start.version if start is not None and started else None)


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


def baselines(
    given: Given,
    inputs: Inputs,
    folds: Sequence[Fold],
    settings: TowerSettings,
    questions: NextItem,
    progress: Progress,
) -> dict[str, Floats]:
    """What a tower must beat: float32[n, d] by name.

    Each of the dense inputs; all the words side by side as `facts`, each word at a random place;
    and a tower that learned, for as long as a warm start takes, from shuffled pairs. Items of one
    category lie near each other in any tower, and what is popular near everything: without the
    last, labels without sense would pass.
    """
    names = chosen_inputs(inputs, settings)
    singles = {n: v for n, v in inputs.vectors.items() if n in names and n not in PLAIN}
    bags = [inputs.words[n] for n in names if n in inputs.words]
    if bags:
        places = np.random.default_rng(0).standard_normal((BUCKETS, FACTS_SIZE)).astype(np.float32)
        places[0] = 0
        parts = [sum(places[column] for column in words.T) for words in bags]
        facts = np.hstack([_unit(np.asarray(part, np.float32)) for part in parts])
        singles["facts"] = _unit(facts)
    shuffled = [_shuffled(fold, given.settings.seed) for fold in folds]
    epochs = min(settings.loop.epochs, given.settings.representations.refresh_epochs)
    short = msgspec.structs.replace(
        settings, loop=msgspec.structs.replace(settings.loop, epochs=epochs)
    )
    null = train_tower(
        given, inputs, shuffled, short, questions, progress, name="train on shuffled pairs"
    )
    return {**singles, SHUFFLED: null.weights(inputs)[0]}


def _shuffled(fold: Fold, seed: int) -> Fold:
    """The same groups with items of others, each as often; few of the examples will do."""
    rng = np.random.default_rng(seed)
    pairs = fold.pairs
    examples = rng.permutation(pairs.examples)[:NULL_PAIRS]
    return Fold(replace(pairs, rows=rng.permutation(pairs.rows), examples=examples), fold.inputs)


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.maximum(norms, np.float32(1e-12))
    return unit


def halves(questions: NextItem) -> tuple[NextItem, NextItem]:
    """(those that stop the training, those that judge it): every other one."""
    numbers = np.arange(len(questions))
    return questions.take(numbers[::2]), questions.take(numbers[1::2])


def hits_of(vectors: Floats, questions: NextItem) -> Mask:
    """bool[Q]: the answer is among the first ten."""
    found: Mask = vector_ranks(vectors, questions) < 10
    return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """A gate: the vectors against the best baseline, on the same questions."""

    passed: bool
    reason: str
    metrics: dict[str, Any]


def judged(vectors: Floats, singles: Mapping[str, Floats], questions: NextItem) -> Verdict:
    """Pass where the hit rate at ten is above the best baseline's, by more than chance."""
    asked = len(questions)
    if asked < FEW_QUESTIONS:
        said = f"{asked} questions to judge by; it takes {FEW_QUESTIONS}"
        return Verdict(False, said, {"questions": asked})
    own = hits_of(vectors, questions)
    rates = {name: float(hits_of(v, questions).mean()) for name, v in singles.items()}
    best = max(rates, key=lambda n: rates[n])
    lead = own.astype(float) - hits_of(singles[best], questions)
    low = float(lead.mean() - 1.96 * lead.std() / np.sqrt(asked))
    metrics: dict[str, Any] = {
        "questions": asked,
        "HR@10": round(float(own.mean()), 5),
        "HR@10 of baselines": {n: round(r, 5) for n, r in rates.items()},
        "lead over the best": [round(float(lead.mean()), 5), round(low, 5)],
    }
    said = (
        f"HR@10 {own.mean():.4f} against {rates[best]:.4f} of {best}, the best baseline, on "
        f"{asked} next items: lead {lead.mean():+.4f}, at least {low:+.4f}"
    )
    return Verdict(low > 0, said, metrics)


def made(
    tower: Tower, inputs: Inputs, pairs: Together, verdict: Verdict,
    more: Mapping[str, NDArray[Any]] | None = None,
) -> Made:  # fmt: skip
    """What is kept: the weights, and the vectors of all rows for whoever works offline."""
    vectors, present, gates = tower.weights(inputs)
    names = tower.weights.names
    mean = {n: round(float(g), 4) for n, g in zip(names, gates[present].mean(axis=0), strict=True)}
    return Made(
        arrays={**tower.weights.arrays, "unit": vectors, "present": present, **(more or {})},
        texts={NAMES: "\n".join(names)},
        metrics={
            **verdict.metrics,
            "pairs": len(pairs),
            "pairs from": pairs.said,
            "mean gate weights": mean,
            "started from": tower.started_from,
            "items": int(present.sum()),
            **tower.trained.facts,
        },
        passed=verdict.passed,
        reason=verdict.reason,
        summary=verdict.reason,
    )


def nothing(reason: str) -> Made:
    """A stage that has no data to learn from."""
    return Made(passed=False, reason=reason, summary=reason)


def weights_of(artefact: Artefact) -> TowerWeights:
    """The tower of an artefact."""
    arrays = {n: a for n, a in artefact.arrays.items() if n not in ("unit", "present")}
    return TowerWeights(tuple(artefact.texts[NAMES].split("\n")), arrays)
