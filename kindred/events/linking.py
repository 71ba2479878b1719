"""Which shown item an event came of (the rules: `events.join`).

What an event belongs to depends only on what happened at or before it, once the events have their
own moments (`events.moments`). A span of time can therefore be linked on its own, given the items
shown shortly before it and the clicked ones: a day of the lake, a minute of the stream, or
everything at once.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from kindred.events.impressions import CLICKED, HALO, PURCHASE, SILENT, VISIT, Windows, codes
from kindred.events.rungs import (
    age,
    choose,
    halo_rung,
    last,
    purchase_ladder,
    recent_ladder,
    visitors_of_event,
    window,
)

LINK_SCHEMA = pl.Schema(
    {
        "decision_id": pl.String(),
        "position": pl.Int16(),
        "decided_at": pl.Int64(),
        "occurred_at": pl.Int64(),
        "action": pl.UInt8(),
        "link": pl.UInt8(),
        "value_minor": pl.Int64(),
        "dwell_ms": pl.Int64(),
        "ad_rate_bp": pl.UInt16(),
    }
)
"""One row an event that a row of the join counts; position 0 stands for the whole decision."""

CLICKED_SCHEMA = pl.Schema(
    {
        "decision_id": pl.String(),
        "position": pl.Int16(),
        "item_id": pl.String(),
        "decided_at": pl.Int64(),
        "clicked_at": pl.Int64(),
        "trace_id": pl.String(),
        "session_id": pl.String(),
        "user_id": pl.String(),
        "device_id": pl.String(),
        "seller_id": pl.String(),
        "sponsored": pl.Boolean(),
    }
)
"""Clicked rows with the moment of their first click: what a later purchase can come of."""


class Tally(NamedTuple):
    """How well events found their impressions."""

    eligible: int = 0
    """Clicks and stronger that name a decision, a trace or a session."""
    found: int = 0
    """Those of them that found the impression they came of."""
    traced: int = 0
    """Those found that carry the trace of their decision."""
    orphans: int = 0
    """Purchases that name a decision or a trace and found neither it nor anything else."""
    named: int = 0
    """Those eligible that name a decision."""
    named_found: int = 0
    """Those of them that found an impression."""


class Linked(NamedTuple):
    """What linking a span found."""

    links: pl.DataFrame
    """`LINK_SCHEMA`, in no order."""
    clicked: pl.DataFrame
    """`CLICKED_SCHEMA`: rows whose first click lies in the span."""
    tally: Tally


def link(
    touches: pl.DataFrame,
    visits: pl.DataFrame,
    shown: pl.DataFrame,
    answers: pl.DataFrame,
    clicked: pl.DataFrame,
    windows: Windows,
) -> Linked:
    """Link the events of a span of time.

    `touches` and `visits` are the span's (`events.moments`); `shown` (`impressions.narrow`) holds
    the items shown in it and `windows.recent` before it, `answers` the decisions in it and
    `windows.awareness` before it, `clicked` the rows first clicked before it, `windows.clicked`
    back at least. Answers after the span do no harm.
    """
    shown = shown.rename({"occurred_at": "decided_at"})
    shown = shown.join(touches.select("item_id"), on="item_id", how="semi")
    bought = pl.col("action") == PURCHASE
    chosen = choose(touches.filter(~bought), recent_ladder(shown, windows))
    deeds = chosen.filter(age() <= window(windows))
    new = _first_clicks(deeds, shown, clicked)
    clicked = pl.concat([clicked, new])
    purchases = touches.filter(bought)
    taken = choose(purchases, purchase_ladder(shown, clicked, windows))
    sales = _timely(taken, clicked, windows)
    rest = purchases.join(sales, on="touch", how="anti")
    halo = _halo(rest, clicked, windows)
    links = pl.concat(
        [
            *(frame.select(LINK_SCHEMA.names()) for frame in (deeds, sales, halo)),
            _visits(visits, answers, windows),
        ]
    )
    return Linked(links, new, _tally(touches, pl.concat([chosen, taken])))


def _first_clicks(deeds: pl.DataFrame, shown: pl.DataFrame, clicked: pl.DataFrame) -> pl.DataFrame:
    """`CLICKED_SCHEMA` of the rows that `deeds` clicks and `clicked` does not hold yet."""
    row = ["decision_id", "position"]
    return (
        deeds.filter(pl.col("action").is_in(codes(*CLICKED)))
        .group_by(row)
        .agg(clicked_at=pl.col("occurred_at").min())
        .join(clicked, on=row, how="anti")
        .join(shown, on=row, how="inner")
        .select(CLICKED_SCHEMA.names())
    )


def _timely(taken: pl.DataFrame, clicked: pl.DataFrame, windows: Windows) -> pl.DataFrame:
    """Purchases in the window of their row: after its first click or, before any, its decision."""
    row = ["decision_id", "position"]
    since = pl.col("occurred_at") - pl.col("clicked_at")
    return taken.join(clicked.select(*row, "clicked_at"), on=row, how="left").filter(
        pl.when(since >= 0).then(since <= windows.purchase).otherwise(age() <= windows.action)
    )


def _halo(purchases: pl.DataFrame, clicked: pl.DataFrame, windows: Windows) -> pl.DataFrame:
    """Promoted purchases that came of no row, on the visitor's last click at the seller."""
    promoted = purchases.filter(pl.col("ad_rate_bp") > 0)
    hits = last(promoted.with_columns(visitors_of_event()), halo_rung(clicked, windows))
    row = ["decision_id", "position"]
    return (
        promoted.drop("decision_id")
        .join(hits, on="touch", how="inner")
        .join(clicked.select(*row, clicked_item="item_id"), on=row, how="inner")
        .filter(pl.col("item_id") != pl.col("clicked_item"))
        .with_columns(action=pl.lit(HALO, pl.UInt8), link=pl.lit(None, pl.UInt8))
    )


