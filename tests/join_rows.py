"""Decisions and events for tests of the join: whole rows with what matters changed."""

from __future__ import annotations

from itertools import count
from typing import Any

import polars as pl

from kindred.events.contract import EVENT_SCHEMA, FACTS, event_columns
from kindred.events.shown import DECISION_SCHEMA

START = 1_700_006_400_000_000
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LATER = START + 400 * DAY

_numbers = count(1)
TRACE = "00-{:032x}-00000000000000aa-01"


def decision(decision_id: str, *items: str, at: int = 0, **fields: Any) -> dict[str, Any]:
    """An answer `at` microseconds after START that showed `items`, all at 100.00 by seller s."""
    n = len(items)
    row: dict[str, Any] = {
        "decision_id": decision_id,
        "occurred_at": START + at,
        "surface": "similar",
        "platform": "web",
        "role": "customer",
        "user_id": "u",
        "session_id": "s",
        "policy": "funnel",
        "degraded": [],
        "epsilon": 0.0,
        "shown_item": list(items),
        "shown_propensity": [1.0] * n,
        "shown_explore": [False] * n,
        "shown_sponsored": [False] * n,
        "candidate_item": list(items),
        "candidate_ad_rate_bp": [0] * n,
        "candidate_price_minor": [10_000] * n,
        "candidate_formats": [1] * n,
        "candidate_seller_id": ["seller"] * n,
        "candidate_count": n,
    }
    return row | fields


def event(action: str, item: str, at: int = 0, **fields: Any) -> dict[str, Any]:
    """An action `at` microseconds after START by a visitor of no answer, unless fields say."""
    row = {
        "event_id": f"event-{next(_numbers)}",
        "occurred_at": START + at,
        "action": action,
        "entity_id": item,
        "user_id": "u",
    }
    return row | fields


def decisions(*rows: dict[str, Any]) -> pl.DataFrame:
    """`DECISION_SCHEMA`."""
    return pl.DataFrame(list(rows), schema=DECISION_SCHEMA)


def events(*rows: dict[str, Any]) -> pl.DataFrame:
    """`EVENT_SCHEMA`."""
    frame = pl.DataFrame(list(rows), schema=EVENT_SCHEMA)
    return event_columns(frame.drop(FACTS)).with_columns(frame.select(FACTS)).select(
        EVENT_SCHEMA.names()
    )  # fmt: skip
