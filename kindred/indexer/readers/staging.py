"""Items on their way into the catalogue, more than fit into memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

import msgspec

from kindred.schemas.errors import CatalogueError
from kindred.schemas.item import Item

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(Item).decode


class StagedItems:
    """Each item once, as it was told last, in order of first appearance.

    A private database of SQLite's: in memory while it is small, else in an unnamed temporary
    file, which is gone with the process.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute(
            "CREATE TABLE staged (position INTEGER PRIMARY KEY, item_id TEXT UNIQUE, doc BLOB)"
        )
        self._db.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM staged").fetchone()[0])

    def add(self, items: Iterable[Item]) -> None:
        """Stage items; one that is there already is replaced in its place."""
        try:
            self._db.executemany(
                "INSERT INTO staged (item_id, doc) VALUES (?, ?)"
                " ON CONFLICT (item_id) DO UPDATE SET doc = excluded.doc",
                ((item.item_id, _encode(item)) for item in items),
            )
        except sqlite3.Error as e:
            raise CatalogueError(f"items cannot be staged in the temporary folder: {e}") from e

    def batches(self, size: int) -> Iterator[list[Item]]:
        """Everything staged, `size` at once."""
        rows = self._db.execute("SELECT doc FROM staged ORDER BY position")
        while batch := rows.fetchmany(size):
            yield [_decode(doc) for (doc,) in batch]
