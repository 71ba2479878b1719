"""From joined impressions in a workspace to a ranker that serves, and to figures about it."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from builders import event, item
from click.testing import CliRunner
from shown_lists import ITEMS, START, item_rows, shown_log
from structlog.testing import capture_logs

from kindred.api.cli import main
from kindred.api.learning import evaluate_shown_lists, train
from kindred.api.wiring import build, open_engine
from kindred.events.contract import event_columns
from kindred.events.lake import Lake
from kindred.events.shown import DECISIONS
from kindred.indexer.behaviour.exposure import NAMES, Exposure
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.models import ModelStore
from kindred.schemas.clock import DAY
from kindred.schemas.errors import InputError
from kindred.schemas.progress import SilentProgress
from kindred.schemas.query import SimilarRequest
from kindred.schemas.settings import (
    EncoderSettings,
    KindredSettings,
    RankerSettings,
    RepresentationSettings,
)
from kindred.schemas.workspace import Workspace

SETTINGS = KindredSettings(
    encoders=EncoderSettings(spaces=("attributes",)),
    representations=RepresentationSettings(stages=()),
    ranker=RankerSettings(trees=30, learning_rate=0.15, min_data_in_leaf=20),
    notes=("everything is simulated",),
)
QUIET = SilentProgress()


def catalogue_and_events(held: Workspace) -> None:
    catalogue = Catalogue.open(held.catalogue)
    catalogue.upsert([item(item_id=name) for name in item_rows()["item_id"]])
    catalogue.close()
    rng = np.random.default_rng(5)
    seen = [
        event(
            occurred_at=START + int(rng.integers(0, 20 * DAY)),
            entity_id=f"item-{rng.integers(0, ITEMS)}",
            user_id=f"u{rng.integers(0, 30)}",
        )
        for _ in range(1500)
    ]
    frame = pl.DataFrame([msgspec.to_builtins(e) for e in seen])
    Lake(held.lake).append(event_columns(frame))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    held = Workspace(tmp_path_factory.mktemp("shown"))
    catalogue_and_events(held)
    log = shown_log(1500)
    Lake(held.lake, DECISIONS).append(log.decisions)
    days = pl.from_epoch("occurred_at", "us").dt.date()
    for (day,), part in log.joined.group_by(days):
        folder = held.lake / "joined" / f"dt={day}"
        folder.mkdir(parents=True)
        part.write_parquet(folder / "part-0.parquet")
    train(held, SETTINGS, QUIET)
    return held


def test_the_ranker_says_what_it_learned_from_and_is_not_trained_twice(workspace: Workspace):
    card = ModelStore(workspace.models).card("ranker")
    assert card.gate.passed, card.gate.reason
    assert card.metrics["learned from"] == "joined impressions"
    assert card.metrics["label order"]["buy_now"]["order"][:2] == ["cart", "watch"]
    assert {"joined", "decisions"} <= card.inputs.keys()
    assert card.metrics["refitted on"]["lists"] > card.metrics["training_lists"]
    again = train(workspace, SETTINGS, QUIET)
    assert {row.state for row in again if row.stage != "merge"} == {"fresh"}
    assert all(row.seconds == 0 for row in again)


def test_what_serves_is_what_was_counted(workspace: Workspace):
    build(workspace, SETTINGS, QUIET)
    exposure = Exposure.load(ModelStore(workspace.models).load("exposure").arrays)
    engine = open_engine(workspace, SETTINGS, "test")
    try:
        answer = engine.similar(SimilarRequest(item_id="item-0", explain=True), decision_id="d")
        for shown in answer.items:
            row = int(shown.item_id.removeprefix("item-"))
            told = exposure.values[row, NAMES.index("shown_coec")]
            known = {f.feature: f.value for f in shown.explain.features}
            assert known["shown_coec"] == pytest.approx(float(told), rel=1e-5)
        assert "exposure" in answer.versions
    finally:
        engine.close()


def exposure_of(workspace: Workspace) -> Exposure:
    return Exposure.load(ModelStore(workspace.models).load("exposure").arrays)


def test_statistics_are_of_the_joins_end_and_training_says_that_it_is_old(
    workspace: Workspace, tmp_path: Path
):
    held = Workspace(tmp_path / "later")
    shutil.copytree(workspace.root, held.root)
    before = exposure_of(held)
    with capture_logs() as told:
        train(held, SETTINGS, QUIET, only=("exposure",))
    assert not told
    later = event(occurred_at=START + 40 * DAY, entity_id="item-1", user_id="u1")
    frame = pl.DataFrame([msgspec.to_builtins(later)])
    Lake(held.lake).append(event_columns(frame))
    with capture_logs() as told:
        train(held, SETTINGS, QUIET, only=("exposure",))
    assert "kindred join" in told[0]["event"]
    assert told[0]["events_until"].startswith("2023-12-24")
    np.testing.assert_array_equal(exposure_of(held).values, before.values)
    assert before.values[:, NAMES.index("shown_times_7d")].any()
    card = ModelStore(held.models).card("exposure")
    assert int(card.inputs["until"]) < START + 30 * DAY


def test_with_few_lists_the_ranker_learns_from_what_people_did_next(workspace: Workspace, tmp_path):
    demanding = msgspec.structs.replace(
        SETTINGS, ranker=msgspec.structs.replace(SETTINGS.ranker, joined_from=10_000)
    )
    rows = {row.stage: row for row in train(workspace, demanding, QUIET, only=("ranker",))}
    assert "history_past" in rows
    assert rows["ranker"].metrics.get("learned from") != "joined impressions"


def test_later_lists_are_ordered_better_and_the_report_says_simulated(workspace: Workspace):
    report = evaluate_shown_lists(
        workspace, SETTINGS, QUIET, until="50%", ks=(5,), seeds=2, lists=10_000
    )
    assert report["notes"] == ["everything is simulated"]
    assert len(report["seeds"]) == 2
    for part in report["slices"].values():
        lead = part["differences"]["merge (RRF)"]["purchase rank"]
        methods = part["methods"]
        assert lead[0] == pytest.approx(
            methods["ranker"]["purchase rank"][0] - methods["merge (RRF)"]["purchase rank"][0],
            abs=2e-5,
        )
        assert lead[2] < 0
    assert report["slices"]["randomised"]["lists"] < report["lists"]


def test_the_command_prints_a_table_for_all_and_one_for_random_order(workspace: Workspace):
    workspace.settings.write_text('notes = ["everything is simulated"]\n[ranker]\ntrees = 20\n')
    asked = ["-w", str(workspace.root), "evaluate", "shown-lists", "--seeds", "1", "--k", "3"]
    told = CliRunner().invoke(main, asked, catch_exceptions=False)
    assert told.exit_code == 0
    assert "Note: everything is simulated" in told.stdout
    assert "randomised" in told.stdout
    assert "ranker - merge (RRF): purchase rank -" in told.stdout
    plain = CliRunner().invoke(main, [*asked, "--json"], catch_exceptions=False)
    report = msgspec.json.decode(plain.stdout)
    assert "NDCG@3" in report["slices"]["all"]["methods"]["ranker"]


def test_without_joined_impressions_the_evaluation_says_what_to_do(tmp_path: Path):
    held = Workspace(tmp_path)
    catalogue_and_events(held)
    with pytest.raises(InputError, match="kindred join"):
        evaluate_shown_lists(held, SETTINGS, QUIET, until="50%", ks=(5,), seeds=1, lists=10)
