"""The demo on the simulated market: import → history → train → index → serve → visitors."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b

import httpx
import msgspec
import numpy as np

from kindred import __version__
from kindred.api.demo import Making, Step, Steps
from kindred.api.market import make_history, stock, withdraw
from kindred.api.market_plan import HISTORY_SHARE, MARK, Market, MarketPlan, held_plan
from kindred.api.material import catalogue_of
from kindred.api.wiring import build, current_models, index_is_fresh, train
from kindred.events.lake import Lake
from kindred.experiments.marketsim.browsing import Browser
from kindred.experiments.marketsim.counts import Counts
from kindred.experiments.marketsim.http import (
    Displayed,
    ServerShop,
    Traffic,
    check_market,
    drive_server,
)
from kindred.experiments.marketsim.records import Records
from kindred.indexer.stages import SERVES
from kindred.schemas.clock import DAY, micros_now
from kindred.schemas.event import Action
from kindred.schemas.item import Status
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Mask
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

ITEMS, VISITORS, DAYS, K = 3_000, 400, 21.0, 6
HISTORY_VISITS = 24
"""Of each visitor; of half as many a ranker does not always pass its gate."""
PICTURES = 400
"""Items with a picture; more would take the packaged encoder longer than the rest."""
EXPLORE = 0.1
SPEED = 20.0
"""Visitors pause this many times shorter than people."""
CLIENTS = 4
CHECKED = 5
"""Items by which a server is known to serve this market."""
PAGES_PER_SECOND = 15.0
NO_RANKER = "no ranker serves yet, so no ads are placed"
_LOST = re.compile(r'^kindred_decisions_total\{[^}]*outcome="lost"[^}]*\} (\S+)$', re.M)


class LiveFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Where the simulated traffic stands."""

    simulated: bool
    seconds: float
    requests: int
    requests_per_second: float
    """Over the newest few seconds"""
    failed: int
    visits: int
    impressions: int
    clicks: int
    ctr: float
    actions: int
    """Watches, carts, offers, bids, messages and buy-nows"""
    purchases: int
    events: int
    rejected: int
    p50_ms: float | None
    p95_ms: float | None
    decisions_lost: int | None
    """None where the server does not tell"""


DEEDS = (
    Action.WATCH, Action.FAVOURITE, Action.ADD_TO_CART, Action.MAKE_OFFER, Action.PLACE_BID,
    Action.SEND_MESSAGE, Action.CONTACT_SELLER, Action.BUY_NOW,
)  # fmt: skip


