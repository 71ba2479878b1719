"""`kindred features` over a small market that was trained and served."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from trained_market import running, trained_market

from kindred.api.cli import main
from kindred.api.feature_report import LOGGED, WIDGETS, FeatureReport, feature_report
from kindred.api.feature_text import features_page
from kindred.api.settings_file import load_settings
from kindred.api.wiring import open_offline
from kindred.rerank.features import FEATURES, SPECIFICATION
from kindred.rerank.tree_walk import THREAD, process_walk
from kindred.schemas.clock import micros_now
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

NAMES = [f"item-{n}" for n in range(240)]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return trained_market(tmp_path_factory.mktemp("market"), NAMES)


def report_of(workspace: Workspace, answers: int = 50) -> FeatureReport:
    settings = load_settings(workspace.settings, {})
    return feature_report(workspace, settings, answers=answers, now=micros_now())


def test_before_anything_was_answered_coverage_is_of_widgets(market: Workspace) -> None:
    report = report_of(market)
    told = {f.name: f for f in report.features}
    assert list(told) == list(FEATURES)
    assert (report.specification, report.covered) == (SPECIFICATION, WIDGETS)
    assert report.candidates > 1000
    assert told["price"].coverage == told["merged"].coverage == 1
    assert told["pair_coec"].coverage == told["cos_text_session"].coverage == 0
    assert 0 < (told["seed_km"].coverage or 0) < 1
    assert report.ranker == "000001"
    assert report.foreign == ()
    importance = [f.importance or 0 for f in report.features]
    assert sum(importance) == pytest.approx(1, abs=0.01)
    assert told["cos_text_session"].importance == 0


@pytest.mark.parametrize("wanted", [True, False])
def test_a_served_ranker_is_walked_by_compiled_code_unless_the_settings_say_no(
    market: Workspace, wanted: bool
) -> None:
    process_walk.cache_clear()
    settings = load_settings(market.settings, {})
    assert settings.api.compiled_ranker
    api = msgspec.structs.replace(settings.api, compiled_ranker=wanted)
    ranker = open_offline(market, msgspec.structs.replace(settings, api=api)).funnel.ranker
    assert ranker is not None
    rows = np.random.default_rng(1).normal(size=(50, len(FEATURES))).astype(np.float32)
    at_first = ranker.score(rows)
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join()
    assert (process_walk().compiled is not None) == wanted
    assert any(m.forest is not None and m.walk is process_walk() for m in ranker.members)
    np.testing.assert_array_equal(ranker.score(rows), at_first)


def test_what_was_answered_is_counted_and_told_in_json(market: Workspace) -> None:
    with running(market, 1) as (url, _), httpx.Client(base_url=url) as client:
        for name in NAMES[:6]:
            asked = {"item_id": name, "subject": {"user_id": "user-3"}}
            client.post("/v1/similar", json=asked).raise_for_status()
        for _ in range(100):
            if report_of(market).covered == LOGGED:
                break
            time.sleep(0.1)
    found = CliRunner().invoke(
        main, ["-w", str(market.root), "features", "--group", "affinity", "--json"]
    )
    assert found.exit_code == 0, found.output
    report = json.loads(found.output)
    assert report["covered"] == LOGGED
    assert {f["group"] for f in report["features"]} == {"affinity"}
    assert all(f["why"] and f["unit"] and f["reads"] for f in report["features"])
    known = {f["name"]: f["coverage"] for f in report["features"]}
    assert known["user_items"] == 1
    table = CliRunner().invoke(main, ["-w", str(market.root), "features"], env={"COLUMNS": "200"})
    assert table.exit_code == 0, table.output
    assert "importance: share of the gain in ranker 000001" in table.output


def test_an_empty_workspace_has_the_table_alone(tmp_path: Path) -> None:
    report = feature_report(Workspace(tmp_path), KindredSettings(), answers=5, now=1)
    assert len(report.features) == len(FEATURES)
    assert report.covered is report.ranker is None
    assert all(f.coverage is None and f.importance is None for f in report.features)


def test_the_page_of_features_is_current() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "features.md"
    assert page.read_text("utf-8") == features_page(), (
        "run `python -m kindred.api.feature_text > docs/features.md`"
    )


def test_an_unknown_group_is_named_with_those_there_are(tmp_path: Path) -> None:
    found = CliRunner().invoke(main, ["-w", str(tmp_path), "features", "--group", "nope"])
    assert found.exit_code == 2
    assert "provenance" in found.output
