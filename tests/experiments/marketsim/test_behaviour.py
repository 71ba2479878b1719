"""Simulated visitors: what they look at, click and buy follows the knobs, and only those."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from kindred.events.actions import FORMATS
from kindred.events.contract import check_events
from kindred.experiments.marketsim.behaviour import Appeal, Exposures, examination
from kindred.experiments.marketsim.behaviour_knobs import (
    ActionKnobs,
    AttractionKnobs,
    BehaviourKnobs,
    VisitorKnobs,
)
from kindred.experiments.marketsim.browsing import Browser
from kindred.experiments.marketsim.clock import Shelf
from kindred.experiments.marketsim.driving import Span, drive
from kindred.experiments.marketsim.knob_table import knob_table
from kindred.experiments.marketsim.knobs import MarketKnobs
from kindred.experiments.marketsim.records import Records, hex_ids, time_ordered_ids
from kindred.experiments.marketsim.shops import Asked, Lists
from kindred.experiments.marketsim.visitors import make_visitors
from kindred.experiments.marketsim.world import World, make_world
from kindred.schemas.clock import DAY, HOUR

START = 1_767_225_600_000_000
INDIFFERENT = AttractionKnobs(
    bias=0.5, style=0, quality=0, clickbait=0, price=0, travel=0, fatigue=0
)
"""Every item attracts alike."""


@pytest.mark.parametrize("kind", [VisitorKnobs, AttractionKnobs, ActionKnobs])
def test_the_documentation_has_every_knob_with_its_reason(kind: type[msgspec.Struct]) -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "marketsim.md"
    assert knob_table(kind) in page.read_text()


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(
        MarketKnobs(items=600, states=("VT",), clickbait_share=0.3, auction_share=0.5), 5, START
    )


class Shuffled:
    """Lists of anything on sale in random order, under a decision id each."""

    def __init__(self, shelf: Shelf, width: int, rng: np.random.Generator) -> None:
        self._shelf, self._width, self._rng = shelf, width, rng

    def similar(self, asked: Asked) -> Lists:
        n, there = len(asked.seed), np.flatnonzero(self._shelf.on_sale)
        order = np.argsort(self._rng.random((n, len(there))), axis=1)[:, : self._width]
        ids = np.array(time_ordered_ids(asked.at, self._rng), object)
        offsets = np.arange(n + 1) * order.shape[1]
        return Lists(offsets, there[order.ravel()], ids, hex_ids(n, self._rng))


@dataclass
class Run:
    """What a small market's visitors did."""

    browser: Browser
    events: pl.DataFrame
    world: World

    def with_truth(self) -> pl.DataFrame:
        """The events on items, with what the items are."""
        truth = pl.DataFrame(
            {
                "entity_id": [i.item_id for i in self.world.items],
                "clickbait": self.world.clickbait,
                "true_formats": self.world.formats,
                "unique": self.world.unique,
                "listed": self.world.listed,
                "expires": self.world.expires,
                "true_seller": [i.seller_id for i in self.world.items],
            }
        )
        return self.events.join(truth, on="entity_id", how="inner")


def run(
    world: World,
    *,
    attraction: AttractionKnobs | None = None,
    actions: ActionKnobs | None = None,
    app_share: float = 0.5,
    visitors: int = 150,
    visits: int = 1500,
    width: int = 12,
    seed: int = 1,
) -> Run:
    knobs = BehaviourKnobs(
        visitors=VisitorKnobs(app_share=app_share),
        attraction=attraction or AttractionKnobs(),
        actions=actions or ActionKnobs(),
    )
    rng = np.random.default_rng(seed)
    people = make_visitors(world, knobs.visitors, visitors, rng)
    shelf = Shelf(world)
    records = Records(world, people, rng)
    appeal = Appeal.of(world, people, knobs, rng)
    browser = Browser(appeal, shelf, Shuffled(shelf, width, rng), records, rng)
    span = Span(start=START, until=START + 6 * DAY, tick=2 * HOUR, visits=visits)
    drive(browser, span, rng)
    browser.settle(START + 60 * DAY)
    return Run(browser, records.frame(), world)


@pytest.fixture(scope="module")
def market(world: World) -> Run:
    """Ordinary knobs, but clicks and purchases are likelier: hundreds of both, in random lists."""
    eager = ActionKnobs(
        purchase_watch=0.5, purchase_cart=0.8, purchase_view=0.1, buy_now=0.2, bid=0.3
    )
    return run(world, attraction=AttractionKnobs(bias=2.5), actions=eager, visits=2500)


def test_a_seed_gives_the_same_visits_and_another_seed_others(world: World) -> None:
    first, again, other = (run(world, visits=60, seed=seed) for seed in (3, 3, 4))
    assert first.events.equals(again.events)
    assert not first.events["entity_id"].equals(other.events["entity_id"])


