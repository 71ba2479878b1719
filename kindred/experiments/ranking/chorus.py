"""Graded relevance (Chorus): lambdarank against BM25, text similarity, and a cross of both.

Queries are split into five folds; each fold is ranked by what the other four teach. Two lists are
ranked, because only judged documents can be graded: those judged for the query, where every grade
is known; and the first documents that BM25 and text similarity find in the whole catalogue, where
what nobody judged counts as irrelevant, which it need not be. A query without a relevant document
is left out of the means.

With some fifty queries to learn from, trees are small, several seeds are averaged, and the ranker's
standardised score is averaged with that of the cross: a wrong lesson then costs half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.experiments.ranking.judgments import Judgments
from kindred.experiments.ranking.query_features import BM25, TEXT, Signals
from kindred.rerank.lambdamart import GAINS, RankingSet, grow_ranker
from kindred.rerank.metrics import paired_interval, tied_ranks
from kindred.retrieval.segments import offsets_of, owners_of, segment_sum
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows
from kindred.schemas.settings import RankerSettings

RRF, CROSS, TREES_ALONE, RANKER = "cross (RRF)", "cross (tuned sum)", "trees alone", "ranker"
BASELINES = (BM25, TEXT, RRF, CROSS)
JUDGED, POOL = "judged documents", "whole catalogue"
MEANING = {
    JUDGED: "the documents judged for the query; every grade is known",
    POOL: "the first documents by BM25 and by text of the whole catalogue; unjudged count as 0",
}
FOLDS = 5
DEPTH = 10
"""Of NDCG."""
FOUND = 60
"""Documents of each of both orders that the catalogue's list is made of."""
RRF_K = 60.0
WEIGHTS = tuple(np.linspace(0, 1, 11).round(1).tolist())
"""Of the text's part in the tuned sum."""
TREES, BAGS = 100, 3
SETTINGS = RankerSettings(leaves=4, learning_rate=0.05, min_data_in_leaf=30, truncation=30)


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """n documents of Q queries, by query: what is ranked."""

    query: Rows
    row: Rows
    grades: NDArray[np.int8]
    """0 also where nobody judged"""
    asked: Mask
    """bool[n]: ranked when the query is asked; the others are for learning alone"""
    best: Doubles
    """float64[Q]: DCG@10 of the best order there is, of all that was judged"""

    @property
    def queries(self) -> int:
        """How many."""
        return len(self.best)

    @property
    def offsets(self) -> Rows:
        """int64[Q + 1]"""
        return offsets_of(np.bincount(self.query, minlength=self.queries))

    def ranks(self, scores: Doubles) -> Doubles:
        """float64[n]: 1-based place among the query's asked documents; the others come behind."""
        return tied_ranks(np.where(self.asked, scores, -np.inf), self.offsets)

    def ndcg(self, scores: Doubles) -> Doubles:
        """float64[Q]: NDCG@10 of the asked documents by falling score; NaN without a relevant
        one."""
        ranks = self.ranks(scores)
        counted = self.asked & (ranks <= DEPTH)
        gains = np.asarray(GAINS, np.float64)[self.grades]
        gained = segment_sum(np.where(counted, gains / np.log2(ranks + 1), 0.0), self.offsets)
        return np.where(self.best > 0, gained / np.maximum(self.best, 1e-12), np.nan)

    def standard(self, scores: Doubles) -> Doubles:
        """float64[n]: less the mean of the query's asked documents, over their deviation."""
        counted = self.asked.astype(np.float64)
        lengths = np.maximum(segment_sum(counted, self.offsets), 1)
        centred = scores - (segment_sum(scores * counted, self.offsets) / lengths)[self.query]
        spread = np.sqrt(segment_sum(centred**2 * counted, self.offsets) / lengths)
        return np.asarray(centred / np.maximum(spread, 1e-9)[self.query])


