"""Who wrote decisions, and how many of them are missing, also after a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from logged_decisions import NOW, Outcomes, decided, log_all

from kindred.events.decision_log import DecisionLog
from kindred.events.decisions import closed_rows, delete
from kindred.events.lake import Lake
from kindred.events.shown import DECISIONS
from kindred.events.writers import WriterCount, count_writers
from kindred.schemas.clock import DAY


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.sqlite"


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


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
from logged_decisions import NOW, decided
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
    command = [sys.executable, "-c", KILLED, str(path), str(Path(__file__).parents[1])]
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
