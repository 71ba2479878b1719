"""CSV and JSON lines row by row: slower, and it says which rows cannot be read and why."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

import msgspec
import polars as pl

_TOLD_BYTES = 2000


class Told(NamedTuple):
    """A row's values, in the order of the wanted columns."""

    row: int
    values: list[Any]


class Broken(NamedTuple):
    """A row that cannot be read."""

    row: int
    reason: str
    data: str
    """Its beginning"""


def csv_rows(
    file: IO[bytes], separator: str, header: Sequence[str], columns: Sequence[str], skip: int
) -> Iterator[Told | Broken]:
    """Rows of a CSV file past the first `skip`; short ones lack their last fields.

    A row with more fields than the header, or with bytes that are no UTF-8, is broken.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    places = [header.index(c) for c in columns]
    lines = csv.reader(text, delimiter=separator)
    next(lines, None)
    for row, fields in enumerate(lines):
        if row < skip or not any(fields):
            continue
        if len(fields) > len(header):
            reason = f"{len(fields)} fields where the header has {len(header)}"
            yield Broken(row, reason, _beginning(separator.join(fields).encode(errors="replace")))
        elif not all(map(_encodable, fields)):
            data = _beginning(separator.join(fields).encode(errors="replace"))
            yield Broken(row, "bytes that are not UTF-8", data)
        else:
            yield Told(row, [(fields[p] or None) if p < len(fields) else None for p in places])


def _beginning(told: bytes) -> str:
    return told[:_TOLD_BYTES].decode(errors="replace").strip()


def _encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def json_rows(
    lines: Iterable[tuple[int, bytes]], schema: Mapping[str, pl.DataType]
) -> Iterator[Told | Broken]:
    """Objects in numbered lines, their values as text, or lists of text where `schema` says so.

    A column `a.b` that no object has by that name is the field `b` of the object `a`. Blank lines
    are skipped; a line that holds no JSON object is broken.
    """
    for row, line in lines:
        if not line.strip():
            continue
        try:
            told = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            yield Broken(row, f"no JSON: {e}", _beginning(line))
            continue
        if not isinstance(told, dict):
            yield Broken(row, "no JSON object", _beginning(line))
            continue
        yield Told(row, [_as(dtype, _value(told, name)) for name, dtype in schema.items()])


def _value(told: dict[str, Any], name: str) -> Any:
    if name in told or "." not in name:
        return told.get(name)
    value: Any = told
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _as(dtype: pl.DataType, value: Any) -> Any:
    if not isinstance(dtype, pl.List):
        return _text(value)
    listed = value if isinstance(value, list) else [value]
    return None if value is None else [_text(v) for v in listed]


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
