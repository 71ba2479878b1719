"""`kindred import` and `kindred items` as they are typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result

from kindred.api.cli import main
from kindred.events.lake import Lake
from kindred.indexer.catalogue import Catalogue
from kindred.schemas.workspace import Workspace


def kindred(workspace: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["-w", str(workspace), *arguments])


def answer(workspace: Path, *arguments: str) -> Any:
    result = kindred(workspace, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def products(tmp_path: Path) -> Path:
    path = tmp_path / "products.csv"
    rows = [f"sku-{n},table {n},12.50,EUR" for n in range(5)]
    path.write_text("\n".join(["sku,name,price,currency", *rows, "sku-5,lamp,cheap,EUR"]))
    return path


MAPS = ("--map", "item_id=sku", "--map", "title=name", "--map", "price_minor=price*100")


def test_items_are_imported_listed_and_withdrawn(tmp_path: Path, products: Path) -> None:
    workspace = tmp_path / "w"
    report = answer(workspace, "import", "items", str(products), *MAPS)
    assert (report["read"], report["accepted"], report["rejected"]) == (6, 5, 1)
    rejected = [json.loads(line) for line in Path(report["rejects_file"]).read_text().splitlines()]
    assert [(r["row"], r["path"]) for r in rejected] == [(5, "$.price_minor")]
    assert answer(workspace, "import", "items", str(products), *MAPS)["unchanged"] == 5

    listed = answer(workspace, "items", "list", "--limit", "2", "--after", "1")
    assert (listed["count"], listed["active"]) == (5, 5)
    assert [(i["row"], i["item"]["item_id"]) for i in listed["items"]] == [
        (2, "sku-2"),
        (3, "sku-3"),
    ]
    assert answer(workspace, "items", "get", "sku-2")["price_minor"] == 1250
    assert answer(workspace, "items", "withdraw", "sku-2", "sku-3")["withdrawn"] == 2
    assert answer(workspace, "items", "list")["active"] == 3
    assert "table 4" in kindred(workspace, "items", "list").stdout


def test_events_are_imported_from_lists(tmp_path: Path) -> None:
    path = tmp_path / "sessions.parquet"
    pl.DataFrame({"session": [1, 2], "items": [[5, 6], [7]]}).write_parquet(path)
    told = ("--map", "session_id=session", "--map", "entity_id=items", "--set", "action=view")
    result = kindred(tmp_path / "w", "import", "events", str(path), *told, "--start", "2020-01-01")
    assert result.exit_code == 0, result.output
    assert "3 new" in result.stdout
    assert "one second for each row from 2020-01-01" in result.stderr
    found = Lake(Workspace(tmp_path / "w").lake).scan().collect()
    assert found["entity_id"].to_list() == ["5", "6", "7"]
    assert (
        answer(tmp_path / "w", "import", "items", str(path), "--map", "item_id=items")["accepted"]
        == 3
    )


def test_the_exit_code_says_whether_anything_went_in(tmp_path: Path, products: Path) -> None:
    refused = kindred(tmp_path / "w", "import", "items", str(products), *MAPS, "--set", "country=x")
    assert refused.exit_code == 1
    assert "6 refused, of 6 read" in refused.stdout
    (tmp_path / "empty.csv").write_text("item_id\n")
    assert kindred(tmp_path / "w", "import", "items", str(tmp_path / "empty.csv")).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--map", "item_id"), "expected field=value"),
        (("--map", "item_id=nothing"), "no column 'nothing'; there are sku"),
        (("--map", "item_id=sku", "--map", "item_id=name"), "there already"),
        (("--rename", "item_id=x"), "expected field:theirs=ours"),
        (("--slice", "5"), "--slice belongs to --reader"),
        (("--reader", "complete-journey"), "name no files"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(
    tmp_path: Path, products: Path, arguments: tuple[str, ...], reason: str
) -> None:
    result = kindred(tmp_path / "w", "import", "items", str(products), *arguments)
    assert result.exit_code == 2
    assert reason in result.stderr


def test_items_that_are_not_there_are_named(tmp_path: Path, products: Path) -> None:
    missing = kindred(tmp_path / "w", "items", "list")
    assert missing.exit_code == 2
    assert "kindred import items" in missing.stderr
    kindred(tmp_path / "w", "import", "items", str(products), *MAPS)
    for command in ("get", "withdraw"):
        result = kindred(tmp_path / "w", "items", command, "nobody")
        assert result.exit_code == 2
        assert "nobody" in result.stderr


def test_items_are_upserted_as_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "new.jsonl"
    path.write_text('{"item_id": "a"}\n\n{"item_id": "b", "title": "lamp"}\n')
    assert answer(tmp_path / "w", "items", "upsert", str(path))["accepted"] == 2
    assert answer(tmp_path / "w", "items", "upsert", str(path))["unchanged"] == 2
    path.write_text('{"item_id": "c"}\n{"item_id": "d", "size": 5}\n')
    result = kindred(tmp_path / "w", "items", "upsert", str(path))
    assert result.exit_code == 2
    assert "unknown field `size` - at `$[1]`" in result.stderr
    assert answer(tmp_path / "w", "items", "list")["count"] == 2, "all or none"


def test_a_kill_in_the_middle_and_once_more_is_each_record_once(tmp_path: Path) -> None:
    path, n = tmp_path / "events.parquet", 20_000
    numbers = pl.int_range(n, eager=True)
    frame = pl.DataFrame({"user_id": numbers % 997, "entity_id": numbers, "action": "view"})
    frame = frame.with_columns(occurred_at=1_700_000_000 + numbers * 120)
    frame.write_parquet(path)
    frame.select(item_id="entity_id").write_parquet(tmp_path / "items.parquet")
    workspace = Workspace(tmp_path / "w")
    workspace.root.mkdir()
    workspace.settings.write_text("[imports]\nchunk_rows = 4000\n")
    killed = 0
    commands = (("items", str(tmp_path / "items.parquet")), ("events", str(path)))
    for what, file in commands:
        command = [sys.executable, "-c", "from kindred.api.cli import main; main()"]
        command += ["-w", str(workspace.root), "import", what, file]
        environ = {**os.environ, "POLARS_MAX_THREADS": "1"}
        for mark in ("*.sqlite-wal", "lake/raw/.staged-*", "lake/raw/dt=*"):
            process = subprocess.Popen(
                command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            deadline = time.monotonic() + 20
            while process.poll() is None and time.monotonic() < deadline:
                if any(workspace.root.glob(mark)):
                    process.send_signal(signal.SIGKILL)
                    break
                time.sleep(0.001)
            killed += process.wait() == -signal.SIGKILL
        report = answer(workspace.root, "import", what, file)
        assert report["accepted"] + report["unchanged"] == n
    assert killed >= 3
    events = Lake(workspace.lake).scan().collect()
    assert events.height == events["event_id"].n_unique() == events["entity_id"].n_unique() == n
    catalogue = Catalogue.open(workspace.catalogue)
    assert catalogue.count == n
    catalogue.close()
    assert list(workspace.lake.rglob(".staged-*")) == []
