"""The simulated market, assembled: world → catalogue → history → models → index → visitors.

Everything it makes is simulated, and says so. The same plan gives the same world, visits, decisions
and ids, so that an interrupted run begins again and the lake takes each row once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from kindred.api import learning
from kindred.api.market_plan import MarketPlan, pictures_of
from kindred.api.times import readable
from kindred.api.wiring import build, current_models, open_offline, train
from kindred.events.lake import EVENTS, Lake
from kindred.events.shown import DECISIONS
from kindred.experiments.marketsim.behaviour import Appeal, examination
from kindred.experiments.marketsim.browsing import Browser
from kindred.experiments.marketsim.clock import Shelf
from kindred.experiments.marketsim.counts import Counts
from kindred.experiments.marketsim.driving import Span, drive
from kindred.experiments.marketsim.inprocess import Answering, FunnelShop
from kindred.experiments.marketsim.pictures import draw_pictures
from kindred.experiments.marketsim.records import Records
from kindred.experiments.marketsim.shops import Organic
from kindred.experiments.marketsim.truth import export_truth
from kindred.experiments.marketsim.visitors import Visitors, make_visitors
from kindred.experiments.marketsim.world import World, make_world
from kindred.indexer.behaviour.stages import NAMES
from kindred.schemas.clock import HOUR
from kindred.schemas.errors import InputError
from kindred.schemas.event import ACTIONS
from kindred.schemas.item import Status
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

PAGES_OF_TICK = 64
"""Pages answered together, about."""
MINUTE = 60_000_000
EVENTS_AT_ONCE, DECISIONS_AT_ONCE = 300_000, 4_000
"""What waits in memory for the lake, at most about."""


class MarketReport(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a simulated market."""

    simulated: bool
    impressions: int
    decisions: int
    visits: int
    clicks: int
    purchases: int
    actions: dict[str, int]
    ctr: float
    ctr_by_position: list[float]
    """Clicks by impressions at positions 1, 2, …"""
    until: str
    seconds: float
    impressions_per_second: float


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """A world with its visitors."""

    plan: MarketPlan
    world: World
    visitors: Visitors
    appeal: Appeal
    shelf: Shelf

    @classmethod
    def make(cls, plan: MarketPlan) -> Market:
        """The market of a plan."""
        knobs = plan.behaviour
        catalogue = msgspec.structs.replace(plan.catalogue, items=plan.items, days=plan.days)
        world = make_world(catalogue, plan.seed, plan.start)
        visitors = make_visitors(world, knobs.visitors, plan.visitors, stream(plan, 1))
        appeal = Appeal.of(world, visitors, knobs, stream(plan, 2))
        return cls(plan, world, visitors, appeal, Shelf(world))


def stream(plan: MarketPlan, part: int) -> np.random.Generator:
    """A generator of its own for each part of the simulation."""
    return np.random.default_rng([plan.seed, 1000 + part])


def stock(
    workspace: Workspace, market: Market, progress: Progress, *, until: int | None = None
) -> None:
    """Put the listings that appear before `until` (µs; all by default) into the catalogue.

    The plan's share of them is drawn first.
    """
    pictured = np.arange(min(market.plan.pictures, len(market.world)))
    if len(pictured):
        with progress.task("draw simulated pictures", len(pictured)) as advance:
            advance(draw_pictures(market.world, pictures_of(workspace), pictured))
    items = market.world.items
    if until is not None:
        items = items[: int(np.searchsorted(market.world.listed, until))]
    with (
        learning.catalogue_of(workspace) as catalogue,
        progress.task("import simulated items", len(items)) as advance,
    ):
        for first in range(0, len(items), 5_000):
            catalogue.upsert(items[first : first + 5_000])
            advance(len(items[first : first + 5_000]))


def make_history(workspace: Workspace, market: Market, progress: Progress) -> Browser:
    """Visits before there are recommendations, into the lake."""
    plan = market.plan
    rng = stream(plan, 3)
    records = Records(market.world, market.visitors, stream(plan, 4))
    browser = Browser(market.appeal, market.shelf, Organic(market.shelf, plan.k, rng), records, rng)
    visits = plan.history_visits * plan.visitors
    span = Span(start=plan.start, until=plan.opens, tick=HOUR, visits=visits)
    lake = Lake(workspace.lake, EVENTS)
    with progress.task("simulated history", visits) as advance:
        told = 0

        def on_tick(_: int) -> None:
            nonlocal told
            advance(browser.counts.visits - told)
            told = browser.counts.visits

        drive(browser, span, rng, on_tick=on_tick)
        lake.append(records.frame(until=plan.opens))
    return browser


def learn(
    workspace: Workspace, plan: MarketPlan, settings: KindredSettings, progress: Progress
) -> None:
    """Train the behaviour stages from the history, and index."""
    train(workspace, settings, progress, until=readable(plan.opens), only=NAMES)
    build(workspace, settings, progress)


