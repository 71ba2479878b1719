"""Records out of a table: its columns as our fields, one record for each element of a list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import polars as pl

from kindred.events.contract import Problem
from kindred.indexer.readers.careful import Broken
from kindred.indexer.readers.conversion import Converted, Kind, as_words, convert
from kindred.indexer.readers.fields import EVENT_FIELDS, Fields
from kindred.indexer.readers.files import TableFile
from kindred.indexer.readers.mapping import ROW_COLUMN, ColumnMap, Term, resolve
from kindred.schemas.errors import InputError

_FAILED = "failed: "
_CUT = "cut"
_KEYS = "keys of the row"
_PLACE = "place in the row"
_ORIGIN = "row of the chunk"


class Records(NamedTuple):
    """n records of one chunk, not checked against their contract yet."""

    frame: pl.DataFrame
    """n records, a column for each field; null is absent, a list may be empty"""
    rows: pl.Series
    """Int64[n]: number of the source's row"""
    places: pl.Series | None
    """Int64[n]: place in the row's list, where records come from lists"""
    problems: list[Problem]
    """What the conversion found wrong, over columns of `checks`."""
    checks: pl.DataFrame
    """n rows of booleans"""
    source: pl.DataFrame
    """The source's rows"""
    origin: pl.Series
    """UInt32[n]: position in `source`"""
    broken: list[Broken]
    cut: int
    """Records with a field that was cut"""


class RecordSource(Protocol):
    """Where records come from: a file under a column map, or a named data set."""

    @property
    def name(self) -> str:
        """What to call it in front of people."""

    @property
    def digest(self) -> str:
        """Names these records: the same bytes, read in the same way, have the same digest."""

    @property
    def notes(self) -> list[str]:
        """What a reader of the report must know."""

    def count(self) -> int | None:
        """Rows, where that is known beforehand."""

    def records(self, size: int) -> Iterator[Records]:
        """All records in order, at most about `size` at once."""


