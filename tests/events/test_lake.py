"""The lake: each event once, whole files, days."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from kindred.events.contract import EVENT_SCHEMA, event_columns
from kindred.events.lake import Lake
from kindred.schemas.clock import DAY
from kindred.schemas.errors import ArtefactError

START = 1_700_006_400_000_000  # 2023-11-15T00:00:00Z


def views(numbers: range, start: int = START, step: int = DAY // 10) -> pl.DataFrame:
    """One view for each number, `step` microseconds apart."""
    frame = pl.DataFrame({"number": pl.Series(numbers, dtype=pl.Int64)}).select(
        event_id=pl.format("e{}", "number"),
        occurred_at=start + pl.col("number") * step,
        action=pl.lit("view"),
        entity_id=pl.format("i{}", pl.col("number") % 7),
        user_id=pl.lit("u"),
    )
    return event_columns(frame)


def ids(lake: Lake, since: int | None = None, until: int | None = None) -> list[str]:
    return lake.scan(since, until).collect().sort("occurred_at")["event_id"].to_list()


def test_events_are_kept_by_day_in_order_of_time(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert lake.append(views(range(25)).sample(fraction=1, shuffle=True, seed=1)) == (25, 0)
    days = sorted(f.name for f in (tmp_path / "raw").glob("dt=*"))
    assert days == ["dt=2023-11-15", "dt=2023-11-16", "dt=2023-11-17"]
    assert lake.count() == 25
    scanned = lake.scan().collect()
    assert scanned.schema == EVENT_SCHEMA
    assert scanned["event_id"].to_list() == [f"e{n}" for n in range(25)]


def test_an_event_goes_in_once(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.append(views(range(10)))
    assert lake.append(views(range(5, 15))) == (5, 5)
    assert lake.append(pl.concat([views(range(14, 17))] * 2)) == (2, 4)
    assert ids(lake) == [f"e{n}" for n in range(17)]


def test_a_span_of_time_is_half_open(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert lake.scan().collect().schema == EVENT_SCHEMA
    lake.append(views(range(30)))
    step = DAY // 10
    assert ids(lake, START + 3 * step, START + 5 * step) == ["e3", "e4"]
    assert ids(lake, since=START + 28 * step) == ["e28", "e29"]
    assert ids(lake, until=START + 10 * step)[-1] == "e9"
    assert ids(lake, START + 900 * step) == []
    assert len(ids(lake, -(2**62), 2**62)) == 30


def test_the_fingerprint_changes_with_the_events_only(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    empty = lake.fingerprint()
    lake.append(views(range(10)))
    first = lake.fingerprint()
    assert first != empty
    lake.append(views(range(10)))
    assert lake.fingerprint() == first
    lake.append(views(range(10, 11)))
    assert lake.fingerprint() != first


def test_more_than_fits_goes_in_by_parts(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    told = pl.concat([views(range(500), step=1), views(range(400, 900), step=1)])
    told = pl.concat([told, views(range(900, 1000))])
    advanced: list[int] = []
    with lake.bulk(rows_at_once=100) as bulk:
        for part in told.sample(fraction=1, shuffle=True, seed=2).iter_slices(90):
            bulk.add(part)
        assert lake.count() == 0, "nothing is in before the commit"
        assert bulk.commit(advanced.append) == (1000, 100)
    assert sum(advanced) == 1100
    assert set(ids(lake)) == {f"e{n}" for n in range(1000)}
    assert lake.count() == 1000
    with lake.bulk(rows_at_once=100) as bulk:
        bulk.add(told)
        assert bulk.commit() == (0, 1100)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError):
        Lake(tmp_path).append(pl.DataFrame({"event_id": ["a"]}))


def test_a_lake_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("in the way")
    with pytest.raises(ArtefactError, match="lake"):
        Lake(tmp_path).append(views(range(1)))


APPEND = textwrap.dedent("""
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from test_lake import Lake, views
    lake = Lake(Path(sys.argv[1]))
    for n in range(100):
        lake.append(views(range(n * 300, n * 300 + 300), step=60_000_000))
        print(n, flush=True)
""")


def appending(root: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", APPEND, str(root), str(Path(__file__).parent)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_kill_loses_nothing_acknowledged_and_doubles_nothing(tmp_path: Path) -> None:
    for round_ in range(3):
        process = appending(tmp_path)
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(3 + round_)]
        time.sleep(0.003 * round_)
        process.send_signal(signal.SIGKILL)
        acknowledged += map(int, process.communicate()[0].split())
        found = ids(Lake(tmp_path))
        assert len(found) == len(set(found))
        assert {f"e{n}" for n in range(acknowledged[-1] * 300 + 300)} <= set(found)
    lake = Lake(tmp_path)
    new, duplicate = lake.append(views(range(3000), step=60_000_000))
    assert new + duplicate == 3000
    assert {f"e{n}" for n in range(3000)} <= set(ids(lake))
    left = [f.name for f in (tmp_path / "raw").rglob(".staged-*")]
    assert left == [], "what a killed process had staged is swept"


def test_processes_that_append_at_once_take_turns(tmp_path: Path) -> None:
    script = APPEND.replace("range(100)", "range(4)")
    command = [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent)]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [p.wait() for p in both] == [0, 0]
    found = ids(Lake(tmp_path))
    assert len(found) == len(set(found)) == 1200


def test_days_are_those_of_utc(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    moment = datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)
    lake.append(views(range(1), start=int(moment.timestamp()) * 1_000_000))
    assert [f.name for f in (tmp_path / "raw").glob("dt=*")] == ["dt=2024-02-29"]
