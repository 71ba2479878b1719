"""The join over the lake and the join of the stream say what the pure function says."""

from __future__ import annotations

import random
from pathlib import Path

import join as month  # benchmarks/join.py
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from join_rows import (
    DAY,
    HOUR,
    LATER,
    MINUTE,
    START,
    TRACE,
    busy_market,
    decision,
    decisions,
    event,
    events,
)
from joined_lake import WINDOWS, join_all, parts, rows_of, small_lake
from polars.testing import assert_frame_equal

from kindred.events.join import join
from kindred.events.lake import Lake
from kindred.events.shown import DECISIONS, JOINED_SCHEMA
from kindred.events.streaming import StreamingJoin
from kindred.schemas.settings import JoinSettings

ODD = JoinSettings(click_minutes=3000, action_hours=2, purchase_days=1, awareness_days=3)
"""Clicks may come after a purchase could."""
ORDER = ["occurred_at", "decision_id", "position"]


def rows_of_the_stream(
    told: pl.DataFrame,
    happened: pl.DataFrame,
    windows: JoinSettings,
    as_of: int,
    rng: random.Random,
) -> pl.DataFrame:
    """Fed in the order of arrival, 2 % up to an hour late, with a watermark an hour behind."""
    arriving = [
        (row["occurred_at"] + (rng.randrange(HOUR) if rng.random() < 0.02 else 0), kind, n)
        for kind, frame in enumerate((told, happened))
        for n, row in enumerate(frame.select("occurred_at").iter_rows(named=True))
        if row["occurred_at"] < as_of
    ]
    arriving.sort()
    stream, emitted = StreamingJoin(windows), []
    while arriving:
        size = rng.choice((1, 20, 60))
        chunk, arriving = arriving[:size], arriving[size:]
        stream.add(
            decisions=told[[n for _, kind, n in chunk if kind == 0]],
            events=happened[[n for _, kind, n in chunk if kind == 1]],
        )
        emitted.append(stream.advance(min(chunk[-1][0] - HOUR, as_of)))
    emitted.append(stream.advance(as_of))
    assert stream.late == 0
    rows = pl.concat([JOINED_SCHEMA.to_frame(), *emitted])
    return rows.unique(["decision_id", "position"], keep="last", maintain_order=True).sort(ORDER)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32 - 1),
    answers=st.integers(1, 25),
    deeds=st.integers(0, 150),
    windows=st.sampled_from([WINDOWS, WINDOWS, ODD]),
    as_of=st.sampled_from([0, 3 * DAY + HOUR, 40 * DAY, 200 * DAY]),
)
@example(seed=1, answers=25, deeds=150, windows=WINDOWS, as_of=45 * DAY)
def test_lake_stream_and_function_agree(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    answers: int,
    deeds: int,
    windows: JoinSettings,
    as_of: int,
) -> None:
    rng = random.Random(seed)
    told, happened = busy_market(seed, answers, deeds)
    as_of += START
    expected = join(told, happened, windows, as_of)
    twice = [
        pl.concat([frame, frame.sample(fraction=0.05, seed=seed)]).sample(
            fraction=1, shuffle=True, seed=seed
        )
        for frame in (told, happened)
    ]
    assert_frame_equal(join(*twice, windows, as_of), expected, check_exact=True)
    lake = tmp_path_factory.mktemp("lake")
    early = rng.randrange(happened.height + 1)
    Lake(lake, DECISIONS).append(told)
    Lake(lake).append(happened[:early])
    join_all(lake, as_of - rng.choice((0, HOUR, 20 * DAY)), windows)
    Lake(lake).append(happened[early:])
    join_all(lake, as_of, windows)
    assert_frame_equal(rows_of(lake), expected, check_exact=True)
    streamed = rows_of_the_stream(*twice, windows, as_of, rng)
    assert_frame_equal(streamed, expected, check_exact=True)


def test_a_months_events_find_what_they_came_of(tmp_path: Path) -> None:
    """SPEC L6, small: 5 % told twice, 2 % late, shuffled (large: `benchmarks/join.py --stream`)."""
    month.write_lake(tmp_path, impressions=6_000, seed=3)
    report = join_all(tmp_path, START + (month.DAYS + month.LATER) * DAY)
    assert report.eligible > 300
    assert report.join_rate is not None
    assert report.join_rate >= 0.995
    assert (report.orphan_purchases, report.censored) == (0, 0)
    rows, stream, _ = month.stream(tmp_path, seed=4, every=DAY)
    assert_frame_equal(rows, rows_of(tmp_path), check_exact=True)
    assert stream.tally.found / stream.tally.eligible == report.join_rate
    assert stream.late == 0


