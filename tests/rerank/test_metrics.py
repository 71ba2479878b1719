"""Ranking metrics against definitions written out, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from kindred.rerank.lambdamart import GAINS
from kindred.rerank.metrics import first_ranks, ndcg, paired_interval, tied_discounts
from kindred.retrieval.segments import offsets_of
from kindred.retrieval.sources import SOURCES
from kindred.schemas.ranking import Candidates


def candidates(lengths: list[int]) -> Candidates:
    n = sum(lengths)
    return Candidates.unfound(offsets_of(np.array(lengths)), np.arange(n), len(SOURCES))


def test_ndcg_is_scikit_learns():
    rng = np.random.default_rng(0)
    grades = rng.integers(0, 3, 40).astype(np.int8)
    mine = ndcg(candidates([40]), grades, np.array([0, 40]), grades, 10)
    gains = np.asarray(GAINS, float)[grades]
    assert mine[0] == pytest.approx(ndcg_score([gains], [np.linspace(1, 0, 40)], k=10))


def test_equal_scores_are_worth_what_they_are_worth_in_a_random_order():
    rng = np.random.default_rng(3)
    grades = rng.integers(0, 4, 60)
    gains = np.asarray(GAINS, float)[grades]
    scores = rng.integers(0, 4, 60).astype(float)
    for start, end in ((0, 25), (25, 60)):
        alone = gains[start:end] @ tied_discounts(scores[start:end], np.array([0, end - start]), 10)
        best = np.sort(gains[start:end])[::-1][:10] @ (1 / np.log2(np.arange(2, 12)))
        mine = ndcg_score([gains[start:end]], [scores[start:end]], k=10)
        assert alone / best == pytest.approx(mine)
    together = tied_discounts(scores, np.array([0, 25, 60]), 10)
    np.testing.assert_array_equal(
        together[:25], tied_discounts(scores[:25], np.array([0, 25]), 10)
    )  # fmt: skip


def test_what_was_not_recalled_lowers_ndcg():
    grades = np.array([2, 0], np.int8)
    whole = ndcg(candidates([2]), grades, np.array([0, 1]), np.array([2], np.int8), 10)
    missed = ndcg(candidates([2]), grades, np.array([0, 2]), np.array([2, 2], np.int8), 10)
    assert whole[0] == pytest.approx(1.0)
    assert missed[0] < 0.7


def test_the_first_hit_is_counted_from_one_and_misses_say_so():
    ranks = first_ranks(candidates([3, 2, 0]), np.array([0, 1, 2, 0, 0], np.int8), 99)
    assert ranks.tolist() == [2, 99, 99]


def test_the_interval_covers_a_true_mean_and_widens_when_queries_of_a_visitor_agree():
    rng = np.random.default_rng(1)
    who = np.repeat(np.arange(200), 10)
    shared = rng.normal(0.1, 1, 200)[who]
    mean, low, high = paired_interval(shared, who, seed=0)
    assert low < 0.1 < high
    _, low_alone, high_alone = paired_interval(shared, np.arange(len(who)), seed=0)
    assert high - low > 2 * (high_alone - low_alone)
    assert mean == pytest.approx(shared.mean())
