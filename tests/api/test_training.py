"""`kindred train`: what it shows, and how it carries on after it was killed."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from click.testing import CliRunner
from rich.console import Console
from small_market import small_events, small_items
from trained_market import SETTINGS

from kindred.api.cli import main
from kindred.api.cli.live_stages import StageTable, stage_display, window
from kindred.api.settings_text import write_settings
from kindred.api.supervisor import ONE_THREAD
from kindred.events.contract import event_columns
from kindred.events.lake import Lake
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.models import ModelStore
from kindred.indexer.stages import StageRow
from kindred.schemas.workspace import Workspace

NAMES = [f"item-{n}" for n in range(240)]


def market(root: Path) -> Workspace:
    """The small marketplace, with nothing trained yet."""
    held = Workspace(root)
    write_settings(held.settings, SETTINGS | {"representations": {"stages": ["signals"]}})
    put_items(held, NAMES)
    rows = [msgspec.to_builtins(event) for event in small_events(NAMES, users=300)]
    Lake(held.lake).append(event_columns(pl.DataFrame(rows)))
    return held


def put_items(held: Workspace, names: list[str]) -> None:
    catalogue = Catalogue.open(held.catalogue)
    catalogue.upsert(small_items(names))
    catalogue.close()


def row(stage: str, **fields: Any) -> StageRow:
    given = {"state": "trained", "version": "000003", "seconds": 1.2, "summary": f"{stage} says"}
    return StageRow(stage=stage, **(given | fields))


@pytest.fixture
def table() -> StageTable:
    console = Console(file=io.StringIO(), width=100, height=24, force_terminal=True)
    return StageTable(io.StringIO(), console=console, clock=iter([0.0, 7.0, 9.0]).__next__)


def lines(table: StageTable) -> list[str]:
    console = Console(file=io.StringIO(), width=100, height=24, color_system=None)
    console.print(table.table())
    written = console.file
    assert isinstance(written, io.StringIO)
    return [line.strip() for line in written.getvalue().splitlines() if line.strip()]


def test_the_table_shows_each_stage_and_bars_beside_the_running_one(table: StageTable):
    table.planned(["words", "air", "ranker"])
    table.began("words")
    table.ended(row("words"))
    table.began("air")
    with table.task("train air"), table.task("epochs", 10) as advance:
        advance(4)
        heading, _, words, air, ranker = lines(table)
    assert heading.split() == ["stage", "state", "seconds", "version", "what", "it", "says"]
    assert words.split() == ["words", "trained", "1.2", "000003", "words", "says"]
    assert air.split()[:4] == ["air", "training", "2", "epochs"]
    assert air.endswith("4/10")
    assert ranker.split() == ["ranker", "waiting"]


def test_a_short_terminal_shows_the_part_around_the_running_stage(table: StageTable):
    stages = [f"stage_{n}" for n in range(40)]
    table.planned(stages)
    for stage in stages[:20]:
        table.ended(row(stage))
    table.began("stage_20")
    shown = lines(table)
    assert len(shown) < 24
    assert any(line.startswith("stage_20 ") for line in shown)
    assert shown[-1] == "20 of 40 stages are done"


@pytest.mark.parametrize(
    ("at", "rows"), [(0, (0, 5)), (2, (0, 5)), (3, (1, 6)), (8, (4, 9)), (9, (4, 9))]
)
def test_the_window_stays_within_the_table(at: int, rows: tuple[int, int]):
    assert window(9, at, 5) == rows
    assert window(3, at, 5) == (0, 3)


def test_without_a_terminal_each_stage_is_a_line():
    written = io.StringIO()
    with stage_display(written) as display:
        display.planned(["als", "air"])
        for stage, state in (("als", "kept"), ("air", "failed its gate")):
            display.began(stage)
            with display.task(f"train {stage}"):
                display.ended(row(stage, state=state, seconds=0.0 if state == "kept" else 1.2))
    assert written.getvalue().splitlines() == [
        "2 stages: als, air",
        "als: kept, version 000003: als says",
        "air: failed its gate, version 000003 in 1.2 s: air says",
    ]


LAST_BEFORE_THE_RANKER = "merge_past"
"""The ranker is next, and takes the longest."""


def test_killed_in_the_middle_of_a_stage_it_carries_on_with_what_is_finished(tmp_path: Path):
    held = market(tmp_path)
    command = [sys.executable, "-m", "kindred", "-w", str(held.root), "train"]
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env={**os.environ, **ONE_THREAD},
    )  # fmt: skip
    assert running.stderr is not None
    finished, before = {}, {}
    for line in running.stderr:
        found = re.match(r"(\w+): (trained|failed its gate), version (\d{6})", line)
        if found is None:
            continue
        stage, state, version = found.groups()
        finished[stage] = version
        before[stage] = "fresh" if state == "trained" else state
        if stage == LAST_BEFORE_THE_RANKER:
            running.send_signal(signal.SIGKILL)
            break
    assert running.wait() == -signal.SIGKILL
    running.stderr.close()
    store = ModelStore(held.models)
    assert store.versions("ranker") == []

    done = subprocess.run(
        [*command, "--json"], check=True, capture_output=True, env={**os.environ, **ONE_THREAD}
    )
    rows = {row["stage"]: row for row in json.loads(done.stdout)}
    states = {stage: row["state"] for stage, row in rows.items()}
    assert {"signals", "als", "als_past"} <= set(finished)
    assert states == before | {"ranker": "trained"}
    assert {stage: rows[stage]["version"] for stage in finished} == finished

    # And by hand: what changed, what the gates said, what serves.
    put_items(held, ["item-new"])
    told = CliRunner().invoke(main, ["-w", str(held.root), "train"], env={"COLUMNS": "160"}).stdout
    assert "Changed: pairs 000001 -> 000002, forward 000001 -> 000002" in told
    assert "next items" in told
    assert "ranker 000001" in told[told.index("In use: ") :]  # kept, as the past it is made from
    assert "kindred index" in told
    again = CliRunner().invoke(main, ["-w", str(held.root), "train"]).stdout
    assert "Changed: nothing." in again
    anew = CliRunner().invoke(main, ["-w", str(held.root), "train", "--anew", "--json"]).stdout
    states = {row["stage"]: row["state"] for row in json.loads(anew)}
    assert states["ranker"] == "trained"


def test_a_catalogue_that_nobody_has_acted_on_trains_what_content_teaches(tmp_path: Path):
    held = Workspace(tmp_path)
    write_settings(held.settings, SETTINGS | {"representations": {"stages": ["words", "air"]}})
    put_items(held, NAMES)
    done = CliRunner().invoke(main, ["-w", str(tmp_path), "train", "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    assert [row["stage"] for row in rows] == ["words"]
    assert rows[0]["state"] == "trained", rows[0]
    assert ModelStore(held.models).current("words") == rows[0]["version"]
