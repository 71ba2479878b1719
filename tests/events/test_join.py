"""The rules of the join, one small case each (`kindred.events.join` states them)."""

from __future__ import annotations

from typing import Any

import pytest
from join_by_hand import join_by_hand
from join_rows import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    START,
    TRACE,
    busy_market,
    credited,
    decision,
    event,
    joined,
    sponsored,
    the_row,
)

from kindred.events.join import join
from kindred.events.shown import JOINED_SCHEMA
from kindred.schemas.settings import JoinSettings


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
