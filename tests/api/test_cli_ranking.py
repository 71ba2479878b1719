"""`kindred evaluate ranking` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from kindred.api.cli import main
from kindred.api.cli.evaluating_ranking import print_ranking
from kindred.api.ranking import MARKETS, Sizes, evaluate_ranking, simulated_market
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import KindredSettings, RankerSettings
from kindred.schemas.workspace import Workspace


def ranking(workspace: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        main, ["-w", str(workspace), "evaluate", "ranking", *arguments], env={"COLUMNS": "160"}
    )


def test_missing_data_is_told_with_the_option_that_names_it(tmp_path: Path):
    done = ranking(tmp_path, "--suite", "chorus", "--data", str(tmp_path / "nowhere"))
    assert done.exit_code != 0
    assert "items.parquet is missing" in done.output
    assert "--data" in done.output


@pytest.mark.parametrize("numbers", ["thirty", "0,30"])
def test_sizes_that_are_no_numbers_are_refused(tmp_path: Path, numbers: str):
    assert ranking(tmp_path, "--purchases", numbers).exit_code == 2


def test_positions_print_their_table_and_verdicts_and_write_json(tmp_path: Path, shared_data: Path):
    target = tmp_path / "out" / "positions.json"
    done = ranking(
        tmp_path, "--suite", "positions", "--data", str(shared_data), "--click-seeds", "2",
        "--users", "1", "--output", str(target),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "Simulated" in done.output
    report = json.loads(target.read_text())
    found = report["suites"]["positions"]
    assert len(found["inputs"]["rank.train"]) == 64
    for verdict in found["verdicts"]:
        word = "pass" if verdict["passed"] else "FAIL"
        assert f"{word}  {verdict['claim']}" in done.output


def test_a_market_is_simulated_once_and_its_curve_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    held = Workspace(tmp_path)
    settings = KindredSettings(
        ranker=RankerSettings(trees=5, learning_rate=0.2, min_data_in_leaf=20)
    )
    sizes = Sizes(markets=1, impressions=24_000, draws=1, purchases=(10, 100_000))
    quiet = SilentProgress()
    report = evaluate_ranking(held, settings, quiet, suites=["curve"], data=tmp_path, sizes=sizes)
    curve = report["suites"]["curve"]
    assert list(curve["sizes"]) == ["10"]
    assert curve["not reached"] == [100_000]
    assert curve["markets"][0]["judging lists with a purchase"] > 0
    [market] = (tmp_path / MARKETS).iterdir()
    mark = market / "catalogue.sqlite"
    before = mark.stat().st_mtime_ns
    again = simulated_market(held, settings, quiet, 24_000, settings.seed)
    assert again.root == market
    assert mark.stat().st_mtime_ns == before

    monkeypatch.setenv("COLUMNS", "200")
    print_ranking(msgspec.to_builtins(report, str_keys=True))
    text = capsys.readouterr().out
    assert "Simulated: purchase rank relative to binary" in text
    assert "served (auto)" in text
    assert "loses its lead at" in text
    assert "No market has 100000 purchases to learn from" in text
