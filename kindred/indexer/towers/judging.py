"""Whether a tower may serve: better than its inputs, and on labels that mean something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.als import directions
from kindred.indexer.behaviour.holdout import NextItem, lead, vector_ranks
from kindred.indexer.stages import Made
from kindred.indexer.towers.inputs import BUCKETS, BY_ID, POPULARITY, PRICE, Inputs
from kindred.indexer.towers.learning import NAMES, Tower
from kindred.indexer.towers.positives import Together
from kindred.schemas.ranking import Floats, Mask

FEW_QUESTIONS = 50
"""With fewer questions a gate cannot tell, and nothing new serves."""
PLAIN = (PRICE, POPULARITY)
"""Inputs that say nothing about what is alike."""
STOPPING = 4
"""One in so many questions stops the training; the others judge it."""
NEWCOMERS = 0.1
"""Share of the items that are asked about as if nothing were known of them by their ids."""
JUDGING_SHARE = 0.05
"""Share of the visitors whose pairs judge a tower and teach it nothing."""
JUDGING_PAIRS = 5_000
"""At most this many of them."""
FACTS_SIZE = 32
"""Width of a word's random place."""


def baselines(inputs: Inputs, names: tuple[str, ...]) -> dict[str, Floats]:
    """What a tower must beat: float32[n, d] by name.

    Each of its dense inputs, and all the words side by side as `facts`, each at a random place.
    """
    singles = {n: v for n, v in inputs.vectors.items() if n in names and n not in PLAIN}
    bags = [inputs.words[n] for n in names if n in inputs.words]
    if bags:
        places = np.random.default_rng(0).standard_normal((BUCKETS, FACTS_SIZE)).astype(np.float32)
        places[0] = 0
        parts = [sum(places[column] for column in words.T) for words in bags]
        facts = np.hstack([directions(np.asarray(part, np.float32)) for part in parts])
        singles["facts"] = directions(facts)
    return singles


def parted(pairs: Together, seed: int) -> tuple[Together, Together]:
    """(pairs to learn from, pairs of other visitors to judge by)."""
    rng = np.random.default_rng(seed)
    judging = rng.random(int(pairs.subjects.max(initial=0)) + 1) < JUDGING_SHARE
    mine = judging[pairs.subjects]
    return pairs.of_groups(~mine), pairs.of_groups(mine)


def told_apart(vectors: Floats, pairs: Together, size: int, seed: int) -> Floats:
    """float32[P]: 1 where an item is nearer to its partner than to another item, drawn as often.

    Half for a tie. What is popular, or near everything, is of no help.
    """
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(len(pairs))[:JUDGING_PAIRS]
    _, rows, partners = pairs.draw(numbers, rng)
    others = rng.choice(size, len(rows), p=pairs.frequency(size))
    own: Floats = np.einsum("nd,nd->n", vectors[rows], vectors[partners])
    against: Floats = np.einsum("nd,nd->n", vectors[rows], vectors[others])
    fair = (others != rows) & (others != partners)
    won = np.where(own > against, 1.0, np.where(own == against, 0.5, 0.0))
    kept: Floats = won[fair].astype(np.float32)
    return kept


def stopping_and_judging(questions: NextItem) -> tuple[NextItem, NextItem]:
    """(those that stop the training, those that judge it): one in `STOPPING` stops.

    A rough place is enough to stop at; it takes more to tell a lead from chance.
    """
    numbers = np.arange(len(questions))
    stopping = numbers % STOPPING == 0
    return questions.take(numbers[stopping]), questions.take(numbers[~stopping])


def with_newcomers(inputs: Inputs, seed: int) -> Inputs:
    """The inputs as if `NEWCOMERS` of the items had come in today: unknown by their ids.

    Questions are taken from what people did, so they are about items with a past. A market's next
    items are partly new ones, and a tower that is judged without them is chosen for the others.
    """
    new = np.random.default_rng(seed + 2).random(len(inputs)) < NEWCOMERS
    known = [name for name in BY_ID if name in inputs.vectors]
    return replace(
        inputs,
        vectors={
            **inputs.vectors,
            **{n: np.where(new[:, None], 0, inputs.vectors[n]).astype(np.float32) for n in known},
        },
        present={**inputs.present, **{n: inputs.present[n] & ~new for n in known}},
    )


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


def judged(
    tower: Tower, inputs: Inputs, questions: NextItem, pairs: Together, seed: int
) -> Verdict:
    """Pass where both say so by more than chance.

    The hit rate at ten is above the best baseline's; and of pairs of visitors that the tower has
    not learned from, it tells more than half apart. The second stops labels that mean nothing:
    training on those, too, spreads the items and favours the popular ones, which alone may raise a
    hit rate.
    """
    asked, vectors = len(questions), tower.weights(inputs)[0]
    if asked < FEW_QUESTIONS:
        said = f"{asked} questions to judge by; it takes {FEW_QUESTIONS}"
        return Verdict(False, said, {"questions": asked})
    singles = baselines(inputs, tower.weights.names)
    if not singles:
        return Verdict(False, "none of its inputs says what is alike", {"questions": asked})
    own = hits_of(vectors, questions)
    rates = {name: float(hits_of(v, questions).mean()) for name, v in singles.items()}
    best = max(rates, key=lambda n: rates[n])
    ahead, low = lead(own, hits_of(singles[best], questions))
    size = len(inputs)
    after = told_apart(vectors, pairs, size, seed)
    before = told_apart(tower.untrained(inputs)[0], pairs, size, seed)
    above, least = lead(after, np.full(len(after), 0.5, np.float32))
    metrics: dict[str, Any] = {
        "questions": asked,
        "HR@10": round(float(own.mean()), 5),
        "HR@10 of baselines": {n: round(r, 5) for n, r in rates.items()},
        "lead over the best": [round(ahead, 5), round(low, 5)],
        "pairs told apart": round(float(after.mean()), 5),
        "pairs told apart before training": round(float(before.mean()), 5),
        "above chance": [round(above, 5), round(least, 5)],
    }
    said = (
        f"HR@10 {own.mean():.4f} against {rates[best]:.4f} of {best}, the best baseline, on "
        f"{asked} next items: lead {ahead:+.4f}, at least {low:+.4f}; tells {after.mean():.1%} of "
        f"other visitors' pairs apart, at least {0.5 + least:.1%}"
    )
    return Verdict(low > 0 and least > 0, said, metrics)


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
