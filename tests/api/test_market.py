"""A small simulated market from end to end: items, history, models, index, visitors, both logs."""

from __future__ import annotations

from pathlib import Path

import httpx
import msgspec
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from kindred.api.cli import main
from kindred.api.demo import Step
from kindred.api.market import simulate
from kindred.api.market_demo import LiveFigures, MarketDemo, in_background, live_visitors
from kindred.api.market_plan import SIMULATED, Market, MarketPlan, prepare, settings_of
from kindred.api.market_report import MarketReport, export
from kindred.api.supervisor import Serving, Supervisor
from kindred.events.contract import check_events
from kindred.events.decisions import all_decisions
from kindred.events.feature_names import feature_names
from kindred.events.history import all_events
from kindred.events.lake import EVENTS, Lake
from kindred.events.shown import DECISIONS
from kindred.experiments.marketsim.http import ServerRefuses, check_market
from kindred.experiments.marketsim.truth import load_truth
from kindred.indexer.catalogue import Catalogue
from kindred.rerank.features import FEATURES, SPECIFICATION
from kindred.schemas.clock import micros_now
from kindred.schemas.errors import InputError
from kindred.schemas.item import Item, Status
from kindred.schemas.progress import SilentProgress
from kindred.schemas.workspace import Workspace

PLAN = MarketPlan(
    impressions=5_000, items=500, visitors=60, start=1_767_225_600_000_000, days=6.0, k=12,
    explore=0.3,
)  # fmt: skip


def simulated(root: Path, plan: MarketPlan = PLAN) -> tuple[Workspace, Market, MarketReport]:
    workspace = Workspace(root)
    prepare(workspace, plan, text=False)
    market = Market.make(plan)
    report = simulate(workspace, market, settings_of(workspace, {}), SilentProgress())
    return workspace, market, report


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Market, MarketReport]:
    return simulated(tmp_path_factory.mktemp("market"))


