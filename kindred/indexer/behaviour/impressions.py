"""Shown items and what came of them, as columns: the input of everything that learns from lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kindred.events.shown import JOINED_SCHEMA
from kindred.schemas.clock import DAY
from kindred.schemas.event import Platform
from kindred.schemas.item import Campaign
from kindred.schemas.ranking import Doubles, Mask, Rows

OUTCOMES: dict[str, tuple[str, ...]] = {
    "click": ("click", "view"),
    "watch": ("watch",),
    "cart": ("cart",),
    "offer": ("offer", "contact"),
    "buy_now": ("buy_now",),
    "purchase": ("purchase",),
}
"""What can come of an impression, by its grade 1 to 6: the joined row's outcomes that count as it
(`events.actions.GRADES`)."""
CLICK, PURCHASE = 0, 5
"""Their columns."""
NEVER = np.iinfo(np.int64).max
"""Moment of what did not happen."""
ROWS_AT_ONCE = 500_000
"""Rows read together, about: a day at least."""
PLATFORMS: tuple[str, ...] = tuple(p.value for p in Platform)
"""Platforms by code."""


@dataclass(frozen=True, kw_only=True)
class Impressions:
    """n shown items of L lists, as a struct of arrays; lists in order of time, items of position.

    What came of an impression carries its own moment: whoever asks as of a moment t counts only
    what is before t.
    """

    offsets: Rows
    """int64[L + 1]: list l owns the rows `offsets[l]:offsets[l + 1]`"""
    decisions: pl.Series
    """String[L]: the decision's id"""
    specs: pl.Series
    """String[L]: feature specification of the logged rows, null where none were logged"""
    subject: NDArray[np.uint64]
    """uint64[L]: hash of who saw it"""
    platform: NDArray[np.int8]
    """int8[L]: code in PLATFORMS, -1 unknown"""
    explore: Mask
    """bool[L]: in random order"""
    at: Rows
    """int64[L]: microseconds UTC, never falling"""
    seed: Rows
    """int64[L]: catalogue row of the item that the list was about, -1 for none or an unknown one"""
    row: Rows
    """int64[n]: catalogue row, -1 where the catalogue does not hold the item"""
    position: NDArray[np.int16]
    """int16[n]: 1 = first"""
    propensity: Doubles
    """float64[n]: NaN unknown"""
    formats: NDArray[np.uint8]
    """uint8[n]: `FormatBits` of the moment"""
    censored: Mask
    """bool[n]: a window was open when the rows were joined"""
    auctioned: Mask
    """bool[n]: at an auction place, which no ranker's order gave it"""
    outcomes: Rows
    """int64[n, 6]: first moment of each of OUTCOMES, NEVER where it did not happen"""

    def __len__(self) -> int:
        return len(self.row)

    @property
    def lists(self) -> int:
        """L."""
        return len(self.at)

    @cached_property
    def owners(self) -> Rows:
        """int64[n]: the list of each row."""
        return np.repeat(np.arange(self.lists), np.diff(self.offsets))

    @cached_property
    def ts(self) -> Rows:
        """int64[n]: when each row was shown, never falling."""
        return self.at[self.owners]

    @cached_property
    def newest(self) -> int:
        """The last moment that any of it tells of, 0 where there is none."""
        happened = self.outcomes[self.outcomes != NEVER]
        return max(int(self.at.max(initial=0)), int(happened.max(initial=0)))

    @cached_property
    def by_moment(self) -> tuple[tuple[Rows, Rows], ...]:
        """For each outcome: (int64[m] moments, rising; int64[m] positions in the rows)."""
        found = []
        for moments in self.outcomes.T:
            at = np.flatnonzero(moments != NEVER)
            at = at[np.argsort(moments[at], kind="stable")]
            found.append((moments[at], at))
        return tuple(found)

    def clicked_lists(self, until: int) -> Mask:
        """bool[L]: lists shown before `until` of which anything came before it."""
        happened = (self.outcomes < until).any(axis=1) & (self.ts < until)
        clicked: Mask = np.bincount(self.owners[happened], minlength=self.lists) > 0
        return clicked


_ARRAYS = (
    "subject", "platform", "explore", "at", "seed",
    "row", "position", "propensity", "formats", "censored", "auctioned", "outcomes",
)  # fmt: skip


