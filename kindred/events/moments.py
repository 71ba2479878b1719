"""When an event happened that names an answer of just after it.

Visitors' clocks go wrong. What names an answer came after that answer, whatever the visitor's
clock said, as long as it was no more than `CLOCK_LAG` slow.
"""

from __future__ import annotations

import polars as pl

from kindred.schemas.clock import HOUR

CLOCK_LAG = HOUR
"""How far behind an answer's clock the clock of an event may be that names it."""


def touch_moments(touches: pl.DataFrame, shown: pl.DataFrame) -> pl.DataFrame:
    """`impressions.touches`, none of them before the answer that it names and that showed its item.

    `shown` (`impressions.narrow`) holds the items shown up to `CLOCK_LAG` after the last of them.
    """
    return _not_before(touches, shown, ["decision_id", "item_id"])


def visit_moments(visits: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """`impressions.visits`, none of them before the answer that it names.

    `answers` (`impressions.answers`) holds those of up to `CLOCK_LAG` after the last of them.
    """
    return _not_before(visits, answers, ["decision_id"])


def _not_before(events: pl.DataFrame, told: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    ahead = pl.col("told_at") - pl.col("occurred_at")
    slow = ahead.is_between(1, CLOCK_LAG)
    return (
        events.join(
            told.select(*keys, told_at="occurred_at"), on=keys, how="left", maintain_order="left"
        )
        .with_columns(pl.when(slow).then("told_at").otherwise("occurred_at").alias("occurred_at"))
        .drop("told_at")
    )
