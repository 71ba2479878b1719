"""Trees walked by compiled code give LightGBM's own scores, to the bit."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest

from kindred.rerank.forest import forest_of
from kindred.rerank.lambdamart import Member, Ranker
from kindred.rerank.tree_walk import TreeWalk, Walk
from kindred.schemas.ranking import Floats

F = 6


@pytest.fixture(scope="module")
def walk() -> TreeWalk:
    made = TreeWalk()
    made.prepare()
    return made


@pytest.fixture(scope="module")
def loop(walk: TreeWalk) -> Walk:
    assert walk.compiled is not None
    return walk.compiled


def rows(count: int, seed: int, *, missing: bool) -> Floats:
    draw = np.random.default_rng(seed)
    found = draw.normal(size=(count, F)).astype(np.float32)
    found[:, 1] = np.round(found[:, 1])  # ties with the thresholds
    found[:, 2] = draw.integers(0, 3, count)
    if missing:
        found[draw.random(found.shape) < 0.3] = np.nan
    return found


def grown(features: Floats, trees: int = 60, objective: str = "lambdarank", **params: Any) -> str:
    draw = np.random.default_rng(1)
    appeal = np.nan_to_num(features) @ np.arange(F) + draw.normal(size=len(features))
    labels = (appeal > np.quantile(appeal, 0.7)).astype(int)
    group = [20] * (len(features) // 20) if objective == "lambdarank" else None
    categories = params.pop("categories", "auto")
    data = lightgbm.Dataset(features, labels, group=group, categorical_feature=categories)
    params = {"objective": objective, "verbosity": -1, "num_threads": 1, "num_leaves": 15,
              "min_data_in_leaf": 5, **params}  # fmt: skip
    return str(lightgbm.train(params, data, trees).model_to_string())


def edges(text: str, seed: int) -> Floats:
    """Rows of exact thresholds and their float32 neighbours, infinities, zeros and holes."""
    cuts = [float(c) for line in text.split("\n") if line.startswith("threshold=")
            for c in line.removeprefix("threshold=").split()]  # fmt: skip
    near = np.float32(cuts)
    values = np.concatenate([
        near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf)),
        np.float32([0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30]),
    ])  # fmt: skip
    return np.random.default_rng(seed).choice(values, (3001, F))


@pytest.mark.parametrize("missing", [True, False])
@pytest.mark.parametrize("leaves", [2, 31])
def test_scores_are_those_of_lightgbm_to_the_bit(missing: bool, leaves: int, loop: Walk) -> None:
    text = grown(rows(2000, 2, missing=missing), num_leaves=leaves)
    walked = forest_of(text)
    assert walked is not None
    booster = lightgbm.Booster(model_str=text)
    for asked in (edges(text, 3), rows(7, 4, missing=True), rows(1, 5, missing=missing)):
        expected = booster.predict(asked, num_threads=1)
        np.testing.assert_array_equal(walked.score(asked, loop), expected)


def test_a_tree_that_found_nothing_to_split_is_one_leaf(loop: Walk) -> None:
    text = grown(np.zeros((100, F), np.float32), trees=3)
    walked = forest_of(text)
    assert walked is not None
    asked = rows(9, 1, missing=True)
    expected = lightgbm.Booster(model_str=text).predict(asked)
    np.testing.assert_array_equal(walked.score(asked, loop), expected)


@pytest.mark.parametrize(
    "params",
    [
        {"objective": "binary"},
        {"zero_as_missing": True},
        {"objective": "regression", "linear_tree": True},
        {"objective": "regression", "boosting": "rf", "bagging_fraction": 0.5, "bagging_freq": 1},
        {"objective": "regression", "categories": [2]},
    ],
)
def test_trees_of_another_kind_are_left_to_lightgbm(params: dict[str, Any]) -> None:
    objective = params.pop("objective", "lambdarank")
    text = grown(rows(2000, 2, missing=False), objective=objective, **params)
    assert forest_of(text) is None


def test_a_ranker_scores_alike_and_leaves_some_members_to_lightgbm(walk: TreeWalk) -> None:
    features = rows(2000, 2, missing=True)
    members = tuple(
        Member(
            name=objective, weight=weight, mean=0.1, std=0.7,
            booster=lightgbm.Booster(model_str=grown(features, objective=objective)),
        )
        for objective, weight in (("lambdarank", 1.0), ("binary", 0.5))
    )  # fmt: skip
    ranker = Ranker(members, tuple(f"f{i}" for i in range(F)))
    walked = ranker.walked_by(walk)
    assert [m.forest is not None for m in walked.members] == [True, False]
    np.testing.assert_array_equal(walked.score(features), ranker.score(features))
    assert walked.score(features[:0]).shape == (0,)
