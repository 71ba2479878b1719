"""`kindred join` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from join_rows import HOUR, LATER, SECOND, START, decision, decisions, event, events

from kindred.api.cli import main
from kindred.api.joining import join_workspace
from kindred.events.lake import Lake
from kindred.events.shown import DECISIONS, JOINED
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import EventSettings, KindredSettings
from kindred.schemas.workspace import Workspace


def kindred(workspace: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["-w", str(workspace), "join", *arguments])


def answer(workspace: Path, *arguments: str) -> Any:
    result = kindred(workspace, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """An answer with two items on 2023-11-15, one of them clicked."""
    Lake(tmp_path / "lake", DECISIONS).append(decisions(decision("d1", "a", "b")))
    Lake(tmp_path / "lake").append(events(event("click", "b", SECOND, decision_id="d1")))
    return tmp_path


def test_the_report_says_what_is_joined(workspace: Path) -> None:
    report = answer(workspace, "--until", "2023-11-16T12:00")
    assert (report["rows"], report["recomputed"], report["censored"]) == (2, 1, 1)
    assert report["join_rate"] == report["named_join_rate"] == 1.0
    again = kindred(workspace)
    assert again.exit_code == 0
    assert "impressions" in again.stdout
    assert "100.00%" in again.stdout
    assert answer(workspace)["recomputed"] == 0


def test_the_rows_of_a_decision_can_be_shown(workspace: Path) -> None:
    told = kindred(workspace, "--show", "d1").stdout
    assert "what came of it" in told
    assert "click" in told
    shown = answer(workspace, "--show", "d1")["shown"]
    assert [(row["item_id"], row["grade"]) for row in shown] == [("a", 0), ("b", 1)]
    missing = kindred(workspace, "--show", "d2")
    assert missing.exit_code == 2
    assert "d2" in missing.stderr


def test_a_moment_that_is_none_is_refused(workspace: Path) -> None:
    result = kindred(workspace, "--until", "tomorrow")
    assert result.exit_code == 2
    assert "tomorrow" in result.stderr
    future = kindred(workspace, "--until", "2099-01-01")
    assert future.exit_code == 2
    assert "has not happened yet" in future.stderr


def test_the_join_ends_where_nothing_can_come_late_any_more(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    told = [decision("d1", "a", at=0), decision("d2", "a", at=HOUR)]
    Lake(workspace.lake, DECISIONS).append(decisions(*told))
    now = told[1]["occurred_at"] + HOUR
    for minutes, known in [(60, ["d1"]), (59, ["d1", "d2"])]:
        settings = KindredSettings(events=EventSettings(late_minutes=minutes))
        join_workspace(workspace, settings, SilentProgress(), now=now)
        rows = Lake(workspace.lake, JOINED).scan().collect()
        assert rows["decision_id"].to_list() == known


def test_a_later_run_does_not_undo_what_a_moment_asked_for_brought(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    Lake(workspace.lake, DECISIONS).append(decisions(decision("d1", "a")))
    now = LATER
    for at, until, known in [
        (START + 1, None, 0), (START + 1, "now", 1), (START + 2, None, 1),
        (START + 3, "2023-11-14", 0), (now, "2024-01-01", 1), (now, None, 1),
    ]:  # fmt: skip
        report = join_workspace(workspace, KindredSettings(), SilentProgress(), now=at, until=until)
        assert report.rows == known
    assert report.as_of == now - HOUR
