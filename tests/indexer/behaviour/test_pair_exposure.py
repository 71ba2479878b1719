"""Clicks over expected clicks of pairs against sums written out, never from their own future."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from shown_lists import START, item_rows, joined_frame

from kindred.indexer.behaviour.exposure import position_curve
from kindred.indexer.behaviour.impressions import CLICK, Impressions, load_impressions
from kindred.indexer.behaviour.pair_exposure import LEAST, PRIOR, PairExposure, pair_exposure
from kindred.schemas.clock import DAY, HOUR

NOW = START + 40 * DAY


def drawn(lists: int, seed: int = 3) -> Impressions:
    """Lists of four about one of three seeds; item 1 is clicked beside item 0 only."""
    draw = np.random.default_rng(seed)
    rows = []
    for n in range(lists):
        about, at = int(draw.integers(0, 3)), NOW - int(draw.integers(1, 45 * DAY))
        for place, number in enumerate(draw.permutation(4), start=1):
            clicks = draw.random() < (0.8 if (about, number) == (0, 1) else 0.1) / place
            rows.append(
                {
                    "decision_id": f"d{n:05}", "occurred_at": at, "position": place,
                    "item_id": f"item-{number}", "seed_item": f"item-{about}",
                    "click_at": at + HOUR if clicks else None,
                }
            )  # fmt: skip
    return load_impressions(joined_frame(*rows).lazy(), item_rows())


def by_hand(shown: Impressions, seed: int, row: int, now: int) -> float:
    """The definition, one impression after another."""
    clicks = expected = total = 0.0
    window = [i for i in range(len(shown)) if now - 30 * DAY <= shown.ts[i] < now]
    curve = position_curve(shown, now)
    for i in window:
        at = shown.owners[i]
        chance = float(curve.of(shown.platform[at : at + 1], shown.position[i : i + 1])[0])
        total += chance
        if shown.seed[at] == seed and shown.row[i] == row:
            expected += chance
            clicks += bool(shown.outcomes[i, CLICK] < now)
    prior = PRIOR * total / len(window)
    return (clicks + prior) / (expected + prior)


def test_pairs_are_as_defined_and_what_fits_stands_out() -> None:
    shown = drawn(300)
    seeds, rows = np.divmod(np.arange(12), 4)
    for now in (NOW, NOW - 10 * DAY):
        found = pair_exposure(shown, now).lookup(seeds, rows)
        expected = [by_hand(shown, s, r, now) for s, r in zip(seeds, rows, strict=True)]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[1] == found.max() > 1.5
    assert np.isnan(pair_exposure(shown, NOW - 46 * DAY).lookup(seeds, rows)).all()


def test_unknown_pairs_and_seeds_are_nan_and_a_single_look_without_a_click_is_not_kept() -> None:
    row = {"occurred_at": NOW - DAY, "seed_item": "item-5"}
    shown = load_impressions(
        joined_frame(
            *({**row, "decision_id": f"a{n}", "item_id": "item-1"} for n in range(LEAST)),
            {**row, "decision_id": "b", "item_id": "item-2"},
            {**row, "decision_id": "c", "item_id": "item-3", "click_at": NOW - HOUR},
            {"decision_id": "d", "occurred_at": NOW - DAY, "item_id": "item-4"},
        ).lazy(),
        item_rows(),
    )
    assert shown.seed.tolist() == [5] * (LEAST + 2) + [-1]
    exposure = pair_exposure(shown, NOW)
    found = exposure.lookup(np.array([5, 5, 5, -1, 6]), np.array([1, 2, 3, 4, 1]))
    assert np.isnan(found).tolist() == [False, True, False, True, True]
    assert found[2] == pytest.approx(exposure.coec.max())
    again = PairExposure.load(exposure.arrays())
    np.testing.assert_array_equal(again.keys, exposure.keys)


def test_a_seed_that_the_catalogue_does_not_hold_is_none() -> None:
    frame = joined_frame({"seed_item": "gone"}, {"decision_id": "e", "item_id": "gone"})
    shown = load_impressions(frame.lazy(), item_rows().filter(pl.col("row") < 9))
    assert shown.seed.tolist() == [-1, -1]
    assert len(pair_exposure(shown, NOW).keys) == 0
