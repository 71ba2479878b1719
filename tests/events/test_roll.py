"""Rolling: closed hours alone, each event once, also when killed between lake and log."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from builders import event

from kindred.events import decisions
from kindred.events.check import Refused
from kindred.events.decision_log import DecisionLog, LoggedDecision
from kindred.events.history import LOGGED, all_events, fingerprint, newest_rejects
from kindred.events.lake import Lake
from kindred.events.log import EventLog
from kindred.events.log_tables import MOST_REJECTS, open_log_file
from kindred.events.roll import (
    _OLD_MERGES,
    _OLD_REJECTS,
    DELETED_AT_ONCE,
    LoggedEvents,
    _delete,
    closed_before,
    only_one,
    roll,
    roll_closed,
)
from kindred.events.shown import DECISIONS
from kindred.events.union import lake_and_log
from kindred.schemas.clock import DAY, HOUR, MINUTE
from kindred.schemas.decision import Decision, DecisionContext, Shown
from kindred.schemas.query import Subject
from kindred.schemas.settings import EventSettings
from kindred.schemas.workspace import Workspace

MIDNIGHT = int(datetime(2025, 11, 20, tzinfo=UTC).timestamp()) * 1_000_000
SETTINGS = EventSettings()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Events of three hours around midnight, one each minute."""
    held = Workspace(tmp_path)
    log = EventLog.open(held.log, SETTINGS, lambda: MIDNIGHT)
    minutes = range(-60, 120)
    log.append([event(event_id=f"e{m}", occurred_at=MIDNIGHT + m * MINUTE) for m in minutes])
    log.append([event(event_id="e-60"), event(event_id="e119")])
    log.close()
    return held


def logged(workspace: Workspace) -> set[str]:
    with sqlite3.connect(workspace.log) as db:
        return {row[0] for row in db.execute("SELECT event_id FROM events")}


def ids(frame: pl.LazyFrame) -> list[str]:
    return sorted(frame.collect()["event_id"])


EVERY = sorted(f"e{m}" for m in range(-60, 120))


def test_an_hour_is_closed_when_nothing_late_can_come_any_more() -> None:
    end = MIDNIGHT + HOUR
    assert closed_before(end + 61 * MINUTE - 1, SETTINGS) == MIDNIGHT
    assert closed_before(end + 61 * MINUTE, SETTINGS) == end


def test_closed_hours_move_and_open_ones_stay(workspace: Workspace) -> None:
    rolled = roll_closed(workspace, SETTINGS, MIDNIGHT + 2 * HOUR + MINUTE)
    assert rolled is not None
    assert (rolled.events, rolled.repeated) == (120, 0)
    lake = Lake(workspace.lake)
    assert ids(lake.scan()) == sorted(f"e{m}" for m in range(-60, 60))
    assert logged(workspace) == {f"e{m}" for m in range(60, 120)}
    days = sorted(day.name for day in lake.raw.glob("dt=*"))
    assert days == ["dt=2025-11-19", "dt=2025-11-20"]
    again = roll_closed(workspace, SETTINGS, MIDNIGHT + 2 * HOUR + MINUTE)
    assert again is not None
    assert again.events == 0


def test_history_has_each_event_once_wherever_it_lies(workspace: Workspace) -> None:
    def all_of(since: int | None = None, until: int | None = None) -> list[str]:
        return ids(all_events(workspace.lake, workspace.log, since, until))

    assert all_of() == EVERY
    before = fingerprint(workspace.lake, workspace.log)
    with sqlite3.connect(workspace.log) as db:
        Lake(workspace.lake).append(LoggedEvents(workspace.log).oldest(MIDNIGHT + HOUR)[0])
        assert all_of() == EVERY, "in both, as while rolling"
        assert db.execute("SELECT count(*) FROM events").fetchone() == (180,)
    roll(LoggedEvents(workspace.log), workspace.lake, MIDNIGHT + HOUR)
    assert all_of() == EVERY
    assert all_of(MIDNIGHT + 59 * MINUTE, MIDNIGHT + 61 * MINUTE) == ["e59", "e60"]
    assert fingerprint(workspace.lake, workspace.log) != before
    assert ids(all_events(workspace.lake, workspace.root / "none.sqlite")) == ids(
        Lake(workspace.lake).scan()
    )


def test_a_frame_has_each_event_once_wherever_it_has_gone_since(workspace: Workspace) -> None:
    before = all_events(workspace.lake, workspace.log)
    Lake(workspace.lake).append(LoggedEvents(workspace.log).oldest(MIDNIGHT)[0])
    during = all_events(workspace.lake, workspace.log)
    roll(LoggedEvents(workspace.log), workspace.lake, MIDNIGHT + HOUR)
    assert ids(before) == ids(during) == EVERY
    late = pl.col("occurred_at") >= MIDNIGHT + 59 * MINUTE
    for frame in (before, during):
        assert sorted(frame.filter(late).select("event_id").collect()["event_id"])[:2] == [
            "e100", "e101",
        ]  # fmt: skip
        assert frame.filter(late).select(pl.len()).collect().item() == 61
        assert frame.head(7).collect().height == 7
        streamed = frame.select("action", "logged_in").collect(engine="streaming")
        assert streamed.unique().rows() == [("view", False)]
    roll(LoggedEvents(workspace.log), workspace.lake, MIDNIGHT + DAY)
    assert ids(before) == ids(during) == EVERY


