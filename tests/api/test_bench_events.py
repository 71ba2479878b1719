"""The benches of the event log, small: they run, and nothing acknowledged goes missing."""

from __future__ import annotations

from pathlib import Path

from kindred.api.bench.crash import run_crash
from kindred.api.bench.events import run_events
from kindred.schemas.progress import SilentProgress


def test_every_mix_and_batch_is_measured(tmp_path: Path) -> None:
    result = run_events(tmp_path, (1, 20), 4, 0.1, SilentProgress())
    assert [(r.mix, r.batch) for r in result.rounds] == [
        ("views", 1), ("views", 20), ("money", 1), ("money", 20),
    ]  # fmt: skip
    assert all(r.acknowledged >= 4 * r.batch and r.per_second > 0 for r in result.rounds)
    assert list(tmp_path.iterdir()) == []


def test_a_serving_process_that_is_killed_loses_nothing_acknowledged(tmp_path: Path) -> None:
    result = run_crash(tmp_path, 1, 7, SilentProgress())
    assert result.acknowledged > 0
    assert result.missing == 0
