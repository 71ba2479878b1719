"""`kindred evaluate blend`: the frontier on markets whose truth is known, and on the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kindred.experiments.blending.frontier import (
    BAND,
    EXPECTED,
    OF_THE_LIST,
    POWER,
    PRICED,
    RAW_SCORE,
    RESAMPLES,
    SHIFTED,
    THRESHOLD,
    Judge,
    Point,
    points,
    summed,
    table,
)
from kindred.experiments.blending.logged import LoggedLists
from kindred.experiments.blending.market import TrueMarket, learn, true_lists
from kindred.experiments.blending.pricing import price_rows, repriced
from kindred.experiments.blending.verdicts import verdicts
from kindred.experiments.marketsim.behaviour import examination
from kindred.experiments.simulated import SIMULATED
from kindred.rerank.blend import with_usual_price
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Doubles, Rows
from kindred.schemas.settings import BlendSettings, KindredSettings

RIVALS = {
    POWER: "the power blend",
    EXPECTED: "the expected value",
    OF_THE_LIST: "the expected value by the list's usual price",
    PRICED: "the power blend with the price, too",
    RAW_SCORE: "raw score x (1 + a x rate)",
    SHIFTED: "raw score above the list's lowest x (1 + a x rate)",
    BAND: "the rate alone within the first so many",
    THRESHOLD: "the rate alone near the k-th probability",
}


def simulated(
    settings: KindredSettings,
    progress: Progress,
    *,
    seeds: Sequence[int],
    items: int,
    lists: int,
    training_lists: int,
    k: int,
) -> dict[str, Any]:
    """The frontier over markets of `seeds`, each with a ranker and a calibration of its own."""
    found: list[list[Point]] = []
    clusters, runs = [], []
    askers: list[Rows] = []
    prices: list[dict[str, Doubles]] = []
    for number, seed in enumerate(seeds):
        with progress.task(f"simulated market, seed {seed}"):
            market = TrueMarket.make(items, seed)
        learned = learn(market, settings.ranker, training_lists, seed, progress)
        with progress.task(f"blends, seed {seed}"):
            asked = true_lists(market, lists, np.random.default_rng([seed, 9]))
            probability, raw = learned.probability(asked)
            rank = np.tile(np.arange(1, k + 1), lists)
            look = examination(rank, np.repeat(asked.app, k), market.knobs.attraction)
            judge = Judge(market.columns, asked.rows, asked.chance, look.reshape(lists, k))
            found.append(
                points(judge, asked.candidates, probability, settings.blend, raw=raw, true=True)
            )
            serving = with_usual_price(settings.blend, market.columns)
            asker, told = repriced(
                market, learned, asked, judge.look, serving, np.random.default_rng([seed, 10])
            )
        askers.append(asker + number * 10**6)
        prices.append(told)
        clusters.append(asked.visitor + number * 10**6)
        runs.append({"seed": seed, **learned.facts, "calibration": learned.report})
    sums = summed(_joined(found), np.concatenate(clusters), settings.seed)
    return {
        "note": SIMULATED,
        "seeds": list(seeds),
        "items": items,
        "lists": lists * len(seeds),
        "k": k,
        "frontier": table(sums),
        "by seed": [
            {"seed": seed, "frontier": both(table(summed(of, cluster, settings.seed)))}
            for seed, of, cluster in zip(seeds, found, clusters, strict=True)
        ],
        "verdicts": verdicts(sums, RIVALS, settings.blend),
        "repriced": price_rows(
            np.concatenate(askers),
            {name: np.concatenate([told[name] for told in prices], axis=1) for name in prices[0]},
            settings.seed,
            RESAMPLES,
        ),
        "runs": runs,
    }


def both(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a frontier, what the two formulas do without hard rules."""
    return [row for row in rows if row["family"] in (EXPECTED, POWER)]


def _joined(found: Sequence[Sequence[Point]]) -> list[Point]:
    """The lists of all seeds together, point by point."""

    def whole(of: Sequence[Point], name: str) -> Doubles:
        # A market's fees are in its own prices: each counts by its mean without ads in the order.
        return np.concatenate([getattr(p, name) / scale[name][n] for n, p in enumerate(of)])

    names = ("ndcg", "purchases", "revenue")
    scale = {name: [max(float(getattr(of[0], name).mean()), 1e-300) for of in found]
             for name in names}  # fmt: skip
    return [
        Point(of[0].family, of[0].strength, *(whole(of, name) for name in names))
        for of in zip(*found, strict=True)
    ]


def on_log(lists: LoggedLists, settings: BlendSettings, k: int, seed: int) -> dict[str, Any]:
    """The frontier over logged lists, by the probabilities themselves."""
    look = np.ones((len(lists.rows), k))
    judge = Judge(lists.columns, lists.rows, lists.probability, look)
    found = points(judge, lists.candidates, lists.probability, settings, raw=lists.score)
    sums = summed(found, lists.visitor, seed)
    return {
        "note": "What the ranker's probabilities expect; nobody was asked.",
        "lists": len(lists.rows),
        "visitors": len(np.unique(lists.visitor)),
        "candidates of a list": lists.rows.shape[1],
        "k": k,
        "scored now": lists.rescored,
        "frontier": table(sums),
        "verdicts": verdicts(sums, RIVALS, settings),
    }
