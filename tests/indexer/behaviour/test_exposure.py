"""Statistics of shown items against figures written out, and never from their own future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from shown_lists import ITEMS, START, item_rows, joined_frame, shown_log

from kindred.indexer.behaviour.exposure import NAMES, PRIOR, Exposure, item_exposure
from kindred.indexer.behaviour.impressions import NEVER, OUTCOMES, Impressions, load_impressions
from kindred.schemas.clock import DAY, HOUR
from kindred.schemas.errors import VersionMismatch

NOW = START + 40 * DAY


def shown(*rows: dict) -> Impressions:
    numbered = [{"decision_id": f"d{n}", **row} for n, row in enumerate(rows)]
    return load_impressions(joined_frame(*numbered).lazy(), item_rows())


def value(exposure: Exposure, name: str, row: int = 0) -> float:
    return float(exposure.values[row, NAMES.index(name)])


def test_every_outcome_counts_in_the_window_of_its_own_moment():
    exposure = item_exposure(
        shown(
            {"occurred_at": NOW - 29 * DAY, "click_at": NOW - 29 * DAY, "purchase_at": NOW - HOUR},
            {"occurred_at": NOW - 3 * DAY, "view_at": NOW - 3 * DAY, "contact_at": NOW - 2 * DAY},
            {"occurred_at": NOW - 35 * DAY, "cart_at": NOW - 5 * DAY},
            {"occurred_at": NOW - 2 * HOUR, "item_id": "item-1", "watch_at": NOW - HOUR},
        ),
        ITEMS,
        NOW,
    )
    times = [value(exposure, f"shown_times_{w}") for w in ("1d", "7d", "30d")]
    assert times == [0, 1, 2]
    assert value(exposure, "shown_purchases_1d") == 1
    assert value(exposure, "shown_clicks_7d") == 1
    assert value(exposure, "shown_clicks_30d") == 2
    assert value(exposure, "shown_offers_7d") == 1
    assert value(exposure, "shown_offers_1d") == 0
    assert value(exposure, "shown_carts_7d") == 1
    assert value(exposure, "shown_watches_1d", row=1) == 1
    assert value(exposure, "shown_times_30d", row=2) == 0


def test_rates_begin_at_the_catalogues_mean_with_fifty_tries():
    rows = [{"occurred_at": NOW - DAY, "click_at": NOW - HOUR}] * 2
    rows += [{"occurred_at": NOW - DAY}] * 2
    rows += [{"occurred_at": NOW - DAY, "item_id": "item-1"}] * 4
    rows[0] = {**rows[0], "purchase_at": NOW - 1}
    exposure = item_exposure(shown(*rows), ITEMS, NOW)
    mean = 2 / 8
    assert value(exposure, "shown_ctr") == pytest.approx((2 + PRIOR * mean) / (4 + PRIOR))
    assert value(exposure, "shown_ctr", row=1) == pytest.approx(PRIOR * mean / (4 + PRIOR))
    assert value(exposure, "shown_ctr", row=9) == pytest.approx(mean)
    assert value(exposure, "shown_cvr") == pytest.approx((1 + PRIOR * 0.5) / (2 + PRIOR))


def lists(clicks: int, of: int, position: int, item: str, *, explore: bool = False) -> list[dict]:
    return [
        {
            "occurred_at": NOW - DAY, "position": position, "item_id": item, "explore": explore,
            "click_at": NOW - HOUR if n < clicks else None,
        }
        for n in range(of)
    ]  # fmt: skip


def test_clicks_over_expected_ones_credit_a_click_far_down():
    exposure = item_exposure(
        shown(
            *lists(400, 1000, 1, "item-0"), *lists(100, 1000, 5, "item-1"),
            *lists(20, 50, 1, "item-2"), *lists(20, 50, 5, "item-3"),
        ),
        ITEMS,
        NOW,
    )  # fmt: skip
    mean = 540 / 2100  # of everything shown on the one platform
    curve = {p: (c + PRIOR * mean) / (1050 + PRIOR) for p, c in ((1, 420), (5, 120))}
    level = (curve[1] + curve[5]) / 2
    for item, position in ((2, 1), (3, 5)):
        expected = (20 + PRIOR * level) / (50 * curve[position] + PRIOR * level)
        assert value(exposure, "shown_coec", row=item) == pytest.approx(expected, rel=1e-5)
    assert value(exposure, "shown_coec", row=3) > 1.5 > 1.1 > value(exposure, "shown_coec", row=2)
    assert value(exposure, "shown_coec", row=30) == pytest.approx(1.0)


def test_randomised_lists_give_the_curve_where_they_have_enough_clicks():
    biased = [*lists(900, 1000, 1, "item-0"), *lists(10, 1000, 2, "item-1")]
    fair = [
        *lists(300, 1000, 1, "item-4", explore=True), *lists(300, 1000, 2, "item-5", explore=True),
    ]  # fmt: skip
    without = item_exposure(shown(*biased), ITEMS, NOW)
    with_them = item_exposure(shown(*biased, *fair), ITEMS, NOW)
    assert value(without, "shown_coec", row=0) == pytest.approx(1.0, abs=0.06)
    assert value(with_them, "shown_coec", row=0) > 2.5
    assert value(with_them, "shown_coec", row=1) < 0.2


def test_an_item_newer_than_the_statistics_is_as_one_that_was_never_shown():
    """Serving asks the statistics of yesterday about it, learning those of days before it."""
    seen = shown(*lists(40, 100, 1, "item-0"), *lists(10, 100, 2, "item-3"))
    newer = np.array([8, 9, ITEMS + 5])
    served = item_exposure(seen, 8, NOW)
    learned = item_exposure(seen, ITEMS, NOW)
    np.testing.assert_array_equal(served.gather(newer), learned.gather(newer))
    kept = Exposure.load(served.arrays()).gather(newer)
    np.testing.assert_array_equal(kept, served.gather(np.array([7, 7, 7])))
    assert kept[0, NAMES.index("shown_times_30d")] == 0
    assert kept[0, NAMES.index("shown_coec")] == pytest.approx(1.0)
    assert np.isnan(served.gather(np.array([-1]))).all()
    assert np.isnan(item_exposure(seen, 8, NOW - 2 * DAY).gather(newer)).all()  # nothing is known


@pytest.mark.parametrize("seed", range(4))
def test_no_feature_sees_its_own_future(seed: int):
    rng = np.random.default_rng(seed)
    seen = load_impressions(shown_log(400, seed=seed).joined.lazy(), item_rows())
    now = int(rng.integers(START + 2 * DAY, START + 19 * DAY))
    outcomes = seen.outcomes.copy()
    later = (outcomes >= now) | (rng.random(outcomes.shape) < 0.3) & (outcomes == NEVER)
    outcomes[later] = rng.integers(now, now + 50 * DAY, int(later.sum()))
    at_or_after = seen.at >= now
    rows = at_or_after[seen.owners]
    altered = replace(
        seen,
        outcomes=outcomes,
        row=np.where(rows, rng.integers(0, ITEMS, len(seen)), seen.row),
        position=np.where(rows, 1, seen.position).astype(np.int16),
        explore=seen.explore ^ at_or_after,
        platform=np.where(at_or_after, 1 - seen.platform, seen.platform).astype(np.int8),
    )
    before = item_exposure(seen, ITEMS, now).values
    np.testing.assert_array_equal(before, item_exposure(altered, ITEMS, now).values)
    assert not np.array_equal(before, item_exposure(altered, ITEMS, now + 5 * DAY).values)
    alone = shown_log(400, seed=seed).joined.filter(pl.col("occurred_at") < now)
    told = [
        pl.when(pl.col(f"{o}_at") < now).then(f"{o}_at").alias(f"{o}_at")
        for parts in OUTCOMES.values()
        for o in parts
    ]
    cut = load_impressions(alone.with_columns(told).lazy(), item_rows())
    np.testing.assert_array_equal(before, item_exposure(cut, ITEMS, now).values)


def test_what_nobody_was_shown_is_unknown_and_unlisted_items_count_nowhere():
    exposure = item_exposure(shown({"occurred_at": NOW + 1}), ITEMS, NOW)
    assert np.isnan(exposure.gather(np.array([0, 5, -1]))).all()
    other = item_exposure(shown({"occurred_at": NOW - 1, "item_id": "content-1"}), ITEMS, NOW)
    assert other.values[:, NAMES.index("shown_times_30d")].sum() == 0
    with pytest.raises(VersionMismatch, match="kindred train exposure"):
        Exposure.load({"values": np.zeros((3, 2), np.float32)})
