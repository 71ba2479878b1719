"""Guess the last item of a visit from the ones before it: how a stage is judged at its gate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.behaviour.pairs import PairTable, ranges
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows

QUESTIONS = 6000
"""At most this many visits are asked about at a gate, and one for each twenty events."""
SCORES = 600_000_000
"""At most this many scores of vectors are computed for a gate: fewer questions to more items."""
FEW = 100
"""With fewer questions than this a gate says nothing."""
SCORES_AT_ONCE = 50_000_000
"""Cells of a dense score matrix held at once (float32: 200 MB)."""


@dataclass(frozen=True, slots=True)
class NextItem:
    """Q questions: which row came after these?"""

    offsets: Rows
    """int64[Q + 1]"""
    seeds: Rows
    """int64[n]: rows of the visit before the last, oldest first, without the target"""
    weights: Floats
    """float32[n]: halved with each `half_life` steps back in time; ties weigh the same"""
    targets: Rows
    """int64[Q]"""
    events: Rows
    """int64[Q]: position of each target in the interactions it was taken from"""

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def owners(self) -> Rows:
        """int64[n]: the question of each seed."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def take(self, index: Rows) -> NextItem:
        """Those at `index`."""
        counts = np.diff(self.offsets)[index]
        at = ranges(self.offsets[index], counts)
        return NextItem(
            offsets=np.append(0, np.cumsum(counts)),
            seeds=self.seeds[at],
            weights=self.weights[at],
            targets=self.targets[index],
            events=self.events[index],
        )


def gate_questions(past: Interactions, size: int) -> NextItem:
    """What the gates of all stages ask of the newest visits of `past`, over `size` rows."""
    few = max(FEW, SCORES // max(size, 1))
    return last_items(past, min(QUESTIONS, few, len(past) // 20))


def last_items(interactions: Interactions, limit: int, half_life: float = 3.0) -> NextItem:
    """The newest `limit` visits with at least one other item before the last one."""
    visits = interactions.sessions()
    last = visits.index[visits.offsets[1:] - 1] if len(visits) else np.zeros(0, np.int64)
    owner = np.repeat(np.arange(len(visits)), np.diff(visits.offsets))
    seed = interactions.row[visits.index] != interactions.row[last][owner]
    usable = np.flatnonzero(np.bincount(owner[seed], minlength=len(visits)))
    usable = usable[np.argsort(-last[usable], kind="stable")[:limit]]
    counts = np.diff(visits.offsets)[usable]
    at = ranges(visits.offsets[usable], counts)
    question, keep = np.repeat(np.arange(len(usable)), counts), seed[at]
    at, question = at[keep], question[keep]
    offsets = np.append(0, np.cumsum(np.bincount(question, minlength=len(usable))))
    at = visits.index[at]
    step = np.cumsum(np.append(0, np.diff(interactions.ts[at]) != 0))
    back = step[offsets[1:] - 1][question] - step
    return NextItem(
        offsets=offsets.astype(np.int64),
        seeds=interactions.row[at],
        weights=np.power(0.5, back / half_life).astype(np.float32),
        targets=interactions.row[last[usable]],
        events=last[usable],
    )


def without_targets(
    interactions: Interactions, questions: NextItem, taken_from: Interactions | None = None
) -> Interactions:
    """The interactions less the target of each question, wherever its visit has it.

    `taken_from` are those that the questions were taken from, where it is others of the same log.
    """
    asked = interactions if taken_from is None else taken_from
    n_rows = int(max(interactions.row.max(initial=0), asked.row.max(initial=0))) + 1
    taken = asked.session[questions.events].astype(np.int64) * n_rows + questions.targets
    key = interactions.session.astype(np.int64) * n_rows + interactions.row
    return interactions.take(~np.isin(key, taken))


def table_ranks(table: PairTable, questions: NextItem) -> Rows:
    """int64[Q]: rank of each target (0 = first) by the weighted sum of the seeds' scores.

    A target that no seed leads to gets the number of rows.
    """
    n_rows = len(table.support)
    at, rows, scores = table.lookup(questions.seeds, len(table.rows))
    owners = questions.owners[at]
    key, inverse = np.unique(owners * n_rows + rows, return_inverse=True)
    sums = np.bincount(inverse, scores * questions.weights[at], len(key)).astype(np.float64)
    seen = np.isin(key, questions.owners * n_rows + questions.seeds)
    return _ranks(key[~seen], sums[~seen], questions, n_rows)


def vector_ranks(vectors: Floats, questions: NextItem) -> Rows:
    """int64[Q]: rank of each target by cosine to the weighted mean of the seeds' unit vectors.

    A target without a vector gets the number of rows; one of several alike stands in their middle.
    """
    n_rows = len(vectors)
    ranks = np.full(len(questions), n_rows, np.int64)
    sums = np.zeros((len(questions), vectors.shape[1]), np.float32)
    np.add.at(sums, questions.owners, vectors[questions.seeds] * questions.weights[:, None])
    present = vectors.any(axis=1)
    step = max(1, SCORES_AT_ONCE // max(n_rows, 1))
    for low in range(0, len(questions), step):
        some = slice(low, low + step)
        scores = sums[some] @ vectors.T
        scores[:, ~present] = -np.inf
        span = slice(questions.offsets[low], questions.offsets[min(low + step, len(questions))])
        scores[questions.owners[span] - low, questions.seeds[span]] = -np.inf
        own = scores[np.arange(len(scores)), questions.targets[some]]
        found = np.isfinite(own) & sums[some].any(axis=1)
        above = (scores > own[:, None]).sum(axis=1)
        # Items with the same words have the same vector: the target stands in their middle.
        ties = (scores == own[:, None]).sum(axis=1) - 1
        ranks[some] = np.where(found, above + ties // 2, n_rows)
    return ranks


def hit_rate(ranks: Rows, k: int) -> tuple[float, float]:
    """(share of ranks below k, its standard error)."""
    if len(ranks) == 0:
        return 0.0, 0.0
    share = float(np.mean(ranks < k))
    return share, float(np.sqrt(share * (1 - share) / len(ranks)))


def lead(one: Floats | Mask, other: Floats | Mask) -> tuple[float, float]:
    """(mean difference on the same questions, lower end of its 95 % interval); 0 without any."""
    if not len(one):
        return 0.0, 0.0
    differences = one.astype(np.float64) - other
    mean = float(differences.mean())
    return mean, mean - 1.96 * float(differences.std()) / float(np.sqrt(len(one)))


def _ranks(key: Rows, scores: Doubles, questions: NextItem, n_rows: int) -> Rows:
    """Rank of each target among its question's candidates; `key` = question · n_rows + row."""
    ranks = np.full(len(questions), n_rows, np.int64)
    wanted = np.arange(len(questions)) * n_rows + questions.targets
    place = np.searchsorted(key, wanted)
    hit = np.flatnonzero(place < len(key))
    hit = hit[key[place[hit]] == wanted[hit]]
    own = np.full(len(questions), np.inf)
    own[hit] = scores[place[hit]]
    question = key // n_rows
    above = np.bincount(question[scores > own[question]], minlength=len(questions))
    ranks[hit] = above[hit]
    return ranks
