"""The ranker: a sum of LightGBM boosters, trained by lambdarank, kept as text, asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kindred.rerank.forest import Forest, forest_of
from kindred.rerank.objectives import PairObjective, pairs_of
from kindred.rerank.tree_walk import TreeWalk
from kindred.schemas.ranking import Doubles, Floats, Rows
from kindred.schemas.settings import RankerSettings

if TYPE_CHECKING:
    import lightgbm

GAINS = (0, 1, 3, 7, 15, 31, 63)
"""Gain of grades 0 to 6."""
SMOOTH = 10
"""Rounds whose losses are averaged before training stops on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One booster of a ranker, and how its scores enter the sum."""

    name: str
    """What it learned: `graded`, `binary` or `pairs`"""
    booster: lightgbm.Booster
    weight: float = 1.0
    mean: float = 0.0
    """Of its scores on rows that stay the same, so that a score is a function of its row alone."""
    std: float = 1.0
    """Of those scores."""
    forest: Forest | None = None
    """The booster's trees for compiled code, where it can walk them: the same scores"""
    walk: TreeWalk | None = None
    """That code; as long as it is not there, LightGBM answers"""

    def scores(self, features: Floats) -> Doubles:
        """float64[n] of float32[n, F]: the booster's own."""
        walk = None if self.walk is None else self.walk.compiled
        if self.forest is not None and walk is not None:
            return self.forest.score(features, walk)
        return _predicted(self.booster, features)


@dataclass(frozen=True)
class Ranker:
    """A weighted sum of members' scores, each less its mean over its standard deviation.

    A single member has mean 0 and standard deviation 1: its scores are the booster's own.
    """

    members: tuple[Member, ...]
    features: tuple[str, ...]
    """Names of the columns"""
    depth: int = 0
    """Places of the merge that it has learned to order; what lies deeper it never saw. 0: all."""

    def score(self, features: Floats) -> Doubles:
        """float64[n] from float32[n, F]; one thread, so that processes share the cores."""
        if not len(features):
            return np.zeros(0)
        scores = self.apart(features)
        factor = np.array([m.weight / m.std for m in self.members])
        total: Doubles = (scores - np.array([m.mean for m in self.members])) @ factor
        return total

    def apart(self, features: Floats) -> Doubles:
        """float64[n, M]: each member's own scores."""
        if not len(features):
            return np.zeros((0, len(self.members)))
        return np.stack([m.scores(features) for m in self.members], axis=1)

    def walked_by(self, walk: TreeWalk) -> Ranker:
        """The same ranker with its trees walked by compiled code, where they can be."""
        return replace(
            self,
            members=tuple(
                replace(m, forest=forest_of(m.booster.model_to_string()), walk=walk)
                for m in self.members
            ),
        )

    def contributions(self, features: Floats) -> Doubles:
        """float64[n, F + 1]: what each feature adds to a row's score (LightGBM's exact TreeSHAP).

        The last column is what no feature adds; a row sums to its score.
        """
        total = np.zeros((len(features), len(self.features) + 1))
        if not len(features):
            return total
        for m in self.members:
            total += _predicted(m.booster, features, pred_contrib=True) * (m.weight / m.std)
            total[:, -1] -= m.mean * m.weight / m.std
        return total

    @property
    def trees(self) -> int:
        """Trees of all members."""
        return sum(int(m.booster.num_trees()) for m in self.members)

    @classmethod
    def of(cls, booster: lightgbm.Booster, name: str = "graded", depth: int = 0) -> Ranker:
        """The ranker with one member."""
        return cls((Member(name=name, booster=booster),), tuple(booster.feature_name()), depth)

    @classmethod
    def from_text(cls, text: str, name: str = "graded") -> Ranker:
        """The ranker with the one booster that LightGBM's `text` describes."""
        import lightgbm

        return cls.of(lightgbm.Booster(model_str=text), name)

    def to_artefact(self) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
        """(arrays, texts) to keep: `members` float64[M, 3] of weight, mean and deviation."""
        arrays = {
            "members": np.array([(m.weight, m.mean, m.std) for m in self.members]),
            "depth": np.array([self.depth]),
        }
        texts = {
            _text_name(i): str(m.booster.model_to_string()) for i, m in enumerate(self.members)
        }
        return arrays, {**texts, "members": "\n".join(m.name for m in self.members)}

    @classmethod
    def from_artefact(cls, arrays: Mapping[str, NDArray[Any]], texts: Mapping[str, str]) -> Ranker:
        """What `to_artefact` kept; also a lone booster, as rankers were kept before members."""
        import lightgbm

        names = texts.get("members", "graded").split("\n")
        parts = arrays.get("members", np.array([(1.0, 0.0, 1.0)]))
        members = tuple(
            Member(
                name=name,
                booster=lightgbm.Booster(model_str=texts[_text_name(i)]),
                weight=float(parts[i, 0]),
                mean=float(parts[i, 1]),
                std=float(parts[i, 2]),
            )
            for i, name in enumerate(names)
        )
        features = tuple(members[0].booster.feature_name())
        return cls(members, features, int(arrays["depth"][0]) if "depth" in arrays else 0)

    def importance(self) -> dict[str, float]:
        """Share of the gain by feature, largest first; each member counts by its weight."""
        total = np.zeros(len(self.features))
        for m in self.members:
            gain = np.asarray(m.booster.feature_importance("gain"), np.float64)
            total += m.weight * gain / max(gain.sum(), 1e-12)
        share = total / max(total.sum(), 1e-12)
        order = np.argsort(-share)
        return {self.features[i]: round(float(share[i]), 5) for i in order}


