"""Training the ranker from what was shown and what came of it (SPEC §3.7, B4–B11).

A group is a shown list; its features are those it was ranked by. Labels are weighted in training
only; position enters as LightGBM's bias term, never as a feature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import msgspec
import numpy as np

from kindred.indexer.behaviour.impressions import PLATFORMS
from kindred.rerank.calibration import ALL, Calibration, fit_by_platform
from kindred.rerank.features import FEATURES
from kindred.rerank.judged import Judged, Known, Parts, judged_lists
from kindred.rerank.labels import LabelOrder, inverse_propensity
from kindred.rerank.lambdamart import Ranker, RankingSet, fit_ranker, grow_ranker
from kindred.rerank.logged import LoggedLists
from kindred.rerank.metrics import paired_interval, purchase_rank, shown_ndcg, tied_ranks
from kindred.rerank.training import TooLittle, TrainedRanker, silent
from kindred.schemas.ranking import Doubles, Mask, Rows
from kindred.schemas.settings import RankerSettings

Goal = Literal["graded", "purchase"]
FEW_PURCHASES = 50
"""Purchases from which on the scores are calibrated by them; below, any outcome does."""
LEAST_JUDGED = 20
"""Lists that a gate takes at least: an interval of fewer means little."""
LISTS_A_LEAF, FEWEST_LEAVES = 300, 7
"""Trees have a leaf for so many training lists, as far as the settings allow: few lists in large
trees are learned by heart."""
PURCHASE_RANK, ACTED_RANK = "purchase rank", "rank of what was acted on"
MOST_CORRECTION = 10.0
"""Largest weight that a position far down gives what was found there."""
SELDOM = 0.01
"""A place of the merge counts as seen from this share of the lists on."""
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
    """(ranker, facts): grades with weights and position, or purchases alone ("purchase")."""
    train = ranking_set(parts.training, parts.order, settings, goal)
    stopping = parts.stopping.labelled()
    check = RankingSet(stopping.lists.features, stopping.labels, np.diff(stopping.lists.offsets))
    if not (len(train.lengths) and len(check.lengths)):
        raise TooLittle(
            f"{len(train.lengths)} training and {len(check.lengths)} stopping lists of which "
            "something came: too few to learn from"
        )
    looks = stopping.looks(parts.curve) if settings.position_bias else None
    leaves = min(settings.leaves, max(len(train.lengths) // LISTS_A_LEAF, FEWEST_LEAVES))
    ranker, trees = fit_ranker(
        train, check, FEATURES, _with_leaves(settings, leaves), seed=seed, threads=threads,
        on_tree=on_tree, stop_on=rank_loss(stopping, parts.order, looks),
    )  # fmt: skip
    return ranker, {
        "trees": trees,
        "leaves": leaves,
        "training_lists": len(train.lengths),
        "training_rows": len(train.grades),
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
        train, FEATURES, _with_leaves(settings, facts["leaves"]), trees=facts["trees"], seed=seed,
        threads=threads, on_tree=on_tree,
    )  # fmt: skip
    return ranker, {"lists": len(train.lengths), "rows": len(train.grades)}


def _with_leaves(settings: RankerSettings, leaves: int) -> RankerSettings:
    return msgspec.structs.replace(settings, leaves=leaves)


def ranking_set(
    part: Judged, order: LabelOrder, settings: RankerSettings, goal: Goal
) -> RankingSet:
    """Rows for LightGBM, with weights and positions as the settings want them."""
    shown, at = part.lists.shown, part.lists.at
    if goal == "purchase":
        bought = np.bincount(part.lists.owners, part.bought, minlength=len(part.lists)) > 0
        part = part.take(bought)
        at = part.lists.at
        labels, weights = part.bought.astype(np.int8), None
    else:
        labels = part.labels
        weights = order.weight(labels, shown.formats[at], settings.weights)
    if settings.propensity == "ips":
        factor = inverse_propensity(shown.propensity[at], settings.propensity_clip)
        weights = factor if weights is None else weights * factor
    positions = None
    if settings.position_bias:
        place = np.clip(shown.position[at], 0, DEEPEST).astype(np.int32)
        positions = place + (DEEPEST + 1) * (shown.platform[shown.owners[at]].astype(np.int32) + 1)
    return RankingSet(part.lists.features, labels, np.diff(part.lists.offsets), weights, positions)


def rank_loss(part: Judged, order: LabelOrder, looks: Doubles | None) -> Callable[[Doubles], float]:
    """The purchase rank to be expected of scores of these rows; training weights have no part.

    Purchases are few, so whatever was acted on counts, by the share of such actions that a
    purchase followed. With `looks`, float64[n], a row weighs the inverse: what was found far down
    would have been found more often further up, and without that the order shown would be hard to
    leave (Joachims et al. 2017).
    """
    offsets = part.lists.offsets
    formats = part.lists.shown.formats[part.lists.at]
    worth = order.weight(part.labels, formats, {"nothing": 0.0, **order.values})
    weights = worth.astype(np.float64)
    if looks is not None:
        weights = weights / np.maximum(looks, 1 / MOST_CORRECTION)
    acted = weights > 0

    def loss(scores: Doubles) -> float:
        return float(np.average(tied_ranks(scores, offsets)[acted], weights=weights[acted]))

    return loss


def train_on_lists(
    parts: Parts,
    settings: RankerSettings,
    *,
    seed: int,
    threads: int = 0,
    on_tree: Callable[[int], None] = silent,
) -> TrainedRanker:
    """Fit, calibrate, and judge on the last part.

    The gate: the purchased item ranks better than in the merge's order, with a 95 % interval,
    paired and clustered by visitor, that excludes zero; and not clearly worse where the order was
    random, which no position favours. Where nothing at all was bought, as in classifieds, what was
    acted on stands for it.
    """
    ranker, facts = fit_on_lists(parts, settings, seed=seed, threads=threads, on_tree=on_tree)
    judging = parts.judging
    score = ranker.score(judging.lists.features)
    orders = {
        "ranker": score,
        "merge": -judging.lists.recall_rank.astype(np.float64),
        "shown": -judging.lists.shown.position[judging.lists.at].astype(np.float64),
    }
    target, name = judging.bought, PURCHASE_RANK
    if not any(p.bought.any() for p in (parts.training, parts.stopping, judging)):
        target, name = judging.labels > 1, ACTED_RANK
    compared = by_slice(judging, target, orders, seed)
    passed, reason = verdict(compared, name)
    calibration, what, curves = calibrated(ranker, parts)
    return TrainedRanker(
        ranker=ranker,
        calibration=calibration,
        metrics={
            "learned from": "joined impressions",
            **facts,
            "stopping_lists": len(parts.stopping.lists),
            "judging_lists": len(judging.lists),
            "parts end": list(parts.moments),
            "label order": parts.order.report,
            "weights": dict(settings.weights),
            "position bias": settings.position_bias,
            "propensity": settings.propensity,
            "judged by": name,
            "compared": compared,
            "calibrated on": what,
            "expected_calibration_error": curves[ALL]["expected error"],
            "calibration": curves,
            "importance": most_important(ranker),
        },
        passed=passed,
        reason=reason,
    )


def refitted(
    trained: TrainedRanker,
    known: Known,
    settings: RankerSettings,
    *,
    seed: int,
    threads: int = 0,
    on_tree: Callable[[int], None] = silent,
) -> TrainedRanker:
    """The ranker that serves where `trained` was found good: made alike, of all that is known.

    The calibration stays that by lists which the judged ranker had not learned from: by those that
    it knows, this one would be too sure. The two give scores on other scales, so the curve moves to
    the scores that as many of the same rows reach.
    """
    ranker, facts = fit_on_all(
        known, settings, trained.metrics, seed=seed, threads=threads, on_tree=on_tree
    )
    depth = seen_depth(known.lists.lists)
    ranker = replace(ranker, depth=depth)
    metrics = {
        **trained.metrics,
        "depth": depth,
        "refitted on": facts,
        "label order": known.order.report,
        "importance": most_important(ranker),
    }
    features = known.lists.lists.features
    before, after = (np.sort(r.score(features)) for r in (trained.ranker, ranker))
    moved = trained.calibration.moved(before, after)
    return replace(trained, ranker=ranker, calibration=moved, metrics=metrics)


def seen_depth(lists: LoggedLists) -> int:
    """The deepest place of the merge from which items were shown in one list of a hundred.

    Judged by shown lists, a ranker may be good at ordering what the merge puts on top and worthless
    at choosing from below: it has never seen what becomes of that.
    """
    shown = np.bincount(lists.recall_rank)
    often = np.flatnonzero(shown >= SELDOM * len(lists))
    return int(often[often > 0].max(initial=0))


def most_important(ranker: Ranker) -> dict[str, float]:
    """Share of the gain of the first twenty features, largest first."""
    return dict(list(ranker.importance().items())[:20])


def verdict(compared: Mapping[str, Mapping[str, Any]], name: str) -> tuple[bool, str]:
    """(passed, why) from `by_slice`; a rank that falls is better."""
    found, lead = compared["all"]["judged lists"], compared["all"]["ranker - merge"]
    if found < LEAST_JUDGED or lead is None:
        what = "a purchase" if name == PURCHASE_RANK else "something acted on"
        return False, f"{found} later lists with {what} to judge by, {LEAST_JUDGED} needed"
    told = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*lead)
    reason = f"{name} {told} against the merge's order in {found:,} shown lists"
    if lead[2] >= 0:
        return False, reason
    fair = compared.get("randomised", {"judged lists": 0})
    lead = fair["ranker - merge"] if fair["judged lists"] >= LEAST_JUDGED else None
    if lead is not None and lead[1] > 0:
        return False, reason + ", but worse where the order was random"
    return True, reason


def by_slice(
    part: Judged, target: Mask, orders: Mapping[str, Doubles], seed: int
) -> dict[str, dict[str, Any]]:
    """Orders compared over all lists, the randomised ones, and each platform's."""
    slices: dict[str, Mask] = {"all": np.ones(len(part.lists), np.bool_)}
    if part.explore.any():
        slices["randomised"] = part.explore
    for code, name in enumerate(PLATFORMS):
        if (part.platform == code).any():
            slices[name] = part.platform == code
    return {name: compare(part, target, orders, mask, seed) for name, mask in slices.items()}