def load_impressions(
    joined: pl.LazyFrame, row_of: pl.DataFrame, until: int | None = None
) -> Impressions:
    """Read joined rows (JOINED_SCHEMA) of decisions before `until`, some days at a time.

    `row_of` has the columns `item_id` and `row`. Ten million rows take about 2 GB.
    """
    if until is not None:
        joined = joined.filter(pl.col("occurred_at") < until)
    rows = row_of.lazy().select("item_id", row=pl.col("row").cast(pl.Int64))
    seeds = rows.select(seed_item="item_id", seed="row")
    wanted = joined.join(rows, on="item_id", how="left").join(seeds, on="seed_item", how="left")
    wanted = wanted.select(
        "occurred_at",
        "decision_id",
        "position",
        "feature_spec",
        "propensity",
        pl.col("row", "seed").fill_null(-1),
        pl.col("formats").fill_null(0),
        pl.col("explore", "censored").fill_null(value=False),
        auctioned=(pl.col("campaign") == Campaign.PLX.value).fill_null(value=False),
        platform=_platform(),
        subject=_subject_hash(),
        **{
            name: pl.min_horizontal(f"{o}_at" for o in parts).fill_null(NEVER)
            for name, parts in OUTCOMES.items()
        },
    )
    parts = [_columns(_collected(wanted, span)) for span in _spans(joined)]
    return _together(parts or [_columns(_collected(wanted, (0, 0)))])


def _spans(joined: pl.LazyFrame) -> list[tuple[int, int]]:
    """(first, end) in µs: days in order, as many together as make ROWS_AT_ONCE."""
    day = (pl.col("occurred_at") // DAY).alias("day")
    counts = joined.group_by(day).len().sort("day").collect(engine="streaming")
    spans: list[tuple[int, int]] = []
    held = ROWS_AT_ONCE
    for number, rows in counts.iter_rows():
        if held + rows > ROWS_AT_ONCE:
            spans.append((number * DAY, 0))
            held = 0
        held += rows
        spans[-1] = (spans[-1][0], (number + 1) * DAY)
    return spans


def _collected(wanted: pl.LazyFrame, span: tuple[int, int]) -> pl.DataFrame:
    within = pl.col("occurred_at").is_between(*span, closed="left")
    found = wanted.filter(within).collect(engine="streaming")
    return found.sort("occurred_at", "decision_id", "position")


def _together(parts: Sequence[Impressions]) -> Impressions:
    """Parts in order of time as one."""
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(p, name) for p in parts]) for name in _ARRAYS
    }
    lengths = np.concatenate([np.diff(p.offsets) for p in parts])
    return Impressions(
        offsets=np.append(0, np.cumsum(lengths)).astype(np.int64),
        decisions=pl.concat([p.decisions for p in parts]),
        specs=pl.concat([p.specs for p in parts]),
        **columns,
    )


def no_impressions() -> Impressions:
    """Nothing was ever shown."""
    empty = pl.LazyFrame(schema=JOINED_SCHEMA)
    return load_impressions(empty, pl.DataFrame(schema={"item_id": pl.String, "row": pl.Int64}))


def _columns(frame: pl.DataFrame) -> Impressions:
    ids = frame["decision_id"]
    first = (ids != ids.shift(1)).fill_null(value=True).to_numpy()
    starts = np.flatnonzero(first)
    lists = frame[starts]
    return Impressions(
        offsets=np.append(starts, len(frame)).astype(np.int64),
        decisions=lists["decision_id"],
        specs=lists["feature_spec"],
        subject=lists["subject"].to_numpy(),
        platform=lists["platform"].to_numpy(),
        explore=np.logical_or.reduceat(frame["explore"].to_numpy(), starts)
        if len(starts)
        else np.zeros(0, np.bool_),
        at=lists["occurred_at"].to_numpy(),
        seed=lists["seed"].to_numpy(),
        row=frame["row"].to_numpy(),
        position=frame["position"].to_numpy(),
        propensity=frame["propensity"].to_numpy(),
        formats=frame["formats"].to_numpy(),
        censored=frame["censored"].to_numpy(),
        auctioned=frame["auctioned"].to_numpy(),
        outcomes=frame.select(*OUTCOMES).to_numpy().reshape(len(frame), len(OUTCOMES)),
    )


def _platform() -> pl.Expr:
    codes = {name: code for code, name in enumerate(PLATFORMS)}
    return pl.col("platform").replace_strict(codes, default=-1, return_dtype=pl.Int8)


def _subject_hash() -> pl.Expr:
    """The user, else the device, else the session, else the decision alone."""
    user, device, session = pl.col("user_id"), pl.col("device_id"), pl.col("session_id")
    return (
        pl.when(user.is_not_null())
        .then(user.hash(1))
        .when(device.is_not_null())
        .then(device.hash(2))
        .when(session.is_not_null())
        .then(session.hash(3))
        .otherwise(pl.col("decision_id").hash(4))
    )
