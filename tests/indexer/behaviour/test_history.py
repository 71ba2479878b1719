"""Facts about items as of a moment, and the lists of bestsellers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from traces import random_trace, visits

from kindred.indexer.behaviour.history import (
    MEANINGS,
    NAMES,
    PRIOR_EVENTS,
    History,
    bestsellers,
    item_history,
)
from kindred.schemas.clock import DAY
from kindred.schemas.errors import VersionMismatch
from kindred.schemas.event import ACTION_CODE
from kindred.schemas.settings import SignalSettings

SIGNALS = SignalSettings()


def column(history: History, name: str) -> np.ndarray:
    return history.values[:, NAMES.index(name)]


def test_counts_by_window_equal_a_plain_count():
    x = random_trace(1, 2000, rows=15, subjects=30)
    now = int(x.ts[-1]) + 1
    history = item_history(x, 16, now, SIGNALS)
    for name, action in (("views", "view"), ("purchases", "purchase"), ("carts", "add_to_cart")):
        for window, days in (("1d", 1), ("7d", 7), ("30d", 30), ("all", 10**6)):
            mine = (x.action == ACTION_CODE[action]) & (x.ts >= now - days * DAY)
            expected = [np.sum(mine & (x.row == row)) for row in range(16)]
            assert column(history, f"{name}_{window}").tolist() == expected
    for row in range(16):
        mine = x.row == row
        assert column(history, "visits")[row] == len(set(x.session[mine]))
        assert column(history, "subjects")[row] == len(set(x.subject[mine]))


def test_what_happens_from_now_on_is_not_known():
    x = random_trace(2, 1000, rows=10, subjects=10)
    now = int(x.ts[500])
    np.testing.assert_array_equal(
        item_history(x, 10, now, SIGNALS).values,
        item_history(x.before(now), 10, now, SIGNALS).values,
    )


def test_popularity_halves_with_each_half_life():
    x = visits([0], [1])
    half_life = int(SIGNALS.popularity_half_life_days * DAY)
    now = int(x.ts[0]) + half_life
    history = item_history(x.take(np.array([0])), 2, now, SIGNALS)
    assert history.popularity == pytest.approx([0.5, 0.0])
    purchase = visits([0], actions=["purchase"])
    assert item_history(purchase, 1, now, SIGNALS).popularity == pytest.approx([6.0])


def test_rows_come_by_popularity_without_those_that_have_none():
    history = item_history(visits([2, 2, 0], [2, 3]), 5, 10**12, SIGNALS)
    assert history.by_popularity[0] == 2
    assert sorted(history.by_popularity.tolist()) == [0, 2, 3]
    assert np.all(np.diff(history.popularity[history.by_popularity]) <= 0)


def test_ages_are_in_days_and_unknown_without_an_action():
    history = item_history(visits([0], [0, 1]), 3, 10**10 + 2 * DAY, SIGNALS)
    assert column(history, "last_days")[:2] == pytest.approx([2.0, 2.0], abs=1e-3)
    assert column(history, "first_days")[0] == pytest.approx(2 + 10**10 / DAY)
    assert np.isnan(column(history, "last_days")[2])


def test_a_rate_begins_at_the_mean_and_follows_the_evidence():
    actions = ["view"] * 80 + ["purchase"] * 40 + ["view"] * 100
    x = visits([0] * 120 + [1] * 100, actions=actions)
    rate = column(item_history(x, 3, 10**12, SIGNALS), "purchase_rate")
    mean = 40 / 180
    assert rate == pytest.approx([
        (40 + PRIOR_EVENTS * mean) / 100, PRIOR_EVENTS * mean / 120, mean
    ])  # fmt: skip


def test_a_rate_of_something_that_never_happens_is_unknown():
    history = item_history(visits([0, 1]), 2, 10**12, SIGNALS)
    assert np.isnan(column(history, "purchase_rate")).all()
    assert np.isnan(column(history, "click_rate")).all()


def test_the_trend_is_the_week_against_the_month():
    times = np.array([1, 20, 21, 22, 23, 24, 39, 39, 39]) * DAY
    rows = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])
    moved = replace(visits(rows.tolist()), ts=times)
    trend = column(item_history(moved, 3, 40 * DAY, SIGNALS), "trend")
    assert trend[0] < 0 < trend[1]
    assert trend[2] == 0


def test_rows_outside_are_unknown():
    history = item_history(visits([0, 1]), 2, 10**12, SIGNALS)
    found = history.gather(np.array([1, -1, 7]))
    np.testing.assert_array_equal(found[0], history.values[1])
    assert np.isnan(found[1:]).all()
    assert history.gather(np.array([0])).shape == (1, len(NAMES))


def test_to_be_shown_is_counted_and_is_no_action():
    x = visits([0, 0, 0, 1], actions=["impression", "impression", "click", "impression"])
    history = item_history(x, 2, 10**12, SIGNALS)
    assert column(history, "impressions_all").tolist() == [2, 1]
    assert column(history, "visits").tolist() == [1, 0]
    assert np.isnan(column(history, "last_days")[1])
    mean = 1 / 3
    assert column(history, "click_rate") == pytest.approx([
        (1 + PRIOR_EVENTS * mean) / (2 + PRIOR_EVENTS), PRIOR_EVENTS * mean / (1 + PRIOR_EVENTS)
    ])  # fmt: skip


def test_every_column_has_a_meaning():
    assert set(MEANINGS) == set(NAMES)
    assert len(set(NAMES)) == len(NAMES)


def test_arrays_with_other_columns_are_refused():
    history = item_history(visits([0, 1]), 2, 10**12, SIGNALS)
    np.testing.assert_array_equal(History.load(history.arrays()).values, history.values)
    with pytest.raises(VersionMismatch):
        History.load({**history.arrays(), "values": history.values[:, 1:]})


def test_bestsellers_of_every_level_come_best_first():
    draw = np.random.default_rng(0)
    leaf = draw.integers(0, 6, 200)
    category = np.stack([leaf // 3, 2 + leaf, np.full(200, -1)], axis=1).astype(np.int32)
    category[:5] = -1
    popularity = draw.integers(0, 50, 150).astype(np.float32)
    active = draw.random(200) < 0.8
    table = bestsellers(category, popularity, active, 4)
    codes = np.arange(8)
    entry, rows = table.lookup(codes, 10)
    for code in codes:
        may = [r for r in range(150) if code in category[r] and active[r] and popularity[r] > 0]
        expected = sorted(may, key=lambda r: (-popularity[r], r))[:4]
        assert rows[entry == code].tolist() == expected
    entry, rows = table.lookup(np.array([-1, 3, 99]), 2)
    assert set(entry.tolist()) == {1}
    assert len(rows) == 2


def test_no_categories_and_no_events_are_no_error():
    none = bestsellers(np.full((3, 6), -1, np.int32), np.ones(3, np.float32), np.ones(3, bool), 5)
    assert len(none.lookup(np.array([0, -1]), 3)[1]) == 0
    empty = item_history(visits(), 0, 10**12, SIGNALS)
    assert empty.values.shape == (0, len(NAMES))
    assert len(item_history(visits(), 3, 10**12, SIGNALS).by_popularity) == 0
