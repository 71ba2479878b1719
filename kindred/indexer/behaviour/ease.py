"""Linear weights between items, all of them at once (EASE, Steck 2019): a recall source.

Each item is predicted from the others of the same visit by ridge regression, and no item by itself:
B = argmin |X − XB|² + λ|B|² with a diagonal of zero, X being visits × items of 0 and 1. In closed
form B = I − P · diag(1 / P_jj) with P = (XᵀX + λI)⁻¹. Unlike a count of pairs it knows what the
other items of the visit explain already, so that two items that both go with everything are no
pair. XᵀX + λI is inverted whole, so only the most frequent items take part, and of the weights that
an item gives to others the largest are kept: a table that recall looks up like pairs.

Where visits hold one item each, what a visitor ever did stands in for the visit; elsewhere both are
tried. λ, that choice, and whether newer seeds count more are chosen on the questions of the gate,
by weights made without the answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kindred.indexer.behaviour.holdout import NextItem, hit_rate
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.behaviour.pairs import PairTable
from kindred.schemas.ranking import Floats, Rows
from kindred.schemas.settings import EaseSettings

By = Literal["visit", "visitor"]
CHOOSING_ITEMS = 3_000
"""Most frequent items that the choices are made on: inverting twice as many takes eight times."""
HALF_LIFE = 3.0
"""Places back in a visit after which a seed counts half, where newer ones count more."""
ROWS_AT_ONCE = 500
"""Rows of weights sorted at once."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is chosen before the weights are made."""

    penalty: float
    """λ"""
    by: By
    """What makes a row of X"""
    recent: bool
    """Whether newer seeds count more"""


@dataclass(frozen=True, slots=True)
class EaseTable:
    """The weights as recall reads them."""

    table: PairTable
    recent: bool
    """Whether newer seeds count more"""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """By name, to be kept."""
        return {**self.table.arrays(), "recent": np.array([self.recent])}

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> EaseTable:
        """From its arrays."""
        return cls(PairTable.load(arrays), bool(arrays["recent"][0]))


def memberships(log: Interactions, n_rows: int, by: str) -> sparse.csr_matrix:
    """float32 visits (or visitors) × N: 1 where the item occurred."""
    owner = log.session if by == "visit" else log.subject
    _, row = np.unique(owner, return_inverse=True)
    ones = np.ones(len(log), np.float32)
    table = sparse.csr_matrix((ones, (row, log.row)), shape=(int(row.max(initial=-1)) + 1, n_rows))
    table.data[:] = 1
    return table


def frequent(log: Interactions, n_rows: int, most: int) -> Rows:
    """int64[m]: the `most` most frequent rows of those that occur, in order of rows."""
    counts = np.bincount(log.row, minlength=n_rows)
    wanted = min(most, int((counts > 0).sum()))
    return np.sort(np.argsort(-counts, kind="stable")[:wanted])


def ease_weights(gram: Floats, penalty: float) -> Floats:
    """float32[m, m]: B from XᵀX and λ > 0; entry i, j is what having i says for j.

    One factorisation of a positive definite matrix, in place in a copy of `gram`.
    """
    from scipy.linalg import lapack

    if not len(gram):
        return np.zeros((0, 0), np.float32)
    matrix = np.array(gram, np.float32, order="F")
    matrix[np.diag_indices_from(matrix)] += np.float32(penalty)
    factor, failed = lapack.spotrf(matrix, lower=1, clean=1, overwrite_a=1)
    if failed:
        raise np.linalg.LinAlgError(f"no positive definite matrix with a penalty of {penalty}")
    half, _ = lapack.spotri(factor, lower=1, overwrite_c=1)
    scale = -1 / np.diag(half)
    weights: Floats = half + np.tril(half, -1).T
    weights *= scale[None, :]
    np.fill_diagonal(weights, 0)
    return weights


def gram_of(log: Interactions, n_rows: int, items: Rows, by: str) -> Floats:
    """float32[m, m]: XᵀX of `items`: visits (or visitors) with both."""
    held = memberships(log, n_rows, by)[:, items].tocsr()
    gram: Floats = (held.T @ held).toarray()
    return gram


