"""`kindred bench rerank`: what ordering 300 candidates costs as it is served, beside LightGBM.

In one process and thread. Everything that is timed alone meets another question than the one just
ordered, so that none finds its rows in the cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from kindred.api.bench.report import Spread, machine
from kindred.api.bench.rerank_market import Asked, draw_corpus, draw_questions
from kindred.rerank.blend import with_usual_price
from kindred.rerank.calibration import Calibration
from kindred.rerank.features import FEATURES, GROUPS, Context, assemble
from kindred.rerank.funnel import Funnel, order
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.tree_walk import process_walk
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Floats
from kindred.schemas.settings import BlendSettings, RankerSettings, RecallSettings

if TYPE_CHECKING:
    import lightgbm

K = 24
TRAINED_ON = 60
"""Questions whose candidates the trees are grown on."""
WARM_UP = 20
CLOCKS = {"wall": time.perf_counter, "cpu": time.thread_time}


class RerankBench(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of one core."""

    items: int
    candidates: int
    features: int
    trees: int
    leaves: int
    requests: int
    seed: int
    clock: str
    """`wall`, or `cpu`: time that the thread was running, whatever else the machine did"""
    machine: dict[str, str]
    compiled: bool
    """Whether compiled code walks the trees, as it does in service wherever it can be made."""
    rerank: Spread
    """All of the funnel behind recall: features, trees, calibration, blend, what follows."""
    stages: dict[str, Spread]
    """Of it, as the funnel tells it."""
    assembly: Spread
    """Features alone."""
    groups: dict[str, Spread]
    """Of it, by group."""
    trees_alone: Spread
    """The trees, as `rerank` walks them."""
    lightgbm: Spread
    """`lightgbm.predict` alone, of the same trees."""
    lightgbm_rerank: Spread
    """All of it with that."""
    ratio: float
    """Median of `rerank` in medians of `lightgbm`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure."""

    items: int = 100_000
    candidates: int = 300
    trees: int = 500
    requests: int = 300
    seed: int = 7
    clock: Literal["wall", "cpu"] = "wall"


def run_rerank(plan: Plan, now: int, progress: Progress) -> RerankBench:
    """Draw a market, grow trees on it, and order candidates."""
    corpus = draw_corpus(plan.items, plan.seed, now, progress)
    corpus, asked = draw_questions(corpus, plan.requests + WARM_UP, plan.candidates, plan.seed, now)
    features = [assemble(Context(a.queries, a.candidates, corpus)) for a in asked]
    settings = RankerSettings()
    with progress.task("trees", plan.trees) as on_tree:
        booster = grow(features[:TRAINED_ON], plan.trees, settings.leaves, plan.seed, on_tree)
    ranker = Ranker.of(booster)
    walk = process_walk()
    walk.prepare()
    scores = np.sort(np.concatenate([ranker.score(f) for f in features[:TRAINED_ON]]))
    funnel = Funnel(
        corpus=corpus,
        recall=RecallSettings(),
        blend=with_usual_price(BlendSettings(), corpus.columns),
        ranker=ranker.walked_by(walk),
        calibration=Calibration(scores[::500], np.geomspace(1e-4, 0.3, len(scores[::500]))),
    )
    with progress.task("requests", plan.requests) as done:
        took, stages = timed(funnel, ranker, asked, features, CLOCKS[plan.clock], done)
    medians = {name: float(np.median(values)) for name, values in took.items()}
    return RerankBench(
        items=plan.items,
        candidates=plan.candidates,
        features=len(FEATURES),
        trees=ranker.trees,
        leaves=settings.leaves,
        requests=plan.requests,
        seed=plan.seed,
        clock=plan.clock,
        machine=machine(),
        compiled=walk.compiled is not None,
        rerank=Spread.of(took["rerank"]),
        stages={name: Spread.of(values) for name, values in stages.items()},
        assembly=Spread.of(took["assembly"]),
        groups={group.name: Spread.of(took[group.name]) for group in GROUPS},
        trees_alone=Spread.of(took["trees"]),
        lightgbm=Spread.of(took["lightgbm"]),
        lightgbm_rerank=Spread.of(took["lightgbm rerank"]),
        ratio=round(medians["rerank"] / medians["lightgbm"], 3),
    )


def grow(
    features: Sequence[Floats],
    trees: int,
    leaves: int,
    seed: int,
    on_tree: Callable[[int], None],
) -> lightgbm.Booster:
    """So many trees by lambdarank, on labels that some of the columns explain."""
    import lightgbm

    random = np.random.default_rng(seed)
    rows = np.concatenate(features)
    known = np.nan_to_num(rows, nan=0.0)
    spread = known.std(axis=0)
    weights = random.normal(size=rows.shape[1]) / np.where(spread > 0, spread, 1)
    appeal = known @ weights + random.normal(size=len(rows)) * 4
    labels = np.digitize(appeal, np.quantile(appeal, [0.9, 0.97, 0.99]))
    data = lightgbm.Dataset(rows, labels, group=[len(f) for f in features],
                            feature_name=list(FEATURES))  # fmt: skip
    params = {
        "objective": "lambdarank", "num_leaves": leaves, "learning_rate": 0.02, "verbosity": -1,
        "num_threads": 1, "seed": seed, "deterministic": True, "force_row_wise": True,
        "min_data_in_leaf": 20, "feature_fraction": 0.8,
    }  # fmt: skip
    return lightgbm.train(params, data, trees, callbacks=[lambda _: on_tree(1)])


def timed(
    funnel: Funnel,
    lightgbm: Ranker,
    asked: Sequence[Asked],
    features: Sequence[Floats],
    clock: Callable[[], float],
    done: Callable[[int], None],
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """(milliseconds by part, milliseconds by stage) of every question but the first WARM_UP."""
    assert funnel.ranker is not None
    took: dict[str, list[float]] = {}
    stages: dict[str, list[float]] = {}

    def lap(name: str, what: Callable[[], object], counts: bool) -> None:
        begin = clock()
        what()
        if counts:
            took.setdefault(name, []).append((clock() - begin) * 1e3)

    n = len(asked)
    for i, question in enumerate(asked):
        counts = i >= WARM_UP
        begin = clock()
        ranked = order(
            funnel, question.queries, question.candidates, k=K, until="blend", clock=clock
        )
        if counts:
            took.setdefault("rerank", []).append((clock() - begin) * 1e3)
            done(1)
            for name, ms in ranked.ms.items():
                stages.setdefault(name, []).append(ms)
        lap("trees", partial(funnel.ranker.score, features[(i + n // 2) % n]), counts)
        lap("lightgbm", partial(lightgbm.score, features[(i + n // 5) % n]), counts)
        away = asked[(i + n // 7) % n]
        again = partial(
            order, replace(funnel, ranker=lightgbm), away.queries, away.candidates, k=K,
            until="blend", clock=clock,
        )  # fmt: skip
        lap("lightgbm rerank", again, counts)
        away = asked[(i + n // 3) % n]
        context = Context(away.queries, away.candidates, funnel.corpus)
        lap("assembly", partial(assemble, context), counts)
        away = asked[(i + 2 * n // 3) % n]
        context = Context(away.queries, away.candidates, funnel.corpus)
        for group in GROUPS:
            out = np.empty((len(context.rows), len(group.features)), np.float32)
            lap(group.name, partial(group.fill, context, out), counts)
    return took, stages
