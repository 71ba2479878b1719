"""The ranker: LightGBM lambdarank, trained, kept as text, asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kindred.schemas.ranking import Doubles, Floats, Rows
from kindred.schemas.settings import RankerSettings

if TYPE_CHECKING:
    import lightgbm

GAINS = (0, 1, 3, 7, 15, 31, 63)
"""Gain of grades 0 to 6."""


@dataclass(frozen=True)
class Ranker:
    """A trained booster; `features` names its columns."""

    booster: lightgbm.Booster
    features: tuple[str, ...]
    depth: int = 0
    """Places of the merge that it has learned to order; what lies deeper it never saw. 0: all."""

    def score(self, features: Floats) -> Doubles:
        """float64[n] from float32[n, F]; one thread, so that processes share the cores."""
        if not len(features):
            return np.zeros(0)
        scores = self.booster.predict(features, num_threads=1, validate_features=False)
        return np.asarray(scores, np.float64)

    @property
    def text(self) -> str:
        """LightGBM's own text form."""
        return str(self.booster.model_to_string())

    @classmethod
    def from_text(cls, text: str, depth: int = 0) -> Ranker:
        """The ranker that `text` describes."""
        import lightgbm

        booster = lightgbm.Booster(model_str=text)
        return cls(booster, tuple(booster.feature_name()), depth)

    def importance(self) -> dict[str, float]:
        """Share of the total gain by feature, largest first."""
        gain = np.asarray(self.booster.feature_importance("gain"), np.float64)
        share = gain / max(gain.sum(), 1e-12)
        order = np.argsort(-share)
        return {self.features[i]: round(float(share[i]), 5) for i in order}


@dataclass(frozen=True, slots=True)
class RankingSet:
    """Training rows: n candidates of Q queries with integer grades."""

    features: Floats
    grades: NDArray[np.int8]
    lengths: Rows
    weights: Floats | None = None
    """float32[n]: factor of each row's gradient; training only (SPEC §2.3)"""
    positions: NDArray[np.int32] | None = None
    """int32[n]: where each row stood; training only, no feature"""


def fit_ranker(
    train: RankingSet,
    development: RankingSet,
    names: tuple[str, ...],
    settings: RankerSettings,
    *,
    seed: int,
    threads: int = 0,
    on_tree: Callable[[int], None],
    stop_on: Callable[[Doubles], float] | None = None,
) -> tuple[Ranker, int]:
    """(ranker, trees): stops early on the development part's NDCG@10, which is unweighted.

    With `stop_on`, which gives the development rows' scores a loss, it stops on that. Weights and
    positions of the development part are never used: LightGBM would weigh its queries by them.
    Deterministic for a seed and a number of threads.
    """
    import lightgbm

    def loss(scores: Any, _: Any) -> tuple[str, float, bool]:
        assert stop_on is not None
        return "loss", stop_on(np.asarray(scores, np.float64)), False

    params = _params(settings, seed, threads, "ndcg" if stop_on is None else "None")
    data = _dataset(train, names)
    check = lightgbm.Dataset(
        development.features, development.grades, group=development.lengths, reference=data
    )

    booster = lightgbm.train(
        params,
        data,
        num_boost_round=settings.trees,
        valid_sets=[check],
        feval=None if stop_on is None else loss,
        callbacks=[
            lightgbm.early_stopping(settings.early_stopping, verbose=False),
            lambda _: on_tree(1),
        ],
    )
    best = booster.best_iteration or settings.trees
    return Ranker.from_text(booster.model_to_string(num_iteration=best)), best


def grow_ranker(
    train: RankingSet,
    names: tuple[str, ...],
    settings: RankerSettings,
    *,
    trees: int,
    seed: int,
    threads: int = 0,
    on_tree: Callable[[int], None],
) -> Ranker:
    """A ranker of so many `trees`, stopped by nothing; deterministic as `fit_ranker` is."""
    import lightgbm

    booster = lightgbm.train(
        _params(settings, seed, threads, "None"),
        _dataset(train, names),
        num_boost_round=trees,
        callbacks=[lambda _: on_tree(1)],
    )
    return Ranker.from_text(booster.model_to_string())


def _params(settings: RankerSettings, seed: int, threads: int, metric: str) -> dict[str, Any]:
    return {
        "objective": "lambdarank",
        "label_gain": list(GAINS),
        "lambdarank_truncation_level": settings.truncation,
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.leaves,
        "min_data_in_leaf": settings.min_data_in_leaf,
        "feature_fraction": 0.8,
        "metric": metric,
        "eval_at": [10],
        "lambdarank_position_bias_regularization": settings.position_regularization,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "verbosity": -1,
    }


def _dataset(train: RankingSet, names: tuple[str, ...]) -> lightgbm.Dataset:
    import lightgbm

    return lightgbm.Dataset(
        train.features, train.grades, group=train.lengths, weight=train.weights,
        position=train.positions, feature_name=list(names),
    )  # fmt: skip
