"""SQLite files that others write: whatever the path is called, when one is replaced, when one
fails."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kindred.events.database import Kept, Readers, Tables, connect, prepare, reading
from kindred.schemas.errors import LogError

TABLES = Tables("notebook", ("CREATE TABLE notes (words TEXT)",))
ODD = "50% off? #1 ø"


def written(path: Path, words: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    db = connect(path)
    prepare(db, TABLES, LogError)
    db.execute("INSERT INTO notes VALUES (?)", (words,))
    db.close()


def _delete_all(path: Path) -> None:
    with reading(path, "notebook", LogError) as db:
        assert db is not None
        db.execute("DELETE FROM notes")


def words(db: sqlite3.Connection | None) -> list[str] | None:
    return None if db is None else [w for (w,) in db.execute("SELECT words FROM notes")]


def test_any_path_is_read_and_none_is_written(tmp_path: Path) -> None:
    path = tmp_path / ODD / "notes.sqlite"
    with reading(path, "notebook", LogError) as db:
        assert db is None
    written(path, "hello")
    with reading(path, "notebook", LogError) as db:
        assert words(db) == ["hello"]
    with pytest.raises(LogError, match=r"the notebook .*notes\.sqlite: attempt to write"):
        _delete_all(path)


def test_a_file_without_tables_yet_is_no_file_yet(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite"
    path.touch()
    readers = Readers(path)
    assert readers.connection() is None
    written(path, "hello")
    assert words(readers.connection()) == ["hello"]
    readers.close()


def test_a_file_that_was_replaced_is_opened_anew_by_every_thread(tmp_path: Path) -> None:
    path, readers = tmp_path / ODD / "notes.sqlite", Readers(tmp_path / ODD / "notes.sqlite")

    def read() -> list[str] | None:
        return words(readers.connection())

    with ThreadPoolExecutor(1) as other:
        assert (read(), other.submit(read).result()) == (None, None)
        written(path, "old")
        assert (read(), other.submit(read).result()) == (["old"], ["old"])
        assert readers.connection() is readers.connection()
        written(path.with_name("new.sqlite"), "new")
        path.with_name("new.sqlite").replace(path)
        assert (read(), other.submit(read).result()) == (["new"], ["new"])
        path.unlink()
        assert (read(), other.submit(read).result()) == (None, None)
    readers.close()


def _write(kept: Kept, *statements: str) -> None:
    with kept.write() as db:
        for statement in statements:
            db.execute(statement)


def test_a_write_that_fails_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    kept = Kept(tmp_path / ODD / "notes.sqlite", TABLES, LogError)
    with pytest.raises(LogError, match="notebook: no such table: diary"):
        _write(kept, "INSERT INTO notes VALUES ('lost')", "INSERT INTO diary VALUES (1)")
    _write(kept, "INSERT INTO notes VALUES ('kept')")
    with kept.read() as db:
        assert words(db) == ["kept"]
    kept.close()


def test_what_is_written_is_read_once_it_is_committed(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "notes.sqlite", TABLES, LogError)
    with kept.write() as db, kept.read() as other:
        db.execute("INSERT INTO notes VALUES ('hello')")
        assert words(other) == []
    with kept.read() as other:
        assert words(other) == ["hello"]
    kept.close()