def browse(
    workspace: Workspace,
    market: Market,
    settings: KindredSettings,
    history: Browser,
    progress: Progress,
) -> MarketReport:
    """Visitors before the funnel in this process; decisions and events go into the lake."""
    plan = market.plan
    began = time.perf_counter()
    offline = open_offline(workspace, settings)
    rng = stream(plan, 5)
    records = history.records
    shop = FunnelShop(
        offline.funnel, offline.action_weights, offline.versions, market.world, market.visitors,
        records, Answering(k=plan.k, explore=plan.explore, logged=plan.logged), stream(plan, 6),
        writer=f"simulated-{plan.seed}",
    )  # fmt: skip
    browser = history.continued(shop, rng)
    pages = max(plan.impressions // plan.k, 1)
    tick = PAGES_OF_TICK * (plan.ends - plan.opens) // pages
    span = Span(
        start=plan.opens, until=plan.ends, tick=min(max(tick, MINUTE), HOUR),
        impressions=plan.impressions,
    )  # fmt: skip
    events, decisions = Lake(workspace.lake, EVENTS), Lake(workspace.lake, DECISIONS)

    def write(most_events: int, most_decisions: int) -> None:
        if len(shop) > most_decisions:
            decisions.append(shop.frame())
        if len(records) > most_events:
            events.append(records.frame())

    with progress.task("simulated impressions", plan.impressions) as advance:

        def on_tick(shown: int) -> None:
            advance(shown)
            write(EVENTS_AT_ONCE, DECISIONS_AT_ONCE)

        ended = drive(browser, span, rng, on_open=shop.open, on_tick=on_tick)
        browser.settle(np.iinfo(np.int64).max)
        write(0, 0)
    withdraw(workspace, market, ended)
    return report(browser.counts, plan, ended, time.perf_counter() - began)


def withdraw(workspace: Workspace, market: Market, now: int) -> None:
    """Tell the catalogue what sold and what expired before `now`."""
    world, sold_at = market.world, market.shelf.sold_at
    sold, ended = sold_at <= now, (world.expires <= now) & (sold_at > now)
    gone = [
        msgspec.structs.replace(
            world.items[row],
            status=Status.SOLD if sold[row] else Status.ENDED,
            ended_at=int(min(sold_at[row], world.expires[row])),
        )
        for row in np.flatnonzero(sold | ended).tolist()
    ]
    with learning.catalogue_of(workspace) as catalogue:
        for first in range(0, len(gone), 5_000):
            catalogue.upsert(gone[first : first + 5_000])


def export(market: Market, folder: Path) -> None:
    """Write the truth of a market: the world's, the position curve, and every visitor's taste.

    `positions.parquet` has the chance that a position is looked at, by platform;
    `visitors.parquet` taste and home of `user-N` and `device-N`.
    """
    rank, visitors, knobs = np.arange(1, 101), market.visitors, market.appeal.knobs
    curves = {
        name: examination(rank, np.full(100, app), knobs.attraction)
        for name, app in (("web", False), ("app", True))
    }
    people = pl.DataFrame(
        {
            "visitor": np.arange(len(visitors)),
            "taste": visitors.taste.tolist(),
            "leaves": visitors.leaves.tolist(),
            "place": visitors.place,
            "spends": visitors.spends,
            "account": visitors.account,
            "app": visitors.app,
            "activity": visitors.activity,
        }
    )
    extra = {
        "positions": pl.DataFrame({"position": rank, **curves}),
        "visitors": people,
        "behaviour": msgspec.to_builtins(knobs),
        "plan": msgspec.to_builtins(market.plan),
    }
    export_truth(market.world, folder, extra)


def report(counts: Counts, plan: MarketPlan, ended: int, seconds: float) -> MarketReport:
    """The figures of a run."""
    shown = counts.shown_at[1 : plan.k + 1]
    rate = counts.clicked_at[1 : plan.k + 1] / np.maximum(shown, 1)
    return MarketReport(
        simulated=True,
        impressions=counts.impressions,
        decisions=int(counts.shown_at[1]),
        visits=counts.visits,
        clicks=counts.clicks,
        purchases=counts.purchases,
        actions={
            action.value: int(number)
            for action, number in zip(ACTIONS, counts.actions, strict=False)
            if number
        },
        ctr=round(counts.clicks / max(counts.impressions, 1), 5),
        ctr_by_position=[round(float(r), 5) for r in rate],
        until=readable(ended),
        seconds=round(seconds, 1),
        impressions_per_second=round(counts.impressions / max(seconds, 1e-9), 1),
    )


def simulate(
    workspace: Workspace, market: Market, settings: KindredSettings, progress: Progress
) -> MarketReport:
    """All of it, into a prepared workspace.

    InputError where a ranker serves already: the lists would be others than those of the plan.
    """
    plan = market.plan
    if "ranker" in current_models(workspace):
        raise InputError(
            f"{workspace.root} has a ranker, so its market was simulated and learned from before: "
            "name another folder with `kindred --workspace FOLDER`",
            "$.workspace",
        )
    stock(workspace, market, progress)
    history = make_history(workspace, market, progress)
    learn(workspace, plan, settings, progress)
    return browse(workspace, market, settings, history, progress)
