"""The pair objective against LightGBM's own lambdarank, and against the sum written out."""

from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np
import pytest

from kindred.rerank.lambdamart import GAINS, RankingSet, grow_ranker
from kindred.rerank.objectives import PairObjective, gradients, pairs_of
from kindred.schemas.settings import RankerSettings

NAMES = tuple("abcd")
LENGTHS = np.array([1, 2, 7, 12, 7, 3, 0, 12, 20])
WORTH = np.array([0, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0])


def labels(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.5, 0, rng.integers(0, 7, n)).astype(np.int8)


def written_out(scores, grades, lengths, truncation, values=None):
    """The same sum, pair by pair, as LightGBM's source has it."""
    gradient, hessian = np.zeros((2, len(scores)))
    gains, start = np.asarray(GAINS, float), 0
    for length in lengths:
        s, g = scores[start : start + length], grades[start : start + length]
        order = np.argsort(-s, kind="stable")
        best = sum(
            gain / np.log2(i + 2) for i, gain in enumerate(np.sort(gains[g])[::-1][:truncation])
        )
        first, second, total = np.zeros(length), np.zeros(length), 0.0
        for i in range(min(length - 1, truncation)):
            for j in range(i + 1, length):
                a, b = order[i], order[j]
                if g[a] == g[b]:
                    continue
                hi, lo = (a, b) if g[a] > g[b] else (b, a)
                swap = (gains[g[hi]] - gains[g[lo]]) / best
                swap *= abs(1 / np.log2(i + 2) - 1 / np.log2(j + 2))
                if s[order[0]] != s[order[-1]]:
                    swap /= 0.01 + abs(s[hi] - s[lo])
                p = 1 / (1 + np.exp(s[hi] - s[lo]))
                total += 2 * p * swap
                w = 1.0 if values is None else values[start + hi] - values[start + lo]
                first[hi] -= w * p * swap
                first[lo] += w * p * swap
                second[[hi, lo]] += w * p * (1 - p) * swap
        scale = np.log2(1 + total) / total if total > 0 else 1.0
        gradient[start : start + length] = first * scale
        hessian[start : start + length] = second * scale
        start += length
    return gradient, hessian


@pytest.mark.parametrize("truncation", [2, 5, 30])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_are_the_sum_over_pairs(truncation: int, weighted: bool):
    rng = np.random.default_rng(truncation)
    n = int(LENGTHS.sum())
    grades, scores = labels(rng, n), np.round(rng.normal(size=n), 1)  # some tie
    values = WORTH[grades] if weighted else None
    pairs = pairs_of(grades, LENGTHS, GAINS, truncation, values)
    found = gradients(scores, pairs, truncation)
    expected = written_out(scores, grades, LENGTHS, truncation, values)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_each_lists_gradients_sum_to_zero_whatever_the_pairs_weigh():
    rng = np.random.default_rng(1)
    n = int(LENGTHS.sum())
    grades = labels(rng, n)
    pairs = pairs_of(grades, LENGTHS, GAINS, 30, WORTH[grades])
    gradient, hessian = gradients(rng.normal(size=n), pairs, 30)
    np.testing.assert_allclose(np.add.reduceat(gradient, pairs.offsets[:5]), 0, atol=1e-12)
    assert (hessian >= 0).all()


def test_a_worse_outcome_that_is_worth_more_makes_no_pair_turn_round():
    """Labels follow the format's own order, values that of all formats: they may disagree."""
    grades, values = np.array([3, 2, 0], np.int8), np.array([0.1, 0.4, 0.0])
    pairs = pairs_of(grades, np.array([3]), GAINS, 30, values)
    np.testing.assert_allclose(np.sort(pairs.weight), [0.0, 0.1, 0.4])


def learned(lists: int, seed: int) -> RankingSet:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 15, lists)
    n = int(lengths.sum())
    features = rng.normal(size=(n, 4)).astype(np.float32)
    force = features[:, 0] + 0.6 * features[:, 1] ** 2 + 0.5 * rng.normal(size=n)
    grades = np.clip(np.floor(force * 2), 0, 6).astype(np.int8)
    return RankingSet(features, grades, lengths)


TRUNCATION, RATE, REGULARIZATION, TREES = 9, 0.1, 0.2, 15


