"""Lists of the simulated market whose every item has a known chance to be bought.

A visitor with an intent meets candidates of its top category, as recall would bring them. What they
want is the market's own law (`marketsim.behaviour`), so the chance of a purchase is computed, not
estimated. A ranker sees what a marketplace could know: noisy images of that, and facts. It learns
from lists in random order of which clicks and purchases came, by the same code as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kindred.events.actions import FORMATS
from kindred.experiments.marketsim.behaviour import Appeal, chance, examination, steps
from kindred.experiments.marketsim.behaviour_knobs import ActionKnobs, BehaviourKnobs
from kindred.experiments.marketsim.knobs import MarketKnobs
from kindred.experiments.marketsim.visitors import (
    Visitors,
    draw_leaves,
    draw_targets,
    make_visitors,
)
from kindred.experiments.marketsim.world import World, make_world
from kindred.indexer.behaviour.impressions import PLATFORMS
from kindred.indexer.columns import Columns
from kindred.rerank.calibration import Calibration, fit_by_platform
from kindred.rerank.lambdamart import Ranker, RankingSet, fit_ranker
from kindred.retrieval.segments import offsets_of
from kindred.retrieval.sources import SOURCES
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Candidates, Doubles, Floats, Mask, Rows
from kindred.schemas.settings import RankerSettings

START = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z"""
SEEN = ("fit", "quality", "price", "spends", "distance", "popularity", "format", "leaf")
"""Features of the ranker."""
PRICE = SEEN.index("price")
"""The price's, a logarithm."""
NOISE = 0.8
"""Spread of what is seen about what is so, in standard deviations of it."""
WIDTH = 60
"""Candidates of a list."""
CLICK, PURCHASE = 1, 6
"""Grades."""
PURCHASE_WEIGHT = 15.0
"""Of a row of grade 6 in training (SPEC B9)."""
VISITORS = 2000


@dataclass(frozen=True, slots=True, eq=False)
class TrueMarket:
    """A world with its visitors, and what the market knows of its listings."""

    world: World
    visitors: Visitors
    appeal: Appeal
    knobs: BehaviourKnobs
    columns: Columns
    popularity: Doubles
    """float64[N]: how often each was clicked, of a hundred who saw it: promises count"""

    @classmethod
    def make(cls, items: int, seed: int) -> TrueMarket:
        """The market of a seed."""
        knobs = BehaviourKnobs()
        world = make_world(MarketKnobs(items=items), seed, START)
        rng = np.random.default_rng([seed, 1])
        people = make_visitors(world, knobs.visitors, VISITORS, rng)
        appeal = Appeal.of(world, people, knobs, rng)
        columns = Columns(len(world))
        columns.apply(np.arange(len(world)), world.items)
        average = appeal.clicked(appeal.knobs.attraction.quality * appeal.quality,
                                 np.arange(len(world)))  # fmt: skip
        popularity = rng.binomial(100, average).astype(np.float64)
        return cls(world, people, appeal, knobs, columns, popularity)


@dataclass(frozen=True, slots=True, eq=False)
class TrueLists:
    """L lists of WIDTH candidates each, in no order."""

    visitor: Rows
    """int64[L]"""
    app: Mask
    """bool[L]"""
    rows: Rows
    """int64[L, W]: listings, none twice in a list"""
    click: Doubles
    """float64[L, W]: chance of a click once it is looked at"""
    bought: Doubles
    """float64[L, W]: chance of a purchase once it is clicked"""
    worth: Doubles
    """float64[L, W]: log odds of wanting it, promises left aside"""
    features: Floats
    """float32[L x W, F]"""

    @property
    def chance(self) -> Doubles:
        """float64[L, W]: chance of a purchase once it is looked at."""
        return self.click * self.bought

    @property
    def platforms(self) -> NDArray[np.int8]:
        """int8[L x W]: codes of PLATFORMS."""
        codes = np.where(self.app, PLATFORMS.index("app"), PLATFORMS.index("web"))
        return np.repeat(codes.astype(np.int8), self.rows.shape[1])

    def candidates(self, probability: Doubles) -> Candidates:
        """The lists as the funnel's, with these probabilities float64[L, W]."""
        offsets = offsets_of(np.full(len(self.rows), self.rows.shape[1]))
        return Candidates.unfound(
            offsets, self.rows.ravel(), len(SOURCES), probability=probability.ravel()
        )


