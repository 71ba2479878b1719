"""A ranker for some fifty judged queries: a committee of small trees, mixed with a tuned cross.

With so few queries any single lesson is part chance. So the queries to learn from are cut into
five parts, and members learn from four of them each (committees by cross-validation, Krogh and
Vedelsby 1995), by lambdarank and by a listwise loss (XE-NDCG, Bruch 2021). The part that a
member did not see tells what it is worth, and so how much of the committee goes into the mean with
the cross: none, where it does not lead. Features enter as they are and less the mean of their list
over its deviation, and no tree may hold a similarity against a document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from kindred.experiments.ranking.graded_lists import Ranked
from kindred.experiments.ranking.query_features import EITHER_WAY, Signals
from kindred.rerank.lambdamart import RankingSet, grow_ranker
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows
from kindred.schemas.settings import RankerSettings

PARTS = 5
"""Of the queries to learn from; each member leaves one out."""
LOSSES = ("lambdarank", "rank_xendcg")
TREES, FEATURE_SHARE = 100, 0.4
SETTINGS = RankerSettings(leaves=4, learning_rate=0.05, min_data_in_leaf=60, truncation=30)
SHARES = (0.0, 0.3, 0.5, 0.7, 1.0)
"""Of the trees in the mean with the cross."""
WEIGHTS = tuple(np.linspace(0, 1, 11).round(1).tolist())
"""Of the text's part in a tuned sum."""
CROSS_FEATURE = "cross"


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a committee makes of all rows."""

    trees: Doubles
    """float64[n]: the committee's mean, standardised"""
    mixed: Doubles
    """float64[n]: with the cross"""
    share: float
    """Of the trees in `mixed`"""
    importance: dict[str, float] = field(default_factory=dict)
    """Share of the gain by feature"""


def folds_of(group: Rows, folds: int, seed: int) -> Rows:
    """int64[Q]: the fold of each query; those of a group stay together."""
    fold = np.random.default_rng(seed).permutation(int(group.max(initial=-1)) + 1) % folds
    return np.asarray(fold[group], np.int64)


def tuned_cross(
    ranked: Ranked, words: Doubles, text: Doubles, training: Mask
) -> tuple[float, Doubles]:
    """(text's weight, float64[n]) of the sum with the best NDCG@10 over the queries `training`.

    `words` and `text` are standardised; so is the sum.
    """
    worth = [_worth(ranked, (1 - w) * words + w * text, training) for w in WEIGHTS]
    weight = float(WEIGHTS[int(np.argmax(worth))])
    return weight, ranked.standard((1 - weight) * words + weight * text)


def columns_of(ranked: Ranked, signals: Signals) -> tuple[Floats, tuple[str, ...]]:
    """(float32[n, 2F], names): each feature, and each within its list."""
    plain = signals.columns(ranked.query, ranked.row)
    within = [ranked.standard(column) for column in plain.T.astype(np.float64)]
    names = (*signals.names, *(f"{name} in its list" for name in signals.names))
    return np.column_stack([plain, *within]).astype(np.float32), names


def learn(
    ranked: Ranked,
    features: Floats,
    names: Sequence[str],
    cross: Doubles,
    training: Mask,
    seed: int,
    threads: int = 0,
) -> Lesson:
    """A committee that learned from the queries `training`, bool[Q], and its mean with the cross.

    `features` float32[n, F] of `names`; `cross` float64[n] is the last feature.
    """
    known = np.column_stack([features, cross]).astype(np.float32)
    told = (*names, CROSS_FEATURE)
    part = folds_of(ranked.group, PARTS, seed)
    total, unseen = np.zeros(len(known)), np.zeros(len(known))
    gains: dict[str, float] = {}
    for left_out in range(PARTS):
        rows = (training & (part != left_out))[ranked.query]
        mine = np.zeros(len(known))
        for loss in LOSSES:
            scores, importance = _member(ranked, known, told, rows, loss, seed, threads)
            mine += ranked.standard(scores)
            for name, gain in importance.items():
                gains[name] = gains.get(name, 0.0) + gain / (PARTS * len(LOSSES))
        total += mine
        own = (part == left_out)[ranked.query]
        unseen[own] = mine[own]
    trees, unseen = ranked.standard(total), ranked.standard(unseen)
    worth = [_worth(ranked, s * unseen + (1 - s) * cross, training) for s in SHARES]
    share = SHARES[int(np.argmax(worth))]
    return Lesson(trees, share * trees + (1 - share) * cross, share, gains)


def _worth(ranked: Ranked, scores: Doubles, queries: Mask) -> float:
    return float(np.nanmean(ranked.ndcg(scores)[queries]))


def _member(
    ranked: Ranked,
    features: Floats,
    names: Sequence[str],
    rows: Mask,
    loss: str,
    seed: int,
    threads: int,
) -> tuple[Doubles, dict[str, float]]:
    """(float64[n] of all rows, importance) of trees that learned from `rows` by `loss`."""
    lengths = np.bincount(ranked.query[rows], minlength=ranked.queries)
    given = RankingSet(features[rows], ranked.grades[rows], lengths[lengths > 0].astype(np.int64))
    rising = [int(name.removesuffix(" in its list") not in EITHER_WAY) for name in names]
    ranker = grow_ranker(
        given, tuple(name.replace(" ", "_").replace("'", "") for name in names), SETTINGS,
        trees=TREES, seed=seed, threads=threads, on_tree=_silent,
        extra={
            "objective": loss, "monotone_constraints": rising, "feature_fraction": FEATURE_SHARE,
        },
    )  # fmt: skip
    return ranker.score(features), ranker.importance()


def _silent(_: int) -> None:
    return None
