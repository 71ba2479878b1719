"""The weights of the merge, learned: what each source's places are worth, and how fast they fall.

Recall is asked each question once, of all sources. The merged score of a candidate is then a
product: Σ_s w_s / (k + rank_s), ranks being those of the sources that found it. So where the answer
would stand under other weights follows without asking again, and weights and k are chosen by
coordinate ascent: one source's weight after the other takes the best of a grid, until none moves.

What is raised is the mean NDCG@20 of one answer a question, 1 / log2(1 + place) within the first
20. The hit rate at ten is what a list is judged by, but of a thousand questions it moves in steps
that chance makes; here each place counts, so that the same questions tell more weights apart.

What nobody has acted on keeps its chance: some answers have no other event than the one that was
taken away, and k is small where lists are worth reading one place after the other. Hiding what
behaviour finds of a tenth of the answers, as if these were new, was tried and left out: it brought
nothing for new items and cost others (Amazon Office, HR@10 0.176 in place of 0.179).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.models import Artefact
from kindred.retrieval.merge import Weights
from kindred.retrieval.sources import SOURCES
from kindred.schemas.ranking import Doubles, Rows
from kindred.schemas.settings import RecallSettings

CONSTANTS = (1.0, 3.0, 10.0, 30.0, 60.0)
"""Values of k that are tried."""
FACTORS = (0.0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Multiples of the weight in the settings that are tried."""
DEPTH = 20
"""Places that count."""
ROUNDS = 4
"""Times that each weight is looked at, at most."""
TINY = 1e-9
"""Merged scores that differ by less are equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What all sources found for Q questions: n candidates of those whose answer was found."""

    questions: int
    """Q, with those whose answer was not found"""
    owners: Rows
    """int64[n]: the question of each candidate, never falling"""
    ranks: NDArray[np.uint16]
    """uint16[n, S]: place in each source's list, 1 = first, 0 = not in it"""
    answers: Rows
    """int64[Q]: position of the answer among the candidates, -1 where it was not found"""

    def of(self, chosen: Rows) -> Findings:
        """Those of the questions `chosen`, which must rise."""
        place = np.full(self.questions, -1, np.int64)
        place[chosen] = np.arange(len(chosen))
        keep = place[self.owners] >= 0
        moved = np.cumsum(keep) - 1
        answers = self.answers[chosen]
        return Findings(
            questions=len(chosen),
            owners=place[self.owners[keep]],
            ranks=self.ranks[keep],
            answers=np.where(answers >= 0, moved[answers], -1),
        )


def reciprocals(findings: Findings, k: float) -> NDArray[np.float32]:
    """float32[n, S]: what each source gives a candidate at weight 1, less what it gives the answer.

    Candidates of questions without an answer get zero: they never stand above it.
    """
    ranks = findings.ranks
    given = np.where(ranks > 0, 1 / (np.float32(k) + ranks), 0).astype(np.float32)
    own = findings.answers[findings.owners]
    return np.where(own[:, None] >= 0, given - given[np.maximum(own, 0)], 0).astype(np.float32)


def places(leads: NDArray[np.floating], findings: Findings) -> Doubles:
    """float64[Q]: place of the answer, the mean of equals; inf where it was not found.

    `leads` float[n]: each candidate's merged score less its answer's.
    """
    count = findings.questions
    above = np.bincount(findings.owners[leads > TINY], minlength=count)
    equal = np.bincount(findings.owners[np.abs(leads) <= TINY], minlength=count)
    return np.where(findings.answers >= 0, 1 + above + (equal - 1) / 2, np.inf)


def gains(where: Doubles) -> Doubles:
    """float64[Q]: NDCG@20 of the one answer."""
    return np.where(where <= DEPTH, 1 / np.log2(1 + where), 0.0)


def gains_of(findings: Findings, weights: Weights) -> Doubles:
    """float64[Q]: NDCG@20 of each question under some weights."""
    return gains(places_of(findings, weights))


def places_of(findings: Findings, weights: Weights) -> Doubles:
    """float64[Q]: place of each answer under some weights."""
    leads = reciprocals(findings, weights.k) @ weights.by_source.astype(np.float32)
    return places(leads, findings)


def learn_weights(findings: Findings, start: Weights) -> Weights:
    """The best weights and k found from `start`; a source that has none there gets none."""
    if not (findings.answers >= 0).any():
        return start
    best, most = start, float(gains_of(findings, start).mean())
    for k in CONSTANTS:
        found, value = _ascend(findings, start.by_source, k)
        if value > most:
            best, most = Weights(found, k), value
    return best.scaled_as(start)


def _ascend(findings: Findings, start: Doubles, k: float) -> tuple[Doubles, float]:
    """(weights, mean NDCG@20) where no single weight of the grid does better.

    What the answer leads in every source never stands above it, and is left out; equals count as
    above, which is one comparison less.
    """
    given = reciprocals(findings, k)
    rivals = (given > 0).any(axis=1)
    owners = findings.owners[rivals]
    columns = np.ascontiguousarray(given[rivals].T)
    del given
    asked, first = np.unique(owners, return_index=True)
    found = findings.answers >= 0

    def worth(leads: NDArray[np.floating]) -> float:
        where = np.where(found, 1.0, np.inf)
        if len(first):
            where[asked] += np.add.reduceat(leads >= -TINY, first, dtype=np.int64)
        return float(gains(where).mean())

    weights = start.copy()
    value = worth(weights.astype(np.float32) @ columns)
    for _ in range(ROUNDS):
        before = value
        for source in np.flatnonzero((start > 0) & columns.any(axis=1)):
            others = weights.copy()
            others[source] = 0
            rest = others.astype(np.float32) @ columns
            for factor in FACTORS:
                weight = np.float32(factor * start[source])
                tried = worth(rest + weight * columns[source])
                if tried > value and (factor or others.any()):
                    weights[source], value = factor * start[source], tried
        if value <= before:
            break
    return weights, float(gains_of(findings, Weights(weights, k)).mean())


def to_artefact(weights: Weights) -> tuple[dict[str, NDArray[np.float64]], dict[str, str]]:
    """(arrays, texts) to be kept."""
    arrays = {"weights": weights.by_source, "k": np.array([weights.k])}
    return arrays, {"sources": "\n".join(SOURCES)}


def learned_weights(settings: RecallSettings, merge: Artefact | None) -> Weights | None:
    """The learned weights, where there are any that may serve.

    A weight of 0 in the settings stays; a source that training did not know keeps its weight.
    """
    if merge is None or not merge.card.gate.passed or not settings.learned_merge:
        return None
    own = Weights.of(settings).by_source
    names = merge.texts["sources"].split("\n")
    known: Mapping[str, float] = dict(zip(names, merge.arrays["weights"].tolist(), strict=True))
    worth = [known.get(name, w) if w else 0.0 for name, w in zip(SOURCES, own, strict=True)]
    return Weights(np.array(worth), float(merge.arrays["k"][0]))
