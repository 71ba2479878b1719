"""What the join reads, as columns: shown items, what was done to items, visits to pages."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from kindred.events.actions import GRADES
from kindred.events.shown import JOINED_SCHEMA
from kindred.schemas.clock import DAY, HOUR, MINUTE
from kindred.schemas.event import ACTION_CODE, Action, EntityKind
from kindred.schemas.item import Campaign
from kindred.schemas.settings import JoinSettings

SECOND = 1_000_000

VIEWED = (Action.VIEW, Action.CONTENT_VIEW)
CLICKED = (Action.CLICK, Action.CONTENT_CLICK, *VIEWED)
"""What opens the purchase window."""
VISITS = (Action.CATEGORY_VIEW, Action.CONTENT_VIEW)
"""Visits to what an announcement announced."""
SILENT = (Action.IMPRESSION, Action.INVIEW, Action.DWELL)
"""No act of the visitor's will: left out of the share of events that found their impression."""

PURCHASE = ACTION_CODE[Action.PURCHASE.value]
HALO = 254
"""In place of an action: a sale of another item of the seller, credited to the row."""
VISIT = 255
"""In place of an action: a visit, which concerns every row of its decision."""

FACTS = ("ad_rate_bp", "price_minor", "formats", "seller_id")
KNOWN = tuple(JOINED_SCHEMA.names()[: JOINED_SCHEMA.names().index("feature_spec") + 1])
"""Columns of a joined row that its decision tells."""
SHOWN = (
    "decision_id", "item_id", "position", "occurred_at", "trace_id", "session_id", "user_id",
    "device_id", "seller_id", "sponsored",
)  # fmt: skip
"""Those of them that linking needs."""


class Windows(NamedTuple):
    """The windows of `JoinSettings` in microseconds; the end of each belongs to it."""

    click: int
    action: int
    purchase: int
    slot: int
    awareness: int

    @classmethod
    def of(cls, settings: JoinSettings) -> Windows:
        """The settings, in microseconds."""
        return cls(
            click=settings.click_minutes * MINUTE,
            action=settings.action_hours * HOUR,
            purchase=settings.purchase_days * DAY,
            slot=settings.slot_seconds * SECOND,
            awareness=settings.awareness_days * DAY,
        )

    @property
    def recent(self) -> int:
        """How long a shown item, clicked or not, answers for an event."""
        return max(self.click, self.action)

    @property
    def clicked(self) -> int:
        """How long a row's first click is remembered: for purchases, and not to count it anew."""
        return max(self.click, self.purchase)

    @property
    def longest(self) -> int:
        """How long after its decision anything can still change a row."""
        return max(self.recent, self.click + self.purchase, self.awareness)


def codes(*actions: Action) -> list[int]:
    """Actions as the `action` column of `touches` holds them."""
    return [ACTION_CODE[action.value] for action in actions]


GRADE_OF = {ACTION_CODE[action.value]: grade for action, grade in GRADES.items()}


def _trace_id() -> pl.Expr:
    """The second field of a W3C `traceparent`: `00-<32 hex digits>-...`."""
    return pl.col("traceparent").str.slice(3, 32)


def impressions(decisions: pl.LazyFrame, columns: tuple[str, ...] = KNOWN) -> pl.LazyFrame:
    """One row a shown item: columns of `JOINED_SCHEMA` that the decision tells.

    A decision told twice counts once. Candidate i is the item at position i + 1; where more was
    shown than there are candidates, facts are null. Only what its ad rate placed is sponsored: an
    auction's place is paid for by its views, and no sale of it costs a fee.
    """
    length = pl.col("shown_item").list.len().cast(pl.Int64)
    places = pl.int_ranges(0, length)
    lists = {
        "item_id": pl.col("shown_item"),
        "position": pl.int_ranges(1, length + 1),
        "propensity": pl.col("shown_propensity"),
        "explore": pl.col("shown_explore"),
        "sponsored": pl.col("shown_sponsored"),
        "campaign": pl.col("shown_campaign").fill_null([]).list.gather(places, null_on_oob=True),
        **{
            name: pl.col(f"candidate_{name}").fill_null([]).list.gather(places, null_on_oob=True)
            for name in FACTS
        },
    }
    wanted = {*columns, "campaign"} if "sponsored" in columns else set(columns)
    lists = {name: column for name, column in lists.items() if name in wanted}
    told = {
        "list_length": length,
        "trace_id": _trace_id(),
        "degraded": (pl.col("degraded").list.len() > 0).fill_null(False),
    }
    plain = [name for name in columns if name not in lists]
    auctioned = (pl.col("campaign") == Campaign.PLX.value).fill_null(value=False)
    by_rate = {"sponsored": pl.col("sponsored") & ~auctioned}
    return (
        decisions.unique("decision_id", keep="any")
        .filter(length > 0)
        .select(
            *(told.get(name, pl.col(name)).alias(name) for name in plain),
            *(column.alias(name) for name, column in lists.items()),
        )
        .explode(*lists)
        .select(by_rate.get(name, pl.col(name)).cast(JOINED_SCHEMA[name]) for name in columns)
    )


def narrow(decisions: pl.LazyFrame) -> pl.LazyFrame:
    """`SHOWN` of `impressions`: of an item shown twice in an answer, its first place."""
    shown = impressions(decisions, SHOWN).sort("position")
    return shown.unique(["decision_id", "item_id"], keep="first")


def touches(events: pl.LazyFrame) -> pl.LazyFrame:
    """What was done to items and content, impressions apart; an event told twice counts once.

    Columns: touch (a row number), occurred_at, action (code), item_id, decision_id, trace_id,
    session_id, user_id, device_id, value_minor, dwell_ms, seller_id, ad_rate_bp.
    """
    kinds = [EntityKind.ITEM.value, EntityKind.CONTENT.value]
    return (
        events.filter(
            pl.col("entity_kind").is_in(kinds), pl.col("action") != Action.IMPRESSION.value
        )
        .unique("event_id", keep="any")
        .select(
            "occurred_at",
            pl.col("action").replace_strict(ACTION_CODE, return_dtype=pl.UInt8),
            pl.col("entity_id").alias("item_id"),
            "decision_id",
            _trace_id().alias("trace_id"),
            *("session_id", "user_id", "device_id", "value_minor", "dwell_ms"),
            *("seller_id", "ad_rate_bp"),
        )
        .with_row_index("touch")
    )


def visits(events: pl.LazyFrame) -> pl.LazyFrame:
    """Visits that say which answer led to them: occurred_at, decision_id, trace_id."""
    return events.filter(pl.col("action").is_in([a.value for a in VISITS])).select(
        "occurred_at", "decision_id", _trace_id().alias("trace_id")
    )


def answers(decisions: pl.LazyFrame) -> pl.LazyFrame:
    """What a visit finds its decision by: decision_id, trace_id, occurred_at."""
    known = decisions.select("decision_id", _trace_id().alias("trace_id"), "occurred_at")
    return known.unique("decision_id", keep="any")