def judged_lists(judgments: Judgments) -> Ranked:
    """What was judged for each query."""
    return Ranked(
        query=owners_of(judgments.offsets),
        row=judgments.row,
        grades=judgments.grades,
        asked=np.ones(len(judgments.row), np.bool_),
        best=_best(judgments),
    )


def found_lists(judgments: Judgments, signals: Signals, found: int = FOUND) -> Ranked:
    """The first documents by BM25 and by text; what else was judged is there to learn from."""
    shape = signals[BM25].shape
    asked = np.zeros(shape, np.bool_)
    for name in (BM25, TEXT):
        first = np.argsort(-signals[name], axis=1, kind="stable")[:, :found]
        np.put_along_axis(asked, first, True, axis=1)
    grades = np.zeros(shape, np.int8)
    owner = owners_of(judgments.offsets)
    judged = np.zeros(shape, np.bool_)
    grades[owner, judgments.row], judged[owner, judgments.row] = judgments.grades, True
    query, row = np.nonzero(asked | judged)
    return Ranked(
        query=query, row=row, grades=grades[query, row], asked=asked[query, row],
        best=_best(judgments),
    )  # fmt: skip


def _best(judgments: Judgments) -> Doubles:
    """float64[Q]: DCG@10 of each query's judged documents in the best order."""
    gains = np.asarray(GAINS, np.float64)[judgments.grades]
    owner = owners_of(judgments.offsets)
    order = np.lexsort((-gains, owner))
    place = np.arange(len(order)) - judgments.offsets[owner]
    value = np.where(place < DEPTH, gains[order] / np.log2(place + 2.0), 0.0)
    return segment_sum(value, judgments.offsets)


def fold_of(queries: int, seed: int) -> Rows:
    """int64[Q]: the fold in which each query is asked."""
    fold = np.empty(queries, np.int64)
    fold[np.random.default_rng(seed).permutation(queries)] = np.arange(queries) % FOLDS
    return fold


def rank_all(
    ranked: Ranked, signals: Signals, seed: int, threads: int = 0
) -> tuple[dict[str, Doubles], dict[str, Any]]:
    """(scores float64[n] by method, what was learned): every query by the other folds' lesson."""
    plain = {name: signals[name][ranked.query, ranked.row].astype(np.float64)
             for name in (BM25, TEXT)}  # fmt: skip
    parts = {name: ranked.standard(scores) for name, scores in plain.items()}
    rrf = sum(1 / (RRF_K + ranked.ranks(scores)) for scores in plain.values())
    columns = signals.columns(ranked.query, ranked.row)
    scores = {
        **plain,
        RRF: np.asarray(rrf),
        **{name: np.zeros(len(ranked.row)) for name in (CROSS, TREES_ALONE, RANKER)},
    }
    fold = fold_of(ranked.queries, seed)
    weights: list[float] = []
    gains: dict[str, float] = {}
    for number in range(FOLDS):
        asked = (fold == number)[ranked.query]
        weight = tuned_weight(ranked, parts, fold != number)
        weights.append(weight)
        cross = (1 - weight) * parts[BM25] + weight * parts[TEXT]
        features = np.column_stack([columns, cross]).astype(np.float32)
        names = (*signals.names, "cross")
        trees = _lesson(ranked, features, names, ~asked, seed, threads, gains)
        scores[CROSS][asked] = cross[asked]
        scores[TREES_ALONE][asked] = trees[asked]
        both = ranked.standard(trees) + ranked.standard(cross)
        scores[RANKER][asked] = both[asked]
    total = max(sum(gains.values()), 1e-12)
    importance = {n: round(g / total, 4) for n, g in sorted(gains.items(), key=lambda x: -x[1])}
    return scores, {"text's weight by fold": weights, "importance": importance}


def tuned_weight(ranked: Ranked, parts: Mapping[str, Doubles], training: Mask) -> float:
    """Of the text, for the best NDCG@10 over the training queries, bool[Q]."""
    worth = [
        float(np.nanmean(ranked.ndcg((1 - w) * parts[BM25] + w * parts[TEXT])[training]))
        for w in WEIGHTS
    ]
    return float(WEIGHTS[int(np.argmax(worth))])


