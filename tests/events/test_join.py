"""The rules of the join, one small case each (`kindred.events.join` states them)."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from join_by_hand import join_by_hand
from join_rows import (
    DAY,
    HOUR,
    LATER,
    MINUTE,
    SECOND,
    START,
    TRACE,
    busy_market,
    decision,
    decisions,
    event,
    events,
)

from kindred.events.join import join
from kindred.events.shown import JOINED_SCHEMA
from kindred.schemas.settings import JoinSettings


def joined(
    told: list[dict[str, Any]], happened: list[dict[str, Any]], as_of: int = LATER
) -> pl.DataFrame:
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


def test_every_shown_item_is_a_row_with_the_facts_of_the_moment() -> None:
    told = decision(
        "d1", "a", "b", "c", traceparent=TRACE.format(7), degraded=["rank"], seed_item="z",
        candidate_item=["a", "b"], candidate_ad_rate_bp=[500, 0],
        candidate_price_minor=[1999, None], candidate_formats=[1, 3],
        candidate_seller_id=["s1", None], shown_propensity=[0.5, 0.25, 0.125],
    )  # fmt: skip
    rows = joined([decision("d0", at=1), told], [])
    assert rows.schema == JOINED_SCHEMA
    assert rows["position"].to_list() == [1, 2, 3]
    assert rows["item_id"].to_list() == ["a", "b", "c"]
    assert rows["price_minor"].to_list() == [1999, None, None]
    assert rows["ad_rate_bp"].to_list() == [500, 0, None]
    assert rows["formats"].to_list() == [1, 3, None]
    assert rows["seller_id"].to_list() == ["s1", None, None]
    assert rows["propensity"].to_list() == [0.5, 0.25, 0.125]
    assert rows["trace_id"].unique().to_list() == [f"{7:032x}"]
    assert rows["degraded"].all()
    assert rows["list_length"].to_list() == [3, 3, 3]
    assert rows["grade"].to_list() == rows["slot_reward"].to_list() == [0, 0, 0]
    assert rows["attribution"].null_count() == 3
    assert not rows["censored"].any()


def test_an_answer_without_candidates_has_no_facts() -> None:
    lists = {f"candidate_{n}": None for n in ("item", "ad_rate_bp", "price_minor", "formats")}
    row = the_row([decision("d1", "a", **lists, candidate_seller_id=None)], [])
    assert row["price_minor"] is None


def test_what_is_told_twice_or_in_another_order_changes_nothing() -> None:
    told = [decision("d2", "a", "b", at=5), decision("d1", "a"), decision("d0", "b", at=5)]
    happened = [
        event("purchase", "a", MINUTE, decision_id="d1", value_minor=700),
        event("click", "a", SECOND, decision_id="d1"),
        event("dwell", "a", 2 * SECOND, decision_id="d1", dwell_ms=300),
    ]
    rows = joined(told, happened)
    assert rows["decision_id"].to_list() == ["d1", "d0", "d2", "d2"]
    assert rows["sale_minor"].to_list() == [700, None, None, None]
    assert joined([*told, *told][::-1], [*happened, *happened][::-1]).equals(rows)


def test_the_named_decision_goes_before_the_trace_and_that_before_the_session() -> None:
    told = [
        decision("d1", "a", at=0, session_id="other"),
        decision("d2", "a", at=1, session_id="other", traceparent=TRACE.format(1)),
        decision("d3", "a", at=2, session_id="other", traceparent=TRACE.format(1)),
        decision("d4", "a", at=3),
        decision("d5", "a", at=4),
        decision("d6", "b", at=5, traceparent=TRACE.format(1)),
        decision("d7", "a", at=9, traceparent=TRACE.format(1)),
        decision("d8", "a", at=8 + HOUR + 1),
    ]
    named = {"decision_id": "d1", "traceparent": TRACE.format(1), "session_id": "s"}
    for known, expected in [
        (named, ("d1", "decision")),
        (named | {"decision_id": "lost"}, ("d3", "trace")),
        (named | {"decision_id": "d6"}, ("d3", "trace")),  # it showed something else
        (named | {"decision_id": "d7"}, ("d7", "decision")),  # the clock that told was slow
        (named | {"decision_id": "d8"}, ("d3", "trace")),  # no clock is that slow
        ({"session_id": "s"}, ("d5", "session")),
    ]:
        assert credited(told, [event("click", "a", 8, **known)]) == [expected]
    assert credited(told, [event("click", "a", 8)]) == []


def test_the_weakest_link_names_the_attribution() -> None:
    told = [decision("d1", "a")]
    happened = [event("click", "a", 1, decision_id="d1"), event("watch", "a", 2, session_id="s")]
    assert credited(told, happened) == [("d1", "session")]


def test_an_item_shown_twice_counts_at_its_first_place() -> None:
    rows = joined([decision("d1", "b", "a", "a")], [event("click", "a", 1, decision_id="d1")])
    assert rows["grade"].to_list() == [0, 1, 0]


@pytest.mark.parametrize(
    ("action", "window"),
    [
        ("click", 30 * MINUTE), ("view", 30 * MINUTE), ("watch", DAY), ("add_to_cart", DAY),
        ("inview", DAY), ("dwell", DAY), ("dismiss", DAY), ("purchase", DAY),
    ],
)  # fmt: skip
def test_a_window_ends_at_its_last_microsecond(action: str, window: int) -> None:
    told = [decision("d1", "a")]
    named, of_session = {"decision_id": "d1"}, {"session_id": "s"}
    for at, counts in [(0, True), (window, True), (window + 1, False)]:
        for link in (named, of_session):
            assert bool(credited(told, [event(action, "a", at, **link)])) == counts
    for before, counts in [(1, True), (HOUR, True), (HOUR + 1, False)]:
        assert bool(credited(told, [event(action, "a", -before, **named)])) == counts
        assert credited(told, [event(action, "a", -before, **of_session)]) == []


def test_an_event_of_a_slow_clock_happened_when_its_answer_did() -> None:
    told = [sponsored("d1", "a"), sponsored("d2", "a", at=MINUTE)]
    slow = [event("inview", "a", 1, decision_id="d2"), event("click", "a", 2, decision_id="d2")]
    visit = event("category_view", "c", 3, entity_kind="category", decision_id="d2")
    bought = event("purchase", "a", 2 * MINUTE, session_id="s", value_minor=1000)
    first, second = joined(told, [*slow, visit, bought]).iter_rows(named=True)
    assert (first["attribution"], first["sale_minor"]) == (None, None)
    assert second["inview_at"] == second["click_at"] == START + MINUTE
    assert (second["aware"], second["slot_reward"], second["fee_minor"]) == (True, 1, 50)


def test_an_answer_that_is_not_known_yet_may_take_an_event_back() -> None:
    told = [decision("d1", "a"), decision("d2", "a", at=DAY + HOUR)]
    click = event("watch", "a", DAY, decision_id="d2", session_id="s")
    early = joined(told, [click], as_of=START + DAY + HOUR)
    assert early.select("grade", "censored").rows() == [(2, True)]
    late = joined(told, [click], as_of=START + DAY + HOUR + 1)
    assert late.select("grade", "censored").rows() == [(0, False), (2, True)]


def test_an_event_outside_its_window_is_not_given_to_another_answer() -> None:
    told = [decision("d1", "a"), decision("d2", "a", at=20 * MINUTE)]
    late = event("click", "a", 31 * MINUTE, decision_id="d1", session_id="s")
    assert credited(told, [late]) == []


def test_content_counts_and_what_is_no_outcome_does_not() -> None:
    told = [decision("d1", "a")]
    kind = {"entity_kind": "content", "decision_id": "d1"}
    row = the_row(told, [event("content_click", "a", 5, **kind)])
    assert (row["click_at"], row["grade"]) == (START + 5, 0)
    assert the_row(told, [event("content_view", "a", 5, **kind)])["view_at"] == START + 5
    nothing = [
        event("impression", "a", 1, decision_id="d1"),
        event("search", "a", 1, entity_kind="query", decision_id="d1"),
    ]
    assert credited(told, nothing) == []


def test_outcomes_keep_first_moments_longest_dwell_and_best_grade() -> None:
    told = [decision("d1", "a")]
    happened = [
        event(action, "a", at, decision_id="d1", dwell_ms=dwell)
        for action, at, dwell in [
            ("inview", 1, None), ("click", 3, None), ("click", 2, None), ("view", 4, None),
            ("favourite", 7, None), ("watch", 8, None), ("show_phone", 11, None),
            ("send_message", 10, None), ("add_to_cart", 12, None), ("place_bid", 13, None),
            ("dwell", 20, 900), ("dwell", 21, 400), ("dismiss", 22, None),
        ]
    ]  # fmt: skip
    row = the_row(told, happened)
    firsts = {n[:-3]: row[n] - START for n in row if n.endswith("_at") and row[n] is not None}
    assert firsts == {
        "occurred": 0, "inview": 1, "click": 2, "view": 4, "watch": 7, "contact": 10,
        "cart": 12, "bid": 13, "dismiss": 22,
    }  # fmt: skip
    assert (row["dwell_ms"], row["grade"]) == (900, 4)


def test_bids_do_not_count_for_the_grade_and_a_purchase_counts_most() -> None:
    told = [decision("d1", "a")]
    bid = event("place_bid", "a", 1, decision_id="d1")
    assert the_row(told, [bid])["grade"] == 0
    assert the_row(told, [bid, event("buy_now", "a", 2, decision_id="d1")])["grade"] == 5
    assert the_row(told, [bid, event("purchase", "a", 2, decision_id="d1")])["grade"] == 6


@pytest.mark.parametrize(
    ("action", "at", "reward"),
    [
        ("add_to_cart", 20 * SECOND, 3), ("add_to_cart", 20 * SECOND + 1, 0),
        ("view", 20 * SECOND, 1), ("click", 20 * SECOND + 1, 0), ("watch", SECOND, 0),
    ],
)  # fmt: skip
def test_the_reward_of_a_slot_ends_after_twenty_seconds(action: str, at: int, reward: int) -> None:
    told = [decision("d1", "a")]
    row = the_row(told, [event(action, "a", at, decision_id="d1")])
    assert row["slot_reward"] == reward


def test_a_cart_outweighs_a_click_in_the_slot() -> None:
    clicked = event("click", "a", SECOND, decision_id="d1")
    cart = event("add_to_cart", "a", 2 * SECOND, decision_id="d1")
    assert the_row([decision("d1", "a")], [clicked, cart])["slot_reward"] == 3


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


def test_awareness_is_an_item_in_view_and_a_visit_in_a_week() -> None:
    told = [decision("d1", "a", "b", traceparent=TRACE.format(3))]
    seen = event("inview", "a", HOUR, decision_id="d1")

    def aware(at: int, **link: Any) -> bool:
        visit = event("category_view", "chairs", at, entity_kind="category", **link)
        return bool(the_row(told, [seen, visit])["aware"])

    assert aware(7 * DAY, decision_id="d1")
    assert aware(7 * DAY, traceparent=TRACE.format(3))
    assert not aware(7 * DAY + 1, decision_id="d1")
    assert not aware(HOUR - 1, decision_id="d1"), "the visit came before the view"
    assert not aware(DAY, decision_id="another", traceparent=TRACE.format(4))
    visit = event("category_view", "chairs", DAY, entity_kind="category", decision_id="d1")
    assert not the_row(told, [seen, visit], item="b")["aware"], "b was never in view"


def test_a_row_is_censored_while_something_could_still_change_it() -> None:
    told = [decision("d1", "a")]
    click = event("click", "a", MINUTE, decision_id="d1")
    seen = event("inview", "a", MINUTE, decision_id="d1")
    visit = event("category_view", "c", HOUR, entity_kind="category", decision_id="d1")
    for happened, end in [
        ([], DAY),
        ([click], MINUTE + 30 * DAY),
        ([seen], 7 * DAY),
        ([seen, visit], DAY),
        ([seen, visit, click], MINUTE + 30 * DAY),
    ]:
        end += HOUR  # so long an answer may come that takes an event back
        for as_of, censored in [(end, True), (end + 1, False)]:
            assert the_row(told, happened, as_of=START + as_of)["censored"] == censored


def test_nothing_at_or_after_the_moment_counts() -> None:
    told = [decision("d1", "a"), decision("d2", "a", at=HOUR)]
    happened = [event("click", "a", 5, decision_id="d1"), event("watch", "a", 6, decision_id="d1")]
    rows = joined(told, happened, as_of=START + 6)
    assert rows.select("decision_id", "grade").rows() == [("d1", 1)]


@pytest.mark.parametrize("seed", range(25))
def test_rows_agree_with_the_rules_applied_by_hand(seed: int) -> None:
    told, happened = busy_market(seed, 15 + seed, 200)
    as_of = START + (40 + seed) * DAY
    by_hand = join_by_hand(told, happened, as_of)
    rows = join(told, happened, JoinSettings(), as_of).select(*by_hand[0])
    assert rows.to_dicts() == by_hand
