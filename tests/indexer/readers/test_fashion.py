"""Fashion: what its items say, where its pictures go, and that encoders may read them there."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from kindred.api.cli import main
from kindred.api.settings_file import load_settings
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.encoders.images import ImageReader
from kindred.schemas.workspace import Workspace

PICTURE = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00"
    b"\x00\x02\x02D\x01\x00;"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictured items and one without, and an archive with entries that nobody asked for."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = {
        "id": ["1", "2", "3"], "gender": ["Men"] * 3, "masterCategory": ["Apparel"] * 3,
        "subCategory": ["Topwear"] * 3, "articleType": ["Shirts", "Tops", "Tops"],
        "baseColour": ["Blue", None, "Red"], "season": ["Summer"] * 3, "year": [2012.0] * 3,
        "usage": ["Casual", None, "Sports"], "title": [" A blue shirt ", "A top", "Red top"],
    }  # fmt: skip
    pl.DataFrame(rows).write_parquet(folder / "items.parquet")
    last = {name: values[-1:] for name, values in rows.items()} | {"id": ["9"]}
    pl.DataFrame(last).write_parquet(folder / "items_without_images.parquet")
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for name in ("1.jpg", "2.jpg", "3.jpg", "7.jpg", "../../1.png"):
            archive.writestr(name, PICTURE)
    return folder


def imported(workspace: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["-w", str(workspace), "import", *arguments])


def test_items_come_with_pictures_that_encoders_may_read(tmp_path: Path, folder: Path) -> None:
    root = tmp_path / "w"
    result = imported(root, "items", "--reader", "fashion", str(folder), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["accepted"] == 3
    again = imported(root, "items", "--reader", "fashion", str(folder), "--json")
    assert json.loads(again.stdout)["unchanged"] == 3

    workspace = Workspace(root)
    catalogue = Catalogue.open(workspace.catalogue)
    shirt, top = (catalogue.get(i) for i in ("1", "2"))
    catalogue.close()
    assert shirt is not None
    assert top is not None
    assert shirt.title == "A blue shirt"
    assert shirt.category == ("Apparel", "Topwear", "Shirts")
    assert (shirt.colour, top.colour) == ("Blue", None)
    assert shirt.attributes["usage"] == "Casual"
    assert "usage" not in top.attributes

    unpacked = sorted(p.name for p in (workspace.pictures / "fashion").iterdir())
    assert unpacked == ["1.jpg", "2.jpg", "3.jpg"]
    reader = ImageReader(load_settings(workspace.settings, {}).encoders.image)
    assert reader.read(shirt.images[0]).size == (1, 1)


def test_items_without_pictures_are_asked_for(tmp_path: Path, folder: Path) -> None:
    told = ("--reader", "fashion", str(folder), "--without-pictures", "--slice", "2", "--json")
    result = imported(tmp_path / "w", "items", *told)
    assert json.loads(result.stdout)["accepted"] == 3
    catalogue = Catalogue.open(Workspace(tmp_path / "w").catalogue)
    plain = catalogue.get("9")
    catalogue.close()
    assert plain is not None
    assert plain.images == ()


def test_what_cannot_be_read_is_said(tmp_path: Path, folder: Path) -> None:
    events = imported(tmp_path / "w", "events", "--reader", "fashion", str(folder))
    assert events.exit_code != 0
    assert "items alone" in events.output
    as_file = imported(tmp_path / "w", "items", str(folder))
    assert "is a folder" in as_file.output
    (folder / "images.zip").write_bytes(b"no archive")
    (folder / "items_without_images.parquet").unlink()
    damaged = imported(tmp_path / "w", "items", "--reader", "fashion", str(folder))
    assert damaged.exit_code != 0
    assert "cannot be unpacked" in damaged.output


def test_the_data_set_itself(shared_data: Path, tmp_path: Path) -> None:
    told = ("--reader", "fashion", str(shared_data / "fashion"), "--slice", "200", "--json")
    result = imported(tmp_path / "w", "items", *told)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["accepted"], report["rejected"]) == (200, 0)
    assert len(list((tmp_path / "w" / "pictures" / "fashion").glob("*.jpg"))) == 200
