"""Days of joined rows: kept, carried on, read while they change, gone when their time is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import polars as pl
import pytest
from join_rows import DAY, HOUR, LATER, START, busy_market, decision, decisions, event, events
from joined_lake import WINDOWS, join_all, parts, rows_of, small_lake
from polars.testing import assert_frame_equal

from kindred.events.files import try_lock
from kindred.events.join import join
from kindred.events.joined_days import reading_joined
from kindred.events.lake import Lake
from kindred.events.roll import expire
from kindred.events.shown import DECISIONS
from kindred.schemas.errors import ArtefactError
from kindred.schemas.settings import EventSettings
from kindred.schemas.workspace import Workspace


def test_days_that_have_left_the_lake_keep_their_rows(tmp_path: Path) -> None:
    small_lake(tmp_path)
    join_all(tmp_path, LATER)
    before = rows_of(tmp_path)
    for gone in (tmp_path / "raw", tmp_path / "decisions"):
        for part in sorted(gone.glob("dt=*/part-*.parquet"))[:2]:
            part.unlink()
    assert join_all(tmp_path, LATER + DAY).recomputed == 0
    assert rows_of(tmp_path).equals(before)


def test_one_join_at_a_time(tmp_path: Path) -> None:
    small_lake(tmp_path)
    join_all(tmp_path, LATER)
    with try_lock(tmp_path / "joined" / ".lock") as ours:
        assert ours
        with pytest.raises(ArtefactError, match="another join"):
            join_all(tmp_path, LATER)


def test_a_damaged_state_says_where(tmp_path: Path) -> None:
    small_lake(tmp_path)
    join_all(tmp_path, LATER)
    state = next(tmp_path.glob("joined/dt=*/state.json"))
    state.write_bytes(b"{")
    with pytest.raises(ArtefactError, match=str(state)):
        join_all(tmp_path, LATER)


def holds(lake: Path, user: str) -> set[str]:
    """Folders of the lake with a file that tells of the user."""
    found = set()
    for file in (f for f in lake.rglob("*") if f.is_file()):
        table = file.suffix == ".parquet"
        told = str(pl.read_parquet(file).to_dicts()) if table else file.read_text()
        found |= {file.relative_to(lake).parts[0]} if user in told else set()
    return found


def test_a_user_whose_time_is_over_is_nowhere_in_the_lake(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    lake = workspace.lake
    for day, user in [(0, "gone"), (3, "here")]:
        told = decision(f"d{day}", "a", at=day * DAY, user_id=user, device_id=f"{user}-phone")
        click = event("click", "a", day * DAY + 1, decision_id=f"d{day}", user_id=user)
        Lake(lake, DECISIONS).append(decisions(told))
        Lake(lake).append(events(click))
    join_all(lake, START + 4 * DAY)
    everywhere = {"raw", "decisions", "joined", "links"}
    assert holds(lake, "gone") == holds(lake, "here") == everywhere
    settings, now = EventSettings(keep_days=2), START + 4 * DAY
    with try_lock(lake / "joined" / ".lock"):
        assert set(expire(lake, workspace.log, settings, now)) == {
            "raw/dt=2023-11-15", "decisions/dt=2023-11-15"
        }  # fmt: skip
    gone = expire(lake, workspace.log, settings, now)
    assert gone == ["joined/dt=2023-11-15", "links/dt=2023-11-15"]
    assert holds(lake, "gone") == set()
    assert holds(lake, "here") == everywhere
    report = join_all(lake, START + 4 * DAY)
    assert (report.rows, report.recomputed, report.relinked) == (1, 0, 0)


def test_what_is_read_stays_until_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_lake(tmp_path, days=1)
    join_all(tmp_path, LATER)
    Lake(tmp_path).append(events(event("watch", "a", HOUR, decision_id="d0")))
    day = next(tmp_path.glob("joined/dt=*"))
    readable = []
    move = Path.replace

    def replace(moved: Path, to: Path) -> Path:
        if to.name.startswith("part-"):
            with try_lock(tmp_path / "joined") as free:
                readable.append(free)
        return move(moved, to)

    monkeypatch.setattr(Path, "replace", replace)
    with reading_joined(tmp_path) as rows:
        with try_lock(tmp_path / "joined") as free:
            assert not free
        joining = threading.Thread(target=join_all, args=(tmp_path, LATER))
        joining.start()
        while joining.is_alive() and not (day / ".aside").exists():
            time.sleep(0.001)
        assert rows.collect()["grade"].to_list() == [1]
    joining.join()
    assert readable == [False, False], "nobody reads while a part takes another's place"
    with reading_joined(tmp_path) as rows:
        assert rows.collect()["grade"].to_list() == [2]


JOIN = textwrap.dedent("""
    import sys
    from pathlib import Path
    sys.path[:0] = sys.argv[2:]
    from join_rows import LATER
    from joined_lake import join_all
    join_all(Path(sys.argv[1]), LATER)
""")


def test_a_killed_join_is_carried_on(tmp_path: Path) -> None:
    told, happened = busy_market(8, 40, 250)
    Lake(tmp_path, DECISIONS).append(told)
    Lake(tmp_path).append(happened)
    builders = Path(__file__).parents[1]
    command = [sys.executable, "-c", JOIN, str(tmp_path), str(builders)]
    environment = os.environ | {"POLARS_MAX_THREADS": "1"}
    for folder, done in [("links", 2), ("links", 20), ("joined", 5)]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        while process.poll() is None:
            if len(list(tmp_path.glob(f"{folder}/dt=*/state.json"))) >= done:
                break
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        parts(tmp_path)
    join_all(tmp_path, LATER)
    assert_frame_equal(rows_of(tmp_path), join(told, happened, WINDOWS, LATER), check_exact=True)