def logs(workspace: Workspace) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(decisions, events) of the lake."""
    return (
        Lake(workspace.lake, DECISIONS).scan().collect(),
        Lake(workspace.lake, EVENTS).scan().collect(),
    )


def test_as_much_is_shown_as_was_asked_for_and_the_lake_has_all_of_it(
    made: tuple[Workspace, Market, MarketReport],
) -> None:
    workspace, _, report = made
    decisions, events = logs(workspace)
    assert report.simulated
    assert report.impressions >= PLAN.impressions
    assert decisions["shown_item"].list.len().sum() == report.impressions
    assert decisions.height == report.decisions
    clicks = events.filter(pl.col("action") == "click")
    assert clicks.height == report.clicks > 50
    assert check_events(events).is_empty()
    assert SIMULATED in settings_of(workspace, {}).notes


def test_every_event_came_of_a_decision_that_showed_its_item_there(
    made: tuple[Workspace, Market, MarketReport],
) -> None:
    decisions, events = logs(made[0])
    shown = decisions.select(
        "decision_id", "session_id", "device_id", entity_id="shown_item", decided_at="occurred_at"
    ).explode("entity_id")
    shown = shown.with_columns(position=pl.int_range(pl.len()).over("decision_id") + 1)
    named = events.filter(pl.col("decision_id").is_not_null())
    found = named.join(shown, on=["decision_id", "entity_id", "position"], how="inner")
    assert found.height == named.height > 500
    assert (found["device_id"] == found["device_id_right"]).all()
    assert (found["occurred_at"] > found["decided_at"]).all()
    traced = events.filter(pl.col("traceparent").is_not_null())
    traces = decisions.select(trace=pl.col("traceparent").str.slice(3, 32))
    kept = traced.with_columns(trace=pl.col("traceparent").str.slice(3, 32))
    assert kept.join(traces, on="trace", how="anti").is_empty()


def test_decisions_hold_features_merge_ranks_and_the_chances_of_their_order(
    made: tuple[Workspace, Market, MarketReport],
) -> None:
    decisions, _ = logs(made[0])
    assert decisions["decision_id"].is_sorted()
    assert decisions["feature_spec"].unique().to_list() == [SPECIFICATION]
    assert feature_names(made[0].lake, SPECIFICATION) == tuple(FEATURES)
    share = 0
    for row in decisions.iter_rows(named=True):
        k = len(row["shown_item"])
        features = np.frombuffer(row["features"], "<f4").reshape(-1, len(FEATURES))
        assert len(features) == len(row["candidate_item"]) >= k
        assert row["candidate_item"][:k] == row["shown_item"]
        ranks = np.array(row["candidate_recall_rank"][:k])
        assert sorted(ranks) == list(range(1, k + 1))
        here = ranks == np.arange(1, k + 1)
        explored = all(row["shown_explore"])
        assert explored or here.all()
        expected = (1 - PLAN.explore) * here + PLAN.explore / k
        np.testing.assert_allclose(row["shown_propensity"], expected)
        share += explored
    assert 0.2 < share / decisions.height < 0.4


def test_a_question_knows_of_its_visit_what_had_been_viewed_by_then(
    made: tuple[Workspace, Market, MarketReport],
) -> None:
    decisions, events = logs(made[0])
    asked = decisions.select("session_id", "occurred_at", "seed_item", entity_id="session_items")
    before = asked.explode("entity_id").drop_nulls("entity_id")
    assert before.height > 100
    assert (before["entity_id"] != before["seed_item"]).all()
    views = events.filter(pl.col("action") == "view")
    first = views.group_by("session_id", "entity_id").agg(viewed_at=pl.col("occurred_at").min())
    known = before.join(first, on=["session_id", "entity_id"], how="inner")
    assert known.height == before.height
    assert (known["viewed_at"] < known["occurred_at"]).all()


def test_only_what_was_on_sale_was_shown_and_the_catalogue_knows_what_sold(
    made: tuple[Workspace, Market, MarketReport],
) -> None:
    workspace, market, _ = made
    decisions, events = logs(workspace)
    life = pl.DataFrame(
        {
            "shown_item": [i.item_id for i in market.world.items],
            "listed": market.world.listed,
            "expires": market.world.expires,
            "unique": market.world.unique,
        }
    )
    shown = decisions.select("occurred_at", "shown_item").explode("shown_item")
    hour = 3_600_000_000
    alive = shown.join(life, on="shown_item").select(
        (pl.col("listed") <= pl.col("occurred_at"))
        & (pl.col("occurred_at") < pl.col("expires") + hour)
    )
    assert alive.height == shown.height
    assert alive.to_series().all()
    bought = events.filter(pl.col("action") == "purchase").join(
        life.filter("unique"), left_on="entity_id", right_on="shown_item"
    )
    during = bought.filter(pl.col("occurred_at") <= decisions["occurred_at"].max())["entity_id"]
    assert during.len() > 5
    catalogue = Catalogue.open(workspace.catalogue)
    try:
        held = catalogue.get_many(during.to_list())
    finally:
        catalogue.close()
    assert {item.status for item in held if item is not None} == {Status.SOLD}


def test_the_same_market_again_adds_nothing(
    made: tuple[Workspace, Market, MarketReport], tmp_path: Path
) -> None:
    workspace, _, report = made
    before = logs(workspace)
    _, _, again = simulated(workspace.root)
    assert again.actions == report.actions
    after = logs(workspace)
    assert [f.height for f in after] == [f.height for f in before]
    elsewhere, _, _ = simulated(tmp_path / "other")
    same = ["decision_id", "occurred_at", "shown_item", "features"]
    assert logs(elsewhere)[0].select(same).equals(before[0].select(same))
    assert logs(elsewhere)[1].equals(before[1])


def test_a_folder_holds_one_market_and_the_truth_is_told_whole(
    made: tuple[Workspace, Market, MarketReport], tmp_path: Path
) -> None:
    workspace, market, _ = made
    with pytest.raises(InputError, match="another plan"):
        prepare(workspace, MarketPlan(impressions=1, items=500, visitors=60, start=0), text=False)
    export(market, tmp_path / "truth")
    truth = load_truth(tmp_path / "truth")
    curve = truth.extra["positions"]
    assert curve["web"][0] == curve["app"][0] == 1
    assert (curve["web"].diff().drop_nulls() < 0).all()
    assert truth.extra["visitors"].height == PLAN.visitors


def test_a_workspace_that_commands_left_empty_may_hold_a_market_and_another_may_not(
    tmp_path: Path,
) -> None:
    empty, held = Workspace(tmp_path / "empty"), Workspace(tmp_path / "held")
    for workspace in (empty, held):
        done = CliRunner().invoke(main, ["-w", str(workspace.root), "join"])
        assert done.exit_code == 0, done.output
        assert workspace.lake.is_dir()
        catalogue = Catalogue.open(workspace.catalogue)
        if workspace is held:
            catalogue.upsert([Item(item_id="mine", title="A lamp", category=("lamps",))])
        catalogue.close()
    prepare(empty, PLAN, text=False)
    with pytest.raises(InputError, match="not simulated"):
        prepare(held, PLAN, text=False)


def test_visitors_browse_no_server_of_another_market(
    made: tuple[Workspace, Market, MarketReport],
) -> None:
    items = made[1].world.items[:2]

    def other(request: httpx.Request) -> httpx.Response:
        known = request.url.path.endswith(items[0].item_id)
        return httpx.Response(200 if known else 404, content=msgspec.json.encode(items[0]))

    with httpx.Client(base_url="http://market", transport=httpx.MockTransport(other)) as client:
        check_market(client, items[:1])
        with pytest.raises(ServerRefuses, match="does not serve this workspace's market"):
            check_market(client, items)
        dearer = msgspec.structs.replace(items[0], price_minor=1)
        with pytest.raises(ServerRefuses, match=items[0].item_id):
            check_market(client, [dearer])


def test_visitors_browse_a_server_and_both_of_its_logs_fit_together(
    made: tuple[Workspace, Market, MarketReport],
) -> None:
    workspace = made[0]
    settings = settings_of(workspace, {})
    api = msgspec.structs.replace(settings.api, port=0, workers=1)
    supervisor = Supervisor(workspace, msgspec.structs.replace(settings, api=api))
    figures: list[LiveFigures] = []
    began = micros_now()

    def browse(serving: Serving) -> None:
        def visit() -> None:
            figures.append(
                live_visitors(
                    workspace, Market.make(PLAN), serving.url, seconds=60, impressions=1200,
                    rate=40, speed=200, k=PLAN.k,
                )
            )  # fmt: skip

        in_background(visit, supervisor.stop)

    supervisor.run(browse)
    [seen] = figures
    assert seen.simulated
    assert seen.impressions >= 1200
    assert (seen.failed, seen.rejected, seen.decisions_lost) == (0, 0, 0)
    assert seen.p95_ms is not None
    events = all_events(workspace.lake, workspace.log, began).collect()
    decisions = all_decisions(workspace.lake, workspace.decisions, began).collect()
    assert events.height == seen.events > 100
    assert decisions["shown_item"].list.len().sum() >= seen.impressions
    shown = decisions.select("decision_id", "session_id", entity_id="shown_item").explode(
        "entity_id"
    )
    clicks = events.filter(pl.col("action") == "click", pl.col("decision_id").is_not_null())
    assert clicks.height > 5
    assert clicks.join(shown, on=["decision_id", "session_id", "entity_id"]).height == clicks.height


def test_the_demos_market_is_what_was_on_sale_when_its_history_ended_and_is_made_once(
    tmp_path: Path,
) -> None:
    workspace = Workspace(tmp_path)
    plan = msgspec.structs.replace(PLAN, items=300, history_visits=8)
    prepare(workspace, plan, text=False)

    settings = settings_of(workspace, {})
    learned = msgspec.structs.replace(settings.representations, stages=())
    settings = msgspec.structs.replace(settings, representations=learned)

    def steps() -> list[Step]:
        demo = MarketDemo(
            workspace=workspace,
            settings=settings,
            market=Market.make(plan),
            progress=SilentProgress(),
        )
        return demo.run(lambda step: None)

    assert not any(step.fresh for step in steps())
    assert all(step.fresh for step in steps())
    catalogue = Catalogue.open(workspace.catalogue)
    try:
        held = [change.item for changes in catalogue.scan() for change in changes]
    finally:
        catalogue.close()
    assert {item.status for item in held} == {Status.ACTIVE, Status.SOLD, Status.ENDED}
    assert max(item.created_at or 0 for item in held) < plan.opens
    bought = logs(workspace)[1].filter(pl.col("action") == "purchase")["entity_id"].to_list()
    sold = {item.item_id for item in held if item.status is Status.SOLD}
    assert sold
    assert sold <= set(bought)
