"""Training the ranker from what was shown and what came of it (SPEC §3.7, B4–B11).

A group is a shown list; its features are those it was ranked by. Labels are weighted in training
only; position enters as LightGBM's bias term, never as a feature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from kindred.rerank.alternatives import Tried, grow_members, try_objectives
from kindred.rerank.calibration import ALL, Calibration, fit_by_platform
from kindred.rerank.gate import ACTED_RANK, PURCHASE_RANK, by_slice, verdict
from kindred.rerank.judged import Known, Parts, judged_lists
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.logged import LoggedLists
from kindred.rerank.training import TrainedRanker, silent
from kindred.schemas.ranking import Rows
from kindred.schemas.settings import RankerSettings

FEW_PURCHASES = 50
"""Purchases from which on the scores are calibrated by them; below, any outcome does."""
SELDOM = 0.01
"""A place of the merge counts as seen from this share of the lists on."""


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
    tried = try_objectives(parts, settings, seed=seed, threads=threads, on_tree=on_tree)
    ranker, judging = tried.ranker, parts.judging
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
    told = {
        "learned from": "joined impressions",
        "objective": tried.report,
        "middle actions": settings.middle_actions,
        "position bias": settings.position_bias,
        "propensity": settings.propensity,
        "judged by": name,
        "compared": compared,
    }
    return judged_ranker(tried, parts, settings, verdict(compared, name), told)


def judged_ranker(
    tried: Tried,
    parts: Parts,
    settings: RankerSettings,
    gate: tuple[bool, str],
    told: Mapping[str, Any],
) -> TrainedRanker:
    """What is kept of a ranker and the `gate`'s (passed, reason), calibrated.

    The card is `told` how it was judged, and what it learned from is counted here.
    """
    ranker, (passed, reason) = tried.ranker, gate
    calibration, what, curves = calibrated(ranker, parts)
    return TrainedRanker(
        ranker=ranker,
        calibration=calibration,
        metrics={
            **told,
            "trees": ranker.trees,
            "members": {goal: tried.facts[goal] for goal in tried.members()},
            "training_lists": len(parts.training.lists),
            "stopping_lists": len(parts.stopping.lists),
            "judging_lists": len(parts.judging.lists),
            "parts end": list(parts.moments),
            "label order": parts.order.report,
            "weights": dict(settings.weights),
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
    facts = trained.metrics["members"]
    ranker, told = grow_members(
        known, settings, facts, list(facts), seed=seed, threads=threads, on_tree=on_tree
    )
    depth = seen_depth(known.lists.lists)
    ranker = replace(ranker, depth=depth)
    metrics = {
        **trained.metrics,
        "depth": depth,
        "refitted on": {"lists": len(known.lists.lists), "members": told},
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
