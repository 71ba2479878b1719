"""One ranker learns from shown lists: its rows, labels and weights, and when its training stops.

A group is a shown list; its features are those it was ranked by. What a row weighs counts in
training alone; position enters as a bias term, never as a feature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
import numpy as np

from kindred.rerank.features import FEATURES
from kindred.rerank.judged import Judged, Known, Parts
from kindred.rerank.labels import BOUGHT, CLICKED, LabelOrder, inverse_propensity
from kindred.rerank.lambdamart import Ranker, RankingSet, fit_ranker, grow_ranker
from kindred.rerank.metrics import tied_ranks
from kindred.rerank.training import TooLittle, silent
from kindred.schemas.ranking import Doubles, Rows
from kindred.schemas.settings import RankerSettings

Goal = Literal["graded", "binary", "pairs"]
"""What one member learns: grades with weights for rows, purchases alone, or grades with weights for
pairs (`objectives`)"""
LISTS_A_LEAF, FEWEST_LEAVES = 300, 7
"""Trees have a leaf for so many training lists, as far as the settings allow: few lists in large
trees are learned by heart."""
MOST_CORRECTION = 10.0
"""Largest weight that a position far down gives what was found there."""
STOPPING_PURCHASES = 200
"""Purchases by which alone training stops. Simulated: with 66 of them chance stopped a ranker after
two trees, and everything that was acted on stopped it near its best."""
DEEPEST = 255
"""Positions from here on count as one."""


def fit_on_lists(
    parts: Parts,
    settings: RankerSettings,
    *,
    goal: Goal = "graded",
    seed: int,
    threads: int = 0,
    on_tree: Callable[[int], None] = silent,
) -> tuple[Ranker, dict[str, Any]]:
    """(ranker of one member, facts): learns from the training part, stops by the stopping part."""
    train = ranking_set(parts.training, parts.order, settings, goal)
    stopping = parts.stopping.labelled()
    if not (len(train.lengths) and len(stopping.lists)):
        raise TooLittle(
            f"{len(train.lengths)} training and {len(stopping.lists)} stopping lists of which "
            "something came: too few to learn from"
        )
    weights, counted = rank_weights(stopping, parts, settings, STOPPING_PURCHASES)
    # Only these lists have a say: the others would be scored and sorted after every tree.
    owners = stopping.lists.owners
    counts = np.bincount(owners, weights, len(stopping.lists)) > 0
    stopping, weights = stopping.take(counts), weights[counts[owners]]
    check = RankingSet(stopping.lists.features, stopping.labels, np.diff(stopping.lists.offsets))
    leaves = min(settings.leaves, max(len(train.lengths) // LISTS_A_LEAF, FEWEST_LEAVES))
    ranker, trees = fit_ranker(
        train, check, FEATURES, _with_leaves(settings, leaves), name=goal, seed=seed,
        threads=threads, on_tree=on_tree, stop_on=rank_loss(stopping.lists.offsets, weights),
    )  # fmt: skip
    return ranker, {
        "trees": trees,
        "leaves": leaves,
        "training_lists": len(train.lengths),
        "training_rows": len(train.grades),
        "stopped by": counted,
    }


def fit_on_all(
    known: Known,
    settings: RankerSettings,
    facts: Mapping[str, Any],
    *,
    goal: Goal = "graded",
    seed: int,
    threads: int = 0,
    on_tree: Callable[[int], None] = silent,
) -> tuple[Ranker, dict[str, Any]]:
    """(ranker, facts): what `fit_on_lists` found to fit, of its `facts`, on all that is known."""
    train = ranking_set(known.lists, known.order, settings, goal)
    ranker = grow_ranker(
        train, FEATURES, _with_leaves(settings, facts["leaves"]), trees=facts["trees"], name=goal,
        seed=seed, threads=threads, on_tree=on_tree,
    )  # fmt: skip
    return ranker, {"lists": len(train.lengths), "rows": len(train.grades)}


def _with_leaves(settings: RankerSettings, leaves: int) -> RankerSettings:
    return msgspec.structs.replace(settings, leaves=leaves)


def ranking_set(
    part: Judged, order: LabelOrder, settings: RankerSettings, goal: Goal
) -> RankingSet:
    """Rows for LightGBM, with weights and positions as the settings want them."""
    if goal == "binary":
        part = part.take(np.bincount(part.lists.owners, part.bought, minlength=len(part.lists)) > 0)
    shown, at = part.lists.shown, part.lists.at
    labels, weights, values = part.labels, None, None
    if goal == "binary":
        labels = part.bought.astype(np.int8)
    elif goal == "pairs":
        values = worth(part, order)
    if goal != "binary" and not settings.middle_actions:
        labels = np.where((labels > CLICKED) & (labels < BOUGHT), CLICKED, labels).astype(np.int8)
    if goal == "graded":
        weights = order.weight(labels, shown.formats[at], settings.weights)
    if settings.propensity == "ips":
        factor = inverse_propensity(shown.propensity[at], settings.propensity_clip)
        weights = factor if weights is None else weights * factor
    positions = None
    if settings.position_bias:
        place = np.clip(shown.position[at], 0, DEEPEST).astype(np.int32)
        positions = place + (DEEPEST + 1) * (shown.platform[shown.owners[at]].astype(np.int32) + 1)
    return RankingSet(
        part.lists.features, labels, np.diff(part.lists.offsets), weights, positions, values
    )


def worth(part: Judged, order: LabelOrder) -> Doubles:
    """float64[n]: the share of such actions that a purchase followed; 0 where nothing happened."""
    formats = part.lists.shown.formats[part.lists.at]
    return order.weight(part.labels, formats, {"nothing": 0.0, **order.values}).astype(np.float64)


def rank_weights(
    part: Judged, parts: Parts, settings: RankerSettings, least: int
) -> tuple[Doubles, str]:
    """(float64[n] weights of the rows that a rank is measured by, what they are).

    Purchases where there are `least`; else whatever was acted on counts, by the purchases to be
    expected of it. A row weighs the inverse of its chance of a look, where positions are learned:
    what was found far down would have been found more often further up, and without that the order
    shown would be hard to leave (Joachims et al. 2017). Training weights have no part in it.
    """
    enough = int(part.bought.sum()) >= least
    weights = part.bought.astype(np.float64) if enough else worth(part, parts.order)
    if settings.position_bias:
        weights = weights / np.maximum(part.looks(parts.curve), 1 / MOST_CORRECTION)
    return weights, "purchases" if enough else "purchases to be expected of what was acted on"


def rank_loss(offsets: Rows, weights: Doubles) -> Callable[[Doubles], float]:
    """The mean rank of scores float64[n] over the rows that weigh anything."""
    counted = weights > 0

    def loss(scores: Doubles) -> float:
        return float(np.average(tied_ranks(scores, offsets)[counted], weights=weights[counted]))

    return loss
