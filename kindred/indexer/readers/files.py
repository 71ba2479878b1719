"""Tables in files, in chunks of bounded memory: Parquet, CSV and JSON lines.

CSV and JSON come as text (lists of text where JSON has lists); Parquet comes with its own types.
A row that cannot be read at all does not end the file: it is told as broken.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import IO, Literal, NamedTuple

import msgspec
import polars as pl

from kindred.indexer.readers.careful import Broken, Told, csv_rows, json_rows
from kindred.schemas.errors import InputError

Kind = Literal["parquet", "csv", "jsonl"]

_KINDS: dict[str, Kind] = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
}  # fmt: skip
_SEPARATORS = ",;\t|"
_PEEKED_LINES = 1000


class Chunk(NamedTuple):
    """Some rows of a table, in its order."""

    rows: pl.Series
    """Int64[n]: each row's number in the file, from 0"""
    frame: pl.DataFrame
    """n rows of the wanted columns"""
    broken: list[Broken]
    """Rows between them that cannot be read."""


@dataclass(frozen=True)
class TableFile:
    """A file that holds a table; `open_table` makes one."""

    path: Path
    kind: Kind
    schema: dict[str, pl.DataType]
    """Columns with their types; of JSON lines those of the first thousand lines."""
    separator: str = ","
    open_ended: bool = False
    """True where rows may have columns that `schema` does not name (JSON lines)."""

    def sha256(self) -> str:
        """Hash of the file's bytes, in hex."""
        hasher = sha256()
        with self.path.open("rb") as file:
            while block := file.read(1 << 20):
                hasher.update(block)
        return hasher.hexdigest()

    def count(self) -> int | None:
        """Rows, where the file tells it without being read."""
        if self.kind != "parquet":
            return None
        return int(pl.scan_parquet(self.path).select(pl.len()).collect().item())

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[Chunk]:
        """The rows, at most `size` at once, with `columns` and nothing else.

        Raises InputError when the file is damaged beyond its rows.
        """
        try:
            if self.kind == "parquet":
                yield from self._parquet_chunks(columns, size)
            elif self.kind == "csv":
                yield from self._csv_chunks(columns, size)
            else:
                yield from self._json_chunks(columns, size)
        except (pl.exceptions.PolarsError, OSError, EOFError, csv.Error) as e:
            raise _unreadable(self.path, e) from e

    def _parquet_chunks(self, columns: Sequence[str], size: int) -> Iterator[Chunk]:
        scanned = pl.scan_parquet(self.path, hive_partitioning=False).select(columns)
        start = 0
        for frame in scanned.collect_batches(chunk_size=size):
            yield Chunk(_numbers(start, frame.height), frame, [])
            start += frame.height

    def _csv_chunks(self, columns: Sequence[str], size: int) -> Iterator[Chunk]:
        scanned = pl.scan_csv(self.path, infer_schema=False, separator=self.separator)
        start = 0
        try:
            for frame in scanned.select(columns).collect_batches(chunk_size=size):
                filled = frame.select(~pl.all_horizontal(pl.all().is_null())).to_series()
                rows = _numbers(start, frame.height)
                yield Chunk(rows.filter(filled), frame.filter(filled), [])
                start += frame.height
        except pl.exceptions.ComputeError:
            # Ragged, badly quoted or not UTF-8 somewhere: go on row by row, which finds where.
            with _open(self.path) as file:
                rows_left = csv_rows(file, self.separator, list(self.schema), columns, start)
                yield from _batches(rows_left, dict.fromkeys(columns, pl.String()), size)

    def _json_chunks(self, columns: Sequence[str], size: int) -> Iterator[Chunk]:
        schema = {c: self.schema.get(c, pl.String()) for c in columns}
        nested = any("." in c and c not in self.schema for c in columns)
        start = 0
        try:
            for lines in pl.scan_lines(self.path).collect_batches(chunk_size=size):
                yield _json_chunk(lines["line"], schema, start, careful=nested)
                start += lines.height
        except pl.exceptions.ComputeError:  # not UTF-8 somewhere
            with _open(self.path) as file:
                lines_left = ((row, line) for row, line in enumerate(file) if row >= start)
                yield from _batches(json_rows(lines_left, schema), schema, size)


def open_table(path: Path) -> TableFile:
    """Look at the file's name and first lines; InputError where it is no table."""
    suffixes = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
    kind = _KINDS.get(suffixes[-1]) if suffixes else None
    if kind is None:
        known = ", ".join(_KINDS)
        raise InputError(f"{path.name}: expected a file that ends in one of {known}", "$.files")
    try:
        if kind == "parquet":
            return TableFile(path, kind, dict(pl.read_parquet_schema(path)))
        if kind == "jsonl":
            return TableFile(path, kind, _peeked(path), open_ended=True)
        separator = "\t" if suffixes[-1] == ".tsv" else _separator(path)
        header = pl.scan_csv(path, infer_schema=False, separator=separator).collect_schema()
        return TableFile(path, kind, dict(header), separator)
    except (pl.exceptions.PolarsError, OSError, EOFError) as e:
        raise _unreadable(path, e) from e


def _unreadable(path: Path, e: Exception) -> InputError:
    return InputError(f"{path.name} cannot be read: {str(e).splitlines()[0]}", "$.files")


def _open(path: Path) -> IO[bytes]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return path.open("rb")


def _separator(path: Path) -> str:
    with _open(path) as file:
        header = file.readline(1 << 20).decode(errors="replace")
    return max(_SEPARATORS, key=header.count)


def _peeked(path: Path) -> dict[str, pl.DataType]:
    """Columns of the first lines; a column of lists is one whose first value is a list."""
    schema: dict[str, pl.DataType] = {}
    with _open(path) as file:
        lines = list(islice(file, _PEEKED_LINES))
    for line in lines:
        try:
            told = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        for name, value in told.items() if isinstance(told, dict) else ():
            if value is not None:
                is_list = isinstance(value, list) and not any(isinstance(v, dict) for v in value)
                schema.setdefault(name, pl.List(pl.String()) if is_list else pl.String())
    return schema


def _json_chunk(
    lines: pl.Series, schema: Mapping[str, pl.DataType], start: int, *, careful: bool
) -> Chunk:
    rows = _numbers(start, len(lines))
    filled = lines.str.strip_chars() != ""
    rows, lines = rows.filter(filled), lines.filter(filled)
    if not careful:
        try:
            told = lines.str.json_decode(pl.Struct(schema))
        except pl.exceptions.ComputeError:
            pass  # a value of another shape, or a line that is no JSON
        else:
            if len(told) == len(lines) and told.null_count() == 0:
                return Chunk(rows, told.struct.unnest(), [])
    numbered = zip(rows.to_list(), map(str.encode, lines.to_list()), strict=True)
    return _chunk(list(json_rows(numbered, schema)), schema)


def _numbers(start: int, count: int) -> pl.Series:
    return pl.int_range(start, start + count, dtype=pl.Int64, eager=True)


def _batches(
    rows: Iterator[Told | Broken], schema: Mapping[str, pl.DataType], size: int
) -> Iterator[Chunk]:
    while batch := list(islice(rows, size)):
        yield _chunk(batch, schema)


def _chunk(rows: list[Told | Broken], schema: Mapping[str, pl.DataType]) -> Chunk:
    told = [r for r in rows if isinstance(r, Told)]
    return Chunk(
        pl.Series([r.row for r in told], dtype=pl.Int64),
        pl.DataFrame([r.values for r in told], schema=dict(schema), orient="row"),
        [r for r in rows if isinstance(r, Broken)],
    )
