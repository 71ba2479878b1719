"""The join over the lake and the join of the stream say what the pure function says."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from join_rows import (
    DAY,
    HOUR,
    START,
    busy_market,
)
from polars.testing import assert_frame_equal

from kindred.events.join import join
from kindred.events.joining import JoinReport, join_lake
from kindred.events.lake import Lake
from kindred.events.shown import DECISIONS, JOINED, JOINED_SCHEMA
from kindred.events.streaming import StreamingJoin
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import JoinSettings

WINDOWS = JoinSettings()
ORDER = ["occurred_at", "decision_id", "position"]


def join_all(lake: Path, as_of: int, windows: JoinSettings = WINDOWS) -> JoinReport:
    return join_lake(
        lake, Lake(lake, DECISIONS).scan, Lake(lake).scan, windows, as_of, SilentProgress()
    )


def rows_of(lake: Path) -> pl.DataFrame:
    return Lake(lake, JOINED).scan().collect()


def rows_of_the_stream(
    told: pl.DataFrame, happened: pl.DataFrame, as_of: int, rng: random.Random
) -> pl.DataFrame:
    """Fed in the order of arrival, 2 % up to an hour late, with a watermark an hour behind."""
    arriving = [
        (row["occurred_at"] + (rng.randrange(HOUR) if rng.random() < 0.02 else 0), kind, n)
        for kind, frame in enumerate((told, happened))
        for n, row in enumerate(frame.select("occurred_at").iter_rows(named=True))
        if row["occurred_at"] < as_of
    ]
    arriving.sort()
    stream, emitted = StreamingJoin(WINDOWS), []
    while arriving:
        size = rng.choice((1, 5, 30))
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


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32 - 1),
    answers=st.integers(1, 25),
    deeds=st.integers(0, 150),
    as_of=st.sampled_from([0, 3 * DAY + HOUR, 40 * DAY, 200 * DAY]),
)
@example(seed=1, answers=25, deeds=150, as_of=45 * DAY)
def test_lake_stream_and_function_agree(
    tmp_path_factory: pytest.TempPathFactory, seed: int, answers: int, deeds: int, as_of: int
) -> None:
    rng = random.Random(seed)
    told, happened = busy_market(seed, answers, deeds)
    as_of += START
    expected = join(told, happened, WINDOWS, as_of)
    twice = [
        pl.concat([frame, frame.sample(fraction=0.05, seed=seed)]).sample(
            fraction=1, shuffle=True, seed=seed
        )
        for frame in (told, happened)
    ]
    assert_frame_equal(join(*twice, WINDOWS, as_of), expected, check_exact=True)
    lake = tmp_path_factory.mktemp("lake")
    early = rng.randrange(happened.height + 1)
    Lake(lake, DECISIONS).append(told)
    Lake(lake).append(happened[:early])
    join_all(lake, as_of - rng.choice((0, HOUR, 20 * DAY)))
    Lake(lake).append(happened[early:])
    join_all(lake, as_of)
    assert_frame_equal(rows_of(lake), expected, check_exact=True)
    streamed = rows_of_the_stream(*twice, as_of, rng)
    assert_frame_equal(streamed, expected, check_exact=True)
