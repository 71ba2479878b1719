"""The pair table against a plain double loop, and what must hold whatever the data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from traces import random_trace, visits

from kindred.indexer.behaviour import pairs
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.behaviour.pairs import PairTable, count_pairs
from kindred.schemas.settings import PairSettings

PLAIN = PairSettings(
    neighbours=1000, popularity_exponent=0.0, shrinkage=0.0, distance_decay=1.0, max_session=60
)


def dense(table: PairTable, column: str = "scores") -> NDArray[np.float64]:
    n = len(table.support)
    matrix = np.zeros((n, n))
    owner = np.repeat(np.arange(n), np.diff(table.indptr))
    matrix[owner, table.rows] = getattr(table, column)
    return matrix


def oracle(x: Interactions, n: int, s: PairSettings, forward: bool) -> NDArray[np.float64]:
    """Counts as the module's docstring has them, by loops over visits and pairs."""
    counts, support = np.zeros((n, n)), np.zeros(n)
    for session in np.unique(x.session):
        mine = [(int(t), int(r)) for t, r in zip(x.ts, x.row, strict=True)]
        mine = [e for e, m in zip(mine, x.session == session, strict=True) if m]
        last = {row: (i, t) for i, (t, row) in enumerate(mine)}
        kept = sorted(last.items(), key=lambda e: e[1][0])[-s.max_session :]
        moments = sorted({t for _, (_, t) in kept})
        for a, (_, ta) in kept:
            support[a] += 1
            for b, (_, tb) in kept:
                step = moments.index(tb) - moments.index(ta)
                if a != b and (step >= 0 or not forward):
                    counts[a, b] += s.distance_decay ** (max(abs(step), 1) - 1)
    product = np.outer(support, support) ** s.popularity_exponent
    return counts / np.where(counts > 0, product + s.shrinkage, 1)


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("at_once", [60, 500, 10**6])
def test_it_equals_the_double_loop(forward: bool, at_once: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pairs, "PAIRS_AT_ONCE", at_once)
    chosen = PairSettings(
        neighbours=1000, max_session=5, popularity_exponent=0.6, shrinkage=2.0, distance_decay=0.7
    )
    x = random_trace(3, 600, rows=25, subjects=12)
    table = count_pairs(x, 30, chosen, forward=forward)
    np.testing.assert_allclose(dense(table), oracle(x, 30, chosen, forward), rtol=1e-5)


def test_neighbours_are_the_best_in_order():
    x = random_trace(5, 800, rows=40, subjects=20)
    whole, top = (count_pairs(x, 40, PairSettings(neighbours=n)) for n in (1000, 7))
    for row in range(40):
        every = slice(whole.indptr[row], whole.indptr[row + 1])
        best = slice(top.indptr[row], top.indptr[row + 1])
        order = sorted(zip(-whole.scores[every], whole.rows[every], strict=True))[:7]
        assert [r for _, r in order] == top.rows[best].tolist()
        assert [-s for s, _ in order] == top.scores[best].tolist()


def test_weight_falls_with_each_step_and_ties_are_one_step():
    chosen = PairSettings(popularity_exponent=0.0, shrinkage=0.0, distance_decay=0.5)
    apart = dense(count_pairs(visits([0, 1, 2, 3]), 4, chosen))
    assert apart[0].tolist() == [0, 1, 0.5, 0.25]
    basket = dense(count_pairs(visits([0, 1, 2, 3], step=0), 4, chosen))
    assert basket[0].tolist() == [0, 1, 1, 1]


def test_forward_keeps_what_came_after():
    chosen = PLAIN
    table = dense(count_pairs(visits([0, 1], [0, 1], [1, 0]), 2, chosen, forward=True))
    assert table.tolist() == [[0, 2], [1, 0]]
    basket = dense(count_pairs(visits([0, 1], step=0), 2, chosen, forward=True))
    assert basket.tolist() == [[0, 1], [1, 0]]


def test_an_item_counts_once_in_a_visit_where_it_came_last():
    table = dense(count_pairs(visits([0, 1, 0, 1, 2, 0]), 3, PLAIN, forward=True))
    assert table.tolist() == [[0, 0, 0], [1, 0, 1], [1, 0, 0]]


def test_of_a_long_visit_the_newest_items_count():
    chosen = PairSettings(max_session=2, popularity_exponent=0.0, shrinkage=0.0)
    table = count_pairs(visits([0, 1, 2]), 3, chosen)
    assert dense(table).tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert table.support.tolist() == [0, 1, 1]


def test_shrinkage_puts_a_pair_seen_once_below_one_seen_often():
    often = [[0, 1]] * 10 + [[2, 3]]
    without = dense(
        count_pairs(visits(*often), 4, PairSettings(popularity_exponent=0.5, shrinkage=0))
    )
    assert without[0, 1] == pytest.approx(without[2, 3])
    shrunk = dense(
        count_pairs(visits(*often), 4, PairSettings(popularity_exponent=0.5, shrinkage=3))
    )
    assert shrunk[0, 1] > 2 * shrunk[2, 3]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=12), st.floats(0.1, 1.0))
def test_similarity_is_symmetric_and_blind_to_names(sequences: list[list[int]], decay: float):
    chosen = PairSettings(neighbours=100, distance_decay=decay)
    x = visits(*sequences)
    matrix = dense(count_pairs(x, 10, chosen))
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-6)
    renamed = visits(*([9 - r for r in s] for s in sequences))
    np.testing.assert_allclose(dense(count_pairs(renamed, 10, chosen)), matrix[::-1, ::-1])
    both = dense(count_pairs(x, 10, chosen, forward=True))
    assert np.all(both <= matrix + 1e-6)


@settings(max_examples=30, deadline=None)
@given(st.permutations(list(range(6))))
def test_the_order_of_visits_changes_nothing(order: list[int]):
    sequences = [[0, 1, 2], [2, 3], [1, 3, 0], [0, 3], [2, 1], [3, 2, 1, 0]]
    expected = count_pairs(visits(*sequences), 4, PairSettings())
    found = count_pairs(visits(*(sequences[i] for i in order)), 4, PairSettings())
    np.testing.assert_allclose(dense(found), dense(expected), rtol=1e-6)


def test_lookup_gathers_many_rows_at_once():
    x = random_trace(7, 500, rows=20, subjects=10)
    table = count_pairs(x, 22, PairSettings(neighbours=8))
    wanted = np.array([3, 21, -1, 3, 99, 0])
    entry, found, scores = table.lookup(wanted, 5)
    for position, row in enumerate(wanted):
        mine = entry == position
        if not 0 <= row < 22:
            assert not mine.any()
            continue
        known = slice(table.indptr[row], min(table.indptr[row] + 5, table.indptr[row + 1]))
        assert found[mine].tolist() == table.rows[known].tolist()
        assert scores[mine].tolist() == table.scores[known].tolist()


def test_nothing_to_count_is_an_empty_table():
    for n in (0, 3):
        table = count_pairs(visits(), n, PairSettings())
        assert table.indptr.tolist() == [0] * (n + 1)
        assert len(table.lookup(np.array([0, 1]), 5)[0]) == 0
