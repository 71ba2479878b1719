"""Exact search over columns and tables."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from contracts.vector_store import ExactShelf, MakeShelf, VectorSearchContract, directions
from hypothesis import given
from hypothesis import strategies as st

from kindred.indexer.columns import Columns
from kindred.indexer.store.exact import ExactStore, score_rows, top
from kindred.indexer.store.port import Allowed, Search
from kindred.indexer.store.tables import VectorTable


class TestExactStore(VectorSearchContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls) -> MakeShelf:
        return ExactShelf


@given(
    scores=st.lists(st.floats(-1, 1, width=16), max_size=400),
    k=st.integers(1, 12),
)
def test_top_is_a_stable_sort(scores: list[float], k: int) -> None:
    column = np.array(scores, np.float32)
    best = top(column, k)
    assert column[best].tolist() == sorted(scores, reverse=True)[:k]
    assert len(set(best.tolist())) == min(k, len(scores))
    for here, there in pairwise(best):
        assert column[here] > column[there] or here < there


@pytest.mark.parametrize("questions", [1, 3])
@pytest.mark.parametrize("count", [1, 700, 4000, 5000])
def test_scores_are_dot_products_however_they_are_gathered(questions: int, count: int) -> None:
    matrix = directions(5000, 8)
    rows = np.sort(np.random.default_rng(1).choice(5000, count, replace=False))
    vectors = directions(questions, 8, seed=2)
    np.testing.assert_allclose(
        score_rows(matrix, rows, vectors), vectors @ matrix[rows].T, atol=1e-5
    )


def test_many_questions_are_answered_as_one_is() -> None:
    table = VectorTable(8)
    table.set(np.arange(3000), directions(3000, 8))
    store = ExactStore(Columns(), {"text": table})
    allowed = Allowed(np.arange(3000) % 5 == 0)
    vectors = directions(40, 8, seed=3)
    together = store.search([Search(space="text", vectors=vectors, k=20, allowed=allowed)])[0]
    for number in range(40):
        one = vectors[number : number + 1]
        alone = store.search([Search(space="text", vectors=one, k=20, allowed=allowed)])[0]
        np.testing.assert_array_equal(alone.rows[0], together.rows[number])