def test_columns_that_nobody_uses_are_not_read(workspace: Workspace) -> None:
    read: list[tuple[str, ...]] = []

    def noted(columns: Sequence[str]) -> str:
        read.append(tuple(columns))
        return ", ".join(columns)

    log = LOGGED._replace(select=noted)
    frame = lake_and_log(Lake(workspace.lake), log, workspace.log, None, None)
    fewer = frame.filter(pl.col("occurred_at") < MIDNIGHT).select("event_id")
    assert fewer.collect(engine="streaming").height == 60
    assert read == [("event_id", "occurred_at")]


class KilledBetween(LoggedEvents):
    """Dies once the rows are in the lake, before they leave the log."""

    def delete(self, keys: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_kill_between_lake_and_log_costs_nothing(workspace: Workspace) -> None:
    context = multiprocessing.get_context("spawn")
    arguments = (KilledBetween(workspace.log), workspace.lake, MIDNIGHT + HOUR)
    killed = context.Process(target=roll, args=arguments)
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert len(logged(workspace)) == 180
    assert Lake(workspace.lake).count() == 120
    assert ids(all_events(workspace.lake, workspace.log)) == EVERY
    rolled = roll_closed(workspace, SETTINGS, MIDNIGHT + 3 * HOUR + MINUTE)
    assert rolled is not None
    assert (rolled.events, rolled.repeated) == (60, 120)
    assert ids(Lake(workspace.lake).scan()) == EVERY
    assert logged(workspace) == set()


def test_decisions_go_the_same_way(workspace: Workspace) -> None:
    def decided(name: str, at: int) -> LoggedDecision:
        shown = Shown(item_id=["a"], propensity=[1.0], explore=[False], sponsored=[False])

        def build(writer: str, sequence: int) -> Decision:
            return Decision(
                decision_id=name, occurred_at=at, writer=writer, sequence=sequence, shown=shown,
                surface="view_item", subject=Subject(user_id="ann"), context=DecisionContext(),
                candidate_count=1, versions={}, ms={},
            )  # fmt: skip

        return LoggedDecision(name, at, build)

    log = DecisionLog(workspace.decisions, 100, "w0.1", clock=lambda: MIDNIGHT)
    for name, at in (
        ("old", MIDNIGHT - MINUTE),
        ("new", MIDNIGHT + MINUTE),
        ("open", MIDNIGHT + HOUR),
    ):
        log.record(decided(name, at))
    log.close()
    rolled = roll_closed(workspace, SETTINGS, MIDNIGHT + 2 * HOUR + MINUTE)
    assert rolled is not None
    assert rolled.decisions == 2
    kept = Lake(workspace.lake, DECISIONS).scan().collect()["decision_id"].to_list()
    assert kept == ["old", "new"]
    assert decisions.closed_rows(workspace.decisions, 2**60)["decision_id"].to_list() == ["open"]


def test_one_process_rolls_at_a_time(workspace: Workspace) -> None:
    late = MIDNIGHT + DAY
    with only_one(workspace.lake, wait=True) as ours:
        assert ours
        assert roll_closed(workspace, SETTINGS, late, wait=False) is None
    rolled = roll_closed(workspace, SETTINGS, late, wait=False)
    assert rolled is not None
    assert rolled.events == 180


def test_dead_letters_go_a_few_at_a_time_and_their_number_is_bounded(
    workspace: Workspace,
) -> None:
    log = EventLog.open(workspace.log, SETTINGS, lambda: MIDNIGHT)
    for _ in range(3):
        log.reject([Refused(0, "$.events[0]", "why", b"{}")] * (MOST_REJECTS // 2 - 1)).result(30)
    log.close()
    assert len(newest_rejects(workspace.log, 2 * MOST_REJECTS)) == MOST_REJECTS
    said: list[str] = []
    with closing(open_log_file(workspace.log)) as db:
        plan = db.execute(f"EXPLAIN QUERY PLAN {_OLD_REJECTS}", (MIDNIGHT, 5)).fetchall()
        assert "rejects_by_time" in plan[0][3]
        plan = db.execute(f"EXPLAIN QUERY PLAN {_OLD_MERGES}", (MIDNIGHT, 5)).fetchall()
        assert "merges_by_time" in plan[0][3]
        db.set_trace_callback(said.append)
        _delete(db, "rejects", "number", _OLD_REJECTS, MIDNIGHT + 1)
        assert db.total_changes == MOST_REJECTS
    assert said.count("COMMIT") == MOST_REJECTS // DELETED_AT_ONCE
    assert newest_rejects(workspace.log, 9) == []


def test_what_has_been_kept_long_enough_goes(workspace: Workspace) -> None:
    settings = EventSettings(keep_days=1, rejects_keep_days=1)
    log = EventLog.open(workspace.log, settings, lambda: MIDNIGHT)
    log.reject([Refused(0, "$.events[0]", "why", b"{}")])
    log.close()
    kept = roll_closed(workspace, settings, MIDNIGHT + DAY - 1)
    assert kept is not None
    assert kept.expired == []
    assert len(newest_rejects(workspace.log, 9)) == 1
    rolled = roll_closed(workspace, settings, MIDNIGHT + DAY + 1)
    assert rolled is not None
    assert rolled.expired == ["raw/dt=2025-11-19"]
    assert newest_rejects(workspace.log, 9) == []
    assert ids(Lake(workspace.lake).scan()) == sorted(f"e{m}" for m in range(120))