@dataclass(frozen=True)
class TableRecords:
    """The records of one file under one column map; `read_table` makes one."""

    table: TableFile
    wanted: ColumnMap
    fields: Fields
    terms: dict[str, tuple[Term, ...]]
    digest: str
    """Names the records of this file read in this way."""

    @property
    def name(self) -> str:
        """What to call it in front of people."""
        return self.table.path.name

    @property
    def notes(self) -> list[str]:
        """Columns that become nothing, and times that are made up."""
        told = []
        if ignored := [c for c in self.table.schema if c not in self.columns]:
            told.append(f"{self.name}: not used: {', '.join(ignored)}")
        timeless = self.fields is EVENT_FIELDS and "occurred_at" not in self.terms
        if timeless and "occurred_at" not in self.wanted.constants:
            start = datetime.fromtimestamp(self.wanted.start / 1e6, UTC).isoformat()
            told.append(
                f"{self.name}: no time is mapped, so the order of rows is time: one second for "
                f"each row from {start}, one microsecond for each place in a list"
            )
        return told

    def count(self) -> int | None:
        """Rows, where the file tells it without being read."""
        return self.table.count()

    @property
    def columns(self) -> list[str]:
        """The columns in use."""
        used = dict.fromkeys(t.column for terms in self.terms.values() for t in terms)
        return [column for column in used if column != ROW_COLUMN]

    def records(self, size: int) -> Iterator[Records]:
        """All records in order, at most about `size` at once."""
        for chunk in self.table.chunks(self.columns, size):
            broken = chunk.broken
            for rows, frame in self._slices(chunk.rows, chunk.frame, size):
                yield self._records(rows, frame, broken)
                broken = []
            if broken:
                empty = chunk.frame.clear()
                yield self._records(chunk.rows.clear(), empty, broken)

    def _dtype(self, column: str) -> pl.DataType:
        if column == ROW_COLUMN:
            return pl.Int64()
        return self.table.schema.get(column, pl.String())

    @property
    def _listed(self) -> bool:
        terms = self.terms[self.fields.key]
        parted = self.fields.key in self.wanted.separators
        return parted or len(terms) > 1 or any(self._dtype(t.column).is_nested() for t in terms)

    def _words(self, field: str) -> pl.Expr:
        separator = self.wanted.separators.get(field)
        parts = [
            as_words(pl.col(t.column), self._dtype(t.column), separator)
            for t in self.terms.get(field, ())
        ]
        return pl.concat_list(parts) if len(parts) > 1 else parts[0]

    def _slices(
        self, rows: pl.Series, frame: pl.DataFrame, size: int
    ) -> Iterator[tuple[pl.Series, pl.DataFrame]]:
        """Parts whose lists together have about `size` elements."""
        if not self._listed or frame.is_empty():
            yield from [(rows, frame)] if frame.height else []
            return
        elements = frame.select(self._words(self.fields.key).list.len().cum_sum() // size)
        for start, length in _runs(elements.to_series()):
            yield rows.slice(start, length), frame.slice(start, length)

    def _records(self, rows: pl.Series, frame: pl.DataFrame, broken: list[Broken]) -> Records:
        source, places = frame, None
        frame = frame.with_row_index(_ORIGIN).with_columns(rows.alias(ROW_COLUMN))
        if self._listed:
            keys = self._words(self.fields.key)
            exploded = frame.with_columns(
                keys.alias(_KEYS), pl.int_ranges(keys.list.len()).alias(_PLACE)
            ).explode(_KEYS, _PLACE, empty_as_null=True)
            places, frame = exploded[_PLACE].fill_null(0), exploded.drop(_PLACE)
        columns: dict[str, pl.Expr] = {}
        failed: dict[str, pl.Expr] = {}
        cut: list[pl.Expr] = []
        for field in dict.fromkeys((*self.terms, *self.wanted.constants)):
            value = self._field(field, failed)
            columns[field] = self._cut(field, value, cut) if self.wanted.truncate else value
        checks = frame.select(
            pl.any_horizontal(cut).sum().alias(_CUT) if cut else pl.lit(0).alias(_CUT),
            *(expr.alias(_FAILED + field) for field, expr in failed.items()),
        )
        return Records(
            frame=frame.select(expr.alias(field) for field, expr in columns.items()),
            rows=rows.gather(frame[_ORIGIN]),
            places=places,
            problems=[self._problem(field) for field in failed],
            checks=checks,
            source=source,
            origin=frame[_ORIGIN],
            broken=broken,
            cut=int(checks[_CUT][0]) if checks.height else 0,
        )

    def _problem(self, field: str) -> Problem:
        expected = self.fields.kind(field).value.strip()
        return Problem(pl.col(_FAILED + field), f"$.{field}", f"Expected {expected}")

    def _field(self, field: str, failed: dict[str, pl.Expr]) -> pl.Expr:
        """The values of a field; where a value is wrong goes into `failed`."""
        kind = self.fields.kind(field)
        constant = self._constant(field, kind)
        if field not in self.terms:
            return constant
        if kind is Kind.WORDS:
            words = self._words(field)
            return pl.when(words.list.len() > 0).then(words).otherwise(constant)
        if field == self.fields.key and self._listed:
            converted = convert(pl.col(_KEYS), pl.String(), kind)
        else:
            converted = self._scalar(field, kind)
        failed[field] = converted.failed
        if field not in self.wanted.constants:
            return converted.value
        return pl.coalesce(converted.value, constant)

    def _scalar(self, field: str, kind: Kind) -> Converted:
        terms = self.terms[field]
        parts = []
        for term in terms:
            dtype = self._dtype(term.column)
            if isinstance(dtype, pl.List | pl.Array) and kind is not Kind.OBJECT:
                reason = f"column {term.column!r} holds lists, and {field!r} is one value"
                raise InputError(reason, f"$.{field}")
            parts.append(
                convert(
                    pl.col(term.column), dtype, kind, scale=term.scale,
                    unit=self.wanted.time_unit, renamed=self.wanted.renamed.get(field),
                )
            )  # fmt: skip
        if len(parts) == 1:
            return parts[0]
        if kind is not Kind.TEXT:
            raise InputError("`+` joins texts and lists", f"$.{field}")
        joined = pl.concat_str([p.value for p in parts], separator=" ", ignore_nulls=True)
        value = pl.when(joined != "").then(joined)
        return Converted(value, pl.any_horizontal(p.failed for p in parts))

    def _constant(self, field: str, kind: Kind) -> pl.Expr:
        told = self.wanted.constants.get(field)
        if kind is Kind.WORDS:
            parts = [] if told is None else told.split(self.wanted.separators.get(field, "+"))
            return pl.lit([p.strip() for p in parts], pl.List(pl.String))
        literal = pl.lit(told, pl.String)
        converted = convert(literal, pl.String(), kind, unit=self.wanted.time_unit)
        value, failed = pl.select(value=converted.value, failed=converted.failed)
        if failed.item():
            expected = kind.value.strip()
            raise InputError(f"--set {field}={told}: expected {expected}", f"$.{field}")
        return pl.lit(value.item(), value.dtype)

    def _cut(self, field: str, value: pl.Expr, cut: list[pl.Expr]) -> pl.Expr:
        longest, most = self.fields.limit(field), self.fields.most.get(field)
        if most is not None:
            cut.append(value.list.len() > most)
            value = value.list.head(most)
        if longest is None:
            return value
        if self.fields.kind(field) is Kind.WORDS:
            cut.append(value.list.eval(pl.element().str.len_chars() > longest).list.any())
            return value.list.eval(pl.element().str.slice(0, longest))
        if self.fields.kind(field) is Kind.ATTRIBUTE and self._numeric(field):
            return value
        cut.append((value.str.len_chars() > longest).fill_null(False))
        return value.str.slice(0, longest)

    def _numeric(self, field: str) -> bool:
        terms = self.terms.get(field, ())
        return any(t.scale is not None or self._dtype(t.column).is_numeric() for t in terms)


def read_table(table: TableFile, wanted: ColumnMap, fields: Fields) -> TableRecords:
    """Records of `table`; InputError where the map does not fit it."""
    known = list(table.schema)
    terms = resolve(wanted, fields, known, open_ended=table.open_ended)
    digest = wanted.digest_of(fields.key, table.sha256())
    return TableRecords(table, wanted, fields, terms, digest)


def _runs(keys: pl.Series) -> Iterator[tuple[int, int]]:
    """(start, length) of the runs of equal values."""
    lengths = keys.rle().struct.field("len").to_list()
    start = 0
    for length in lengths:
        yield start, length
        start += length


def plain_records(frame: pl.DataFrame, start: int) -> Records:
    """Records that need no conversion: a column for each field, numbered from `start`."""
    positions = pl.int_range(frame.height, dtype=pl.UInt32, eager=True)
    return Records(
        frame=frame,
        rows=positions.cast(pl.Int64) + start,
        places=None,
        problems=[],
        checks=pl.DataFrame(),
        source=frame,
        origin=positions,
        broken=[],
        cut=0,
    )
