"""Named data sets of a folder: what becomes of their rows."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from kindred.api.cli import main
from kindred.events.lake import Lake
from kindred.indexer.readers.amazon_office import plain_text
from kindred.indexer.readers.named import read_named
from kindred.schemas.clock import MINUTE
from kindred.schemas.errors import InputError
from kindred.schemas.workspace import Workspace

START = 946_684_800_000_000


def office(folder: Path) -> Path:
    items = {
        "item_id": [0, 1, 2, 3], "title": ["Pen &amp; <b>Ink</b>", "Desk", "Lamp " * 60, ""],
        "description": ["<p>Blue.</p><script>x()</script>", "", "", ""],
        "brand": ["Lamy", "", " ", "HP"], "categories": [""] * 4,
    }  # fmt: skip
    pl.DataFrame(items).write_parquet(folder / "items.parquet")
    valid = [(0, "a", [3, 1], 0), (1, "a", [3, 1, 0], 2)]
    test = [(0, "b", [1], 3), (1, "a", [3, 1, 0, 2], 3), (2, "b", [1, 3], 0)]
    for name, rows in (("valid", valid), ("test", test)):
        schema = ["row", "user_id", "history", "target"]
        pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / f"{name}.parquet")
    return folder


def grocery(folder: Path) -> Path:
    pl.DataFrame(
        {"user_id": [7, 7, 8], "item_id": [1, 2, 1], "time": [965779200, 965865600, 965779200]}
    ).write_parquet(folder / "events.parquet")
    pl.DataFrame(
        {
            "item_id": [1, 2, 3],
            "i_category": [0, 0, 21],
            "r_complement": ["[2, 3, 99]", "[]", "[3, 1]"],
            "r_substitute": ["[1, 3]", "[1]", "[]"],
        }
    ).write_parquet(folder / "item_meta.parquet")
    return folder


def test_each_purchase_of_amazon_office_comes_once_in_the_order_of_the_rows(tmp_path: Path) -> None:
    events = read_named("amazon-office", office(tmp_path), START).events()
    assert list(zip(events["user_id"], events["entity_id"], strict=True)) == [
        ("a", "3"), ("a", "1"), ("b", "1"),  # histories of first rows
        ("a", "0"), ("a", "2"), ("b", "3"), ("a", "3"), ("b", "0"),
    ]  # fmt: skip
    assert events["occurred_at"].to_list() == [START + n * MINUTE for n in range(8)]
    assert events["event_id"].n_unique() == 8


def test_texts_lose_their_markup_and_keep_within_the_contract(tmp_path: Path) -> None:
    items = read_named("amazon-office", office(tmp_path), START).items()
    assert items["title"][0] == "Pen & Ink"
    assert items["description"][0] == "Blue."
    assert items["title"].str.len_chars().max() == 200
    assert items["brand"].to_list() == ["Lamy", None, None, "HP"]
    assert plain_text("a &lt;b&gt;bold&lt;/b&gt; 3 < 4  move") == "a bold 3 < 4 move"


def test_groceries_bring_their_days_categories_and_relations(tmp_path: Path) -> None:
    data = read_named("grocery", grocery(tmp_path), START)
    assert data.items()["category"].to_list() == [["c0"], ["c0"], ["c21"]]
    assert data.events()["occurred_at"][1] == 965_865_600_000_000
    relations = data.relations()
    assert relations is not None
    assert relations.rows() == [
        ("1", "complement", "2"), ("1", "complement", "3"),
        ("3", "complement", "1"),
        ("1", "substitute", "3"), ("2", "substitute", "1"),
    ]  # fmt: skip


def test_a_reader_imports_its_folder_and_keeps_its_relations(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    (tmp_path / "data").mkdir()
    folder = str(grocery(tmp_path / "data"))
    for what in ("items", "events", "events"):
        arguments = ["-w", str(workspace.root), "import", what, "--reader", "grocery", folder]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
    assert Lake(workspace.lake).count() == 3
    assert pl.read_parquet(workspace.relations).height == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--reader", "grocery"], "reads one folder"),
        (["--reader", "grocery", "--slice", "5", "."], "no --slice"),
        (["--reader", "amazon-office", "."], "needs the file"),
        (["."], "is a folder"),
    ],
)
def test_what_is_no_folder_of_a_reader_is_refused(
    tmp_path: Path, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["-w", str(tmp_path / "w"), "import", "items", *arguments])
    assert result.exit_code != 0
    assert said in result.output


def test_a_folder_without_its_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"events\.parquet"):
        read_named("grocery", tmp_path, START)


def test_the_real_folders_are_read_whole(shared_data: Path) -> None:
    bought = read_named("amazon-office", shared_data / "amazon_office", START)
    assert bought.items().height == 3_459
    events = bought.events()
    assert events.height == 22_447
    assert events.select(pl.struct("user_id", "entity_id").n_unique()).item() > 20_000
    groceries = read_named("grocery", shared_data / "grocery", START)
    assert groceries.events().height == 121_892
    relations = groceries.relations()
    assert relations is not None
    assert set(relations["relation"]) == {"complement", "substitute"}
