"""Values of somebody's columns as values of our fields."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kindred.indexer.readers.conversion import Kind, as_words, convert

NOON = 1_700_049_600_000_000  # 2023-11-15T12:00:00Z


def converted(values: list[Any], kind: Kind, dtype: Any = None, **how: Any) -> list[Any]:
    """Values, with "wrong" where a value is there that the field cannot hold."""
    series = pl.Series("v", values, dtype=dtype)
    value, failed = convert(pl.col("v"), series.dtype, kind, **how)
    told = series.to_frame().select(value=value, failed=failed)
    return ["wrong" if bad else v for v, bad in told.iter_rows()]


def test_absent_is_absent_in_every_kind() -> None:
    for kind in (Kind.ID, Kind.TEXT, Kind.WHOLE, Kind.REAL, Kind.MONEY, Kind.TIME, Kind.FLAG):
        assert converted([None, "", "  "], kind) == [None] * 3
        assert converted([None, float("nan")], kind, pl.Float64) == [None] * 2
        assert converted([None], kind, pl.Null) == [None]


def test_ids_are_text() -> None:
    assert converted([7, None], Kind.ID) == ["7", None]
    assert converted([7.0, 7.5], Kind.ID) == ["7", "7.5"]
    assert converted(["007", " x "], Kind.ID) == ["007", " x "]
    assert converted([2**63 + 1], Kind.ID, pl.UInt64) == ["9223372036854775809"]
    assert converted([[1]], Kind.ID, pl.List(pl.Int64)) == ["wrong"]
    assert converted(["a", None], Kind.ID, pl.Categorical) == ["a", None]


def test_text_loses_the_blanks_around_it() -> None:
    assert converted([" oak table\n"], Kind.TEXT) == ["oak table"]
    assert converted([" View"], Kind.CHOICE) == ["view"]


def test_prices_scale_to_minor_units() -> None:
    assert converted([35.79, 0.1, None], Kind.MONEY, scale=100) == [3579, 10, None]
    assert converted(["35.79", "1e2", "x"], Kind.MONEY, scale=100) == [3579, 10000, "wrong"]
    assert converted(["$5,000", "5,000.50 €", "USD 7", "-3"], Kind.MONEY, scale=1) == [
        5000, 5001, 7, -3,
    ]  # fmt: skip
    assert converted([12595.0, 1.5], Kind.MONEY) == [12595, "wrong"]
    assert converted(["9007199254740993", "12.0", "1,5", "inf"], Kind.WHOLE) == [
        9007199254740993, 12, "wrong", "wrong",
    ]  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**12))
def test_every_decimal_price_is_exact(cents: int) -> None:
    price = f"{cents // 100}.{cents % 100:02}"
    assert converted([price], Kind.MONEY, scale=100) == [cents]
    assert converted([float(price)], Kind.MONEY, scale=100) == [cents]


def test_times_in_every_spelling() -> None:
    spelled = [
        "2023-11-15T12:00:00Z", "2023-11-15 12:00:00 UTC", "2023-11-15 12:00",
        "2023/11/15 12:00:00",
        "2023-11-15T13:00:00+01:00", "2023-11-15 06:30:00-0530", "2023-11-15T12:00:00.000000",
        "1700049600", "1700049600.0", "1700049600000", "1700049600000000",
    ]  # fmt: skip
    assert converted(spelled, Kind.TIME) == [NOON] * len(spelled)
    assert converted(["2023-11-15", "15.11.2023", "soon"], Kind.TIME) == [
        NOON - 43_200_000_000, "wrong", "wrong",
    ]  # fmt: skip
    assert converted(["2023-11-15T12:00:00.123456Z"], Kind.TIME) == [NOON + 123_456]
    for number in (1_700_049_600, 1_700_049_600_000, NOON):
        assert converted([number], Kind.TIME) == [NOON]
        assert converted([float(number)], Kind.TIME) == [NOON]
    assert converted([5], Kind.TIME, unit="us") == [5]
    assert converted(["5"], Kind.TIME, unit="ms") == [5000]
    assert converted([2**60], Kind.TIME, unit="s") == ["wrong"]


def test_times_with_types_of_their_own() -> None:
    moment = datetime(2023, 11, 15, 12)
    east = moment.replace(tzinfo=timezone(timedelta(hours=0)))
    assert converted([moment], Kind.TIME) == [NOON]
    assert converted([east.astimezone(UTC)], Kind.TIME) == [NOON]
    assert converted([moment], Kind.TIME, pl.Datetime("ns")) == [NOON]
    assert converted([date(2023, 11, 15)], Kind.TIME) == [NOON - 43_200_000_000]


@settings(max_examples=50, deadline=None)
@given(st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_iso_times_with_any_offset(local: datetime, minutes: int) -> None:
    moment = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    micros = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert converted([moment.isoformat()], Kind.TIME) == [micros]


def test_flags_and_words_of_theirs() -> None:
    assert converted(["t", "NO", "1", "maybe"], Kind.FLAG) == [True, False, True, "wrong"]
    assert converted([True, None], Kind.FLAG) == [True, None]
    assert converted([1, 0], Kind.FLAG) == [True, False]
    renamed = {"cart": "add_to_cart", "3": "purchase"}
    assert converted(["cart", "view"], Kind.CHOICE, renamed=renamed) == ["add_to_cart", "view"]
    assert converted([3], Kind.CHOICE, renamed=renamed) == ["purchase"]


def test_attributes_stay_numbers_where_they_are() -> None:
    assert converted([1.5], Kind.ATTRIBUTE) == [1.5]
    assert converted(["1.5"], Kind.ATTRIBUTE) == ["1.5"]
    assert converted(["1.5"], Kind.ATTRIBUTE, scale=2.0) == [3.0]


@pytest.mark.parametrize(
    ("values", "separator", "expected"),
    [
        ([["a", " ", None, "b "], None, []], None, [["a", "b"], [], []]),
        ([[1, 2], None], None, [["1", "2"], []]),
        (["a", " ", None], None, [["a"], [], []]),
        (["a.b..c", "d"], ".", [["a", "b", "c"], ["d"]]),
    ],
)
def test_lists_of_words(
    values: list[Any], separator: str | None, expected: list[list[str]]
) -> None:
    frame = pl.DataFrame({"v": values})
    told = frame.select(as_words(pl.col("v"), frame.schema["v"], separator)).to_series()
    assert told.to_list() == expected