def compare(
    part: Judged, target: Mask, orders: Mapping[str, Doubles], wanted: Mask, seed: int
) -> dict[str, Any]:
    """Mean rank of the rows bool[n] `target` and NDCG@10 on the lists `wanted`, by order.

    "ranker - merge" is the paired difference of the ranks with its interval.
    """
    offsets = part.lists.offsets
    ranks = {name: tied_ranks(order, offsets) for name, order in orders.items()}
    places = {name: purchase_rank(r, target, offsets)[wanted] for name, r in ranks.items()}
    found = ~np.isnan(places["ranker"])
    subject = part.subject[wanted][found]
    lead = None
    if len(np.unique(subject)) > 1:
        lead = paired_interval((places["ranker"] - places["merge"])[found], subject, seed)
    return {
        "lists": int(wanted.sum()),
        "judged lists": int(found.sum()),
        "rank": {name: _mean(places[name]) for name in ranks},
        "ranker - merge": None if lead is None else [round(x, 4) for x in lead],
        "ndcg@10": {
            name: _mean(shown_ndcg(rank, part.labels, offsets, 10)[wanted])
            for name, rank in ranks.items()
        },
    }


def calibrated(ranker: Ranker, parts: Parts) -> tuple[Calibration, str, dict[str, Any]]:
    """(P(purchase | shown), what it stands for, `fit_by_platform`'s report) from both later parts.

    All that is known by now counts. With few purchases it is the chance that anything comes of it:
    the blend reads ratios, and a flat curve would leave the order to the ad rates.
    """
    stopping = judged_lists(parts.stopping.lists, parts.order, parts.moments.judging)
    both = (stopping, parts.judging)
    scores = np.concatenate([ranker.score(p.lists.features) for p in both])
    bought = np.concatenate([p.bought for p in both])
    clicked = np.concatenate([p.labels > 0 for p in both])
    enough = int(bought.sum()) >= FEW_PURCHASES
    target = (bought if enough else clicked).astype(np.float64)
    owners: Rows = np.concatenate([both[0].lists.owners, both[1].lists.owners + len(both[0].lists)])
    platforms = np.concatenate([p.platform[p.lists.owners] for p in both])
    what = "purchase of a shown item" if enough else "any outcome of a shown item"
    calibration, report = fit_by_platform(scores, target, owners, platforms)
    return calibration, what, report


def _mean(values: Doubles) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(known.mean()), 5) if len(known) else None