def test_the_stream_emits_a_row_again_when_it_changes_and_when_it_is_final() -> None:
    stream = StreamingJoin(WINDOWS)
    click = event("click", "a", 2 * MINUTE, decision_id="d1")
    bought = event("purchase", "a", 3 * DAY, value_minor=500)
    stream.add(events=events(bought, click))  # before the answer that they came of
    stream.add(decisions=decisions(decision("d1", "a", "b")))

    def emitted(at: int) -> list[tuple[str, int, int | None, bool]]:
        rows = stream.advance(START + at)
        return rows.select("item_id", "grade", "sale_minor", "censored").rows()

    assert emitted(MINUTE) == [("a", 0, None, True), ("b", 0, None, True)]
    assert emitted(MINUTE) == [], "the watermark stands still"
    assert emitted(HOUR) == [("a", 1, None, True)]
    assert emitted(2 * HOUR) == []
    assert emitted(DAY) == []
    assert emitted(DAY + HOUR) == []
    assert emitted(DAY + HOUR + 1) == [("b", 0, None, False)]
    assert emitted(4 * DAY) == [("a", 6, 500, True)]
    assert emitted(2 * MINUTE + 30 * DAY + HOUR) == []
    assert emitted(2 * MINUTE + 30 * DAY + HOUR + 1) == [("a", 6, 500, False)]
    assert set(stream.state.values()) == {0}
    assert stream.tally.found == 1  # the purchase names nothing


def test_the_stream_takes_back_what_belongs_to_an_answer_that_comes() -> None:
    stream = StreamingJoin(WINDOWS)
    click = event("click", "a", 2 * MINUTE, decision_id="d2", session_id="s")
    sale = event("purchase", "a", 4 * MINUTE, value_minor=500)
    stream.add(decisions=decisions(decision("d1", "a")), events=events(click, sale))

    def emitted(at: int) -> list[tuple[str, int, int | None]]:
        rows = stream.advance(START + at).sort("decision_id")
        return rows.select("decision_id", "grade", "sale_minor").rows()

    assert emitted(3 * MINUTE) == [("d1", 1, None)]
    assert emitted(5 * MINUTE) == [("d1", 6, 500)]
    stream.add(decisions=decisions(decision("d2", "a", at=6 * MINUTE, session_id="other")))
    assert emitted(6 * MINUTE) == []
    assert emitted(7 * MINUTE) == [("d1", 0, None), ("d2", 1, None)], "nobody had clicked yet"
    assert stream.tally.found == 1
    assert stream.state["unsettled"] == 0


def test_the_stream_forgets_what_is_closed() -> None:
    stream, sizes = StreamingJoin(JoinSettings(purchase_days=3)), []
    for hour in range(0, 24 * 12, 6):
        stream.add(
            decisions=decisions(decision(f"d{hour}", *"abcde", at=hour * HOUR)),
            events=events(event("view", "a", hour * HOUR + 1, decision_id=f"d{hour}")),
        )
        stream.advance(START + (hour - 1) * HOUR)
        sizes.append(stream.state)
    assert sizes[-1] == sizes[-20], "five days later it holds no more than before"
    assert sizes[-1] == {
        "waiting": 2, "unsettled": 0, "shown": 5 * 4, "answers": 4 * 7, "clicked": 4 * 3,
        "open": 4 * 4 + 4 * 3, "links": 4 * 3,
    }  # fmt: skip
    stream.advance(LATER)
    assert set(stream.state.values()) == {0}


def test_the_stream_counts_what_comes_too_late() -> None:
    stream = StreamingJoin(WINDOWS)
    stream.add(decisions=decisions(decision("d1", "a")))
    stream.advance(START + HOUR)
    stream.add(events=events(event("click", "a", HOUR - 1, decision_id="d1")))
    stream.add(events=events(event("watch", "a", HOUR, decision_id="d1")))
    assert stream.late == 1
    assert stream.advance(START + 2 * HOUR)["grade"].to_list() == [2]


