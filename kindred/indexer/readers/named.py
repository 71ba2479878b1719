"""Named data sets: folders of public data whose columns need more than a map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Protocol

import polars as pl

from kindred.indexer.readers.records import Records, plain_records
from kindred.schemas.errors import InputError


class DataSet(Protocol):
    """A folder as items and events."""

    @property
    def files(self) -> Sequence[Path]:
        """What is read."""

    @property
    def notes(self) -> Sequence[str]:
        """What a reader of any result must know."""

    def items(self) -> pl.DataFrame:
        """A column for each field of an item."""

    def events(self) -> pl.DataFrame:
        """A column for each field of an event."""

    def relations(self) -> pl.DataFrame | None:
        """item_id, relation, other: what people judged to go together; None where nobody did."""


READERS: Mapping[str, str] = {
    "amazon-office": "kindred.indexer.readers.amazon_office",
    "grocery": "kindred.indexer.readers.grocery",
}
"""Module by name; its `read(folder, start)` is a DataSet."""


@dataclass(frozen=True)
class NamedRecords:
    """Items or events of a named data set, as a source of an import."""

    data: DataSet
    what: str
    reader: str

    @property
    def name(self) -> str:
        """What to call it in front of people."""
        return f"{self.reader}-{self.what}"

    @property
    def digest(self) -> str:
        """Hash of the files read."""
        found = blake2b(digest_size=8)
        for path in self.data.files:
            found.update(path.read_bytes())
        return found.hexdigest()

    @property
    def notes(self) -> list[str]:
        """The data set's own."""
        return list(self.data.notes)

    def count(self) -> int | None:
        """Not known before the tables are read."""
        return None

    def records(self, size: int) -> Iterator[Records]:
        """All records in order, at most `size` at once."""
        frame = self.data.items() if self.what == "items" else self.data.events()
        for low in range(0, frame.height, size):
            yield plain_records(frame.slice(low, size), low)


def read_named(reader: str, folder: Path, start: int) -> DataSet:
    """The data set of a folder; `start` (microseconds UTC) is when time begins where none is told.

    InputError where a file of it is missing.
    """
    make: Callable[[Path, int], DataSet] = import_module(READERS[reader]).read
    data = make(folder, start)
    for path in data.files:
        if not path.is_file():
            raise InputError(f"--reader {reader} needs the file {path}", "$.files")
    return data
