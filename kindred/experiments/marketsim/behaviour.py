"""What visitors do: what they look at, click, do and buy. Pure functions over columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.events.actions import FORMATS
from kindred.experiments.marketsim.behaviour_knobs import (
    ActionKnobs,
    AttractionKnobs,
    BehaviourKnobs,
)
from kindred.experiments.marketsim.visitors import Visitors, draw_targets
from kindred.experiments.marketsim.world import World
from kindred.schemas.clock import HOUR
from kindred.schemas.event import ACTION_CODE, Action
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows

TRAVEL_KM = 20.0
"""Unit of the travel cost's logarithm."""


def examination(rank: NDArray[np.integer], app: Mask, knobs: AttractionKnobs) -> Doubles:
    """float64[n] in (0, 1]: chance that rank 1, 2, … of a list is looked at. The true curve."""
    power = np.where(app, knobs.app_examination, knobs.web_examination)
    return np.asarray(rank.astype(np.float64) ** -power)


def chance(log_odds: Doubles) -> Doubles:
    """float64[n] in (0, 1)."""
    return np.asarray(1 / (1 + np.exp(-log_odds)))


@dataclass(frozen=True, slots=True, eq=False)
class Appeal:
    """A world as its visitors see it: log odds of interest, in the units of the knobs."""

    world: World
    visitors: Visitors
    knobs: BehaviourKnobs
    fit_mean: float
    """Cosine between an intent and a listing of its category: mean"""
    fit_sd: float
    quality: Doubles
    """float64[N], standardised"""
    log_price: Doubles
    usual: Doubles
    """float64[C]: log of the median price of a category"""

    @classmethod
    def of(
        cls, world: World, visitors: Visitors, knobs: BehaviourKnobs, rng: np.random.Generator
    ) -> Appeal:
        """Measures the scales of fit, quality and price in this world."""
        rows = rng.integers(0, len(world.category), 4000)
        who = rng.integers(0, len(visitors), 4000)
        target = draw_targets(world, visitors, knobs.visitors, who, world.category[rows], rng)
        fit = np.einsum("ns,ns->n", target, world.style[rows])
        log_price = np.log(np.maximum(world.price, 1.0))
        usual = np.full(len(world.categories.centre), float(np.median(log_price)))
        for leaf in np.unique(world.category):
            usual[leaf] = np.median(log_price[world.category == leaf])
        spread = max(float(world.quality.std()), 1e-9)
        return cls(
            world=world,
            visitors=visitors,
            knobs=knobs,
            fit_mean=float(fit.mean()),
            fit_sd=max(float(fit.std()), 1e-9),
            quality=np.asarray((world.quality - world.quality.mean()) / spread, np.float64),
            log_price=log_price,
            usual=usual,
        )

    def fit(self, target: Floats, rows: Rows) -> Doubles:
        """float64[n]: standard deviations of style fit over the category's average."""
        cosine = np.einsum("ns,ns->n", target, self.world.style[rows]).astype(np.float64)
        return np.asarray((cosine - self.fit_mean) / self.fit_sd)

    def worth(self, visitor: Rows, target: Floats, rows: Rows) -> Doubles:
        """float64[n]: log odds of wanting listing `rows[i]`, promises left aside."""
        k, world = self.knobs.attraction, self.world
        limit = self.usual[world.category[rows]] + np.log(self.visitors.spends[visitor])
        dear = np.maximum(self.log_price[rows] - limit, 0)
        km = world.places.travel_km(self.visitors.place[visitor], world.place[rows])
        return np.asarray(
            k.style * self.fit(target, rows)
            + k.quality * self.quality[rows]
            - k.price * dear
            - k.travel * np.log1p(km / TRAVEL_KM)
        )

    def clicked(self, worth: Doubles, rows: Rows) -> Doubles:
        """float64[n]: chance that a listing of that worth is clicked once it is looked at."""
        k = self.knobs.attraction
        return chance(k.bias + worth + k.clickbait * self.world.clickbait[rows])

    def seen_whole(self, worth: Doubles, rows: Rows) -> Doubles:
        """float64[n]: log odds after the view, where the promise does not hold."""
        return np.asarray(worth - self.knobs.actions.letdown * self.world.clickbait[rows])


