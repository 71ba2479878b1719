"""Whether a formula pays a seller for a higher price: one sponsored item of each list, repriced.

Under the expected value a dearer item brings a larger fee, so its seller could ask more to stand
higher. Against that stand the ranker, which sees the price, the clamp of price / p0, and buyers.
Here a sponsored item among the best of each list has its price changed, all else as it is: what the
ranker sees of it, its place under each formula, and what people would do then, by the market's law.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kindred.experiments.blending.frontier import interval
from kindred.experiments.blending.market import (
    PRICE,
    Learned,
    TrueLists,
    TrueMarket,
    purchase_chance,
)
from kindred.rerank.blend import FORMULAS, sponsored
from kindred.schemas.ranking import Doubles, Rows
from kindred.schemas.settings import BlendSettings

FACTORS = (1.0, 0.8, 0.9, 1.1, 1.25, 1.5, 2.0)
"""Of the price; the first is the one that the others are compared with."""
AMONG = 12
"""The best so many by probability, one of which is repriced."""
PLAIN = "probability"
"""The order without rates, in reports."""
WORTHS = ("looks", "sales", "income", "fees")


def repriced(
    market: TrueMarket,
    learned: Learned,
    lists: TrueLists,
    look: Doubles,
    settings: BlendSettings,
    rng: np.random.Generator,
) -> tuple[Rows, dict[str, Doubles]]:
    """(visitor int64[M], by order float64[F, M, worths]) of the M lists with such an item.

    `look` float64[L, k] is the chance of a look at each place; `settings` have a reference price.
    Income is what sales bring less the fees; both in shares of the item's price before.
    """
    columns, shape, k = market.columns, lists.rows.shape, look.shape[1]
    probability, _ = learned.probability(lists)
    flat = lists.rows.ravel()
    bp = np.where(sponsored(columns, flat), columns.ad_rate_bp[flat], 0).reshape(shape)
    rate = np.minimum(bp, settings.rate_max_bp) / 10_000
    ratio = columns.price[lists.rows] / settings.p0_minor
    best = np.argsort(-probability, axis=1, kind="stable")[:, :AMONG]
    paying = np.take_along_axis(rate, best, 1) > 0
    of = np.flatnonzero(paying.any(axis=1))
    drawn = (rng.random(paying.shape) * paying).argmax(axis=1)
    at = np.take_along_axis(best, drawn[:, None], 1)[of, 0]
    share, priced, most = rate[of, at], ratio[of, at], settings.price_max
    told: dict[str, list[Doubles]] = {PLAIN: [], **{name: [] for name in FORMULAS}}
    for factor in FACTORS:
        p, chance = _at_price(market, learned, lists, of, at, factor)
        for name, rows in told.items():
            value, own = np.log(probability[of]), np.log(p)
            if name in FORMULAS:
                adds = FORMULAS[name].adds
                value = value + adds(rate[of], np.minimum(ratio[of], most), settings)
                own = own + adds(share, np.minimum(priced * factor, most), settings)
            value[np.arange(len(of)), at] = -np.inf
            ahead = (value > own[:, None]).sum(axis=1)
            looks = np.where(ahead < k, look[of, np.minimum(ahead, k - 1)], 0.0)
            sales = looks * chance
            fees = sales * factor * share
            rows.append(np.stack([looks, sales, sales * factor - fees, fees], axis=1))
    return lists.visitor[of], {name: np.stack(rows) for name, rows in told.items()}


def price_rows(
    visitor: Rows, told: Mapping[str, Doubles], seed: int, resamples: int
) -> list[dict[str, Any]]:
    """A row for each order and factor: worths relative to the factor 1, less 1, with intervals."""
    _, cluster = np.unique(visitor, return_inverse=True)
    n = int(cluster.max(initial=-1)) + 1
    rng = np.random.default_rng(seed)
    weights = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), resamples)])
    rows = []
    for name, worths in told.items():
        sums = np.zeros((n, worths.shape[0], worths.shape[2]))
        np.add.at(sums, cluster, worths.transpose(1, 0, 2))
        totals = np.einsum("rn,nfw->rfw", weights, sums)
        change = totals / np.maximum(totals[:, :1], 1e-300) - 1
        rows += [
            {"order": name, "price": factor,
             **{w: interval(change[:, f, i]) for i, w in enumerate(WORTHS)}}
            for f, factor in enumerate(FACTORS)
        ]  # fmt: skip
    return rows


def _at_price(
    market: TrueMarket, learned: Learned, lists: TrueLists, of: Rows, at: Rows, factor: float
) -> tuple[Doubles, Doubles]:
    """(calibrated probability, true chance of a purchase) float64[M] at that share of the price."""
    appeal, world = market.appeal, market.world
    rows, who = lists.rows[of, at], lists.visitor[of]
    limit = appeal.usual[world.category[rows]] + np.log(market.visitors.spends[who])
    log_price = appeal.log_price[rows]
    dear = np.maximum(log_price + np.log(factor) - limit, 0) - np.maximum(log_price - limit, 0)
    worth = lists.worth[of, at] - appeal.knobs.attraction.price * dear
    click = appeal.clicked(worth, rows)
    sold = purchase_chance(
        appeal.seen_whole(worth, rows), world.formats[rows], market.knobs.actions
    )
    features = lists.features.reshape(*lists.rows.shape, -1)[of, at].copy()
    features[:, PRICE] += np.log(factor)
    platforms = lists.platforms.reshape(lists.rows.shape)[of, at]
    raw = learned.ranker.score(features)
    return learned.calibration.probability(raw, platforms), click * sold