def _predicted(booster: lightgbm.Booster, features: Floats, **how: bool) -> Doubles:
    found = booster.predict(features, num_threads=1, validate_features=False, **how)
    return np.asarray(found, np.float64)


def _text_name(i: int) -> str:
    return "booster" if i == 0 else f"booster_{i + 1}"


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
    values: Doubles | None = None
    """float64[n]: what came of each row in purchases. Where told, a pair weighs the difference
    (`objectives`); training only"""


def fit_ranker(
    train: RankingSet,
    development: RankingSet,
    names: tuple[str, ...],
    settings: RankerSettings,
    *,
    name: str = "graded",
    seed: int,
    threads: int = 0,
    on_tree: Callable[[int], None],
    stop_on: Callable[[Doubles], float] | None = None,
) -> tuple[Ranker, int]:
    """(ranker, trees): stops early on the development part's NDCG@10, which is unweighted.

    With `stop_on`, which gives the development rows' scores a loss, it stops on that, smoothed over
    SMOOTH rounds: every tree lifts and drops the few purchases. Weights and positions of the
    development part are never used: LightGBM would weigh its queries by them. Deterministic
    for a seed and a number of threads.
    """
    import lightgbm

    def loss(scores: Any, _: Any) -> tuple[str, float, bool]:
        assert stop_on is not None
        losses.append(stop_on(np.asarray(scores, np.float64)))
        return "loss", float(np.mean(losses[-SMOOTH:])), False

    losses: list[float] = []
    metric = "ndcg" if stop_on is None else "None"
    data = _dataset(train, names)
    check = lightgbm.Dataset(
        development.features, development.grades, group=development.lengths, reference=data
    )

    booster = lightgbm.train(
        _params(train, settings, seed, threads, metric),
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
    return Ranker.from_text(booster.model_to_string(num_iteration=best), name), best


def grow_ranker(
    train: RankingSet,
    names: tuple[str, ...],
    settings: RankerSettings,
    *,
    trees: int,
    name: str = "graded",
    seed: int,
    threads: int = 0,
    on_tree: Callable[[int], None],
    extra: Mapping[str, object] | None = None,
) -> Ranker:
    """A ranker of so many `trees`, stopped by nothing; deterministic as `fit_ranker` is.

    `extra`: parameters of LightGBM by name, which go before those of the settings.
    """
    import lightgbm

    booster = lightgbm.train(
        _params(train, settings, seed, threads, "None") | dict(extra or {}),
        _dataset(train, names),
        num_boost_round=trees,
        callbacks=[lambda _: on_tree(1)],
    )
    return Ranker.from_text(booster.model_to_string(), name)


def _params(
    train: RankingSet, settings: RankerSettings, seed: int, threads: int, metric: str
) -> dict[str, Any]:
    return {
        "objective": "lambdarank" if train.values is None else _pair_objective(train, settings),
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


def _pair_objective(train: RankingSet, settings: RankerSettings) -> PairObjective:
    return PairObjective(
        pairs_of(train.grades, train.lengths, GAINS, settings.truncation, train.values),
        truncation=settings.truncation,
        weights=train.weights,
        positions=train.positions,
        learning_rate=settings.learning_rate,
        regularization=settings.position_regularization,
    )


def _dataset(train: RankingSet, names: tuple[str, ...]) -> lightgbm.Dataset:
    import lightgbm

    return lightgbm.Dataset(
        train.features, train.grades, group=train.lengths, weight=train.weights,
        position=train.positions, feature_name=list(names),
    )  # fmt: skip