@pytest.mark.parametrize("app", [False, True])
def test_where_all_attract_alike_clicks_fall_with_position_as_the_true_curve(
    world: World, app: bool
) -> None:
    knobs = INDIFFERENT
    counts = run(world, attraction=knobs, app_share=float(app), visits=1500).browser.counts
    rank = np.arange(1, 13)
    shown, clicked = counts.shown_at[rank], counts.clicked_at[rank]
    attracted = 1 / (1 + np.exp(-knobs.bias))
    expected = attracted * examination(rank, np.full(len(rank), app), knobs)
    error = np.sqrt(expected * (1 - expected) / shown)
    assert shown.min() > 2000
    assert np.all(np.abs(clicked / shown - expected) < 4 * error)
    other = attracted * examination(rank, np.full(len(rank), not app), knobs)
    assert np.any(np.abs(clicked / shown - other) > 8 * error)


def test_every_event_keeps_its_contract_and_every_action_its_listings_formats(market: Run) -> None:
    assert check_events(market.events).is_empty()
    assert market.events["event_id"].is_unique().all()
    told = market.with_truth()
    for action, needed in FORMATS.items():
        done = told.filter(pl.col("action") == action.value)
        assert done.height > 5
        assert done.select((pl.col("true_formats") & int(needed)).min()).item() > 0
    priced = told.filter(pl.col("action").is_in(["purchase", *(a.value for a in FORMATS)]))
    assert priced["formats"].equals(priced["true_formats"], check_names=False)
    assert priced["seller_id"].equals(priced["true_seller"], check_names=False)
    contacts = told.filter(pl.col("action") == "contact_seller")
    assert contacts["platform"].unique().to_list() == ["app"]


def test_the_only_one_of_its_kind_is_bought_once_and_nothing_off_the_shelf(market: Run) -> None:
    bought = market.with_truth().filter(pl.col("action") == "purchase")
    assert bought.height > 200
    assert bought.select(
        pl.col("occurred_at").is_between("listed", "expires", closed="left").all()
    ).item()
    assert bought.filter("unique")["entity_id"].is_unique().all()
    assert not bought.filter(~pl.col("unique"))["entity_id"].is_unique().all()
    gone = bought.filter("unique").select("entity_id", sold_at="occurred_at")
    shown_later = (
        market.events.filter(pl.col("action") == "inview")
        .join(gone, on="entity_id")
        .filter(pl.col("occurred_at") > pl.col("sold_at") + 2 * HOUR + 600 * 1_000_000)
    )
    assert shown_later.is_empty()


def test_clickbait_is_clicked_more_and_bought_less(market: Run) -> None:
    told = market.with_truth()

    def number(action: str, *, bait: bool) -> int:
        promising = pl.col("clickbait") > 0.3
        return told.filter(pl.col("action") == action, promising if bait else ~promising).height

    def rate(done: str, of: str, *, bait: bool) -> float:
        return number(done, bait=bait) / number(of, bait=bait)

    assert rate("click", "inview", bait=True) > 1.3 * rate("click", "inview", bait=False)
    assert rate("purchase", "click", bait=True) < 0.7 * rate("purchase", "click", bait=False)


def test_who_has_passed_an_item_often_clicks_it_less(world: World) -> None:
    tired = msgspec.structs.replace(INDIFFERENT, fatigue=0.5)
    events = run(world, attraction=tired, visitors=12).events
    looked = events.filter(pl.col("action").is_in(["inview", "click"])).with_columns(
        clicked=pl.col("action") == "click"
    )
    key = ["device_id", "entity_id"]
    each = (
        looked.with_columns(trace=pl.col("traceparent").str.slice(3, 32))
        .group_by(*key, "trace")
        .agg(pl.col("occurred_at").min(), pl.col("clicked").any())
    )
    passed = (~pl.col("clicked")).cum_sum().shift(1, fill_value=0).over(key)
    by_passes = (
        each.sort("occurred_at")
        .with_columns(passed=passed)
        .group_by(pl.col("passed").clip(upper_bound=3))
        .agg(pl.len(), rate=pl.col("clicked").mean())
        .sort("passed")
    )
    assert by_passes["len"].min() > 100
    rates = by_passes["rate"].to_list()
    assert rates[0] > 1.3 * rates[1] > 1.3 * rates[2]
    assert rates[2] > rates[3]


def test_looks_are_counted_exactly_however_many_there_are() -> None:
    random = np.random.default_rng(0)
    exposures, known = Exposures(50, small=40), np.zeros((20, 50), np.int64)
    for _ in range(30):
        who, row = random.integers(0, 20, 25), random.integers(0, 50, 25)
        exposures.add(who, row)
        np.add.at(known, (who, row), 1)
    who, row = np.divmod(np.arange(1000), 50)
    np.testing.assert_array_equal(exposures.count(who, row), known[who, row])


def test_purchases_come_later_than_clicks_and_some_forget_the_list_they_came_of(
    market: Run,
) -> None:
    bought = market.events.filter(pl.col("action") == "purchase")
    named = bought.filter(pl.col("decision_id").is_not_null())
    clicks = market.events.filter(pl.col("action") == "click").select(
        "decision_id", "entity_id", clicked_at="occurred_at"
    )
    both = named.join(clicks, on=["decision_id", "entity_id"], how="inner")
    assert both.height == named.height > 50
    delay = (both["occurred_at"] - both["clicked_at"]) / HOUR
    assert delay.min() > 0
    assert delay.median() > 0.01
    assert (delay > 24).sum() > 5
    assert bought["session_id"].str.ends_with("-again").mean() > 0.1
    assert 0.05 < named.height / bought.height < 0.95
