"""A ranker's card as people read it: the order of labels with its counts, objectives, slices."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from shown_lists import ITEMS, joined, shown_log

from kindred.api.cli import main
from kindred.indexer.models import ModelStore
from kindred.indexer.stage_run import run_stages
from kindred.rerank.joined_stages import Shown, joined_stages
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import KindredSettings, RankerSettings
from kindred.schemas.workspace import Workspace

SETTINGS = KindredSettings(ranker=RankerSettings(trees=8, learning_rate=0.3, min_data_in_leaf=20))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("cards"))
    log = joined(shown_log(1200))
    what = Shown(log=log, until=log.shown.newest + 1, size=ITEMS, settings=SETTINGS, threads=1)
    store = ModelStore(workspace.models)
    run_stages(joined_stages(what), store, seed=1, progress=SilentProgress(), clock=lambda: 1)
    return workspace


def shown(root: Path) -> str:
    asked = ["-w", str(root), "models", "show", "ranker"]
    result = CliRunner().invoke(main, asked, env={"COLUMNS": "220"})
    assert result.exit_code == 0, result.output
    return result.stdout


def line_of(text: str, *words: str) -> str:
    return next(line for line in text.splitlines() if all(word in line for word in words))


def test_the_order_of_labels_is_a_line_for_each_format_with_its_counts(workspace: Workspace):
    card = ModelStore(workspace.models).card("ranker")
    text = shown(workspace.root)
    found = card.metrics["label order"]["buy_now"]
    line = line_of(text, "buy_now", " < ")
    assert " < ".join(["click", *found["order"], "purchase"]) in line
    hits, tries = found["purchases after"]["click"]
    assert hits > 50
    assert f"{hits:,} of {tries:,} ({hits / tries:.1%})" in line
    assert line_of(text, "all formats", " < ")
    assert "metrics.label order" not in text


def test_objectives_are_told_beside_each_other_and_which_serves(workspace: Workspace):
    text = shown(workspace.root)
    chosen = ModelStore(workspace.models).card("ranker").metrics["objective"]
    for name, found in chosen["stopping part"].items():
        assert f"{found['rank']:.4f}" in line_of(text, f" {name} ", f"{found['rank']:.4f}")
    assert chosen["why"] in " ".join(text.split())
    assert line_of(text, f"{chosen['stopping part'][chosen['served']]['rank']:.4f}", "serves")


def test_slices_are_rows_with_each_platform(workspace: Workspace):
    text = shown(workspace.root)
    compared = ModelStore(workspace.models).card("ranker").metrics["compared"]
    assert {"all", "web", "app"} <= compared.keys()
    for name in compared:
        lead = compared[name]["ranker - merge"]
        assert "{:+.3f} [{:+.3f}, {:+.3f}]".format(*lead) in line_of(text, f" {name} ", "[")