def test_only_what_may_have_changed_is_joined_again(tmp_path: Path) -> None:
    small_lake(tmp_path)
    as_of = START + 4 * DAY
    report = join_all(tmp_path, as_of)
    assert (report.days, report.rows, report.recomputed, report.relinked) == (4, 7, 4, 4)
    assert report.censored == 4, "the clicked ones"
    assert (report.join_rate, report.orphan_purchases) == (1.0, 0)
    written = parts(tmp_path)
    assert join_all(tmp_path, as_of).recomputed == 0
    assert join_all(tmp_path, as_of + HOUR).recomputed == 0, "no window has shut"
    assert parts(tmp_path) == written

    bought = event("purchase", "a", 2 * DAY + HOUR, decision_id="d1", value_minor=70)
    orphan = event("purchase", "c", 2 * DAY + HOUR, decision_id="d1")
    Lake(tmp_path).append(events(bought, orphan))
    report = join_all(tmp_path, as_of + HOUR)
    assert (report.recomputed, report.relinked, report.orphan_purchases) == (1, 1, 1)
    assert rows_of(tmp_path)["sale_minor"].to_list() == [None, None, 70, None, None, None, None]

    report = join_all(tmp_path, START + 31 * DAY + 1)
    assert (report.recomputed, report.censored) == (1, 3), "the first day's window has shut"
    assert join_all(tmp_path, LATER).censored == 0
    assert join_all(tmp_path, LATER + DAY).recomputed == 0


def test_the_report_tells_organic_acts_from_lost_answers(tmp_path: Path) -> None:
    small_lake(tmp_path)
    trace = {"traceparent": TRACE.format(9)}
    Lake(tmp_path, DECISIONS).append(decisions(decision("t", "a", at=HOUR, **trace)))
    acts = [
        event("click", "z", HOUR, session_id="elsewhere"),
        event("click", "a", HOUR, decision_id="lost"),
        event("click", "a", HOUR + 1, **trace),
        event("purchase", "a", HOUR + 2, decision_id="lost", user_id="nobody"),
        event("inview", "z", HOUR, decision_id="lost"),  # no act: counts for nothing
    ]
    Lake(tmp_path).append(events(*acts))
    report = join_all(tmp_path, LATER)
    assert (report.eligible, report.join_rate) == (4 + 4, 5 / 8)
    assert report.named_join_rate == 4 / 6
    assert (report.orphan_purchases, report.trace_coverage) == (1, 1 / 5)


def test_an_event_may_belong_to_an_answer_after_midnight(tmp_path: Path) -> None:
    told = decisions(
        decision("d1", "a", at=DAY - 10 * MINUTE),
        decision("d2", "a", at=DAY + 10 * MINUTE, session_id="other"),
    )
    click = events(event("click", "a", DAY - MINUTE, decision_id="d2", session_id="s"))
    Lake(tmp_path, DECISIONS).append(told)
    Lake(tmp_path).append(click)
    for at, grades in [(0, [1]), (HOUR, [0, 1]), (5 * MINUTE, [1]), (DAY, [0, 1])]:
        as_of = START + DAY + at
        join_all(tmp_path, as_of)
        assert rows_of(tmp_path)["grade"].to_list() == grades
        expected = join(told, click, WINDOWS, as_of)
        assert_frame_equal(rows_of(tmp_path), expected, check_exact=True)


def test_other_windows_join_everything_anew(tmp_path: Path) -> None:
    small_lake(tmp_path)
    join_all(tmp_path, LATER)
    report = join_all(tmp_path, LATER, JoinSettings(slot_seconds=1))
    assert (report.recomputed, report.relinked) == (4, 4)


def test_an_earlier_moment_can_be_asked_for(tmp_path: Path) -> None:
    told, happened = busy_market(5, 12, 60)
    Lake(tmp_path, DECISIONS).append(told)
    Lake(tmp_path).append(happened)
    for as_of in (LATER, START + 20 * DAY + HOUR, START + 20 * DAY, START + DAY, LATER):
        join_all(tmp_path, as_of)
        expected = join(told, happened, WINDOWS, as_of)
        assert_frame_equal(rows_of(tmp_path), expected, check_exact=True)