def _lesson(
    ranked: Ranked,
    features: Floats,
    names: tuple[str, ...],
    training: Mask,
    seed: int,
    threads: int,
    gains: dict[str, float],
) -> Doubles:
    """float64[n]: all rows as lambdarank scores them that learned from the rows `training`."""
    lengths = np.bincount(ranked.query[training], minlength=ranked.queries)
    given = RankingSet(
        features[training], ranked.grades[training], lengths[lengths > 0].astype(np.int64)
    )
    told = tuple(name.replace(" ", "_").replace("'", "") for name in names)
    total = np.zeros(len(features))
    for bag in range(BAGS):
        ranker = grow_ranker(
            given, told, SETTINGS, trees=TREES, seed=seed * BAGS + bag, threads=threads,
            on_tree=_silent,
        )  # fmt: skip
        total += ranker.score(features)
        for name, share in ranker.importance().items():
            gains[name] = gains.get(name, 0.0) + share
    return total


def _silent(_: int) -> None:
    return None


def measure_chorus(
    judgments: Judgments,
    signals: Signals,
    *,
    seeds: Sequence[int],
    on_seed: Callable[[int], None],
    threads: int = 0,
) -> dict[str, Any]:
    """Both lists over the seeds, each with folds of its own: means, paired leads, verdicts."""
    lists = {JUDGED: judged_lists(judgments), POOL: found_lists(judgments, signals)}
    tables: dict[str, Any] = {}
    verdicts: list[dict[str, Any]] = []
    for name, ranked in lists.items():
        values: dict[str, list[Doubles]] = {}
        lessons = []
        for seed in seeds:
            scores, told = rank_all(ranked, signals, seed, threads)
            lessons.append({"seed": seed, **told})
            for method, found in scores.items():
                values.setdefault(method, []).append(ranked.ndcg(found))
            on_seed(1)
        tables[name] = _table(name, ranked, values, lessons, seeds[0])
        verdicts.extend(_verdicts(name, tables[name]))
    return {
        "queries": len(judgments.queries),
        "judgments": len(judgments.row),
        "documents": int(signals[BM25].shape[1]),
        "folds": FOLDS,
        "seeds": list(seeds),
        "features": [*signals.names, "cross"],
        "lists": tables,
        "verdicts": verdicts,
    }


def _table(
    name: str,
    ranked: Ranked,
    values: Mapping[str, Sequence[Doubles]],
    lessons: Sequence[Mapping[str, Any]],
    seed: int,
) -> dict[str, Any]:
    """One kind of list: methods with intervals over queries, and what the ranker leads by."""
    means = {method: np.mean(found, axis=0) for method, found in values.items()}
    known = ranked.best > 0
    who = np.flatnonzero(known)

    def interval(found: Doubles) -> list[float]:
        return [round(x, 5) for x in paired_interval(found[known], who, seed)]

    asked = np.bincount(ranked.query, ranked.asked, minlength=ranked.queries)
    return {
        "ranked": MEANING[name],
        "queries with a relevant document": int(known.sum()),
        "documents a query": round(float(asked[known].mean()), 1),
        "NDCG@10": {method: interval(found) for method, found in means.items()},
        "by seed": {
            method: [round(float(np.nanmean(v)), 5) for v in found]
            for method, found in values.items()
        },
        "ranker leads": {other: interval(means[RANKER] - means[other]) for other in BASELINES},
        "lessons": list(lessons),
    }


def _verdicts(name: str, table: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "claim": f"{name}: the ranker beats {other}",
            "measure": "NDCG@10",
            "difference": table["ranker leads"][other],
            "wanted": "> 0 beyond chance",
            "excludes zero": table["ranker leads"][other][1] > 0,
            "passed": table["ranker leads"][other][1] > 0,
        }
        for other in BASELINES
    ]
