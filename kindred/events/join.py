"""Decisions and events, joined to labelled impressions: one row a shown item, unclicked ones too.

This docstring is the meaning of the join. `join` does it in memory; `events.joining` day by day
over the lake and `events.streaming` as events arrive, with the same functions on less at a time
and the same rows as result, bit for bit. Windows are `settings.join`; the end of a window belongs
to it. Times are microseconds UTC, money is whole minor units.

**As of.** Everything that happened before `as_of` counts and nothing else does. The same decision
or event told twice (by its id) counts once; the order of rows does not matter.

**When an event happened.** As it says; but an event that names a decision which showed its item
(a visit: which there was), and says that it came before that decision, by an hour
(`moments.CLOCK_LAG`) at most, happened when the decision was made: its clock was slow. Everything
below goes by these moments.

**Which row an event belongs to.** Events done to an item or content, impressions apart, look for
an answer, at or before them, that showed it. A shown item answers while a window of it can be
open: `action_hours` (`click_minutes` if that is longer) after the decision. The first of these
that there is:

1. `decision`: the decision that the event names, if it showed the item;
2. `trace`: the last decision of the event's trace that showed it;
3. `session`: the last decision of the event's session that showed it, within the event's window.

A purchase goes to a clicked row before one that was merely shown. It looks first, in the same
order, for a row of the item that was clicked at or before it, `purchase_days` ago at most, of
several the one whose first click was last; and before it takes a row that was not clicked:

4. `visitor`: the row of the item that the same visitor clicked last. The same visitor has the same
   user id or, where the event or the row has none, the same device id.

Of decisions at the same moment the one with the greatest id is last. An answer that shows an item
twice gets it at the first of its places. Then the window of the action decides whether the event
counts; an event outside it is not given to an earlier row:

- click, view, content_click, content_view: `click_minutes` after the decision;
- purchase: `purchase_days` after the first click of the row (a view counts as one); where no click
  came before it, `action_hours` after the decision;
- everything else: `action_hours` after the decision.

**Labels.** `<outcome>_at` is the first moment. `grade` is the best of `actions.GRADES`.
`slot_reward` is 3 for a cart within `slot_seconds`, else 1 for a click or view within them, else
0. `aware`: the item came into view, and at or after that, within `awareness_days` of the decision,
there was a category_view or content_view that names the decision or has its trace.

**Money.** `sale_minor` sums the values of the row's purchases (without a value: the price that was
shown). A row is sponsored where its ad rate placed it; the places of an auction are paid for by
their views, and no sale of theirs costs anything. Each purchase on a sponsored row within
`purchase_days` after its first click costs ad rate x value / 10,000, rounded half up: `fee_minor`
is their sum. A purchase that belongs to no row, of an item in a campaign (`ad_rate_bp` of the event
above 0), is a halo sale of the sponsored row of that seller that the same visitor clicked last,
within `purchase_days`, if it shows another item; its fee follows the event's rate. Null is "none",
or "not known".

**Open windows.** `censored` says that something at or after `as_of` could still change the row:
`action_hours` (`click_minutes`) after its decision; once clicked, `purchase_days` after the first
click; once in view and not aware, `awareness_days` after the decision; and an hour more, in which
an answer may come that an event of the row names, and takes it back. A caller grants lateness by an
`as_of` that lies behind the clock.
"""

from __future__ import annotations

import polars as pl

from kindred.events.impressions import (
    CLICKED,
    GRADE_OF,
    HALO,
    PURCHASE,
    VIEWED,
    VISIT,
    Windows,
    answers,
    codes,
    impressions,
    narrow,
    touches,
    visits,
)
from kindred.events.linking import CLICKED_SCHEMA, link
from kindred.events.moments import CLOCK_LAG, touch_moments, visit_moments
from kindred.events.rungs import LINKS
from kindred.events.shown import JOINED_SCHEMA
from kindred.schemas.event import Action
from kindred.schemas.settings import JoinSettings

OUTCOME_OF: dict[str, tuple[Action, ...]] = {
    "inview": (Action.INVIEW,),
    "click": (Action.CLICK, Action.CONTENT_CLICK),
    "view": VIEWED,
    "show_interest": (Action.SHOW_INTEREST,),
    "watch": (Action.WATCH, Action.FAVOURITE),
    "contact": (Action.SEND_MESSAGE, Action.SHOW_PHONE, Action.CONTACT_SELLER),
    "cart": (Action.ADD_TO_CART,),
    "offer": (Action.MAKE_OFFER,),
    "bid": (Action.PLACE_BID,),
    "buy_now": (Action.BUY_NOW,),
    "purchase": (Action.PURCHASE,),
    "dismiss": (Action.DISMISS,),
}
"""Actions behind each `<outcome>_at`."""

ROW = ["decision_id", "position"]
DEADLINE = "deadline"


def join(
    decisions: pl.DataFrame, events: pl.DataFrame, windows: JoinSettings, as_of: int
) -> pl.DataFrame:
    """Labelled impressions (`JOINED_SCHEMA`) by occurred_at, decision_id, position.

    `decisions` has the columns of `DECISION_SCHEMA`, `events` those of `EVENT_SCHEMA`, both in any
    order; `as_of` is in microseconds UTC. The rules: this module's docstring.
    """
    spans = Windows.of(windows)
    before = pl.col("occurred_at") < as_of
    told, happened = decisions.lazy().filter(before), events.lazy().filter(before)
    narrowed, known = narrow(told).collect(), answers(told).collect()
    found = link(
        touch_moments(touches(happened).collect(), narrowed),
        visit_moments(visits(happened).collect(), known),
        narrowed,
        known,
        pl.DataFrame(schema=CLICKED_SCHEMA),
        spans,
    )
    shown = impressions(told).collect()
    return label(shown, found.links, spans, as_of).drop(DEADLINE)


