"""The decision log: nothing waits for it, and no failure stops it."""

from __future__ import annotations

import resource
import sqlite3
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from logged_decisions import NOW, Outcomes, decided, until

from kindred.events.decision_log import DecisionLog, LoggedDecision
from kindred.events.decisions import find, newest
from kindred.events.writers import count_writers
from kindred.schemas.decision import Decision


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.sqlite"


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def test_a_full_queue_loses_what_comes_and_counts_it(path: Path, lake: Path) -> None:
    told, held = Outcomes(), threading.Event()
    log = DecisionLog(path, 10, "w0.1", on_outcome=told)

    def slow(writer: str, sequence: int) -> Decision:
        held.wait(30)
        return decided("d0").build(writer, sequence)

    first = LoggedDecision("d0", NOW, slow)
    taken = [log.record(first)] + [log.record(decided(f"d{n}")) for n in range(1, 15)]
    assert taken == [True] * 10 + [False] * 5
    assert told.counts == {"written": 0, "lost": 5}
    held.set()
    until(lambda: told.counts["written"] == 10)
    assert log.record(decided("late"))
    log.close()
    assert told.counts == {"written": 11, "lost": 5}
    (count,) = count_writers(lake, path)
    assert (count.assigned, count.written, count.lost, count.waiting) == (16, 11, 5, 0)
    assert not count.running
    late = find(lake, path, "late")
    assert late is not None
    assert late.decision.sequence == 16


def test_a_decision_that_cannot_be_made_costs_itself_alone(path: Path, lake: Path) -> None:
    told = Outcomes()
    log = DecisionLog(path, 100, "w0.1", on_outcome=told)
    wrong = LoggedDecision("wrong", NOW, lambda writer, sequence: 1 // 0)  # type: ignore[arg-type, return-value]
    for one in (decided("a"), wrong, decided("b")):
        log.record(one)
    log.close()
    assert told.counts == {"written": 2, "lost": 1}
    assert count_writers(lake, path)[0].lost == 1


def test_a_disk_that_fails_is_waited_for(path: Path, lake: Path) -> None:
    path.mkdir()  # no database can be there
    told = Outcomes()
    log = DecisionLog(path, 3, "w0.1", on_outcome=told, patience_s=0.05)
    taken = [log.record(decided(f"d{n}")) for n in range(4)]
    assert taken == [True, True, True, False]
    time.sleep(0.1)
    assert told.counts == {"written": 0, "lost": 1}
    path.rmdir()
    until(lambda: told.counts["written"] == 3)
    log.close()
    assert count_writers(lake, path)[0][2:6] == (4, 3, 1, 0)


def test_a_full_disk_is_waited_for(path: Path, lake: Path) -> None:
    told = Outcomes()
    log = DecisionLog(path, 100, "w0.1", on_outcome=told)
    log.record(decided("first"))
    until(lambda: told.counts["written"] == 1)
    wide = np.ones((3, 2_000), np.float32)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        for n in range(40):
            one = decided(f"d{n}")
            assert log.record(LoggedDecision(one.decision_id, NOW, one.build, wide))
        time.sleep(0.3)
        assert told.counts["written"] < 41
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    until(lambda: told.counts["written"] == 41)
    log.close()
    assert count_writers(lake, path)[0][2:] == (41, 41, 0, 0, False)


def test_a_file_that_another_process_holds_is_waited_for(path: Path, lake: Path) -> None:
    told = Outcomes()
    log = DecisionLog(path, 100, "w0.1", on_outcome=told, patience_s=0.05)
    log.record(decided("first"))
    until(lambda: told.counts["written"] == 1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for n in range(5):
        assert log.record(decided(f"d{n}"))
    time.sleep(0.3)
    assert told.counts == {"written": 1, "lost": 0}
    other.execute("ROLLBACK")
    other.close()
    until(lambda: told.counts["written"] == 6)
    log.close()
    assert count_writers(lake, path)[0][2:6] == (6, 6, 0, 0)


class Mute:
    """A service's log on a full disk, or whose reader has gone away."""

    def error(self, *_: object, **__: object) -> None:
        raise OSError("nobody listens")


def test_a_failure_that_cannot_be_told_stops_nothing(
    path: Path, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("structlog.get_logger", lambda *_: Mute())
    path.mkdir()
    told = Outcomes()
    log = DecisionLog(path, 10, "w0.1", on_outcome=told, patience_s=0.05)
    log.record(LoggedDecision("wrong", NOW, lambda writer, sequence: 1 // 0))  # type: ignore[arg-type, return-value]
    log.record(decided("right"))
    until(lambda: told.counts["lost"] == 1)
    path.rmdir()
    until(lambda: told.counts["written"] == 1)
    log.close()
    assert count_writers(lake, path)[0][2:6] == (2, 1, 1, 0)


def test_a_count_that_cannot_be_kept_stops_nothing(path: Path, lake: Path) -> None:
    def count(outcome: str, count: int) -> None:
        raise OSError("no space left")

    log = DecisionLog(path, 1, "w0.1", on_outcome=count)
    log.record(LoggedDecision("wrong", NOW, lambda writer, sequence: 1 // 0))  # type: ignore[arg-type, return-value]
    until(lambda: log.record(decided("right")))
    log.close()
    counted = count_writers(lake, path)[0]
    assert counted.written == 1
    assert counted.written + counted.lost == counted.assigned


def test_a_decision_that_the_file_cannot_hold_keeps_no_other_from_it(
    path: Path, lake: Path
) -> None:
    told = Outcomes()
    log = DecisionLog(path, 10, "w0.1", on_outcome=told)
    log.record(decided("far", 2**63))
    until(lambda: told.counts["lost"] == 1)
    log.record(decided("near"))
    log.close()
    assert count_writers(lake, path)[0][2:6] == (2, 1, 1, 0)


def test_a_file_that_was_replaced_is_not_written_on(path: Path, lake: Path) -> None:
    told = Outcomes()
    log = DecisionLog(path, 10, "w0.1", on_outcome=told)
    log.record(decided("old"))
    until(lambda: told.counts["written"] == 1)
    for file in path.parent.glob("decisions.sqlite*"):
        file.unlink()
    log.record(decided("new"))
    log.close()
    assert newest(lake, path, 9)["decision_id"].to_list() == ["new"]
