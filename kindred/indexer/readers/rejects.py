"""Rows that an import refused, with reason and path."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import polars as pl

from kindred.events.files import sync
from kindred.indexer.readers.records import Records, RecordSource


class Rejects:
    """The refused rows of one source, in `<folder>/<name>-<digest>.jsonl`.

    The file is replaced by each import of the same source, and removed by one without rejects.
    """

    def __init__(self, folder: Path, source: RecordSource) -> None:
        self.path = folder / f"{source.name}-{source.digest}.jsonl"
        self.count = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._aside = folder / f".{self.path.name}"
        self._file = self._aside.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if kind is not None:
            self._aside.unlink(missing_ok=True)
        elif self.count:
            sync(self._aside)
            self._aside.replace(self.path)
        else:
            self._aside.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)

    def add(self, row: int, path: str, reason: str, data: Any) -> None:
        """Write one line."""
        line = {"row": row, "path": path, "reason": reason, "data": data}
        self._file.write(msgspec.json.encode(line, enc_hook=str) + b"\n")
        self.count += 1

    def add_broken(self, records: Records) -> None:
        """Write the rows that could not be read at all."""
        for broken in records.broken:
            self.add(broken.row, "$", broken.reason, broken.data)

    def add_found(self, records: Records, found: pl.DataFrame) -> None:
        """Write the records of `found` (`index`, `path`, `reason`) with their source rows."""
        rows = records.rows.gather(found["index"]).to_list()
        sources = records.source[records.origin.gather(found["index"])].iter_rows(named=True)
        told = zip(rows, found["path"], found["reason"], sources, strict=True)
        for row, path, reason, data in told:
            self.add(row, path, reason, data)
