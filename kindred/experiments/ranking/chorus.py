"""Graded relevance (Chorus): a committee of rankers against BM25, text similarity and crosses.

Queries are split into five folds; each fold is ranked by what the other four teach, and nothing is
chosen by a query that is asked: not the crosses' weights, not the committee's share. Two lists are
ranked, because only judged documents can be graded: those judged for the query, where every grade
is known; and the first documents that BM25 and text similarity find in the whole catalogue, where
what nobody judged counts as irrelevant, which it need not be. A search answers with the second. A
query without a relevant document is left out of the means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kindred.experiments.ranking.committee import (
    CROSS_FEATURE,
    columns_of,
    folds_of,
    learn,
    tuned_cross,
)
from kindred.experiments.ranking.graded_lists import Ranked, found_lists, judged_lists
from kindred.experiments.ranking.judgments import Judgments
from kindred.experiments.ranking.query_features import BM25, FIELDS, TEXT, Signals
from kindred.rerank.metrics import paired_interval
from kindred.schemas.ranking import Doubles

RRF, CROSS, FIELD_CROSS = "cross (RRF)", "cross (tuned sum)", "cross by field (tuned sum)"
TREES_ALONE, RANKER = "trees alone", "ranker"
BASELINES = (BM25, TEXT, RRF, CROSS, FIELDS, FIELD_CROSS)
"""Those by field are stronger than what the ranker has to beat."""
JUDGED, POOL = "judged documents", "whole catalogue"
MEANING = {
    JUDGED: "the documents judged for the query; every grade is known",
    POOL: "the first documents by BM25 and by text of the whole catalogue; unjudged count as 0",
}
FOLDS = 5
RRF_K = 60.0


def rank_all(
    ranked: Ranked, signals: Signals, seed: int, threads: int = 0
) -> tuple[dict[str, Doubles], dict[str, Any]]:
    """(scores float64[n] by method, what was learned): every query by the other folds' lesson."""
    plain = {
        name: signals[name][ranked.query, ranked.row].astype(np.float64)
        for name in (BM25, TEXT, FIELDS)
    }
    parts = {name: ranked.standard(scores) for name, scores in plain.items()}
    features, names = columns_of(ranked, signals)
    learned = (CROSS, FIELD_CROSS, TREES_ALONE, RANKER)
    rrf = np.stack([1 / (RRF_K + ranked.ranks(plain[name])) for name in (BM25, TEXT)])
    scores = {
        **plain,
        RRF: rrf.sum(axis=0),
        **{name: np.zeros(len(ranked.row)) for name in learned},
    }
    fold = folds_of(ranked.group, FOLDS, seed)
    told: dict[str, list[float]] = {"text's weight": [], "beside fields": [], "trees' share": []}
    gains: dict[str, float] = {}
    for number in range(FOLDS):
        training = fold != number
        weight, cross = tuned_cross(ranked, parts[BM25], parts[TEXT], training)
        beside, by_field = tuned_cross(ranked, parts[FIELDS], parts[TEXT], training)
        lesson = learn(ranked, features, names, by_field, training, seed * FOLDS + number, threads)
        asked = ~training[ranked.query]
        found = (cross, by_field, lesson.trees, lesson.mixed)
        for name, whole in zip(learned, found, strict=True):
            scores[name][asked] = whole[asked]
        for key, value in zip(told, (weight, beside, lesson.share), strict=True):
            told[key].append(value)
        for name, gain in lesson.importance.items():
            gains[name] = gains.get(name, 0.0) + gain / FOLDS
    importance = {n: round(g, 4) for n, g in sorted(gains.items(), key=lambda x: -x[1])}
    return scores, {**told, "importance": importance}


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
        "features": [*signals.names, CROSS_FEATURE],
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
    who = ranked.group[known]

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
