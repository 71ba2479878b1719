"""A log of the simulated market, as training reads it: what experiments on behaviour start from.

The visitors browse the shelf alone (`shops.Organic`): nothing was recommended, so nothing in the
log is an echo of a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from kindred.experiments.marketsim.behaviour import Appeal
from kindred.experiments.marketsim.behaviour_knobs import BehaviourKnobs
from kindred.experiments.marketsim.browsing import Browser
from kindred.experiments.marketsim.clock import Shelf
from kindred.experiments.marketsim.driving import Span, drive
from kindred.experiments.marketsim.knobs import MarketKnobs
from kindred.experiments.marketsim.records import Records
from kindred.experiments.marketsim.shops import Organic
from kindred.experiments.marketsim.visitors import Visitors, make_visitors
from kindred.experiments.marketsim.world import World, make_world
from kindred.indexer.behaviour.interactions import Interactions, load_interactions, subject_hash
from kindred.indexer.columns import Columns
from kindred.schemas.clock import DAY, HOUR
from kindred.schemas.settings import SignalSettings

START = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z"""
WIDTH = 12
"""Items on the shelf beside a page."""
SIMULATED = "Simulated: a figure measured on this is a claim about the code."


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedLog:
    """What people did, and who they are; rows are those of `world.items`."""

    world: World
    visitors: Visitors
    columns: Columns
    events: pl.DataFrame
    log: Interactions

    @property
    def postcodes(self) -> list[str]:
        """Of each row, empty where there is none."""
        places = (item.location for item in self.world.items)
        return [(place and place.postcode) or "" for place in places]

    @property
    def homes(self) -> list[str]:
        """Postcode of each subject of the log, as their events tell it."""
        told = self.events.group_by(key=subject_hash()).agg(pl.col("postcode").first())
        mine = pl.DataFrame({"key": self.log.subjects})
        return mine.join(told, on="key", how="left", maintain_order="left")["postcode"].to_list()


def simulated_log(
    market: MarketKnobs,
    behaviour: BehaviourKnobs,
    *,
    visitors: int,
    visits: int,
    seed: int,
    signals: SignalSettings | None = None,
) -> SimulatedLog:
    """The market of a seed, browsed for its days and bought from for a week more."""
    world = make_world(market, seed, START)
    rng = np.random.default_rng([seed, 1])
    people = make_visitors(world, behaviour.visitors, visitors, rng)
    shelf, appeal = Shelf(world), Appeal.of(world, people, behaviour, rng)
    records = Records(world, people, rng)
    browser = Browser(appeal, shelf, Organic(shelf, WIDTH, rng), records, rng)
    end = START + round(market.days * DAY)
    drive(browser, Span(start=START, until=end, tick=6 * HOUR, visits=visits), rng)
    browser.settle(end + 7 * DAY)
    columns = Columns(len(world))
    columns.apply(np.arange(len(world)), world.items)
    events = records.frame()
    rows = pl.DataFrame({"item_id": columns.item_ids}).with_row_index("row")
    log = load_interactions(events.lazy(), rows, signals or SignalSettings())
    return SimulatedLog(world, people, columns, events, log)
