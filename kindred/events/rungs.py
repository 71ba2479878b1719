"""Ways to find the shown item that an event came of, one after the other (`events.join`)."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from kindred.events.impressions import CLICKED, HALO, Windows, codes

DECISION, TRACE, SESSION, VISITOR = range(4)
LINKS = ("decision", "trace", "session", "visitor")
"""How an event found its row, the strongest way first."""

_KEYS: dict[int, tuple[str, ...]] = {
    DECISION: ("decision_id", "item_id"),
    TRACE: ("trace_id", "item_id"),
    SESSION: ("session_id", "item_id"),
}


class Rung(NamedTuple):
    """One way to find the row of an event: the last of `rows` with the same `keys`."""

    link: int
    keys: tuple[str, ...]
    rows: pl.DataFrame
    moment: str
    """Column of `rows` by whose order the last at or before the event is meant."""
    within: pl.Expr
    """How long after `moment` the row answers."""


def age() -> pl.Expr:
    """From the decision to the event."""
    return pl.col("occurred_at") - pl.col("decided_at")


def window(windows: Windows) -> pl.Expr:
    """How long after its decision an event counts."""
    clicks = pl.col("action").is_in(codes(*CLICKED))
    return pl.when(clicks).then(windows.click).otherwise(windows.action)


def recent_ladder(shown: pl.DataFrame, windows: Windows) -> list[Rung]:
    """By the answer that the event names, by its trace, by its session."""
    recent = pl.lit(windows.recent)
    within = {DECISION: recent, TRACE: recent, SESSION: window(windows)}
    return [Rung(link, key, shown, "decided_at", within[link]) for link, key in _KEYS.items()]


def purchase_ladder(shown: pl.DataFrame, clicked: pl.DataFrame, windows: Windows) -> list[Rung]:
    """A purchase looks among the clicked rows first, and then among the recently shown."""
    month = pl.lit(windows.purchase)
    return [
        *(Rung(link, key, clicked, "clicked_at", month) for link, key in _KEYS.items()),
        _by_visitor(VISITOR, "item_id", clicked, windows),
        *recent_ladder(shown, windows),
    ]


def halo_rung(clicked: pl.DataFrame, windows: Windows) -> Rung:
    """The sponsored row of the seller that the visitor clicked last."""
    return _by_visitor(HALO, "seller_id", clicked.filter("sponsored"), windows)


def _by_visitor(link: int, what: str, clicked: pl.DataFrame, windows: Windows) -> Rung:
    keyed = clicked.with_columns(_visitors_of_row()).explode("visitor")
    return Rung(link, ("visitor", what), keyed, "clicked_at", pl.lit(windows.purchase))


def choose(touches: pl.DataFrame, ladder: list[Rung]) -> pl.DataFrame:
    """`touches` that found a row, by the first rung that has one.

    Their decision_id is then the row's, `trace_id` the event's, `decision_trace` the row's.
    """
    left = touches.with_columns(visitors_of_event())
    found = []
    for rung in ladder:
        hit = last(left, rung)
        left = left.join(hit, on="touch", how="anti")
        found.append(hit.with_columns(link=pl.lit(rung.link, pl.UInt8)))
    rows = pl.concat(found)
    return touches.drop("decision_id").join(rows, on="touch", how="inner")


def last(touches: pl.DataFrame, rung: Rung) -> pl.DataFrame:
    """touch, decision_id, position, decided_at, decision_trace of those that `rung` finds."""
    keys = list(rung.keys)
    asked = touches.select("touch", "occurred_at", "action", *dict.fromkeys([*keys]))
    if "visitor" in keys:
        asked = asked.explode("visitor")
    # Equal moments: the greatest decision id, then the last place; asof takes the last row.
    rows = (
        rung.rows.drop_nulls(keys)
        .sort(rung.moment, "decision_id", "position")
        .select(
            *keys,
            since=rung.moment,
            found_id="decision_id",
            position="position",
            decided_at="decided_at",
            decision_trace="trace_id",
        )
    )
    hits = (
        asked.drop_nulls(keys)
        .sort("occurred_at")
        .join_asof(
            rows,
            left_on="occurred_at",
            right_on="since",
            by=keys,
            strategy="backward",
            check_sortedness=False,
            coalesce=False,
        )
        .filter(pl.col("occurred_at") - pl.col("since") <= rung.within)
    )
    if "visitor" in keys:
        hits = hits.sort("since", "found_id", "position").unique("touch", keep="last")
    return hits.select(
        "touch", pl.col("found_id").alias("decision_id"), "position", "decided_at", "decision_trace"
    )


def _visitors_of_row() -> pl.Expr:
    """Keys that a row is found by: its user, its device, its device where nobody was logged in."""
    device = pl.col("device_id")
    return pl.concat_list(
        "u" + pl.col("user_id"),
        "d" + device,
        pl.when(pl.col("user_id").is_null()).then("a" + device),
    ).alias("visitor")


def visitors_of_event() -> pl.Expr:
    """`visitor`: keys that an event looks for, its user and the device before log-in, else the
    device."""
    device, user = pl.col("device_id"), pl.col("user_id")
    known = pl.concat_list("u" + user, "a" + device)
    return pl.when(user.is_null()).then(pl.concat_list("d" + device)).otherwise(known).alias(
        "visitor"
    )  # fmt: skip
