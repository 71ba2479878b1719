"""Text as numbers, money and moments.

Whole columns at once, the common spelling first; only what it leaves is tried with the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import polars as pl

from kindred.schemas.clock import MINUTE

EPOCH_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}
"""Microseconds in the units of a numeric time."""

_AROUND_MONEY = r"^[\p{Sc}\s\p{L}]+|[\p{Sc}\s\p{L}]+$"
_THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$"
_ZULU = r"(?i)\s*(utc|gmt|z)$"
_OFFSET = r"^(.* .*?)\s*([+-]\d{2}):?(\d{2})$"


def numbers_of(text: pl.Series, *, money: bool = False) -> pl.Series:
    """float64, null where the text is no finite number.

    Of money the currency around it and the commas between thousands are left out.
    """
    return _first(text, _number_spellings(money), pl.Float64())


def integers_of(text: pl.Series) -> pl.Series:
    """int64, null where the text is not a whole number written as one."""
    return text.str.strip_chars().cast(pl.Int64, strict=False)


def moments_of(text: pl.Series, unit: str) -> pl.Series:
    """int64 microseconds UTC, null where the text is no moment.

    ISO 8601 and its likes (a space for the T, slashes, ` UTC`, offsets, no seconds, no time), or
    a number since 1970 in `unit`.
    """
    return _first(text, [lambda t: since_1970(numbers_of(t), unit), _parsed], pl.Int64())


def since_1970(values: pl.Series, unit: str) -> pl.Series:
    """int64 microseconds of numeric times; see `conversion.as_time` for `auto`."""
    size = pl.col("value").abs()
    factor: pl.Expr = pl.lit(EPOCH_UNITS.get(unit, 1), pl.Int64)
    if unit == "auto":
        factor = pl.when(size < 10**11).then(1_000_000).when(size < 10**14).then(1_000).otherwise(1)
    fits = size.cast(pl.Float64) * factor < 2**62
    scaled: pl.Expr = pl.when(fits).then(pl.col("value") * factor)
    if values.dtype.is_float():
        scaled = scaled.round()
    return values.to_frame("value").select(scaled.cast(pl.Int64, strict=False)).to_series()


def _number_spellings(money: bool) -> Iterator[Callable[[pl.Series], pl.Series]]:
    def plain(text: pl.Series) -> pl.Series:
        values = text.str.strip_chars().cast(pl.Float64, strict=False)
        return values.set(~values.is_finite().fill_null(False), None)

    def with_currency(text: pl.Series) -> pl.Series:
        bare = text.str.replace_all(_AROUND_MONEY, "")
        ungrouped = bare.str.replace_all(",", "", literal=True)
        return plain(ungrouped.zip_with(bare.str.contains(_THOUSANDS), bare))

    yield plain
    if money:
        yield with_currency


def _parsed(text: pl.Series) -> pl.Series:
    body = text.str.strip_chars().str.replace(_ZULU, "").str.replace("T", " ", literal=True)
    zoned = body.str.contains(_OFFSET)
    if not zoned.any():
        return _first(body, _moment_spellings(), pl.Int64())
    parts = body.str.extract_groups(_OFFSET).struct.unnest()
    hours, minutes = (parts[n].cast(pl.Int64, strict=False) for n in ("2", "3"))
    east = hours * 60 + minutes.zip_with(~parts["2"].str.starts_with("-"), -minutes)
    local = _first(parts["1"].zip_with(zoned, body), _moment_spellings(), pl.Int64())
    return local - east.fill_null(0) * MINUTE


def _moment_spellings() -> Iterator[Callable[[pl.Series], pl.Series]]:
    def spelled(form: str) -> Callable[[pl.Series], pl.Series]:
        def parse(text: pl.Series) -> pl.Series:
            dashed = text.str.replace_all("/", "-", literal=True)
            return dashed.str.to_datetime(form, time_unit="us", strict=False).dt.epoch("us")

        return parse

    yield spelled("%Y-%m-%d %H:%M:%S%.f")
    yield spelled("%Y-%m-%d %H:%M")
    yield lambda text: spelled("%Y-%m-%d %H:%M")(text + " 00:00")


def _first(
    text: pl.Series,
    spellings: list[Callable[[pl.Series], pl.Series]] | Iterator[Callable[[pl.Series], pl.Series]],
    dtype: pl.DataType,
) -> pl.Series:
    """What the first spelling that fits makes of each text."""
    values = pl.Series(text.name, [None], dtype).new_from_index(0, len(text))
    left = (text.is_not_null()).arg_true()
    for parse in spellings:
        if len(left) == 0:
            break
        if len(left) == len(text):
            found = parse(text)
            values = found
        else:
            found = parse(text.gather(left))
            values = values.scatter(left, found)
        left = left.filter(found.is_null())
    return values.alias(text.name)
