"""Decisions and events for tests of the join, whole rows with what matters changed, joined."""

from __future__ import annotations

import random
from itertools import count
from typing import Any

import polars as pl

from kindred.events.contract import EVENT_SCHEMA, FACTS, event_columns
from kindred.events.join import join
from kindred.events.shown import DECISION_SCHEMA
from kindred.schemas.settings import JoinSettings

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


EDGES = (
    0, 1, -1, SECOND, 20 * SECOND, 20 * SECOND + 1, 30 * MINUTE, 30 * MINUTE + 1, HOUR, DAY,
    DAY + 1, 7 * DAY, 7 * DAY + 1, 30 * DAY, 30 * DAY + 1, -MINUTE, -HOUR, -HOUR - 1,
)  # fmt: skip
"""Moments after an answer or an event at which a window ends, or just does not; before it, those
of slow clocks."""
ACTIONS = (
    "impression", "inview", "inview", "click", "click", "view", "watch", "favourite", "dwell",
    "send_message", "add_to_cart", "make_offer", "place_bid", "buy_now", "purchase", "purchase",
    "purchase", "dismiss", "category_view", "content_view", "content_click", "follow_seller",
)  # fmt: skip


def busy_market(seed: int, answers: int, deeds: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Random decisions and events of few visitors on few items over two months.

    Everybody meets everything at the edges of the windows, by every link and by none.
    """
    rng = random.Random(seed)
    items = [f"i{n}" for n in range(5)]
    seller = {item: f"seller{n % 2}" for n, item in enumerate(items)}
    told = []
    for n in range(answers):
        shown = rng.choices(items, k=rng.randint(0, 4))
        fit = rng.randint(0, 5)
        midnight = rng.randrange(1, 60) * DAY + rng.choice((0, 1, MINUTE, HOUR - 1, HOUR))
        told.append(
            decision(
                f"d{n}", *shown,
                at=rng.choice((rng.randrange(2 * DAY), rng.randrange(60 * DAY), midnight)),
                user_id=rng.choice((None, "u0", "u1")), device_id=rng.choice((None, "p0", "p1")),
                session_id=rng.choice((None, "s0", "s1")),
                traceparent=rng.choice((None, TRACE.format(n // 2))),
                shown_sponsored=[rng.random() < 0.6 for _ in shown],
                shown_campaign=[rng.choice(["pls", "plx", None]) for _ in shown],
                candidate_item=shown[:fit],
                candidate_ad_rate_bp=[rng.randrange(2000) for _ in shown[:fit]],
                candidate_price_minor=[rng.choice((None, 999, 12345)) for _ in shown[:fit]],
                candidate_formats=[1 for _ in shown[:fit]],
                candidate_seller_id=[seller[item] for item in shown[:fit]],
            )
        )  # fmt: skip
    happened: list[dict[str, Any]] = []
    for n in range(deeds):
        before = rng.choice(happened if happened and rng.random() < 0.5 else told)
        at = before["occurred_at"] - START + rng.choice((*EDGES, rng.randrange(HOUR)))
        answer = rng.choice(told)
        if rng.random() < 0.8 and "shown_item" in before:
            answer = before
        action = rng.choice(ACTIONS)
        if "entity_id" in before and before["action"] in ("click", "view"):
            action = rng.choice((action, "purchase"))
        item = rng.choice(answer["shown_item"] or items) if rng.random() < 0.9 else items[0]
        kind = {"category_view": "category", "content_view": "content", "content_click": "content"}
        known = rng.choice((("decision_id",), ("traceparent",), ("session_id",), (),
                            ("decision_id", "traceparent", "session_id")))  # fmt: skip
        facts = {"seller_id": seller[item], "ad_rate_bp": rng.choice((0, 333))}
        link = {name: answer[name] for name in known}
        happened.append(
            event(
                action, item, max(at, 0), event_id=f"e{n}",
                entity_kind=kind.get(action, "item"), user_id=rng.choice((None, "u0", "u1")),
                device_id=rng.choice(("p0", "p1")), value_minor=rng.choice((None, 1, 4999, 10_050)),
                dwell_ms=rng.randrange(9000) if action == "dwell" else None,
                **(facts if action == "purchase" else {}), **link,
            )
        )  # fmt: skip
    return decisions(*told), events(*happened)


def joined(
    told: list[dict[str, Any]], happened: list[dict[str, Any]], as_of: int = LATER
) -> pl.DataFrame:
    """`JOINED_SCHEMA`, with the default windows."""
    return join(decisions(*told), events(*happened), JoinSettings(), as_of)


def the_row(
    told: list[dict[str, Any]],
    happened: list[dict[str, Any]],
    item: str = "a",
    decision_id: str = "d1",
    as_of: int = LATER,
) -> dict[str, Any]:
    rows = joined(told, happened, as_of).filter(item_id=item, decision_id=decision_id)
    assert rows.height == 1
    return rows.row(0, named=True)


def credited(told: list[dict[str, Any]], happened: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(decision, link) of the rows that something came of."""
    rows = joined(told, happened).filter(pl.col("attribution").is_not_null())
    return rows.select("decision_id", "attribution").rows()


def sponsored(decision_id: str, item: str, at: int = 0, **fields: Any) -> dict[str, Any]:
    """An answer with one sponsored item at 5 %."""
    ads = {"shown_sponsored": [True], "candidate_ad_rate_bp": [500]}
    return decision(decision_id, item, at=at, **ads | fields)
