"""Rows that an import refused, with reason and path."""

from __future__ import annotations

import glob
import os
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkstemp
from types import TracebackType
from typing import Any, Self

import msgspec
import polars as pl

from kindred.events.files import locked, sync, try_lock
from kindred.indexer.readers.records import Records, RecordSource


class Rejects:
    """The refused rows of one source, in `<folder>/<name>-<digest>.jsonl`.

    The file is replaced by each import of the same source, and removed by one without rejects.
    """

    def __init__(self, folder: Path, source: RecordSource) -> None:
        self.path = folder / f"{source.name}-{source.digest}.jsonl"
        self.count = 0
        self._open = ExitStack()
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock"):
            _sweep(folder, self.path.name)
            descriptor, aside = mkstemp(prefix=f".{self.path.name}-", dir=folder)
            self._aside = Path(aside)
            self._file = self._open.enter_context(os.fdopen(descriptor, "wb"))
            self._open.enter_context(try_lock(self._aside))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.flush()
        if kind is None and self.count:
            sync(self._aside)
            self._aside.chmod(0o644)
            self._aside.replace(self.path)
        else:
            self._aside.unlink(missing_ok=True)
            if kind is None:
                self.path.unlink(missing_ok=True)
        self._open.close()

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


def _sweep(folder: Path, name: str) -> None:
    """Remove what killed imports of this source had begun."""
    for left in folder.glob(f".{glob.escape(name)}-*"):
        with try_lock(left) as gone:
            if gone:
                left.unlink()