def purchase_chance(log_odds: Doubles, formats: NDArray[np.integer], knobs: ActionKnobs) -> Doubles:
    """float64[n]: chance that who views a listing buys it; what `draw_deeds` draws, computed.

    `log_odds` are those of worth once it is seen whole.
    """
    lift = 2 * chance(log_odds)
    found, left = np.zeros(len(log_odds)), np.ones(len(log_odds))
    for step in reversed(steps(knobs)):  # the strongest thing done decides
        needs = FORMATS.get(step.action)
        may = np.ones(len(log_odds), bool) if needs is None else (formats & int(needs)) != 0
        done = np.where(may, np.minimum(step.rate * lift, 1), 0.0)
        found += left * done * np.minimum(step.purchase * np.minimum(lift, 1.2), 1)
        left = left * (1 - done)
    return found + left * np.minimum(knobs.purchase_view * np.minimum(lift, 1.2), 1)


def true_lists(market: TrueMarket, count: int, rng: np.random.Generator) -> TrueLists:
    """Lists for `count` visits: of the intent's top category, what fits it rather than not."""
    world, people, knobs = market.world, market.visitors, market.knobs.visitors
    visitor = rng.choice(len(people), count, p=people.activity)
    leaf = draw_leaves(world, people, knobs, visitor, rng)
    target = draw_targets(world, people, knobs, visitor, leaf, rng)
    rows = _recalled(world, leaf, target, rng)
    flat, who = rows.ravel(), np.repeat(visitor, rows.shape[1])
    wanted = np.repeat(target, rows.shape[1], axis=0)
    worth = market.appeal.worth(who, wanted, flat)
    click = market.appeal.clicked(worth, flat)
    bought = purchase_chance(
        market.appeal.seen_whole(worth, flat), world.formats[flat], market.knobs.actions
    )
    return TrueLists(
        visitor=visitor,
        app=people.app[visitor],
        rows=rows,
        click=click.reshape(rows.shape),
        bought=bought.reshape(rows.shape),
        worth=worth.reshape(rows.shape),
        features=_seen(market, who, wanted, flat, np.repeat(leaf, rows.shape[1]), rng),
    )


def _recalled(
    world: World, leaf: NDArray[np.int32], target: Floats, rng: np.random.Generator
) -> Rows:
    """int64[L, W]: of each intent's top category, by fit and chance."""
    top, of_item = world.categories.top[leaf], world.categories.top[world.category]
    rows = np.zeros((len(leaf), WIDTH), np.int64)
    for t in np.unique(top):
        members, lists = np.flatnonzero(of_item == t), np.flatnonzero(top == t)
        if len(members) < WIDTH:
            members = np.arange(len(world))
        key = target[lists] @ world.style[members].T
        key = key / max(float(key.std()), 1e-9) + rng.normal(size=key.shape)
        rows[lists] = members[np.argpartition(-key, WIDTH - 1, axis=1)[:, :WIDTH]]
    return rows