class Exposures:
    """How often each visitor looked at each item and passed it: sorted keys, exact.

    New counts go to a small sorted part, which joins the large one when it has grown.
    """

    def __init__(self, items: int, small: int = 50_000) -> None:
        self._items, self._small = items, small
        empty = np.zeros(0, np.int64)
        self._parts: list[tuple[Rows, Rows]] = [(empty, empty), (empty, empty)]

    def count(self, visitor: Rows, rows: Rows) -> Rows:
        """int64[n]: looks so far."""
        key = visitor * self._items + rows
        total = np.zeros(len(key), np.int64)
        for keys, counts in self._parts:
            if len(keys):
                at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
                total += np.where(keys[at] == key, counts[at], 0)
        return total

    def add(self, visitor: Rows, rows: Rows) -> None:
        """One look more for each pair; a pair may come several times."""
        key = visitor * self._items + rows
        self._parts[1] = _summed(self._parts[1], (key, np.ones(len(key), np.int64)))
        if len(self._parts[1][0]) > self._small:
            self._parts[0] = _summed(*self._parts)
            self._parts[1] = (key[:0], key[:0])


def _summed(one: tuple[Rows, Rows], other: tuple[Rows, Rows]) -> tuple[Rows, Rows]:
    keys, inverse = np.unique(np.concatenate([one[0], other[0]]), return_inverse=True)
    counts = np.bincount(inverse, np.concatenate([one[1], other[1]]), len(keys))
    return keys, counts.astype(np.int64)


def draw_clicks(
    attraction: Doubles,
    rank: NDArray[np.integer],
    app: Mask,
    looks: Rows,
    knobs: AttractionKnobs,
    rng: np.random.Generator,
) -> tuple[Mask, Mask]:
    """(examined, clicked) bool[n]: a click is an examined item that attracts."""
    examined = rng.random(len(rank)) < examination(rank, app, knobs)
    tired = np.exp(-knobs.fatigue * looks)
    return examined, examined & (rng.random(len(rank)) < attraction * tired)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a viewer may do."""

    action: Action
    on_app: Action
    rate: float
    purchase: float
    """P(purchase | this is the strongest thing done)"""
    hours: float


def steps(knobs: ActionKnobs) -> Sequence[Step]:
    """The action funnel, weakest promise of a purchase first."""
    k = knobs
    table = (
        (Action.WATCH, Action.FAVOURITE, k.watch, k.purchase_watch, k.hours_watch),
        (Action.SEND_MESSAGE, Action.CONTACT_SELLER, k.message, k.purchase_message,
         k.hours_message),
        (Action.PLACE_BID, Action.PLACE_BID, k.bid, k.purchase_bid, k.hours_bid),
        (Action.ADD_TO_CART, Action.ADD_TO_CART, k.cart, k.purchase_cart, k.hours_cart),
        (Action.MAKE_OFFER, Action.MAKE_OFFER, k.offer, k.purchase_offer, k.hours_offer),
        (Action.BUY_NOW, Action.BUY_NOW, k.buy_now, k.purchase_buy_now, k.hours_buy_now),
    )  # fmt: skip
    return sorted((Step(*row) for row in table), key=lambda step: step.purchase)


@dataclass(frozen=True, slots=True, eq=False)
class Deeds:
    """What viewers did: m actions on n views, and the purchases to come."""

    view: Rows
    """int64[m]: which view"""
    action: NDArray[np.int16]
    """int16[m]: ACTION_CODE"""
    strongest: NDArray[np.int16]
    """int16[n]: code of the strongest action, `view` where there was none"""
    buys: Mask
    """bool[n]: will try to buy"""
    delay: Rows
    """int64[n] µs from the view to the purchase"""


def draw_deeds(
    log_odds: Doubles,
    formats: NDArray[np.integer],
    app: Mask,
    knobs: ActionKnobs,
    rng: np.random.Generator,
) -> Deeds:
    """The action funnel of n views, from the log odds of worth (0 is average) and formats."""
    n = len(log_odds)
    lift = 2 * chance(log_odds)
    view, codes = [], []
    best = np.full(n, ACTION_CODE[Action.VIEW.value], np.int16)
    purchase = np.full(n, knobs.purchase_view)
    hours = np.full(n, knobs.hours_view)
    for step in steps(knobs):
        needs = FORMATS.get(step.action)
        may = np.ones(n, bool) if needs is None else (formats & int(needs)) != 0
        done = may & (rng.random(n) < np.minimum(step.rate * lift, 1))
        code = np.where(app, ACTION_CODE[step.on_app.value], ACTION_CODE[step.action.value])
        at = np.flatnonzero(done)
        view.append(at)
        codes.append(code[at])
        best[done], purchase[done], hours[done] = code[done], step.purchase, step.hours
    delay = hours * HOUR * np.exp(rng.normal(0, knobs.delay_sigma, n))
    return Deeds(
        view=np.concatenate(view),
        action=np.concatenate(codes).astype(np.int16),
        strongest=best,
        buys=rng.random(n) < np.minimum(purchase * np.minimum(lift, 1.2), 1),
        delay=delay.astype(np.int64),
    )
