"""What LightGBM makes of weights, labels and empty queries: what our training relies on.

Gradients are read off LightGBM itself: a tree with one leaf for one row tells that leaf's sum of
hessians and its value, -g / h. The lists stand in it COPIES times, for
LightGBM guesses a leaf's rows from its hessians and will not part a row that weighs little.
"""

from typing import Any

import lightgbm
import numpy as np
import pytest

from kindred.rerank.lambdamart import GAINS
from kindred.rerank.metrics import shown_ndcg
from kindred.rerank.objectives import gradients, pairs_of

LENGTHS = np.array([2, 3])
GRADES = np.array([6, 1, 0, 2, 0])
SCORES = np.array([0.2, -0.3, 0.1, 0.4, -0.2])
PURCHASE_CLICK = slice(0, 2)
COPIES = 100


def told(weights: Any = None, grades: Any = GRADES) -> tuple[np.ndarray, np.ndarray]:
    """LightGBM's (gradient, hessian) of each row at SCORES."""
    found = np.array([_of_row(row, weights, grades) for row in range(5)])
    return found[:, 0], found[:, 1]


def _of_row(row: int, weights: Any, grades: np.ndarray) -> tuple[float, float]:
    only = np.arange(5)[:, None] == row
    leaves = one_tree(only.astype(float), grades, weights).trees_to_dataframe()
    leaf = leaves[leaves["count"] == COPIES].iloc[0]
    hessian = leaf["weight"] / COPIES
    return -leaf["value"] * hessian, hessian


def one_tree(features: np.ndarray, grades: np.ndarray, weights: Any) -> lightgbm.Booster:
    data = lightgbm.Dataset(
        np.tile(features, (COPIES, 1)), np.tile(grades, COPIES), group=np.tile(LENGTHS, COPIES),
        weight=None if weights is None else np.tile(weights, COPIES),
        init_score=np.tile(SCORES, COPIES),
    )  # fmt: skip
    params = {
        "objective": "lambdarank", "label_gain": list(GAINS), "num_leaves": 2,
        "min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0.0, "learning_rate": 1.0,
        "num_threads": 1, "verbosity": -1,
    }  # fmt: skip
    return lightgbm.train(params, data, 1)


def test_gradient_and_hessian_of_a_row_are_multiplied_by_its_weight():
    gradient, hessian = told()
    weights = np.array([15.0, 1.0, 2.0, 6.0, 0.5])
    weighted, curved = told(weights)
    np.testing.assert_allclose(weighted, weights * gradient, rtol=1e-3)
    np.testing.assert_allclose(curved, weights * hessian, rtol=1e-3)


def test_the_weight_is_the_rows_not_the_pairs():
    """The click in a purchase-click pair keeps its own weight: what pulls one up pushes the other
    down by less. With weights for pairs the two are equal."""
    weights = np.array([15.0, 1.0, 1.0, 6.0, 1.0])
    up, down = told(weights)[0][PURCHASE_CLICK]
    assert up == pytest.approx(-15 * down, rel=1e-3)
    worth = np.array([1.0, 0.03, 0.0, 0.1, 0.0])
    pairs = pairs_of(GRADES, LENGTHS, GAINS, 30, worth)
    up, down = gradients(SCORES, pairs, 30)[0][PURCHASE_CLICK]
    assert up == pytest.approx(-down)
    plain = told()[0][PURCHASE_CLICK]
    assert up == pytest.approx((1 - 0.03) * plain[0], rel=1e-3)


def test_without_weights_a_lists_gradients_sum_to_zero_and_are_ours():
    gradient, hessian = told()
    np.testing.assert_allclose(np.add.reduceat(gradient, [0, 2]), 0, atol=1e-4)
    ours = gradients(SCORES, pairs_of(GRADES, LENGTHS, GAINS, 30), 30)
    np.testing.assert_allclose(gradient, ours[0], rtol=1e-3)
    np.testing.assert_allclose(hessian, ours[1], rtol=1e-3)