def demo_plan(workspace: Workspace, seed: int, now: int | None = None) -> MarketPlan:
    """The plan that the workspace holds, or one whose history ends now."""
    if (workspace.root / MARK).is_file():
        return held_plan(workspace)
    return MarketPlan(
        impressions=1, items=ITEMS, visitors=VISITORS, days=DAYS, k=K, explore=EXPLORE, seed=seed,
        start=(micros_now() if now is None else now) - round(HISTORY_SHARE * DAYS * DAY),
        history_visits=HISTORY_VISITS, pictures=PICTURES,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketDemo:
    """The steps up to serving, over a workspace of its own."""

    workspace: Workspace
    settings: KindredSettings
    market: Market
    progress: Progress

    def run(self, on_step: Callable[[Step], None]) -> list[Step]:
        """Run what is stale, in order, telling each step as it ends."""
        return Steps(self.workspace.root / "market-demo.json").run(
            [
                Making("simulated items", self._stock, self._plan, self._holds),
                Making("simulated history", self._history, self._plan, self._holds),
                Making("train", self._train, self._plan, self._holds),
                Making("index", self._index, self._models, self._holds),
            ],
            on_step,
        )

    def _stock(self) -> str:
        stock(self.workspace, self.market, self.progress, until=self.market.plan.opens)
        drawn = sum(bool(item.images) for item in self.market.world.items)
        return f"{len(self.market.world):,} listings, {drawn:,} with a drawn picture"

    def _history(self) -> str:
        history = make_history(self.workspace, self.market, self.progress)
        withdraw(self.workspace, self.market, self.market.plan.opens)
        return f"{history.counts.visits:,} visits, {history.counts.purchases:,} purchases"

    def _train(self) -> str:
        rows = train(self.workspace, self.settings, self.progress)
        passed = [row.stage for row in rows if row.state in SERVES]
        ranker = next(row for row in rows if row.stage == "ranker")
        told = "the ranker serves" if ranker.state in SERVES else NO_RANKER
        return f"{len(passed)} of {len(rows)} stages serve; {told}: {ranker.summary}"

    def _index(self) -> str:
        manifest = build(self.workspace, self.settings, self.progress)
        spaces = ", ".join(f"{name} {space.dim}-d" for name, space in manifest.spaces.items())
        return f"{manifest.active:,} items on sale in {spaces}"

    def _plan(self) -> str:
        content = msgspec.json.encode([self.market.plan, __version__])
        return blake2b(content, digest_size=16).hexdigest()

    def _models(self) -> str:
        return f"{self._plan()} {current_models(self.workspace)}"

    def _holds(self, step: str) -> bool:
        if step == "simulated items":
            return self.workspace.catalogue.is_file()
        if step == "simulated history":
            return Lake(self.workspace.lake).count() > 0
        if step == "train":
            return "pairs" in current_models(self.workspace)
        return index_is_fresh(self.workspace, self.settings)


def live_visitors(
    workspace: Workspace,
    market: Market,
    url: str,
    *,
    seconds: float,
    rate: float,
    speed: float,
    k: int,
    clients: int = CLIENTS,
    stop: Callable[[], bool] = lambda: False,
    on_figures: Callable[[LiveFigures], object] = lambda figures: None,  # noqa: ARG005
    impressions: float = float("inf"),
    headers: dict[str, str] | None = None,
) -> LiveFigures:
    """Let visitors browse the server at `url` for `seconds`; `on_figures` is told every second.

    It ends earlier with `stop()`, or once `impressions` items were shown.

    ServerRefuses where the server's items are not this market's.

    `rate` is pages a second, about; `speed` how many times shorter than people's their pauses are.
    """
    plan, began = market.plan, micros_now()
    shelf, rng = market.shelf, np.random.default_rng([plan.seed, began])
    shelf.shift = began - world_now(workspace, plan)
    shown = displayed_in(workspace, market)
    records = Records(market.world, market.visitors, rng)
    with (
        httpx.Client(base_url=url, timeout=30, headers=headers) as client,
        ThreadPoolExecutor(clients) as pool,
    ):
        on_sale = np.flatnonzero(shown)
        some = on_sale[:: max(len(on_sale) // CHECKED, 1)][:CHECKED]
        check_market(client, [market.world.items[row] for row in some.tolist()])
        shop = ServerShop(client, pool, market.world, market.visitors, records, k, rng)
        browser = Browser(
            market.appeal, shelf, shop, records, rng, speed=speed, first_visit=began // 1000
        )
        gauge = Gauge(client, browser.counts, shop.traffic, on_figures)
        drive_server(
            browser, shop, Displayed(shelf, shown), rng, pages_per_second=rate, seconds=seconds,
            stop=lambda: stop() or browser.counts.impressions >= impressions, on_step=gauge.look,
        )  # fmt: skip
        return gauge.figures()


def world_now(workspace: Workspace, plan: MarketPlan) -> int:
    """µs of the world at which its workspace stands: after its history, or after its visitors."""
    last = f"dt={datetime.fromtimestamp(plan.ends / 1e6, UTC):%Y-%m-%d}"
    days = (workspace.lake / "decisions").glob("dt=*")  # those of a served market are later
    return plan.ends if any(day.name <= last for day in days) else plan.opens


def displayed_in(workspace: Workspace, market: Market) -> Mask:
    """bool[N]: active in the catalogue. What it says is sold stays sold."""
    with catalogue_of(workspace) as catalogue:
        held = catalogue.get_many([item.item_id for item in market.world.items])
    status = [None if item is None else item.status for item in held]
    sold = np.array([s is Status.SOLD for s in status], bool)
    market.shelf.sold_at[sold] = 0
    return np.array([s is Status.ACTIVE for s in status], bool)


class Gauge:
    """Figures of the traffic, once a second."""

    def __init__(
        self, client: httpx.Client, counts: Counts, traffic: Traffic,
        on_figures: Callable[[LiveFigures], object], every_s: float = 1.0,
    ) -> None:  # fmt: skip
        self._client, self._counts, self._traffic = client, counts, traffic
        self._on_figures, self._every = on_figures, every_s
        self._began = self._told = time.monotonic()
        self._recent: list[tuple[float, int]] = [(self._began, 0)]

    def look(self) -> None:
        """Tell, if a second has passed."""
        now = time.monotonic()
        if now - self._told >= self._every:
            self._told = now
            self._recent = [*self._recent[-4:], (now, self._traffic.requests)]
            self._on_figures(self.figures())

    def figures(self) -> LiveFigures:
        """Where it stands."""
        counts, traffic, now = self._counts, self._traffic, time.monotonic()
        since, before = self._recent[0]
        return LiveFigures(
            simulated=True,
            seconds=round(now - self._began, 1),
            requests=traffic.requests,
            requests_per_second=round((traffic.requests - before) / max(now - since, 1e-9), 1),
            failed=traffic.failed,
            visits=counts.visits,
            impressions=counts.impressions,
            clicks=counts.clicks,
            ctr=round(counts.clicks / max(counts.impressions, 1), 4),
            actions=sum(counts.done(action) for action in DEEDS),
            purchases=counts.purchases,
            events=traffic.events,
            rejected=traffic.rejected,
            p50_ms=_rounded(traffic.percentile(0.5)),
            p95_ms=_rounded(traffic.percentile(0.95)),
            decisions_lost=self._lost(),
        )

    def _lost(self) -> int | None:
        try:
            answer = self._client.get("/metrics")
        except httpx.TransportError:
            return None
        found = _LOST.findall(answer.text) if answer.status_code == 200 else []
        return int(sum(float(x) for x in found)) if found else None


def _rounded(value: float) -> float | None:
    return None if value != value else round(value, 1)


def in_background(work: Callable[[], object], ended: Callable[[], object]) -> threading.Thread:
    """Run `work` beside the caller, then `ended`, also after a failure, which is raised there."""

    def run() -> None:
        try:
            work()
        finally:
            ended()

    thread = threading.Thread(target=run, name="simulated-visitors", daemon=True)
    thread.start()
    return thread
