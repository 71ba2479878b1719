"""What an ad rate may and may not do to an order."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from builders import item
from hypothesis import given
from hypothesis import strategies as st

from kindred.indexer.columns import Columns
from kindred.rerank.blend import blend
from kindred.retrieval.segments import offsets_of
from kindred.retrieval.sources import SOURCES
from kindred.schemas.item import Campaign
from kindred.schemas.ranking import Candidates
from kindred.schemas.settings import BlendSettings

OPEN = BlendSettings(b=0.25, floor=0.0, seller_cap=0, sponsored_max=100)


def lists(probabilities: list[list[float]]) -> Candidates:
    lengths = np.array([len(p) for p in probabilities])
    n = int(lengths.sum())
    flat = np.concatenate([np.array(p, float) for p in probabilities])
    return Candidates(
        offsets=offsets_of(lengths),
        rows=np.arange(n),
        sources=np.zeros(n, np.uint32),
        source_ranks=np.zeros((n, len(SOURCES)), np.uint16),
        source_scores=np.zeros((n, len(SOURCES)), np.float32),
        merged=np.zeros(n, np.float32),
        probability=flat,
    )


def columns(rates: list[int], sellers: list[str] | None = None, price: int = 1000) -> Columns:
    out = Columns()
    items = [
        item(
            ad_rate_bp=rate,
            campaign=Campaign.PLS if rate else Campaign.NONE,
            seller_id=sellers[i] if sellers else f"seller-{i}",
            price_minor=price,
        )
        for i, rate in enumerate(rates)
    ]
    out.apply(np.arange(len(items)), items)
    return out


def test_the_blend_is_the_stated_formula():
    mixed, paid = blend(lists([[0.2, 0.1]]), columns([1000, 0]), OPEN, k=6)
    assert mixed.blend == pytest.approx(
        [math.log(0.2) + 0.25 * math.log(1000 / 500), math.log(0.1) - 0.25]
    )
    assert paid.tolist() == [True, False]


def test_a_rate_lifts_an_item_over_a_slightly_better_one_and_not_over_a_much_better_one():
    near, _ = blend(lists([[0.10, 0.08]]), columns([0, 1000]), OPEN, k=6)
    far, _ = blend(lists([[0.10, 0.02]]), columns([0, 1000]), OPEN, k=6)
    assert near.rows.tolist() == [1, 0]
    assert far.rows.tolist() == [0, 1]


def test_with_b_zero_rates_change_nothing():
    none = msgspec.structs.replace(OPEN, b=0.0)
    mixed, _ = blend(lists([[0.1, 0.3, 0.2]]), columns([3000, 0, 500]), none, k=6)
    assert mixed.rows.tolist() == [1, 2, 0]


def test_a_sponsored_item_under_the_floor_competes_without_its_rate():
    floor = msgspec.structs.replace(OPEN, b=5.0, floor=0.3)
    mixed, paid = blend(lists([[0.5, 0.4, 0.1]]), columns([0, 0, 3000]), floor, k=2)
    assert mixed.rows.tolist() == [0, 1, 2]
    assert not paid.any()


def test_rates_are_clamped():
    clamped = msgspec.structs.replace(OPEN, rate_max_bp=1000)
    mixed, _ = blend(lists([[0.1, 0.1]]), columns([1000, 9000]), clamped, k=6)
    assert mixed.blend[0] == pytest.approx(mixed.blend[1])


def test_a_sellers_third_item_moves_behind_everybody_elses():
    cap = msgspec.structs.replace(OPEN, seller_cap=2)
    mixed, _ = blend(
        lists([[0.9, 0.8, 0.7, 0.1]]), columns([0] * 4, ["a", "a", "a", "b"]), cap, k=6
    )
    assert mixed.rows.tolist() == [0, 1, 3, 2]


def test_sponsored_overflow_competes_without_its_rate():
    cap = msgspec.structs.replace(OPEN, sponsored_max=1)
    mixed, paid = blend(lists([[0.10, 0.09, 0.085]]), columns([900, 2000, 0]), cap, k=6)
    assert mixed.rows.tolist() == [1, 0, 2]
    assert paid.tolist() == [True, False, False]


def test_a_list_of_one_sellers_sponsored_items_still_has_no_more_placed_by_rate():
    cap = msgspec.structs.replace(OPEN, sponsored_max=2, seller_cap=2)
    mixed, paid = blend(lists([[0.5, 0.4, 0.3, 0.2]]), columns([900] * 4, ["a"] * 4), cap, k=6)
    assert mixed.rows.tolist() == [0, 1, 2, 3]
    assert paid.sum() == 2


@given(
    st.lists(st.lists(st.floats(1e-6, 1.0), max_size=8), min_size=1, max_size=4),
    st.integers(0, 3),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
def test_nothing_is_lost_and_the_caps_hold_in_the_head(probabilities, seller_cap, most, random):
    n = sum(len(p) for p in probabilities)
    rates = [random.choice([0, 200, 2500]) for _ in range(n)]
    sellers = [random.choice("abc") for _ in range(n)]
    settings = msgspec.structs.replace(OPEN, seller_cap=seller_cap, sponsored_max=most)
    before = lists(probabilities)
    after, paid = blend(before, columns(rates, sellers), settings, k=6)
    assert after.offsets.tolist() == before.offsets.tolist()
    for q in range(after.query_count):
        part = slice(after.offsets[q], after.offsets[q + 1])
        assert sorted(after.rows[part]) == sorted(before.rows[part])
        assert paid[part].sum() <= most