def test_weights_come_after_the_scaling_of_a_list():
    """So they are the one way for a list with a purchase to count more than one with a click."""
    heavy = told(np.array([10.0, 10.0, 1.0, 1.0, 1.0]))[0]
    np.testing.assert_allclose(heavy[PURCHASE_CLICK], 10 * told()[0][PURCHASE_CLICK], rtol=1e-3)
    np.testing.assert_allclose(heavy[2:], told()[0][2:], rtol=1e-3)


def test_equal_labels_form_no_pair():
    same = np.array([1, 1, 3, 3, 3])
    params = {"objective": "lambdarank", "min_data_in_leaf": 1, "num_leaves": 4, "verbosity": -1,
              "min_sum_hessian_in_leaf": 0.0, "num_threads": 1}  # fmt: skip
    data = lightgbm.Dataset(np.arange(5.0)[:, None], same, group=LENGTHS, params={
        "min_data_in_bin": 1, "feature_pre_filter": False, "verbosity": -1})  # fmt: skip
    booster = lightgbm.train(params, data, 3)
    assert not booster.predict(np.arange(5.0)[:, None]).any()
    assert not len(pairs_of(same, LENGTHS, GAINS, 30).high)


def test_a_leaf_is_the_weighted_mean_so_a_weight_shifts_it_and_lengthens_no_step():
    gradient, hessian = told()
    for factor in (1.0, 20.0):
        weights = np.array([factor, 1, 1, 1, factor])
        split = np.array([[1.0], [0], [0], [0], [1]])
        found = one_tree(split, GRADES, weights).predict(np.array([[0.0], [1.0]]))
        one = np.array([False, True, True, True, False])
        for value, rows in zip(found, (one, ~one), strict=True):
            mean = -(weights * gradient)[rows].sum() / (weights * hessian)[rows].sum()
            assert value == pytest.approx(mean, rel=1e-3)


def measured(grades: np.ndarray, lengths: np.ndarray, weights: Any = None) -> float:
    """LightGBM's NDCG@10 of a ranker that knows nothing and keeps the rows' order."""
    rows = len(grades)
    data = lightgbm.Dataset(np.zeros((rows, 1)), np.arange(rows) % 2, group=[rows])
    check = lightgbm.Dataset(np.zeros((rows, 1)), grades, group=lengths, weight=weights,
                             reference=data)  # fmt: skip
    seen: dict[str, Any] = {}
    params = {"objective": "lambdarank", "metric": "ndcg", "eval_at": [10], "verbosity": -1,
              "label_gain": list(GAINS), "num_threads": 1}  # fmt: skip
    lightgbm.train(params, data, 1, valid_sets=[check], valid_names=["check"],
                   callbacks=[lightgbm.record_evaluation(seen)])  # fmt: skip
    return float(seen["check"]["ndcg@10"][0])


def test_a_query_of_zeros_is_perfect_to_lightgbm_and_absent_from_ours():
    grades, lengths = np.array([0, 1, 0, 0, 0]), np.array([2, 3])
    one = 1 / np.log2(3)
    assert measured(grades, lengths) == pytest.approx((one + 1) / 2, abs=1e-4)
    found = shown_ndcg(-np.arange(5.0), grades.astype(np.int8), np.array([0, 2, 5]), 10)
    assert found[0] == pytest.approx(one)
    assert np.isnan(found[1])
    assert np.nanmean(found) == pytest.approx(one)


def test_lightgbms_metric_weighs_queries_so_validation_is_given_no_weights():
    grades, lengths = np.array([0, 1, 1, 0, 0]), np.array([2, 3])
    heavy = np.array([9.0, 9.0, 1.0, 1.0, 1.0])
    one = 1 / np.log2(3)
    assert measured(grades, lengths) == pytest.approx((one + 1) / 2, abs=1e-4)
    assert measured(grades, lengths, heavy) == pytest.approx((9 * one + 1) / 10, abs=1e-4)
