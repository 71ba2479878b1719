"""Tables in files: rows in order, numbers that stay, broken rows told."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kindred.indexer.readers.files import open_table
from kindred.schemas.errors import InputError

ROWS = [(str(n), f"name {n}") for n in range(10)]


def read(
    path: Path, columns: list[str], size: int = 3
) -> tuple[list[tuple[Any, ...]], list[tuple[int, str]]]:
    """Rows with their numbers, and the broken ones."""
    rows: list[tuple[Any, ...]] = []
    broken: list[tuple[int, str]] = []
    for chunk in open_table(path).chunks(columns, size):
        assert chunk.frame.columns == columns
        assert len(chunk.rows) == chunk.frame.height <= size
        rows += zip(chunk.rows, *chunk.frame.get_columns(), strict=True)
        broken += [(b.row, b.reason) for b in chunk.broken]
    return rows, broken


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    frame = pl.DataFrame({"id": range(10), "names": [[str(n), "x"] for n in range(10)]})
    frame.write_parquet(tmp_path / "t.parquet")
    rows, broken = read(tmp_path / "t.parquet", ["names", "id"])
    assert [(n, list(names), i) for n, names, i in rows] == [
        (n, [str(n), "x"], n) for n in range(10)
    ]
    assert broken == []
    assert open_table(tmp_path / "t.parquet").count() == 10


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_csv_is_text_whatever_parts_it(tmp_path: Path, separator: str) -> None:
    lines = [separator.join(row) for row in [("id", "name"), *ROWS]]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    rows, _ = read(tmp_path / "t.csv", ["name", "id"])
    assert rows == [(n, name, i) for n, (i, name) in enumerate(ROWS)]


def test_csv_tells_which_rows_are_broken(tmp_path: Path) -> None:
    told = b'id,name\n007,a\n1,b,too,many\n\n2,"c\nd"\n3\n4,\xff\n5,\n6,e\n'
    (tmp_path / "t.csv").write_bytes(told)
    rows, broken = read(tmp_path / "t.csv", ["id", "name"], size=2)
    assert rows == [
        (0, "007", "a"),
        (3, "2", "c\nd"),
        (4, "3", None),
        (6, "5", None),
        (7, "6", "e"),
    ]
    assert [row for row, _ in broken] == [1, 5]
    assert "4 fields where the header has 2" in broken[0][1]
    assert "UTF-8" in broken[1][1]


def test_broken_rows_deep_in_a_csv_lose_none_of_the_others(tmp_path: Path) -> None:
    lines = [f"{n},name {n}" + (",x" if n in (4000, 9000) else "") for n in range(10_000)]
    (tmp_path / "t.csv").write_text("\n".join(["id,name", *lines]))
    rows, broken = read(tmp_path / "t.csv", ["id", "name"], size=700)
    assert [row for row, _ in broken] == [4000, 9000]
    assert [r[0] for r in rows] == [n for n in range(10_000) if n not in (4000, 9000)]
    assert all(str(n) == i for n, i, _ in rows)


def test_json_lines_come_as_text_and_lists(tmp_path: Path) -> None:
    told = """{"id": 12345678901234567, "ok": true, "price": 1.5, "ids": [1, "b"], "at": {"lat": 1}}

    {"id": "x", "ids": [], "extra": null, "at": null}
    {"id": null, "ids": null}
    """
    (tmp_path / "t.jsonl").write_text(told)
    rows, broken = read(tmp_path / "t.jsonl", ["id", "ok", "price", "ids", "at", "at.lat"])
    plain = [(*r[:4], None if r[4] is None else list(r[4]), *r[5:]) for r in rows]
    assert plain == [
        (0, "12345678901234567", "true", "1.5", ["1", "b"], '{"lat":1}', "1"),
        (2, "x", None, None, [], None, None),
        (3, None, None, None, None, None, None),
    ]
    assert broken == []


def test_json_lines_tell_which_are_broken(tmp_path: Path) -> None:
    told = b'{"id": 1}\nnot json\n[1]\n{"id": 2}\n{"id": "\xff"}\n{"id": {"a": 1}}\n{"id": 3'
    (tmp_path / "t.jsonl").write_bytes(told)
    rows, broken = read(tmp_path / "t.jsonl", ["id"])
    assert rows == [(0, "1"), (3, "2"), (5, '{"a":1}')]
    assert [row for row, _ in broken] == [1, 2, 4, 6]


def test_compressed_text_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"id,name\n1,a\n2,b,c\n"))
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(b'{"id": 1, "name": "a"}\n!\n'))
    for name in ("t.csv.gz", "t.jsonl.gz"):
        rows, broken = read(tmp_path / name, ["id", "name"])
        assert rows == [(0, "1", "a")]
        assert [row for row, _ in broken] == [1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.parquet", b"PAR1 but not really"),
        ("t.csv", b""),
        ("t.txt", b"id\n1\n"),
        ("t", b"id\n1\n"),
        ("t.csv.gz", b"no gzip"),
    ],
)
def test_what_is_no_table_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        read(tmp_path / name, ["id"])


def test_a_parquet_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"id": range(100_000)}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"t\.parquet"):
        read(path, ["id"], size=1000)
