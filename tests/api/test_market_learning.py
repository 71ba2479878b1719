"""A small market that learns half-way: what its arms show, earn, and can be asked of."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from kindred.api.cli import main
from kindred.api.market import simulate
from kindred.api.market_plan import Market, MarketPlan, prepare, settings_of
from kindred.api.market_report import MarketReport
from kindred.events.lake import EVENTS, Lake
from kindred.events.shown import DECISIONS, JOINED
from kindred.experiments.marketsim.arms import treated
from kindred.experiments.marketsim.behaviour_knobs import (
    ActionKnobs,
    AttractionKnobs,
    BehaviourKnobs,
)
from kindred.experiments.marketsim.knobs import MarketKnobs
from kindred.rerank import joined_training
from kindred.schemas.progress import SilentProgress
from kindred.schemas.workspace import Workspace

PLAN = MarketPlan(
    impressions=2_400, items=300, visitors=40, start=1_767_225_600_000_000, days=14.0, k=12,
    explore=0.3, learn=True,
    catalogue=MarketKnobs(dealer_pls_share=1.0, unique_bias=0.0),
    behaviour=BehaviourKnobs(
        attraction=AttractionKnobs(bias=2.0, price=0.0, travel=0.0),
        actions=ActionKnobs(purchase_view=1.0, hours_view=0.5),
    ),
)  # fmt: skip
"""Everybody advertises, nothing runs out, and what is clicked is often bought."""


def learned(root: Path, plan: MarketPlan) -> tuple[Workspace, MarketReport]:
    workspace = Workspace(root)
    prepare(workspace, plan, text=False)
    settings = settings_of(workspace, {})
    settings = msgspec.structs.replace(
        settings,
        ranker=msgspec.structs.replace(settings.ranker, joined_from=20, trees=20),
        representations=msgspec.structs.replace(settings.representations, stages=()),
    )
    return workspace, simulate(workspace, Market.make(plan), settings, SilentProgress())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, MarketReport]:
    """With a ranker that serves whatever its gate says: a market this small proves nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joined_training, "verdict", lambda compared, name: (True, "for the test"))
        return learned(tmp_path_factory.mktemp("learned"), PLAN)


def decisions_of(workspace: Workspace) -> pl.DataFrame:
    found = Lake(workspace.lake, DECISIONS).scan().collect()
    arm = pl.col("experiments").str.json_path_match("$.ranker")
    return found.with_columns(arm=arm)


def test_half_of_the_visitors_get_the_ranker_from_half_way_on(
    served: tuple[Workspace, MarketReport],
) -> None:
    decisions, report = decisions_of(served[0]), served[1]
    assert report.impressions >= PLAN.impressions
    counts = dict(decisions["arm"].value_counts().iter_rows())
    assert counts[None] >= PLAN.impressions // PLAN.k // 2
    assert min(counts["on"], counts["off"]) > 20
    began = decisions.filter(pl.col("arm").is_not_null())["occurred_at"].min()
    assert decisions.filter(pl.col("occurred_at") < began)["arm"].is_null().all()
    mine = treated(PLAN.visitors, PLAN.seed)
    for arm, device in decisions.select("arm", "device_id").drop_nulls().unique().iter_rows():
        assert mine[int(device.removeprefix("device-"))] == (arm == "on")


def test_the_arms_decisions_say_what_they_were_made_with(
    served: tuple[Workspace, MarketReport],
) -> None:
    workspace, report = served
    assert report.learned is not None
    decisions = decisions_of(workspace)
    for row in decisions.iter_rows(named=True):
        ranked = row["arm"] == "on"
        assert ("ranker" in json.loads(row["versions"])) == ranked
        for column in ("candidate_score", "candidate_probability", "candidate_blend"):
            assert (row[column] is not None) == ranked
        assert ranked or not any(row["shown_sponsored"])
        assert bool(row["degraded"]) != ranked
    first = decisions.filter(pl.col("arm") == "on")["decision_id"][0]
    kindred = ["-w", str(workspace.root), "decisions"]
    shown = CliRunner().invoke(main, [*kindred, "show", first, "--json"])
    assert shown.exit_code == 0, shown.output
    again = CliRunner().invoke(main, [*kindred, "rescore", "--json"])
    assert again.exit_code == 0, again.output
    found = json.loads(again.stdout)
    assert found["decisions"] == report.learned.arms.on.lists  # type: ignore[union-attr]
    assert found["largest_difference"] <= 1e-6
    assert list(found["versions"]) == [report.learned.version]


def test_every_event_of_both_arms_came_of_a_list_that_its_visitor_saw(
    served: tuple[Workspace, MarketReport],
) -> None:
    decisions = decisions_of(served[0]).filter(pl.col("arm").is_not_null())
    events = Lake(served[0].lake, EVENTS).scan().collect()
    shown = decisions.select("decision_id", "device_id", "session_id", entity_id="shown_item")
    shown = shown.explode("entity_id").with_columns(
        position=pl.int_range(pl.len()).over("decision_id") + 1
    )
    named = events.join(decisions.select("decision_id"), on="decision_id", how="semi")
    found = named.join(shown, on=["decision_id", "device_id", "entity_id", "position"])
    assert found.height == named.height > 200
    during = named.filter(pl.col("action").is_in(["click", "inview"]))
    same = ["decision_id", "session_id", "entity_id"]
    assert during.join(shown, on=same, how="anti").is_empty()


def test_ads_are_placed_and_paid_for_in_the_rankers_arm_alone(
    served: tuple[Workspace, MarketReport],
) -> None:
    workspace, report = served
    assert report.learned is not None
    arms = report.learned.arms
    assert arms is not None
    joined = Lake(workspace.lake, JOINED).scan().collect()
    arm = decisions_of(workspace).select("decision_id", "arm")
    rows = joined.join(arm, on="decision_id", how="left")
    paid = rows.filter(pl.col("fee_minor") > 0)
    assert paid.height > 0
    assert paid["sponsored"].all()
    assert (paid["arm"] == "on").all()
    assert not rows["censored"].any()
    assert (arms.on.fee_minor, arms.off.fee_minor) == (paid["fee_minor"].sum(), 0)
    for name, told in (("on", arms.on), ("off", arms.off)):
        mine = rows.filter(arm=name)
        assert told.impressions == mine.height
        assert told.clicks == mine["click_at"].count()
        assert told.sponsored == mine["sponsored"].sum()
    share = arms.rates["sponsored_share"]
    np.testing.assert_allclose(share.difference, share.on - share.off, atol=2e-6)
    assert 0 < share.low <= share.difference <= share.high


def test_without_a_ranker_it_says_so_and_the_merge_goes_on(tmp_path: Path) -> None:
    plan = msgspec.structs.replace(PLAN, impressions=600, days=6.0)
    workspace, report = learned(tmp_path, plan)
    assert report.learned is not None
    assert not report.learned.ranker_serves
    assert report.learned.reason
    assert report.learned.arms is None
    assert report.impressions >= plan.impressions
    decisions = decisions_of(workspace)
    assert set(decisions["arm"]) == {None, "off"}
    assert not decisions["shown_sponsored"].explode().any()
