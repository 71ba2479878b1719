"""The decision log: nothing waits for it, nothing goes missing unseen, and it reads back whole."""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from kindred.events.decision_log import DecisionLog, LoggedDecision
from kindred.events.decisions import all_decisions, closed_rows, delete, find, newest
from kindred.events.feature_names import feature_names, keep_feature_names
from kindred.events.lake import Lake
from kindred.events.shown import DECISIONS
from kindred.events.writers import WriterCount, count_writers
from kindred.schemas.clock import DAY
from kindred.schemas.decision import CandidateColumns, Decision, DecisionContext, Shown
from kindred.schemas.errors import ArtefactError
from kindred.schemas.event import Platform, Role
from kindred.schemas.query import Place, Subject

NOW = 1_795_000_000_000_000
FEATURES = np.array([[1.5, np.nan], [np.inf, -0.25], [1e-30, 3.0]], np.float32)


def decided(name: str, at: int = NOW, **fields: Any) -> LoggedDecision:
    """Three candidates of which two were shown."""

    def build(writer: str, sequence: int) -> Decision:
        told: dict[str, Any] = {
            "surface": "view_item",
            "subject": Subject(user_id="ann", role=Role.CONSULTANT),
            "context": DecisionContext(
                seed_item="seed", place=Place(lat=50.5, lon=8.25), platform=Platform.APP
            ),
            "shown": Shown(
                item_id=["a", "b"],
                propensity=[0.9, 0.05],
                explore=[False, False],
                sponsored=[True, False],
            ),
            "candidates": CandidateColumns(
                item_id=["a", "b", "c"],
                sources=[3, 1, 256],
                recall_rank=[2, 1, 3],
                merged=[0.5, 0.25, 0.125],
                score=[0.1, -3.7, 1e-9],
                probability=[0.3, 0.2, 0.1],
                blend=None,
                ad_rate_bp=[1200, 0, 0],
                price_minor=[100, None, 2**40],
                formats=[1, 2, 4],
                seller_id=["s", None, "t"],
            ),
            "candidate_count": 95,
            "versions": {"index": "i", "ranker": "000001"},
            "epsilon": 0.1,
            "degraded": ("rank: merge order (past the deadline)",),
            "ms": {"recall": 1.25},
            "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
            "feature_spec": "spec",
        }
        return Decision(
            decision_id=name, occurred_at=at, writer=writer, sequence=sequence, **(told | fields)
        )

    return LoggedDecision(name, at, build, FEATURES)


class Outcomes:
    """What a log tells of its decisions."""

    def __init__(self) -> None:
        self.counts = {"written": 0, "lost": 0}

    def __call__(self, outcome: str, count: int) -> None:
        self.counts[outcome] += count


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.sqlite"


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def log_all(path: Path, decisions: list[LoggedDecision], writer: str = "w0.1") -> None:
    log = DecisionLog(path, 1000, writer, clock=lambda: NOW)
    assert all(log.record(one) for one in decisions)
    log.close()


def test_a_decision_reads_back_the_same_from_the_log_and_from_the_lake(
    path: Path, lake: Path
) -> None:
    without = decided("bare", NOW + 1, candidates=None, feature_spec=None)
    log_all(path, [decided("one"), LoggedDecision("bare", NOW + 1, without.build)])
    logged = find(lake, path, "one")
    assert logged is not None
    assert logged.decision == decided("one").build("w0.1", 1)
    assert logged.features is not None
    np.testing.assert_array_equal(logged.features, FEATURES)
    rows = closed_rows(path, NOW + 10)
    assert Lake(lake, DECISIONS).append(rows).new == 2
    delete(path, rows["decision_id"])
    assert closed_rows(path, NOW + 10).is_empty()
    for name in ("one", "bare"):
        rolled = find(lake, path, name)
        assert rolled is not None
        expected = decided("one") if name == "one" else without
        assert rolled.decision == expected.build("w0.1", 1 if name == "one" else 2)
    rolled = find(lake, path, "one")
    assert rolled is not None
    assert rolled.features is not None
    assert rolled.features.tobytes() == FEATURES.tobytes()
    assert find(lake, path, "another") is None


def test_each_decision_is_read_once_while_it_moves(path: Path, lake: Path) -> None:
    log_all(path, [decided(f"d{n}", NOW + n) for n in range(6)])
    names = [f"d{n}" for n in range(6)]
    table = Lake(lake, DECISIONS)

    def read(frame: pl.LazyFrame) -> list[str]:
        return sorted(frame.collect()["decision_id"])

    before = all_decisions(lake, path)
    assert read(before) == names
    table.append(closed_rows(path, NOW + 3))
    during = all_decisions(lake, path)
    assert read(during) == names
    assert newest(lake, path, 4)["decision_id"].to_list() == ["d5", "d4", "d3", "d2"]
    delete(path, names[:3])
    table.append(closed_rows(path, NOW + 5))
    delete(path, names[3:5])
    assert read(before) == read(during) == read(all_decisions(lake, path)) == names
    part = all_decisions(lake, path, NOW + 2, NOW + 5)
    assert read(part) == ["d2", "d3", "d4"]
    few = all_decisions(lake, path).filter(pl.col("sequence") > 4).select("features", "writer")
    assert few.collect()["features"].to_list() == [FEATURES.tobytes()] * 2


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