def label(shown: pl.DataFrame, links: pl.DataFrame, windows: Windows, as_of: int) -> pl.DataFrame:
    """Rows of `shown` (`impressions`) with what `links` (`LINK_SCHEMA`) says of them.

    `JOINED_SCHEMA` and `deadline`: the last moment at which something could change the row.
    """
    deeds = links.filter(pl.col("link").is_not_null())
    rows = (
        shown.join(_outcomes(deeds, windows), on=ROW, how="left")
        .join(_halo(links), on=ROW, how="left")
        .with_columns(pl.col("grade", "slot_reward").fill_null(0))
    )
    rows = rows.join(_sales(deeds, rows, windows), on=ROW, how="left")
    visited = links.filter(pl.col("action") == VISIT)
    seen = (
        rows.filter(pl.col("inview_at").is_not_null())
        .select(*ROW, "inview_at")
        .join(visited.group_by("decision_id").agg(visit=pl.col("occurred_at").max()), "decision_id")
        .select(*ROW, aware=pl.col("visit") >= pl.col("inview_at"))
    )
    rows = rows.join(seen, on=ROW, how="left").with_columns(pl.col("aware").fill_null(False))
    rows = rows.with_columns(_deadline(windows).alias(DEADLINE))
    return (
        rows.with_columns(censored=pl.col(DEADLINE) >= as_of)
        .select(*(pl.col(n).cast(dtype) for n, dtype in JOINED_SCHEMA.items()), DEADLINE)
        .sort("occurred_at", *ROW)
    )


def _outcomes(deeds: pl.DataFrame, windows: Windows) -> pl.DataFrame:
    """By row: first moments, dwell, grade, reward of the slot, weakest link."""
    moment, action = pl.col("occurred_at"), pl.col("action")
    within = moment - pl.col("decided_at") <= windows.slot
    cart = (within & action.is_in(codes(Action.ADD_TO_CART))).any()
    click = (within & action.is_in(codes(*CLICKED))).any()
    grade = action.replace_strict(GRADE_OF, default=0, return_dtype=pl.Int8)
    names = pl.col("link").max().replace_strict(dict(enumerate(LINKS)), return_dtype=pl.String)
    return deeds.group_by(ROW).agg(
        *(
            moment.filter(action.is_in(codes(*actions))).min().alias(f"{outcome}_at")
            for outcome, actions in OUTCOME_OF.items()
        ),
        clicked_at=moment.filter(action.is_in(codes(*CLICKED))).min(),
        dwell_ms=pl.col("dwell_ms").max(),
        grade=grade.max(),
        slot_reward=pl.when(cart).then(3).when(click).then(1).otherwise(0),
        attribution=names,
    )


def _fee(value: pl.Expr, rate: pl.Expr) -> pl.Expr:
    """value x rate / 10,000 rounded half up; in parts, because the product need not fit 64 bits."""
    rate = rate.cast(pl.Int64)
    return value // 10_000 * rate + (value % 10_000 * rate + 5_000) // 10_000


def _known_sum(value: pl.Expr) -> pl.Expr:
    """The sum of what is known; null where nothing is."""
    return pl.when(value.is_not_null().any()).then(value.sum())


def _sales(deeds: pl.DataFrame, rows: pl.DataFrame, windows: Windows) -> pl.DataFrame:
    """By row: sale_minor, fee_minor."""
    shown = rows.select(*ROW, "price_minor", "clicked_at", "sponsored", rate="ad_rate_bp")
    since = pl.col("occurred_at") - pl.col("clicked_at")
    owed = pl.col("sponsored") & since.is_between(0, windows.purchase)
    sales = (
        deeds.filter(pl.col("action") == PURCHASE)
        .join(shown, on=ROW)
        .with_columns(sale=pl.coalesce("value_minor", "price_minor"))
        .with_columns(fee=pl.when(owed).then(_fee(pl.col("sale"), pl.col("rate"))))
    )
    return sales.group_by(ROW).agg(
        sale_minor=_known_sum(pl.col("sale")), fee_minor=_known_sum(pl.col("fee"))
    )


def _halo(links: pl.DataFrame) -> pl.DataFrame:
    """By row: halo_sale_minor, halo_fee_minor."""
    value = pl.col("value_minor")
    return (
        links.filter(pl.col("action") == HALO)
        .group_by(ROW)
        .agg(
            halo_sale_minor=_known_sum(value),
            halo_fee_minor=_known_sum(_fee(value, pl.col("ad_rate_bp"))),
        )
    )


def _deadline(windows: Windows) -> pl.Expr:
    decided = pl.col("occurred_at")
    unaware = pl.col("inview_at").is_not_null() & ~pl.col("aware")
    shut = pl.max_horizontal(
        decided + windows.recent,
        pl.col("clicked_at") + windows.purchase,
        pl.when(unaware).then(decided + windows.awareness),
    )
    return shut + CLOCK_LAG
