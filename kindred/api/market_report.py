"""What is told of a simulated market: its figures, and its truth in files."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from kindred.api.market_plan import Market, MarketPlan
from kindred.api.times import readable
from kindred.experiments.marketsim.arms import Comparison
from kindred.experiments.marketsim.behaviour import examination
from kindred.experiments.marketsim.counts import Counts
from kindred.experiments.marketsim.truth import export_truth
from kindred.schemas.event import ACTIONS


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """What the market did with the first half of its impressions."""

    ranker_serves: bool
    reason: str
    """The words of the ranker's gate"""
    version: str | None
    """Of the ranker in the arm `on`; None where none serves"""
    since: str
    """When the second half began"""
    arms: Comparison | None
    """None where no ranker serves, or one arm has no list"""


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
    """Of the visits to the funnel alone"""
    impressions_per_second: float
    learned: Learned | None = None
    """With `learn` alone"""


def report(
    counts: Counts, plan: MarketPlan, ended: int, seconds: float, learned: Learned | None = None
) -> MarketReport:
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
        learned=learned,
    )


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
