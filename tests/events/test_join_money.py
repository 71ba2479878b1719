"""What a purchase belongs to and what it owes, one small case each (`kindred.events.join`)."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from join_rows import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    TRACE,
    credited,
    decision,
    event,
    joined,
    sponsored,
    the_row,
)


def test_a_purchase_counts_thirty_days_after_the_first_click() -> None:
    told = [decision("d1", "a")]
    for opened in ("click", "view"):
        clicks = [event(opened, "a", at, decision_id="d1") for at in (MINUTE, 9 * MINUTE)]
        for link in ({"decision_id": "d1"}, {}):
            bought = event("purchase", "a", MINUTE + 30 * DAY, value_minor=5, **link)
            late = event("purchase", "a", MINUTE + 30 * DAY + 1, value_minor=7, **link)
            assert the_row(told, [*clicks, bought, late])["sale_minor"] == 5
    bare = event("purchase", "a", DAY + 1, decision_id="d1")
    assert credited(told, [bare]) == [], "without a click, a day"
    before = event("purchase", "a", SECOND, decision_id="d1", value_minor=3)
    assert the_row(told, [before, *clicks])["sale_minor"] == 3, "no click had come before it"


def test_a_purchase_days_later_finds_the_last_row_its_visitor_clicked() -> None:
    told = [
        decision("d1", "a"),
        decision("d2", "a", at=HOUR, session_id="s2"),
        decision("d3", "a", at=2 * HOUR, session_id="s3"),
        decision("d4", "a", at=3 * HOUR, session_id="s4", user_id="v"),
    ]
    clicks = [
        event("click", "a", hour * HOUR + 5, decision_id=f"d{hour + 1}") for hour in (0, 1, 3)
    ]
    bought = event("purchase", "a", 9 * DAY, value_minor=100)
    rows = joined(told, [*clicks, bought]).filter(pl.col("sale_minor") == 100)
    assert rows.select("decision_id", "attribution").rows() == [("d2", "visitor")]
    other = event("purchase", "b", 9 * DAY)
    assert joined(told, [*clicks, other])["sale_minor"].null_count() == 4


def test_a_purchase_goes_to_a_click_before_an_answer_that_only_showed_the_item() -> None:
    told = [
        sponsored("d1", "a", traceparent=TRACE.format(1)),
        decision("d2", "a", at=HOUR, traceparent=TRACE.format(1)),
        decision("d3", "a", at=2 * HOUR, user_id="v"),
    ]
    click = event("click", "a", MINUTE, decision_id="d1")
    unknown = {"user_id": None}  # but for what it names
    for named, link in [
        ({"decision_id": "d1"}, "decision"),
        ({"traceparent": TRACE.format(1)} | unknown, "trace"),
        ({"session_id": "s"} | unknown, "session"),
        ({"decision_id": "d2"}, "visitor"),
        ({"decision_id": "d2", "traceparent": TRACE.format(1), "session_id": "s"}, "trace"),
        ({}, "visitor"),
    ]:
        for at in (3 * HOUR, MINUTE + 30 * DAY):
            bought = event("purchase", "a", at, value_minor=1000, **named)
            rows = joined(told, [click, bought])
            assert rows["sale_minor"].to_list() == [1000, None, None], named
            assert rows["fee_minor"].to_list() == [50, None, None], named
            assert rows["attribution"].to_list() == [link, None, None]
    both = [click, event("click", "a", HOUR + MINUTE, decision_id="d2")]
    named_first = event("purchase", "a", 4 * HOUR, value_minor=1000, decision_id="d1")
    assert joined(told, [*both, named_first])["fee_minor"].to_list() == [50, None, None]
    last_click = event("purchase", "a", 4 * HOUR, value_minor=1000)
    assert joined(told, [*both, last_click])["sale_minor"].to_list() == [None, 1000, None]
    only_named = event("purchase", "a", 4 * HOUR, value_minor=1000, decision_id="d3", user_id="v")
    assert joined(told, [click, only_named])["sale_minor"].to_list() == [None, None, 1000]


@pytest.mark.parametrize(
    ("row", "buyer", "same"),
    [
        (("u", "phone"), ("u", "laptop"), True),
        ((None, "phone"), ("u", "phone"), True),
        (("u", "phone"), (None, "phone"), True),
        (("v", "phone"), ("u", "phone"), False),
        ((None, "phone"), (None, "laptop"), False),
        ((None, None), (None, "phone"), False),
    ],
)
def test_a_visitor_is_a_user_or_before_log_in_a_device(
    row: tuple[str | None, str | None], buyer: tuple[str | None, str | None], same: bool
) -> None:
    told = [decision("d1", "a", user_id=row[0], device_id=row[1])]
    click = event("click", "a", 1, decision_id="d1")
    bought = event("purchase", "a", 9 * DAY, user_id=buyer[0], device_id=buyer[1])
    assert (the_row(told, [click, bought])["purchase_at"] is not None) == same


def test_the_fee_is_the_rate_of_the_answer_on_each_sale_after_a_click() -> None:
    click = event("click", "a", 1, decision_id="d1")

    def fee(*happened: dict[str, Any], **fields: Any) -> tuple[int | None, int | None]:
        row = the_row([sponsored("d1", "a", **fields)], list(happened))
        return row["sale_minor"], row["fee_minor"]

    def bought(value: int | None, at: int = DAY) -> dict[str, Any]:
        return event("purchase", "a", at, decision_id="d1", value_minor=value)

    assert fee(click, bought(1000)) == (1000, 50)
    assert fee(click, bought(1010)) == (1010, 51), "50.5 is rounded up"
    assert fee(click, bought(1009)) == (1009, 50)
    assert fee(click, bought(1010), bought(1010)) == (2020, 102), "each sale is charged"
    assert fee(click, bought(None)) == (10_000, 500), "the price that was shown"
    assert fee(click, bought(None), candidate_price_minor=[None]) == (None, None)
    assert fee(bought(1000, at=HOUR)) == (1000, None), "nobody clicked"
    assert fee(click, bought(1000, at=0)) == (1000, None), "the click came later"
    assert fee(click, bought(1000), shown_sponsored=[False]) == (1000, None)
    assert fee(click, bought(2**53 - 1), candidate_ad_rate_bp=[10_000]) == (2**53 - 1, 2**53 - 1)


def test_an_auctions_place_is_paid_for_by_its_views_and_owes_nothing_for_a_sale() -> None:
    told = [sponsored("d1", "a", shown_campaign=["plx"]), sponsored("d2", "b")]
    clicks = [event("click", i, MINUTE, decision_id=d) for d, i in (("d1", "a"), ("d2", "b"))]
    sales = [
        event("purchase", i, DAY, decision_id=d, value_minor=1000)
        for d, i in (("d1", "a"), ("d2", "b"))
    ]
    rows = joined(told, [*clicks, *sales])
    assert rows["sale_minor"].to_list() == [1000, 1000]
    assert rows["fee_minor"].to_list() == [None, 50]
    assert rows["sponsored"].to_list() == [False, True]
    assert rows["campaign"].to_list() == ["plx", None]
    other = event("purchase", "c", DAY, value_minor=1000, ad_rate_bp=500, seller_id="seller")
    rows = joined(told[:1], [clicks[0], other])
    assert rows["halo_fee_minor"].to_list() == [None], "a halo sale is owed to an ad rate alone"


def test_a_halo_sale_goes_to_the_last_click_on_something_else_of_the_seller() -> None:
    told = [
        sponsored("d1", "a"),
        sponsored("d2", "b", at=HOUR),
        sponsored("d3", "c", at=2 * HOUR, candidate_seller_id=["another"]),
        decision("d4", "e", at=3 * HOUR),
    ]
    clicks = [
        event("click", item, hour * HOUR + 5, decision_id=f"d{hour + 1}")
        for hour, item in enumerate("abce")
    ]

    def halo(**fields: Any) -> list[tuple[str, int, int]]:
        facts = {"seller_id": "seller", "ad_rate_bp": 250, "value_minor": 2020}
        sale = event("purchase", "y", **{"at": DAY, **facts, **fields})
        rows = joined(told, [*clicks, sale]).filter(pl.col("halo_sale_minor").is_not_null())
        return rows.select("decision_id", "halo_sale_minor", "halo_fee_minor").rows()

    assert halo() == [("d2", 2020, 51)], "d3 is another seller's, d4 was not sponsored"
    assert halo(at=30 * DAY + HOUR + 5) == [("d2", 2020, 51)]
    assert halo(at=30 * DAY + HOUR + 6) == []
    assert halo(user_id="somebody else") == []
    assert halo(ad_rate_bp=0) == []
    assert halo(seller_id="a third") == []


def test_a_purchase_that_has_a_row_is_no_halo_and_an_item_is_none_of_its_own() -> None:
    told = [sponsored("d1", "a"), sponsored("d2", "b", at=HOUR)]
    clicks = [
        event("click", "a", 5, decision_id="d1"),
        event("click", "b", HOUR + 5, decision_id="d2"),
    ]
    facts = {"seller_id": "seller", "ad_rate_bp": 250, "value_minor": 1000}
    direct = joined(told, [*clicks, event("purchase", "b", 2 * DAY, **facts)])
    assert direct["sale_minor"].to_list() == [None, 1000]
    assert direct["halo_sale_minor"].null_count() == 2
    bought_again = event("purchase", "b", HOUR + 5 + 30 * DAY + 1, **facts)
    rows = joined(told, [*clicks, bought_again])
    assert rows["halo_sale_minor"].null_count() == 2, "the last click was on the item itself"
