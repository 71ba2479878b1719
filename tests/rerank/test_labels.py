"""Labels of impressions: their order from counts, their weights, and which rows are known."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from shown_lists import START, item_rows, joined_frame, shown_log

from kindred.events.actions import GRADES
from kindred.indexer.behaviour import impressions
from kindred.indexer.behaviour.impressions import NEVER, OUTCOMES, Impressions, load_impressions
from kindred.rerank.labels import ACTIONS, inverse_propensity, label_order, usable
from kindred.schemas.clock import DAY, HOUR
from kindred.schemas.settings import JoinSettings, RankerSettings

BUY_NOW, BEST_OFFER = 1, 2
AT = {name: place for place, name in enumerate(ACTIONS)}


def acted(counts: dict[str, tuple[int, int]], bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(outcomes, formats) where of (n, k) the action was done n times and k were then bought."""
    rows = []
    for action, (n, k) in counts.items():
        for i in range(n):
            row = np.full(len(ACTIONS), NEVER)
            row[AT[action]] = START
            if i < k:
                row[AT["purchase"]] = START + 1
            rows.append(row)
    return np.array(rows), np.full(len(rows), bits, np.uint8)


def test_the_middle_actions_are_ordered_by_what_was_bought_after_them_format_by_format():
    first = acted({"watch": (400, 40), "cart": (400, 200), "buy_now": (400, 390)}, BUY_NOW)
    second = acted({"watch": (400, 300), "offer": (400, 20)}, BEST_OFFER)
    order = label_order(
        np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]]), START + 2
    )
    told = order.report
    assert told["buy_now"]["order"].index("cart") < told["buy_now"]["order"].index("buy_now")
    assert told["buy_now"]["order"].index("watch") < told["buy_now"]["order"].index("cart")
    offers = told["best_offer"]["order"]
    assert offers.index("offer") < offers.index("watch")
    assert told["best_offer"]["purchases after"]["watch"] == [300, 400]
    assert told["all formats"]["purchases after"]["watch"] == [340, 800]
    assert order.values["watch"] == pytest.approx(341 / 802)
    assert order.values["purchase"] == 1
    for labels in order.labels:
        assert labels[AT["click"]] == 1
        assert labels[AT["purchase"]] == 6
        assert sorted(labels) == [1, 2, 3, 4, 5, 6]


def test_rare_actions_keep_their_place_and_a_purchase_before_the_action_does_not_count():
    outcomes, formats = acted({"offer": (5, 5), "watch": (100, 0)}, BEST_OFFER)
    before = np.full((100, len(ACTIONS)), NEVER)
    before[:, AT["cart"]] = START
    before[:, AT["purchase"]] = START - 1
    order = label_order(
        np.concatenate([outcomes, before]), np.append(formats, [BEST_OFFER] * 100), START + 2
    )
    assert order.labels[BEST_OFFER, AT["offer"]] == 4
    assert order.report["best_offer"]["purchases after"]["cart"] == [0, 100]


def test_a_row_is_labelled_by_its_best_outcome_before_the_moment_and_weighed_by_that():
    outcomes, formats = acted({"watch": (400, 200), "cart": (400, 40)}, BUY_NOW)
    order = label_order(outcomes, formats, START + 2)
    happened = np.zeros((4, len(ACTIONS)), bool)
    happened[1, AT["click"]] = True
    happened[2, [AT["watch"], AT["cart"]]] = True
    happened[3, AT["purchase"]] = True
    bits = np.full(4, BUY_NOW, np.uint8)
    labels = order.label(happened, bits)
    assert labels.tolist() == [0, 1, 3, 6]  # watch is above cart here
    weights = order.weight(labels, bits, RankerSettings().weights)
    assert weights.tolist() == [1, 1, 6, 15]


def test_labels_in_the_plain_order_are_the_grades_of_the_join():
    log = shown_log(300)
    shown = load_impressions(log.joined.lazy(), item_rows())
    plain = label_order(shown.outcomes[:0], shown.formats[:0], START)
    labels = plain.label(shown.outcomes < NEVER, shown.formats)
    grades = log.joined.sort("occurred_at", "decision_id", "position")["grade"]
    np.testing.assert_array_equal(labels, grades)
    graded = {
        "click": "click", "view": "click", "watch": "watch", "favourite": "watch",
        "add_to_cart": "cart", "make_offer": "offer", "buy_now": "buy_now",
        "purchase": "purchase",
    }  # fmt: skip
    for action, grade in GRADES.items():
        name = graded.get(action.value, "offer")
        assert list(OUTCOMES).index(name) + 1 == grade


def test_rows_count_once_their_actions_are_known_and_open_purchases_as_the_setting_says():
    def rows(*, censored: bool) -> Impressions:
        frame = joined_frame(
            {"decision_id": "a"},
            {"decision_id": "b", "click_at": START + 1},
            {"decision_id": "c", "occurred_at": START + 20 * DAY},
            {"decision_id": "d", "occurred_at": START + 21 * DAY - HOUR},
        )
        return load_impressions(
            frame.with_columns(pl.lit(censored).alias("censored")).lazy(), item_rows()
        )

    windows, until, open_rows = JoinSettings(), START + 40 * DAY, rows(censored=True)
    known = usable(open_rows, until, windows, open_purchases=True)
    assert known.tolist() == [True, True, False, False]  # nothing is known after the newest row
    closed = usable(open_rows, until, windows, open_purchases=False)
    assert closed.tolist() == [True, False, False, False]
    assert not usable(open_rows, START + HOUR, windows, open_purchases=True).any()
    final = rows(censored=False)
    assert usable(final, until, windows, open_purchases=False).all()
    earlier = usable(final, START + 20 * DAY + HOUR, windows, open_purchases=True)
    assert earlier.tolist() == [True, True, False, False]  # as it was known then


def test_inverse_propensities_are_clipped_and_unknown_ones_weigh_one():
    factors = inverse_propensity(np.array([1.0, 0.25, 0.001, np.nan]), 10.0)
    assert factors.tolist() == pytest.approx([1, 4, 10, 1])


def test_lists_are_whole_and_in_order_of_time_however_the_rows_come(monkeypatch):
    log = shown_log(50)
    mixed = log.joined.sample(fraction=1.0, shuffle=True, seed=1)
    one = load_impressions(log.joined.lazy(), item_rows())
    monkeypatch.setattr(impressions, "ROWS_AT_ONCE", 40)  # a day or two at a time
    other = load_impressions(mixed.lazy(), item_rows())
    assert one.decisions.to_list() == other.decisions.to_list()
    for name in ("offsets", "row", "position", "outcomes", "subject", "platform", "explore"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert (np.diff(one.at) >= 0).all()
    assert one.lists == log.joined["decision_id"].n_unique() == 50
    assert log.joined.select(pl.len()).item() == len(one)


def test_what_stood_at_an_auction_place_teaches_the_ranker_nothing():
    frame = joined_frame(
        {"position": 1, "item_id": "item-0", "campaign": "pls", "sponsored": True},
        {"position": 2, "item_id": "item-1", "campaign": "plx"},
        {"position": 3, "item_id": "item-2"},
    )
    shown = load_impressions(frame.lazy(), item_rows())
    assert shown.auctioned.tolist() == [False, True, False]
    assert usable(shown, START + 60 * DAY, JoinSettings(), open_purchases=True).tolist() == [
        True, False, True,
    ]  # fmt: skip
