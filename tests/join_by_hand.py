"""The rules of the join once more, a row at a time: slow, plain, and sharing nothing with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
from join_rows import DAY, HOUR, MINUTE, SECOND

Row = dict[str, Any]
CLICKS = ("click", "view", "content_click", "content_view")
GRADES = {
    "click": 1, "view": 1, "watch": 2, "favourite": 2, "add_to_cart": 3, "make_offer": 4,
    "send_message": 4, "show_phone": 4, "contact_seller": 4, "buy_now": 5, "purchase": 6,
}  # fmt: skip
LINKS = ("decision", "trace", "session", "visitor")


def trace(row: Row) -> str | None:
    return row["traceparent"] and row["traceparent"].split("-")[1]


def same_visitor(row: Row, event: Row) -> bool:
    users, devices = (row["user_id"], event["user_id"]), (row["device_id"], event["device_id"])
    if None not in users:
        return users[0] == users[1]
    return None not in devices and devices[0] == devices[1]


def window(event: Row) -> int:
    return 30 * MINUTE if event["action"] in CLICKS else DAY


def shown_rows(decisions: pl.DataFrame, as_of: int) -> list[Row]:
    rows = []
    for told in decisions.filter(pl.col("occurred_at") < as_of).iter_rows(named=True):
        for n, item in enumerate(told["shown_item"]):
            fact = {
                name: told[f"candidate_{name}"][n] if n < len(told["candidate_item"]) else None
                for name in ("ad_rate_bp", "price_minor", "seller_id")
            }
            row = {**told, **fact, "item_id": item, "position": n + 1, "clicked_at": None}
            row |= {"first": item not in told["shown_item"][:n], "events": [], "halo": []}
            kinds = told["shown_campaign"] or []
            row["campaign"] = kinds[n] if n < len(kinds) else None
            paid = told["shown_sponsored"][n] and row["campaign"] != "plx"
            rows.append(row | {"sponsored": paid, "visits": []})
    return sorted(rows, key=lambda r: (r["occurred_at"], r["decision_id"], r["position"]))


def choose(event: Row, rows: list[Row]) -> tuple[Row | None, int]:
    """The row that an event belongs to, whether it is in time or not, and the link."""
    at, purchase = event["occurred_at"], event["action"] == "purchase"
    could = [r for r in rows if r["item_id"] == event["entity_id"] and r["first"]]
    recent = [r for r in could if 0 <= at - r["occurred_at"] <= DAY]
    clicked = [
        r for r in could if purchase and r["clicked_at"] and 0 <= at - r["clicked_at"] <= 30 * DAY
    ]
    clicked.sort(key=lambda r: (r["clicked_at"], r["decision_id"], r["position"]))
    by: list[Callable[[Row], bool]] = [
        lambda r: event["decision_id"] is not None and r["decision_id"] == event["decision_id"],
        lambda r: trace(event) is not None and trace(r) == trace(event),
        lambda r: event["session_id"] is not None and r["session_id"] == event["session_id"],
        lambda r: same_visitor(r, event),
    ]
    near = [r for r in recent if at - r["occurred_at"] <= window(event)]
    ladder = [(clicked, link) for link in range(4)] + [(recent, 0), (recent, 1), (near, 2)]
    for candidates, link in ladder:
        if fitting := [r for r in candidates if by[link](r)]:
            return fitting[-1], link
    return None, -1


def not_before(at: int, told: int | None) -> int:
    """When an event happened that names an answer of `told`: its clock may be an hour slow."""
    return told if told is not None and 0 < told - at <= HOUR else at


def in_time(event: Row, row: Row) -> bool:
    at, clicked = event["occurred_at"], row["clicked_at"]
    if event["action"] == "purchase" and clicked is not None and clicked <= at:
        return bool(at - clicked <= 30 * DAY)
    return bool(at - row["occurred_at"] <= window(event))


def fee(value: int, rate: int) -> int:
    return (2 * value * rate + 10_000) // 20_000


def credit_halo(event: Row, rows: list[Row]) -> None:
    if not event["ad_rate_bp"]:
        return
    fitting = [
        r for r in rows
        if r["sponsored"] and r["clicked_at"] and same_visitor(r, event)
        and r["seller_id"] == event["seller_id"] is not None
        and 0 <= event["occurred_at"] - r["clicked_at"] <= 30 * DAY
    ]  # fmt: skip
    fitting.sort(key=lambda r: (r["clicked_at"], r["decision_id"], r["position"]))
    if fitting and fitting[-1]["item_id"] != event["entity_id"]:
        fitting[-1]["halo"].append(event)


def labels(row: Row, as_of: int) -> Row:
    told, done = row["occurred_at"], [e for e, _ in row["events"]]
    fast = [e["action"] for e in done if e["occurred_at"] - told <= 20 * SECOND]
    sales = [
        (e["occurred_at"], row["price_minor"] if e["value_minor"] is None else e["value_minor"])
        for e in done if e["action"] == "purchase"
    ]  # fmt: skip
    known = [(at, value) for at, value in sales if value is not None]
    owed = [
        fee(value, row["ad_rate_bp"]) for at, value in known
        if row["sponsored"] and row["clicked_at"] and at - row["clicked_at"] >= 0
        and row["ad_rate_bp"] is not None
    ]  # fmt: skip
    halo = [e for e in row["halo"] if e["value_minor"] is not None]
    inview = min((e["occurred_at"] for e in done if e["action"] == "inview"), default=None)
    aware = inview is not None and any(inview <= at <= told + 7 * DAY for at in row["visits"])
    ends = [told + DAY]
    ends += [row["clicked_at"] + 30 * DAY] if row["clicked_at"] else []
    ends += [told + 7 * DAY] if inview is not None and not aware else []
    end = max(ends) + HOUR  # so long an answer may come that an event of the row names
    return {
        "decision_id": row["decision_id"],
        "position": row["position"],
        "item_id": row["item_id"],
        "inview_at": inview,
        "purchase_at": min((at for at, _ in sales), default=None),
        "dwell_ms": max((e["dwell_ms"] for e in done if e["dwell_ms"] is not None), default=None),
        "grade": max((GRADES.get(e["action"], 0) for e in done), default=0),
        "slot_reward": 3 if "add_to_cart" in fast else int(any(a in CLICKS for a in fast)),
        "aware": aware,
        "sale_minor": sum(v for _, v in known) if known else None,
        "fee_minor": sum(owed) if owed else None,
        "halo_sale_minor": sum(e["value_minor"] for e in halo) if halo else None,
        "halo_fee_minor": sum(fee(e["value_minor"], e["ad_rate_bp"]) for e in halo)
        if halo
        else None,
        "attribution": LINKS[max(link for _, link in row["events"])] if done else None,
        "censored": end >= as_of,
    }


def join_by_hand(decisions: pl.DataFrame, events: pl.DataFrame, as_of: int) -> list[Row]:
    """The columns of `labels`, by time, decision and position; default windows."""
    rows = shown_rows(decisions, as_of)
    happened = events.filter(pl.col("occurred_at") < as_of).to_dicts()
    told_at = {
        d["decision_id"]: d["occurred_at"]
        for d in decisions.iter_rows(named=True) if d["occurred_at"] < as_of
    }  # fmt: skip
    for event in happened:
        at = not_before(event["occurred_at"], told_at.get(event["decision_id"]))
        for row in rows:
            visit = event["action"] in ("category_view", "content_view")
            named = event["decision_id"] is not None and row["decision_id"] == event["decision_id"]
            traced = trace(event) is not None and trace(event) == trace(row)
            if visit and (named or traced):
                row["visits"].append(at)
    shown_at = {(row["decision_id"], row["item_id"]): row["occurred_at"] for row in rows}
    touches = [
        e | {"occurred_at": not_before(
            e["occurred_at"], shown_at.get((e["decision_id"], e["entity_id"]))
        )}
        for e in happened
        if e["entity_kind"] in ("item", "content") and e["action"] != "impression"
    ]  # fmt: skip
    # At one moment a click goes before a purchase.
    for event in sorted(touches, key=lambda e: (e["occurred_at"], e["action"] == "purchase")):
        row, link = choose(event, rows)
        if row is not None and in_time(event, row):
            row["events"].append((event, link))
            if event["action"] in CLICKS and row["clicked_at"] is None:
                row["clicked_at"] = event["occurred_at"]
        elif event["action"] == "purchase":
            credit_halo(event, rows)
    return [labels(row, as_of) for row in rows]