def test_a_disk_that_fails_to_the_end_is_a_loss_that_the_next_start_counts(
    path: Path, lake: Path
) -> None:
    path.mkdir()
    told = Outcomes()
    log = DecisionLog(path, 10, "w0.1", on_outcome=told, patience_s=0.05)
    for n in range(4):
        log.record(decided(f"d{n}"))
    log.close()
    assert told.counts == {"written": 0, "lost": 4}
    path.rmdir()
    assert count_writers(lake, path)[0][2:] == (4, 0, 4, 0, False)
    log_all(path, [decided("next")], "w0.2")
    by_writer = {count.writer: count for count in count_writers(lake, path)}
    assert by_writer["w0.1"][2:] == (4, 0, 4, 0, False)
    assert by_writer["w0.2"][2:] == (1, 1, 0, 0, False)
    assert list(path.with_name("decisions.marks").iterdir()) == []


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


def test_what_comes_after_the_end_is_lost_and_counted(path: Path, lake: Path) -> None:
    log = DecisionLog(path, 10, "w0.1", clock=lambda: NOW - 1)
    log.record(decided("in time"))
    log.close()
    assert not log.record(decided("late"))
    assert not log.record(decided("later"))
    (count,) = count_writers(lake, path)
    assert count[2:] == (3, 1, 2, 0, False)
    log_all(path, [decided("next")], "w0.2")
    assert [c[2:6] for c in count_writers(lake, path)] == [(3, 1, 2, 0), (1, 1, 0, 0)]
    assert list(path.with_name("decisions.marks").iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_decisions import NOW, decided
from kindred.events.decision_log import DecisionLog, LoggedDecision

def written(outcome, count):
    if outcome == "written":
        print(count, flush=True)

log = DecisionLog(Path(sys.argv[1]), 1000, "w0.1", on_outcome=written)
for n in range(50):
    log.record(decided(f"d{n}"))
sys.stdin.readline()
log.record(LoggedDecision("stuck", NOW, lambda writer, sequence: time.sleep(60)))
for n in range(29):
    log.record(decided(f"lost{n}"))
print("recorded", flush=True)
time.sleep(60)
"""


def test_what_a_kill_costs_is_counted_behind_the_last_written_one_too(
    path: Path, lake: Path
) -> None:
    command = [sys.executable, "-c", KILLED, str(path), str(Path(__file__).parent)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        written = 0
        while written < 50:
            written += int(child.stdout.readline())
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "recorded\n"
        (count,) = count_writers(lake, path)
        assert count[2:] == (80, 50, 0, 30, True)
        child.send_signal(signal.SIGKILL)
    (count,) = count_writers(lake, path)
    assert count[2:] == (80, 50, 30, 0, False)
    log_all(path, [decided("after")], "w0.2")  # which puts the count into the table
    assert list(path.with_name("decisions.marks").iterdir()) == []
    (count,) = (count for count in count_writers(lake, path) if count.writer == "w0.1")
    assert count[2:] == (80, 50, 30, 0, False)


def test_writers_of_one_file_do_not_hinder_each_other(path: Path, lake: Path) -> None:
    logs = [DecisionLog(path, 1000, f"w{n}.1") for n in range(3)]
    for n in range(100):
        for log in logs:
            assert log.record(decided(f"{log.writer}-{n}"))
    for log in logs:
        log.close()
    assert [c[2:] for c in count_writers(lake, path)] == [(100, 100, 0, 0, False)] * 3


def count_after_retention(path: Path, lake: Path) -> Iterator[WriterCount]:
    for day in (0, 1):
        rows = closed_rows(path, NOW + day * DAY + 10)
        Lake(lake, DECISIONS).append(rows)
        delete(path, rows["decision_id"])
    yield from count_writers(lake, path)
    first = min((lake / "decisions").glob("dt=*"))
    for part in first.iterdir():
        part.unlink()
    yield from count_writers(lake, path)


def test_what_the_lake_dropped_for_its_age_is_no_loss(path: Path, lake: Path) -> None:
    log_all(path, [decided(f"d{n}", NOW + n // 5 * DAY) for n in range(10)])
    log_all(path, [decided(f"old{n}") for n in range(3)], "w0.2")
    counts = [count[2:] for count in count_after_retention(path, lake)]
    assert counts[:2] == [(10, 10, 0, 0, False), (3, 3, 0, 0, False)]
    assert counts[2:] == [(5, 5, 0, 0, False), (0, 0, 0, 0, False)]


def test_a_start_that_was_asked_nothing_leaves_nothing(path: Path, lake: Path) -> None:
    log_all(path, [])
    assert count_writers(lake, path) == []
    assert list(path.with_name("decisions.marks").iterdir()) == []


def test_the_names_of_features_stay_what_they_were(lake: Path) -> None:
    keep_feature_names(lake, "s", ("price", "rank"))
    keep_feature_names(lake, "s", ("other",))
    assert feature_names(lake, "s") == ("price", "rank")
    with pytest.raises(ArtefactError, match=r"t\.json"):
        feature_names(lake, "t")