def _visits(visits: pl.DataFrame, answers: pl.DataFrame, windows: Windows) -> pl.DataFrame:
    """Of each decision the last visit in time that names it, and the last that has its trace."""
    known = answers.select("decision_id", "trace_id", decided_at="occurred_at")
    known = known.with_columns(until=pl.col("decided_at") + windows.awareness).sort("until")
    found = [
        known.drop_nulls(key).join_asof(
            visits.drop_nulls(key).select(key, "occurred_at").sort("occurred_at"),
            left_on="until",
            right_on="occurred_at",
            by=key,
            strategy="backward",
            check_sortedness=False,
            coalesce=False,
        )
        for key in ("decision_id", "trace_id")
    ]
    told = pl.concat([f.select("decision_id", "decided_at", "occurred_at") for f in found])
    return told.filter(pl.col("occurred_at") >= pl.col("decided_at")).select(
        "decision_id",
        pl.lit(0, pl.Int16).alias("position"),
        "decided_at",
        "occurred_at",
        pl.lit(VISIT, pl.UInt8).alias("action"),
        *(pl.lit(None, LINK_SCHEMA[n]).alias(n) for n in LINK_SCHEMA.names()[5:]),
    )


def _tally(touches: pl.DataFrame, chosen: pl.DataFrame) -> Tally:
    meant = ~pl.col("action").is_in(codes(*SILENT))
    names = pl.any_horizontal(pl.col("decision_id", "trace_id", "session_id").is_not_null())
    eligible = touches.filter(meant, names)
    found = eligible.join(chosen.select("touch", "decision_trace"), on="touch", how="inner")
    claims = pl.any_horizontal(pl.col("decision_id", "trace_id").is_not_null())
    claimed = eligible.filter(pl.col("action") == PURCHASE, claims)
    return Tally(
        eligible=eligible.height,
        found=found.height,
        traced=found.filter(pl.col("trace_id") == pl.col("decision_trace")).height,
        orphans=claimed.join(found, on="touch", how="anti").height,
        named=eligible["decision_id"].count(),
        named_found=found["decision_id"].count(),
    )