def grown(rows: RankingSet, objective: Any = "lambdarank") -> np.ndarray:
    """Scores of trees that see every feature: which ones a tree sees is drawn by the objective."""
    own = objective != "lambdarank"
    data = lightgbm.Dataset(
        rows.features, rows.grades, group=rows.lengths, weight=None if own else rows.weights,
        position=None if own else rows.positions,
    )  # fmt: skip
    params = {
        "objective": objective, "label_gain": list(GAINS), "num_leaves": 7,
        "min_data_in_leaf": 20, "lambdarank_truncation_level": TRUNCATION, "learning_rate": RATE,
        "lambdarank_position_bias_regularization": REGULARIZATION, "deterministic": True,
        "force_row_wise": True, "num_threads": 1, "verbosity": -1,
    }  # fmt: skip
    booster = lightgbm.train(params, data, TREES)
    return booster.predict(learned(80, 7).features)


def own(rows: RankingSet, values: np.ndarray | None) -> np.ndarray:
    pairs = pairs_of(rows.grades, rows.lengths, GAINS, TRUNCATION, values)
    objective = PairObjective(
        pairs, truncation=TRUNCATION, weights=rows.weights, positions=rows.positions,
        learning_rate=RATE, regularization=REGULARIZATION,
    )  # fmt: skip
    return grown(rows, objective)


@pytest.mark.parametrize("extra", ["nothing", "weights", "positions"])
def test_with_equal_pairs_it_grows_the_trees_of_lightgbms_lambdarank(extra: str):
    """Up to LightGBM's own table of sigmoids, which is rounded to some 1e-4 of a score."""
    rows = learned(300, 3)
    rng = np.random.default_rng(2)
    if extra == "weights":
        rows = replace(rows, weights=rng.choice([1, 6, 15], len(rows.grades)).astype(np.float32))
    if extra == "positions":
        place = np.concatenate([np.arange(length) for length in rows.lengths]).astype(np.int32)
        rows = replace(rows, positions=place)
    plain = grown(rows)
    assert plain.std() > 0.1
    np.testing.assert_allclose(own(rows, None), plain, atol=0.005 * plain.std())


def test_only_the_ratio_of_pair_weights_matters():
    """A common factor of gradient and hessian shifts no leaf."""
    rows = learned(200, 4)
    whole = own(rows, WORTH[rows.grades])
    np.testing.assert_allclose(own(rows, WORTH[rows.grades] / 2), whole, atol=1e-4 * whole.std())
    assert np.abs(own(rows, None) - whole).max() > 0.1 * whole.std()


def test_a_ranker_with_values_is_grown_by_the_pair_objective():
    settings = RankerSettings(leaves=7, min_data_in_leaf=20)
    rows, asked = learned(200, 4), learned(80, 7).features

    def scores(of: RankingSet) -> np.ndarray:
        ranker = grow_ranker(of, NAMES, settings, trees=10, seed=1, on_tree=lambda n: None)
        return ranker.score(asked)

    weighed = replace(rows, values=WORTH[rows.grades])
    flat = replace(rows, values=10 * WORTH[rows.grades])
    np.testing.assert_allclose(scores(flat), scores(weighed), atol=1e-4)
    assert np.abs(scores(rows) - scores(weighed)).max() > 0.05


def test_what_positions_earned_is_left_out_of_the_score():
    """Clicks that only the place explains teach the bias, not the feature that knows the place."""
    rng = np.random.default_rng(5)
    lists, length = 600, 8
    place = np.tile(np.arange(length), lists)
    clicked = (rng.random(lists * length) < 0.5 / (1 + place)).astype(np.int8)
    pairs = pairs_of(clicked, np.full(lists, length), (0, 1), 30)
    learner = PairObjective(pairs, truncation=30, positions=place.astype(np.int32),
                            learning_rate=0.1)  # fmt: skip
    scores = np.zeros(lists * length)
    first = np.abs(learner(scores, None)[0]).sum()
    for _ in range(200):
        gradient, _ = learner(scores, None)
    assert (np.diff(learner.bias) < 0).all()
    by_place = np.abs(np.bincount(place, gradient)).max()
    assert by_place < 0.02 * first