def largest(weights: Floats, items: Rows, n_rows: int, neighbours: int, support: Rows) -> PairTable:
    """The largest positive weights of each row, best first; rows that are not known have none.

    The table's `counts` are zero: nothing is counted here.
    """
    size, wanted = len(items), min(neighbours, max(len(items) - 1, 0))
    lengths = np.zeros(n_rows, np.int64)
    rows, scores = [], []
    for low in range(0, size, ROWS_AT_ONCE):
        part = weights[low : low + ROWS_AT_ONCE]
        near = np.argpartition(-part, wanted, axis=1)[:, :wanted] if wanted else part[:, :0]
        near = near.astype(np.int64)
        found = np.take_along_axis(part, near, axis=1)
        order = np.argsort(-found, axis=1, kind="stable")
        near = np.take_along_axis(near, order, axis=1)
        found = np.take_along_axis(found, order, axis=1)
        there = found > 0
        lengths[items[low : low + ROWS_AT_ONCE]] = there.sum(axis=1)
        rows.append(items[near[there]])
        scores.append(found[there])
    return PairTable(
        indptr=np.append(0, np.cumsum(lengths)),
        rows=np.concatenate(rows) if rows else np.zeros(0, np.int64),
        scores=np.concatenate(scores) if scores else np.zeros(0, np.float32),
        counts=np.zeros(sum(map(len, scores)), np.float32),
        support=support,
    )


def seed_weights(questions: NextItem, *, recent: bool) -> Floats:
    """float32[n]: all alike, or halved with each `HALF_LIFE` places back, as recall does.

    Recall is told no times: in a basket, where all seeds are of one moment, their order is chance.
    """
    if not recent:
        return np.ones_like(questions.weights)
    back = questions.offsets[1:][questions.owners] - 1 - np.arange(len(questions.seeds))
    return np.power(0.5, back / HALF_LIFE).astype(np.float32)


def train_ease(log: Interactions, n_rows: int, settings: EaseSettings, choice: Choice) -> EaseTable:
    """The weights of the most frequent items of a log, as they are looked up."""
    items = frequent(log, n_rows, settings.items)
    weights = ease_weights(gram_of(log, n_rows, items, choice.by), choice.penalty)
    support = np.bincount(log.row, minlength=n_rows).astype(np.int64)
    return EaseTable(largest(weights, items, n_rows, settings.neighbours, support), choice.recent)


def choose(
    log: Interactions, questions: NextItem, n_rows: int, settings: EaseSettings
) -> tuple[Choice, dict[str, Any]]:
    """(the choice of the best HR@10, what was tried), by a log without the answers.

    Without questions it is the middle penalty, and visits that hold more than one item.
    """
    lonely = len(np.unique(log.session)) == len(np.unique(log.subject))
    ways: tuple[By, ...] = ("visitor",) if lonely else ("visit", "visitor")
    items = frequent(log, n_rows, min(CHOOSING_ITEMS, settings.items))
    ways_of_seeds = {
        recent: replace(questions, weights=seed_weights(questions, recent=recent))
        for recent in (False, True)
    }
    tried: dict[Choice, float] = {}
    for by in ways:
        gram = gram_of(log, n_rows, items, by)
        mean = float(np.diag(gram).mean()) if len(gram) else 1.0
        for share in settings.penalties:
            penalty = round(max(share * mean, 1e-3), 3)
            if not len(questions):
                tried[Choice(penalty, by, recent=False)] = 0.0
                continue
            weights = ease_weights(gram, penalty)
            if settings.neighbours < len(items):
                least = np.partition(weights, -settings.neighbours, axis=1)[:, -settings.neighbours]
                weights[weights < np.maximum(least, 0)[:, None]] = 0
            for recent, asked in ways_of_seeds.items():
                rate, _ = hit_rate(_ranks(weights, items, asked, n_rows), 10)
                tried[Choice(penalty, by, recent)] = rate
    if not len(questions):
        listed = list(tried)[: len(settings.penalties)]
        return listed[len(listed) // 2], {}
    best = max(tried, key=lambda choice: tried[choice])
    return best, {
        "penalty": best.penalty,
        "rows": best.by,
        "newer seeds weigh more": best.recent,
        "tried": len(tried),
    }


def _ranks(weights: Floats, items: Rows, questions: NextItem, n_rows: int) -> Rows:
    """int64[Q]: place of each target by the weighted sum of the seeds' weights, 0 = first."""
    place = np.full(n_rows, -1, np.int64)
    place[items] = np.arange(len(items))
    known = place[questions.seeds] >= 0
    owners, seeds = questions.owners[known], place[questions.seeds[known]]
    shape = (len(questions), len(items))
    asked = sparse.csr_matrix((questions.weights[known], (owners, seeds)), shape=shape)
    scores: Floats = asked @ weights
    scores[owners, seeds] = 0
    target = place[questions.targets]
    own = np.where(target >= 0, scores[np.arange(len(questions)), target], 0)
    above = (scores > own[:, None]).sum(axis=1)
    return np.where(own > 0, above, n_rows)
