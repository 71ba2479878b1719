"""Trees walked by compiled code give LightGBM's own scores, to the bit."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest

from kindred.rerank import forest
from kindred.rerank.forest import compiled_walk, forest_of
from kindred.rerank.lambdamart import Member, Ranker
from kindred.schemas.errors import SettingsError
from kindred.schemas.ranking import Floats

pytest.importorskip("numba", reason="the extra `compiled` is not installed")
F = 6


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
def test_scores_are_those_of_lightgbm_to_the_bit(missing: bool, leaves: int) -> None:
    text = grown(rows(2000, 2, missing=missing), num_leaves=leaves)
    walked = forest_of(text)
    assert walked is not None
    booster = lightgbm.Booster(model_str=text)
    for asked in (edges(text, 3), rows(7, 4, missing=True), rows(1, 5, missing=missing)):
        expected = booster.predict(asked, num_threads=1)
        np.testing.assert_array_equal(walked.score(asked), expected)


def test_a_tree_that_found_nothing_to_split_is_one_leaf() -> None:
    text = grown(np.zeros((100, F), np.float32), trees=3)
    walked = forest_of(text)
    assert walked is not None
    asked = rows(9, 1, missing=True)
    expected = lightgbm.Booster(model_str=text).predict(asked)
    np.testing.assert_array_equal(walked.score(asked), expected)


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


def test_a_compiled_ranker_scores_alike_and_leaves_some_members_to_lightgbm() -> None:
    features = rows(2000, 2, missing=True)
    members = tuple(
        Member(
            name=objective, weight=weight, mean=0.1, std=0.7,
            booster=lightgbm.Booster(model_str=grown(features, objective=objective)),
        )
        for objective, weight in (("lambdarank", 1.0), ("binary", 0.5))
    )  # fmt: skip
    ranker = Ranker(members, tuple(f"f{i}" for i in range(F)))
    compiled = ranker.compiled()
    assert [m.forest is not None for m in compiled.members] == [True, False]
    np.testing.assert_array_equal(compiled.score(features), ranker.score(features))
    assert compiled.score(features[:0]).shape == (0,)


def test_without_numba_the_setting_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled_walk.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "numba", None)
    with pytest.raises(SettingsError, match="kindred\\[compiled\\]") as caught:
        forest.compiled_walk()
    assert caught.value.path == "$.api.compiled_ranker"
