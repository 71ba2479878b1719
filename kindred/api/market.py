"""The simulated market, assembled: world → catalogue → history → models → index → visitors.

Everything it makes is simulated, and says so. The same plan gives the same world, visits, decisions
and ids, so that an interrupted run begins again and the lake takes each row once.
"""

from __future__ import annotations

import time
from dataclasses import replace

import msgspec
import numpy as np

from kindred.api.market_learning import compared, learn_again
from kindred.api.market_plan import Market, MarketPlan, pictures_of, stream
from kindred.api.market_report import MarketReport, report
from kindred.api.material import catalogue_of
from kindred.api.times import readable
from kindred.api.wiring import Offline, build, current_models, open_offline, train
from kindred.events.feature_names import keep_feature_names
from kindred.events.lake import EVENTS, Lake
from kindred.events.shown import DECISIONS
from kindred.experiments.marketsim.arms import EXPERIMENT, OFF, ON, Arms, treated
from kindred.experiments.marketsim.browsing import Browser
from kindred.experiments.marketsim.driving import Span, drive
from kindred.experiments.marketsim.inprocess import Answering, FunnelShop
from kindred.experiments.marketsim.pictures import draw_pictures
from kindred.experiments.marketsim.records import Records
from kindred.experiments.marketsim.shops import LoggedShop, Organic
from kindred.indexer.behaviour.stages import NAMES
from kindred.rerank.features import FEATURES, SPECIFICATION
from kindred.schemas.clock import HOUR, MINUTE
from kindred.schemas.errors import InputError
from kindred.schemas.item import Status
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

PAGES_OF_TICK = 64
"""Pages answered together, about."""
EVENTS_AT_ONCE, DECISIONS_AT_ONCE = 300_000, 4_000
"""What waits in memory for the lake, at most about."""


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
        catalogue_of(workspace) as catalogue,
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
    with progress.task("simulated visits of the history", visits) as advance:
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


def open_shop(
    market: Market, offline: Offline, records: Records, *, part: int, arm: str | None = None
) -> FunnelShop:
    """The funnel of the index in use as a shop, its random numbers those of `part`.

    Without an arm, and in the arm `OFF`, the merge answers alone, whatever ranker there is.
    """
    plan, funnel, versions = market.plan, offline.funnel, dict(offline.versions)
    if arm != ON:
        funnel = replace(funnel, ranker=None, calibration=None)
        versions.pop("ranker", None)
    experiments = {} if arm is None else {EXPERIMENT: arm}
    answering = Answering(
        k=plan.k, explore=plan.explore, logged=plan.logged, experiments=experiments
    )
    name = "" if arm is None else f"-{arm}"
    return FunnelShop(
        funnel, offline.action_weights, versions, market.world, market.visitors, records,
        answering, stream(plan, part), writer=f"simulated-{plan.seed}{name}",
    )  # fmt: skip


def open_arms(market: Market, offline: Offline, records: Records) -> LoggedShop:
    """The ranker for one half of the visitors, the merge for the other; the merge alone where no
    ranker serves."""
    off = open_shop(market, offline, records, part=7, arm=OFF)
    if offline.funnel.ranker is None:
        return off
    on = open_shop(market, offline, records, part=8, arm=ON)
    return Arms(on, off, treated(len(market.visitors), market.plan.seed))


def browse(
    workspace: Workspace,
    browser: Browser,
    shop: LoggedShop,
    span: Span,
    rng: np.random.Generator,
    progress: Progress,
) -> int:
    """Visitors before a shop of this process; decisions and events go into the lake.

    Returns the moment of the end. Purchases that are due later wait in the browser.
    """
    browser.shop, records = shop, browser.records
    events, decisions = Lake(workspace.lake, EVENTS), Lake(workspace.lake, DECISIONS)
    keep_feature_names(workspace.lake, SPECIFICATION, FEATURES)

    def write(most_events: int, most_decisions: int) -> None:
        if len(shop) > most_decisions:
            decisions.append(shop.frame())
        if len(records) > most_events:
            events.append(records.frame())

    with progress.task("simulated impressions", span.impressions) as advance:

        def on_tick(shown: int) -> None:
            advance(shown)
            write(EVENTS_AT_ONCE, DECISIONS_AT_ONCE)

        ended = drive(browser, span, rng, on_open=shop.open, on_tick=on_tick)
        write(0, 0)
    return ended


def stretch(plan: MarketPlan, start: int, share: float, impressions: int) -> Span:
    """The span from `start` on that takes this share of the days after the history."""
    length = round(share * (plan.ends - plan.opens))
    pages = max(impressions // plan.k, 1)
    tick = min(max(PAGES_OF_TICK * length // pages, MINUTE), HOUR)
    return Span(start=start, until=start + length, tick=tick, impressions=impressions)


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
    with catalogue_of(workspace) as catalogue:
        for first in range(0, len(gone), 5_000):
            catalogue.upsert(gone[first : first + 5_000])


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
    shop = open_shop(market, open_offline(workspace, settings), history.records, part=6)
    rng = stream(plan, 5)
    browser = history.continued(shop, rng)
    share, first = (0.5, max(plan.impressions // 2, 1)) if plan.learn else (1.0, plan.impressions)
    began = time.perf_counter()
    ended = browse(workspace, browser, shop, stretch(plan, plan.opens, share, first), rng, progress)
    seconds, lesson = time.perf_counter() - began, None
    if plan.learn:
        lesson = learn_again(workspace, settings, progress, now=ended)
        rest = max(plan.impressions - browser.counts.impressions, 1)
        began = time.perf_counter()
        ended = browse(
            workspace, browser, open_arms(market, lesson.offline, browser.records),
            stretch(plan, ended, share, rest), rng, progress,
        )  # fmt: skip
        seconds += time.perf_counter() - began
    browser.settle(np.iinfo(np.int64).max)
    Lake(workspace.lake, EVENTS).append(browser.records.frame())
    withdraw(workspace, market, ended)
    learned = None if lesson is None else compared(workspace, settings, lesson, ended, progress)
    return report(browser.counts, plan, ended, seconds, learned)
