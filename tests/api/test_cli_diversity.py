"""What `kindred evaluate diversity` takes and prints."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from kindred.api.cli import main
from kindred.api.cli.evaluating_diversity import print_diversity


def test_a_row_tells_the_mean_and_the_change(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"kind": "as it is", "strength": 0.0, "mean": {"hit rate": 0.25}, "difference": {}},
        {
            "kind": "seller", "strength": 0.4, "mean": {"hit rate": 0.2},
            "difference": {"hit rate": [-0.05, -0.07, -0.03]},
        },
    ]  # fmt: skip
    report = {"notes": ["simulated"], "rows": rows, "k": 6, "queries": 1200, "train_until": "then"}
    print_diversity(report)
    told = capsys.readouterr().out
    assert "Note: simulated" in told
    assert "Answers of 6 to 1,200 sessions after then" in told
    assert [line.split() for line in told.splitlines() if "0.2" in line] == [
        ["as", "it", "is", "0", "0.2500"],
        ["seller", "0.4", "0.2000", "(-0.0500", "±0.0200)"],
    ]


@pytest.mark.parametrize("told", ["", "much", "0.1,0", "-1", "101"])
def test_a_strength_that_is_none_is_refused(told: str) -> None:
    run = CliRunner().invoke(main, ["evaluate", "diversity", f"--strengths={told}"])
    assert run.exit_code == 2
    assert "--strengths" in run.output