def _seen(
    market: TrueMarket,
    who: Rows,
    target: Floats,
    rows: Rows,
    leaf: NDArray[np.int32],
    rng: np.random.Generator,
) -> Floats:
    """float32[n, len(SEEN)]: what a marketplace could know of each candidate."""
    appeal, world, n = market.appeal, market.world, len(rows)

    def dim(values: Doubles, noise: float = NOISE) -> Doubles:
        spread = max(float(values.std()), 1e-9)
        return values + noise * spread * rng.normal(size=n)

    usual = appeal.usual[world.category[rows]]
    km = world.places.travel_km(market.visitors.place[who], world.place[rows])
    columns = (
        dim(appeal.fit(target, rows)), dim(appeal.quality[rows]),
        appeal.log_price[rows] - usual, dim(np.log(market.visitors.spends[who])), np.log1p(km),
        market.popularity[rows], world.formats[rows], world.category[rows] == leaf,
    )  # fmt: skip
    return np.stack([np.asarray(c, np.float32) for c in columns], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What came of lists in random order."""

    grades: NDArray[np.int8]
    """int8[L x W]"""
    positions: NDArray[np.int32]
    """int32[L x W], 1 = first"""
    clicked_lists: Mask
    """bool[L]"""


def shown(lists: TrueLists, knobs: BehaviourKnobs, rng: np.random.Generator) -> Shown:
    """Show all candidates of each list in random order, once."""
    shape = lists.rows.shape
    rank = rng.permuted(np.tile(np.arange(1, shape[1] + 1), (shape[0], 1)), axis=1)
    app = np.repeat(lists.app, shape[1])
    looked = examination(rank.ravel(), app, knobs.attraction).reshape(shape)
    clicked = rng.random(shape) < looked * lists.click
    bought = clicked & (rng.random(shape) < lists.bought)
    grades = np.where(bought, PURCHASE, np.where(clicked, CLICK, 0)).astype(np.int8)
    any_click = np.asarray(clicked.any(axis=1))
    return Shown(grades.ravel(), rank.ravel().astype(np.int32), any_click)


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """A ranker and its calibration, from the market's shown lists."""

    ranker: Ranker
    calibration: Calibration
    report: dict[str, Any]
    """Of the calibration (`fit_by_platform`)"""
    facts: dict[str, Any]

    def probability(self, lists: TrueLists) -> tuple[Doubles, Doubles]:
        """(float64[L, W] calibrated, float64[L, W] raw scores)."""
        raw = self.ranker.score(lists.features)
        p = self.calibration.probability(raw, lists.platforms)
        return p.reshape(lists.rows.shape), raw.reshape(lists.rows.shape)


def learn(
    market: TrueMarket, settings: RankerSettings, lists: int, seed: int, progress: Progress
) -> Learned:
    """Train on `lists` lists, stop by half as many, calibrate by as many again, all different."""
    parts = []
    for part, count in enumerate((lists, lists // 2, lists)):
        rng = np.random.default_rng([seed, 2 + part])
        drawn = true_lists(market, count, rng)
        parts.append((drawn, shown(drawn, market.knobs, rng)))
    # Few and noisy labels: small trees, as for few lists elsewhere.
    small = msgspec.structs.replace(settings, leaves=min(settings.leaves, 15))
    train, check = (_ranking_set(*part) for part in parts[:2])
    with progress.task(f"grow trees, seed {seed}", settings.trees) as on_tree:
        ranker, trees = fit_ranker(train, check, SEEN, small, seed=seed, on_tree=on_tree)
    held, came = parts[2]
    owners = np.repeat(np.arange(len(held.rows)), held.rows.shape[1])
    calibration, report = fit_by_platform(
        ranker.score(held.features), (came.grades == PURCHASE).astype(np.float64), owners,
        held.platforms,
    )  # fmt: skip
    bought = [int((outcome.grades == PURCHASE).sum()) for _, outcome in parts]
    facts = {"trees": trees, "lists": lists, "purchases to learn from": bought[0],
             "purchases to calibrate by": bought[2]}  # fmt: skip
    return Learned(ranker, calibration, report, facts)


def _ranking_set(lists: TrueLists, came: Shown) -> RankingSet:
    """The lists of which anything came, as the ranker's rows."""
    width = lists.rows.shape[1]
    keep = np.repeat(came.clicked_lists, width)
    grades = came.grades[keep]
    weights = np.where(grades == PURCHASE, PURCHASE_WEIGHT, 1.0).astype(np.float32)
    app = np.repeat(lists.app, width)[keep]
    positions = came.positions[keep] + np.where(app, width + 1, 0).astype(np.int32)
    lengths = np.full(int(came.clicked_lists.sum()), width)
    return RankingSet(lists.features[keep], grades, lengths, weights, positions)
