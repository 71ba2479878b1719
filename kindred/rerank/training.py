"""Training the ranker from what people did next (SPEC §3.7, without impressions yet).

The features of a training query come from tables made of older events only, so that the ranker
learns from what it will see when it serves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.rerank.calibration import Calibration, fit_isotonic
from kindred.rerank.examples import Examples
from kindred.rerank.features import FEATURES, Context, assemble
from kindred.rerank.features.group import gather
from kindred.rerank.funnel import Funnel, run
from kindred.rerank.lambdamart import Ranker, RankingSet, fit_ranker
from kindred.rerank.metrics import MISSED, first_ranks, ndcg, paired_interval
from kindred.retrieval.queries import Queries, make_queries, seed_weights
from kindred.retrieval.segments import segment_sum
from kindred.schemas.errors import KindredError
from kindred.schemas.ranking import Candidates, Doubles, Floats, Rows
from kindred.schemas.settings import RankerSettings

CHUNK = 256
"""Queries recalled at once."""
HEAD = 30
"""Best merged candidates that always stay as negatives."""


class TooLittle(KindredError):
    """There is nothing to learn a ranker from; the merge's order serves."""


def silent(done: int) -> None:
    """Progress reported to nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRanker:
    """A ranker, its calibration, and what it is worth on the development part."""

    ranker: Ranker
    calibration: Calibration
    metrics: dict[str, Any]
    passed: bool
    reason: str


def as_queries(
    examples: Examples, funnel: Funnel, action_weights: Floats, *, repeats: bool = False
) -> Queries:
    """The questions of `examples`; `action_weights` float32[actions] by action code."""
    return make_queries(
        funnel.corpus.columns,
        examples.offsets,
        examples.seeds,
        now=examples.now,
        half_life=funnel.recall.session_half_life,
        action_weights=seed_weights(action_weights, examples.actions),
        exclude_seeds=not repeats,
        users=examples.users if len(examples.users) else None,
    )


def labelled(
    examples: Examples,
    funnel: Funnel,
    action_weights: Floats,
    *,
    repeats: bool,
    on_queries: Callable[[int], None],
) -> Iterator[tuple[Examples, Queries, Candidates, NDArray[np.int8]]]:
    """Recalled candidates with their grades, `CHUNK` queries at a time."""
    for start in range(0, len(examples), CHUNK):
        part = examples.take(np.arange(start, min(start + CHUNK, len(examples))))
        queries = as_queries(part, funnel, action_weights, repeats=repeats)
        candidates = run(funnel, queries, k=10, until="recall").candidates
        yield part, queries, candidates, part.grade(candidates, funnel.corpus.columns.size)
        on_queries(len(part))


def training_rows(
    examples: Examples,
    funnel: Funnel,
    action_weights: Floats,
    *,
    negatives: int,
    repeats: bool,
    seed: int,
    on_queries: Callable[[int], None],
) -> RankingSet:
    """Rows of the queries with a hit: every graded candidate, the head, some of the rest."""
    rng = np.random.default_rng(seed)
    features, grades, lengths = [], [], []
    parts = labelled(examples, funnel, action_weights, repeats=repeats, on_queries=on_queries)
    for _, queries, candidates, grade in parts:
        hit = segment_sum((grade > 0).astype(np.int64), candidates.offsets) > 0
        length = np.diff(candidates.offsets)[candidates.queries]
        chance = negatives / np.maximum(length - HEAD, 1)
        keep = (grade > 0) | (candidates.ranks < HEAD) | (rng.random(len(grade)) < chance)
        keep &= hit[candidates.queries]
        chosen = candidates.take(keep)
        features.append(assemble(Context(queries, chosen, funnel.corpus)))
        grades.append(grade[keep])
        sizes = np.diff(chosen.offsets)
        lengths.append(sizes[sizes > 0])
    if not lengths:
        return RankingSet(
            np.zeros((0, len(FEATURES)), np.float32), np.zeros(0, np.int8), np.zeros(0, np.int64)
        )
    return RankingSet(np.concatenate(features), np.concatenate(grades), np.concatenate(lengths))


def train_ranker(
    train: Examples,
    development: Examples,
    funnel: Funnel,
    action_weights: Floats,
    settings: RankerSettings,
    *,
    repeats: bool,
    seed: int,
    threads: int = 0,
    on_queries: Callable[[int], None] = silent,
    on_tree: Callable[[int], None] = silent,
) -> TrainedRanker:
    """Fit on `train`; stop, calibrate and judge on the later `development` queries.

    The gate: NDCG@10 above the merge's own order, with a 95 % interval that excludes zero.
    """
    rows = training_rows(
        train, funnel, action_weights, negatives=settings.negatives, repeats=repeats, seed=seed,
        on_queries=on_queries,
    )  # fmt: skip
    # A third stops the training; it takes more to tell a lead from chance.
    numbers = np.arange(len(development))
    stop, judge = (
        development.take(numbers[numbers % 3 == 0]),
        development.take(numbers[numbers % 3 != 0]),
    )
    check = training_rows(
        stop, funnel, action_weights, negatives=10**6, repeats=repeats, seed=seed,
        on_queries=on_queries,
    )  # fmt: skip
    if not (len(rows.lengths) and len(check.lengths) and len(judge)):
        raise TooLittle(
            f"{len(rows.lengths)} training and {len(check.lengths)} stopping queries whose next "
            "item was recalled: too few to learn from"
        )
    ranker, trees = fit_ranker(
        rows, check, FEATURES, settings, seed=seed, threads=threads, on_tree=on_tree
    )
    return judged(
        ranker, judge, funnel, action_weights, repeats=repeats, seed=seed, on_queries=on_queries,
        facts={"trees": trees, "training_rows": len(rows.grades), "training_queries": len(train)},
    )  # fmt: skip


def judged(
    ranker: Ranker,
    judge: Examples,
    funnel: Funnel,
    action_weights: Floats,
    *,
    repeats: bool,
    seed: int,
    on_queries: Callable[[int], None],
    facts: dict[str, Any],
) -> TrainedRanker:
    """Compare with the merge's order and with popularity on queries that training never saw."""
    gains: dict[str, list[Doubles]] = {}
    ranks: dict[str, list[Rows]] = {}
    scores, labels, owners, start = [], [], [], 0
    parts = labelled(judge, funnel, action_weights, repeats=repeats, on_queries=on_queries)
    for part, queries, candidates, grade in parts:
        score = ranker.score(assemble(Context(queries, candidates, funnel.corpus)))
        keys: dict[str, NDArray[np.floating]] = {"merge": candidates.merged, "ranker": score}
        if funnel.corpus.history is not None:
            keys["popularity"] = gather(funnel.corpus.history.popularity, candidates.rows)
        for name, key in keys.items():
            order = np.lexsort((-np.nan_to_num(key), candidates.queries))
            ordered, graded = candidates.take(order), grade[order]
            gain = ndcg(ordered, graded, part.followed_offsets, part.grades, 10)
            gains.setdefault(name, []).append(gain)
            ranks.setdefault(name, []).append(first_ranks(ordered, graded, MISSED))
        scores.append(score)
        labels.append(grade > 0)
        owners.append(candidates.queries + start)
        start += len(part)
    score, label = np.concatenate(scores), np.concatenate(labels).astype(np.float64)
    by_order = {name: np.concatenate(values) for name, values in gains.items()}
    lead = paired_interval(by_order["ranker"] - by_order["merge"], judge.subject, seed)
    metrics = {
        **facts,
        "development_queries": len(judge),
        "expected_calibration_error": round(cross_fitted(score, label, np.concatenate(owners)), 5),
        **order_metrics(by_order, {n: np.concatenate(v) for n, v in ranks.items()}),
        "ndcg@10 ranker - merge": [round(x, 5) for x in lead],
        "importance": dict(list(ranker.importance().items())[:20]),
    }
    return TrainedRanker(
        ranker=ranker,
        calibration=fit_isotonic(score, label),
        metrics=metrics,
        passed=lead[1] > 0,
        reason="NDCG@10 {:+.4f} [{:+.4f}, {:+.4f}] against the merge's order".format(*lead),
    )


def cross_fitted(score: Doubles, label: Doubles, owners: Rows) -> float:
    """Calibration error of a curve fitted on every other query, on the queries between."""
    even = owners % 2 == 0
    if even.all() or not label[even].any():
        return float("nan")
    return fit_isotonic(score[even], label[even]).error(score[~even], label[~even])


def order_metrics(gains: dict[str, Doubles], ranks: dict[str, Rows]) -> dict[str, Any]:
    """Means by order; the rank of the first hit is over the queries whose hit was recalled."""
    found = ranks["merge"] < MISSED
    metrics: dict[str, Any] = {"recalled": round(float(found.mean()), 5)}
    for name in gains:
        metrics[f"ndcg@10 {name}"] = round(float(gains[name].mean()), 5)
        metrics[f"hit@10 {name}"] = round(float((ranks[name] <= 10).mean()), 5)
        mean_rank = float(ranks[name][found].mean()) if found.any() else float("nan")
        metrics[f"rank of the first hit {name}"] = round(mean_rank, 2)
    return metrics
