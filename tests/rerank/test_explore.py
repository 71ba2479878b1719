"""Exploration: propensities are the exact chances, and the id of a decision settles its draw."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from kindred.rerank.explore import as_ordered, explored, seed_of
from kindred.rerank.funnel import Ranked
from kindred.schemas.ranking import Candidates

SHARE = 0.3


def ranked(*lengths: int) -> Ranked:
    """Queries with candidates 0, 1, 2, … best first, of which every third is sponsored."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    n = int(offsets[-1])
    rows = np.concatenate([np.arange(length) for length in lengths] or [np.zeros(0, np.int64)])
    candidates = Candidates(
        offsets=offsets,
        rows=rows.astype(np.int64),
        sources=np.ones(n, np.uint32),
        source_ranks=np.ones((n, 1), np.uint16),
        source_scores=np.zeros((n, 1), np.float32),
        merged=np.zeros(n, np.float32),
    )
    return Ranked(candidates=candidates, sponsored=rows % 3 == 0, plans={}, ms={})


def exact(k: int) -> np.ndarray:
    """float64[k, k]: chance that item i stands at position j, by counting every order."""
    chance = np.eye(k) * (1 - SHARE)
    orders = list(permutations(range(k)))
    for order in orders:
        for position, item in enumerate(order):
            chance[item, position] += SHARE / len(orders)
    return chance


def test_propensities_are_the_chances_counted_over_all_orders() -> None:
    table = exact(3)
    seen = set()
    for seed in range(200):
        shown = explored(ranked(5), 3, SHARE, np.random.default_rng(seed))
        items = shown.ranked.candidates.rows
        for position in range(3):
            expected = table[items[position], position]
            assert shown.propensity[position] == pytest.approx(expected, abs=1e-15)
        assert np.isnan(shown.propensity[3:]).all()
        assert items[3:].tolist() == [3, 4]
        assert not shown.explore[3:].any()
        assert shown.explore[:3].all() == shown.explore[:3].any()
        if not shown.explore.any():
            assert items.tolist() == [0, 1, 2, 3, 4]
        seen.add((tuple(items[:3].tolist()), bool(shown.explore[0])))
    assert len(seen) == 7  # six orders by chance, one as ranked


def test_items_come_up_as_often_as_their_propensity_says() -> None:
    queries = 60_000
    shown = explored(ranked(*[4] * queries), 3, SHARE, np.random.default_rng(1))
    items = shown.ranked.candidates.rows.reshape(queries, 4)
    table = exact(3)
    for item in range(3):
        for position in range(3):
            share = (items[:, position] == item).mean()
            assert share == pytest.approx(table[item, position], abs=0.01)
    assert shown.explore.reshape(queries, 4)[:, 0].mean() == pytest.approx(SHARE, abs=0.01)


def test_what_is_known_of_an_item_moves_with_it() -> None:
    shown = explored(ranked(6, 2, 0), 4, 1.0, np.random.default_rng(3))
    rows = shown.ranked.candidates.rows
    assert rows.tolist() != ranked(6, 2, 0).candidates.rows.tolist()
    assert (shown.ranked.sponsored == (rows % 3 == 0)).all()
    assert sorted(rows[:4].tolist()) == [0, 1, 2, 3]
    assert shown.propensity[:4].tolist() == [0.25] * 4
    assert shown.propensity[6:].tolist() == [0.5] * 2


def test_the_decision_settles_the_draw() -> None:
    def drawn(name: str) -> list[int]:
        shown = explored(ranked(8), 6, 1.0, seed_of(name))
        return shown.ranked.candidates.rows.tolist()  # type: ignore[no-any-return]

    assert drawn("one") == drawn("one")
    assert len({tuple(drawn(f"id-{n}")) for n in range(20)}) > 15


def test_an_order_left_alone_is_certain() -> None:
    shown = as_ordered(ranked(5, 2), 3)
    assert shown.propensity[[0, 1, 2, 5, 6]].tolist() == [1.0] * 5
    assert np.isnan(shown.propensity[3:5]).all()
    assert not shown.explore.any()
    alone = explored(ranked(1), 6, SHARE, np.random.default_rng(0))
    assert alone.propensity.tolist() == [1.0]


def test_what_a_rule_fixed_stays_and_the_others_share_the_chances() -> None:
    held = ranked(5, 3)
    fixed = np.array([False, True, False, False, False, True, True, True])
    orders = set()
    for seed in range(60):
        shown = explored(replace(held, fixed=fixed), 4, 0.5, np.random.default_rng(seed))
        rows = shown.ranked.candidates.rows
        assert rows[1] == 1
        assert rows[4:].tolist() == [4, 0, 1, 2]
        assert not shown.explore[[1, 4, 5, 6, 7]].any()
        for at in (0, 2, 3):
            kept = rows[at] == at
            assert shown.propensity[at] == pytest.approx(0.5 * kept + 0.5 / 3)
        assert shown.propensity[[1, 5, 6, 7]].tolist() == [1.0] * 4
        assert np.isnan(shown.propensity[4])
        orders.add(tuple(rows[:4].tolist()))
    assert len(orders) == 6
