"""Shown lists ordered anew: would the bought items have stood higher?

Everything that orders was made of what was known at a moment: labels, their order, what positions
earned, how items did. It is asked about lists shown afterwards, and only what came of those is of
later. What was shown is also what could be bought, so the order shown has an advantage that
its positions gave it; lists in random order give it to nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kindred.rerank.alternatives import grow_objectives, try_objectives, wanted_goals
from kindred.rerank.judged import Judged, Known, Parts, judged_lists, known_lists, split_lists
from kindred.rerank.labels import LabelOrder, usable
from kindred.rerank.logged import JoinedLog, read_lists
from kindred.rerank.metrics import (
    paired_interval,
    purchase_mrr,
    purchase_rank,
    shown_ndcg,
    tied_ranks,
)
from kindred.rerank.training import TooLittle
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Doubles, Mask, Rows
from kindred.schemas.settings import KindredSettings

SHOWN, MERGE, RANKER, POPULARITY = "shown", "merge (RRF)", "ranker", "popularity"
RANK, MRR = "purchase rank", "purchase MRR"

Values = dict[str, Doubles]
"""Metric -> float64[L], NaN where a list has no say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Shown lists on both sides of a moment."""

    parts: Parts
    """What a ranker is tried on"""
    known: Known
    """What it is made of then: all that was known at the moment"""
    later: Judged


def compare_orders(
    log: JoinedLog,
    moment: int,
    size: int,
    settings: KindredSettings,
    *,
    seeds: Sequence[int],
    ks: Sequence[int],
    lists: int,
    progress: Progress,
) -> dict[str, Any]:
    """Train before `moment`, compare on at most `lists` lists after it; plain data.

    Raises TooLittle where there is nothing to learn from, or nothing to judge by.
    """
    with progress.task("read shown lists") as on_lists:
        read = read_split(log, moment, size, settings, lists, on_lists)
    known, later = read.known, read.later
    values: dict[str, list[Values]] = {}
    facts: list[dict[str, Any]] = []
    for seed in seeds:
        orders, told = orders_of(read, settings, seed, progress)
        facts.append({"seed": seed, **told})
        for name, order in orders.items():
            values.setdefault(name, []).append(metrics_of(later, order, ks))
    means = {name: _mean_over(found) for name, found in values.items()}
    slices = {"all": np.ones(len(later.lists), np.bool_)}
    if later.explore.any():
        slices["randomised"] = later.explore
    return {
        "lists": len(later.lists),
        "lists with a purchase": later.bought_lists,
        "training": facts,
        "label order": known.order.report,
        "by seed": {
            name: [round(float(np.nanmean(v[RANK])), 4) for v in found]
            for name, found in values.items()
        },
        "slices": {
            name: slice_report(means, mask, later, settings.seed) for name, mask in slices.items()
        },
    }


def read_split(
    log: JoinedLog,
    moment: int,
    size: int,
    settings: KindredSettings,
    most: int,
    on_lists: Callable[[int], None],
) -> Split:
    """What makes rankers at `moment`, and what they are asked afterwards."""
    ranker, windows = settings.ranker, settings.join
    known = known_lists(log, moment, size, ranker, windows, on_lists=on_lists)
    return Split(
        parts=split_lists(
            log, moment, size, ranker, windows, seed=settings.seed, on_lists=on_lists
        ),
        known=known,
        later=later_lists(log, known.order, moment, size, settings, most, on_lists),
    )


def later_lists(
    log: JoinedLog,
    order: LabelOrder,
    moment: int,
    size: int,
    settings: KindredSettings,
    most: int,
    on_lists: Callable[[int], None],
) -> Judged:
    """Lists shown from `moment` on, labelled by all that is known of them today.

    How items did is in their features as it was logged, or else as of `moment`.
    """
    shown, end = log.shown, log.shown.newest + 1
    keep = usable(shown, end, settings.join, open_purchases=settings.ranker.open_purchases)
    known = np.bincount(shown.owners[keep], minlength=shown.lists) > 0
    wanted: Rows = np.flatnonzero(known & log.readable() & (shown.at >= moment))
    if len(wanted) > most:
        drawn = np.random.default_rng(settings.seed).choice(wanted, most, replace=False)
        wanted = np.sort(drawn)
    lists = read_lists(log, wanted, keep, size, on_lists, known=moment)
    later = judged_lists(lists, order, end)
    if later.bought_lists < 2:
        raise TooLittle(
            f"{len(later.lists)} later lists of which {later.bought_lists} have a purchase: too "
            "few to compare by"
        )
    return later


def orders_of(
    read: Split, settings: KindredSettings, seed: int, progress: Progress
) -> tuple[dict[str, Doubles], dict[str, Any]]:
    """(scores of the later rows by method, facts of the training) for one seed.

    As where they serve, rankers are tried on the parts and made of all that was known.
    """
    chosen, parts, known = settings.ranker, read.parts, read.known
    held = read.later.lists
    orders: dict[str, Doubles] = {
        SHOWN: -held.shown.position[held.at].astype(np.float64),
        MERGE: -held.recall_rank.astype(np.float64),
    }
    popularity = held.column("popularity").astype(np.float64)
    if not np.isnan(popularity).all():
        orders[POPULARITY] = popularity
    with progress.task(
        f"grow trees, seed {seed}", 2 * len(wanted_goals(chosen)) * chosen.trees
    ) as on_tree:
        tried = try_objectives(parts, chosen, seed=seed, on_tree=on_tree)
        grown, facts = grow_objectives(known, chosen, tried, seed=seed, on_tree=on_tree)
    orders[RANKER] = grown[tried.served].score(held.features)
    for name, ranker in grown.items():
        if name != tried.served:
            orders[f"{RANKER}, {name}"] = ranker.score(held.features)
    return orders, {"objective": tried.report, "members": tried.facts, "refitted on": facts}


def metrics_of(later: Judged, order: Doubles, ks: Sequence[int]) -> Values:
    """Every metric of one order, by list."""
    offsets = later.lists.offsets
    ranks = tied_ranks(order, offsets)
    return {
        RANK: purchase_rank(ranks, later.bought, offsets),
        MRR: purchase_mrr(ranks, later.bought, offsets),
        **{f"NDCG@{k}": shown_ndcg(order, later.labels, offsets, k) for k in ks},
    }


def slice_report(
    values: Mapping[str, Values], wanted: Mask, later: Judged, seed: int
) -> dict[str, Any]:
    """Means with 95 % intervals, and the ranker's paired leads, over the lists `wanted`."""
    subject = later.subject

    def interval(found: Doubles) -> list[float] | None:
        known = wanted & ~np.isnan(found)
        if len(np.unique(subject[known])) < 2:
            return None
        return [round(x, 5) for x in paired_interval(found[known], subject[known], seed)]

    bought = wanted & ~np.isnan(values[RANKER][RANK])
    return {
        "lists": int(wanted.sum()),
        "lists with a purchase": int(bought.sum()),
        "methods": {
            name: {metric: interval(found) for metric, found in by_metric.items()}
            for name, by_metric in values.items()
        },
        "differences": {
            other: {
                metric: interval(values[RANKER][metric] - found)
                for metric, found in values[other].items()
            }
            for other in values
            if other != RANKER
        },
    }


def _mean_over(found: Sequence[Values]) -> Values:
    """Over the seeds, list by list."""
    return {metric: np.mean([v[metric] for v in found], axis=0) for metric in found[0]}
