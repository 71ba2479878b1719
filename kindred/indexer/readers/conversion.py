"""Columns of somebody's table as values of our fields: text, numbers, money, moments, lists.

Every conversion is an expression over whole columns. A value that is there but cannot be one of
the field's becomes null; `Converted.failed` tells it from one that was absent. Null, blank text
and NaN are absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

import polars as pl

from kindred.indexer.readers.text_values import integers_of, moments_of, numbers_of, since_1970


class Kind(Enum):
    """What a field holds; the value says so in an error."""

    ID = "str"
    TEXT = "str "
    CHOICE = "one of the known words"
    WHOLE = "int"
    REAL = "float"
    MONEY = "int in minor units (`field=column*100` scales a price)"
    TIME = "a date, a time, or seconds, milliseconds or microseconds since 1970"
    FLAG = "bool"
    WORDS = "array"
    ATTRIBUTE = "str or float"
    OBJECT = "object"


class Converted(NamedTuple):
    """A field's values, and where a value was given that it cannot hold."""

    value: pl.Expr
    failed: pl.Expr


_TRUE, _FALSE = ["true", "t", "yes", "y", "1"], ["false", "f", "no", "n", "0"]


def filled(values: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """`values` with null for what counts as absent."""
    if dtype.is_float():
        return values.fill_nan(None)
    if dtype == pl.String:
        return pl.when(values.str.strip_chars() != "").then(values)
    return values


def as_text(values: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Text as it is; numbers as they are written, a float that is whole without its point."""
    if dtype == pl.String:
        return filled(values, dtype)
    if dtype.is_float():
        values = filled(values, dtype)
        whole = values.cast(pl.Int64, strict=False)
        return (
            pl.when(whole == values).then(whole.cast(pl.String)).otherwise(values.cast(pl.String))
        )
    if dtype == pl.Boolean:
        return pl.when(values).then(pl.lit("true")).when(~values).then(pl.lit("false"))
    if dtype.is_nested() or dtype == pl.Binary:
        return pl.lit(None, pl.String)
    return values.cast(pl.String)


def as_real(values: pl.Expr, dtype: pl.DataType, *, money: bool = False) -> pl.Expr:
    """float64; of money text the currency around it and the commas between thousands go."""
    if dtype.is_numeric() or dtype == pl.Boolean:
        return filled(values.cast(pl.Float64), pl.Float64())
    return as_text(values, dtype).map_batches(
        lambda text: numbers_of(text, money=money), return_dtype=pl.Float64
    )


def as_whole(values: pl.Expr, dtype: pl.DataType, scale: float | None, *, money: bool) -> pl.Expr:
    """int64; with a scale rounded to the nearest, without one only what is whole."""
    if dtype.is_integer() and scale is None:
        return values.cast(pl.Int64, strict=False)
    real = as_real(values, dtype, money=money)
    if scale is not None:
        return (real * scale).round(mode="half_away_from_zero").cast(pl.Int64, strict=False)
    whole = real.cast(pl.Int64, strict=False)
    whole = pl.when(real == whole).then(whole)
    if dtype != pl.String:
        return whole
    # Read as integers first: digits past the precision of a float stay exact.
    return pl.coalesce(values.map_batches(integers_of, return_dtype=pl.Int64), whole)


def as_time(values: pl.Expr, dtype: pl.DataType, unit: str = "auto") -> pl.Expr:
    """int64 microseconds UTC.

    Dates and times without a zone are UTC. A number is seconds, milliseconds or microseconds
    since 1970 as `unit` says; `auto` tells them by size: below 10^11 seconds (until the year
    5138), below 10^14 milliseconds (from 1973 on), else microseconds.
    """
    if dtype == pl.Date:
        return values.cast(pl.Datetime("us")).dt.epoch("us")
    if dtype.is_temporal():
        return values.dt.epoch("us")
    if dtype.is_numeric():
        signed = values.cast(pl.Int64, strict=False) if dtype.is_integer() else values
        return signed.map_batches(lambda v: since_1970(v, unit), return_dtype=pl.Int64)
    return as_text(values, dtype).map_batches(
        lambda text: moments_of(text, unit), return_dtype=pl.Int64
    )


def as_flag(values: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """bool; of text true, t, yes, y, 1 and their opposites."""
    if dtype == pl.Boolean:
        return values
    text = as_text(values, dtype).str.strip_chars().str.to_lowercase()
    return pl.when(text.is_in(_TRUE)).then(True).when(text.is_in(_FALSE)).then(False)


def as_words(values: pl.Expr, dtype: pl.DataType, separator: str | None) -> pl.Expr:
    """A list of text, blanks left out, empty where nothing is given.

    Text becomes a list of one, or is parted at `separator`.
    """
    if isinstance(dtype, pl.List | pl.Array):
        inner = dtype.inner
        assert isinstance(inner, pl.DataType)
        listed = values.list if isinstance(dtype, pl.List) else values.arr.to_list().list
        words = listed.eval(as_text(pl.element(), inner).str.strip_chars()).list.drop_nulls()
    else:
        text = as_text(values, dtype)
        split = pl.concat_list(text) if separator is None else text.str.split(separator)
        words = split.list.eval(pl.element().str.strip_chars())
    kept = words.list.eval(pl.element().filter(pl.element() != ""))
    return kept.fill_null(pl.lit([], pl.List(pl.String)))


def convert(
    values: pl.Expr,
    dtype: pl.DataType,
    kind: Kind,
    *,
    scale: float | None = None,
    unit: str = "auto",
    renamed: Mapping[str, str] | None = None,
) -> Converted:
    """One column as one field of a kind that is no list."""
    if dtype == pl.Null:
        values, dtype = values.cast(pl.String), pl.String()
    given = filled(values, dtype)
    if renamed:
        given, dtype = as_text(given, dtype).replace(dict(renamed)), pl.String()
    value = _value(given, dtype, kind, scale, unit)
    return Converted(value, given.is_not_null() & value.is_null())


def _value(
    given: pl.Expr, dtype: pl.DataType, kind: Kind, scale: float | None, unit: str
) -> pl.Expr:
    if kind is Kind.WHOLE or kind is Kind.MONEY:
        return as_whole(given, dtype, scale, money=kind is Kind.MONEY)
    if kind is Kind.REAL or (kind is Kind.ATTRIBUTE and scale is not None):
        return as_real(given, dtype) * (1.0 if scale is None else scale)
    if kind is Kind.TIME:
        return as_time(given, dtype, unit)
    if kind is Kind.FLAG:
        return as_flag(given, dtype)
    if kind is Kind.OBJECT or (kind is Kind.ATTRIBUTE and dtype.is_numeric()):
        return given
    text = as_text(given, dtype)
    if kind is Kind.ID:
        return text
    text = text.str.strip_chars()
    return text.str.to_lowercase() if kind is Kind.CHOICE else text
