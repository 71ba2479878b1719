"""The learning curve (SPEC C1, C2, C7): what a ranker makes of 30, 100, 300, 1,000 purchases.

Simulated markets give lists with what came of them. Of the lists to learn from, so many are drawn
that they hold the purchases wanted, and as many in proportion of those that training stops by; all
later lists judge. Every alternative learns from the same draw. The measure is the purchase rank
relative to that of the ranker which knows purchases alone: below zero is better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.impressions import PLATFORMS
from kindred.rerank.alternatives import ENSEMBLE, together, try_objectives
from kindred.rerank.fitting import fit_on_lists
from kindred.rerank.judged import Judged, Parts
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.metrics import purchase_rank, shown_ndcg, tied_ranks
from kindred.rerank.training import TooLittle
from kindred.schemas.ranking import Doubles, Mask
from kindred.schemas.settings import RankerSettings

SIZES = (30, 100, 300, 1000)
BINARY, UNWEIGHTED, WEIGHTED = "binary", "graded, unweighted", "graded, row weights"
PHASE_1, PAIRS, SERVED = "click and purchase, 150", "pairs", "served (auto)"
NAMES = (BINARY, UNWEIGHTED, WEIGHTED, PHASE_1, PAIRS, ENSEMBLE, SERVED)
PURCHASE_WEIGHT = 150.0
"""Of a purchase in eBay's click-and-purchase model (SPEC B9)."""
DEPTH = 10
"""Of NDCG."""
RANDOMISED = "randomised"
OF_AUTO = {"binary": BINARY, "graded": WEIGHTED, "pairs": PAIRS, ENSEMBLE: ENSEMBLE}


@dataclass(frozen=True, slots=True)
class Measured:
    """One alternative on the judging lists of one market, by draw."""

    ranks: Doubles
    """float64[D, L]: purchase rank, NaN where nothing was bought"""
    ndcg: Doubles
    """float64[D, L]: NDCG@10, NaN where nothing happened"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketCurve:
    """Everything measured on one market."""

    seed: int
    visitor: NDArray[np.int64]
    """int64[L]"""
    platform: NDArray[np.int8]
    """int8[L]"""
    explore: Mask
    """bool[L]: in random order, which no position favours"""
    sizes: Mapping[int, Mapping[str, Measured]]
    served: Mapping[int, list[str]]
    """Size -> the objective that `auto` chose, by draw"""
    facts: Mapping[str, Any]


def measure_market(
    parts: Parts,
    settings: RankerSettings,
    sizes: Sequence[int],
    *,
    seed: int,
    draws: int,
    threads: int = 0,
    on_fit: Callable[[int], None],
) -> MarketCurve:
    """All alternatives at every size that the market's training lists hold purchases for."""
    held = int(parts.training.bought.sum())
    measured: dict[int, dict[str, Measured]] = {}
    served: dict[int, list[str]] = {}
    judging = parts.judging
    for size in sizes:
        if size > held:
            on_fit(draws)
            continue
        found: list[dict[str, tuple[Doubles, Doubles]]] = []
        served[size] = []
        for draw in range(draws):
            rng = np.random.default_rng([seed, size, draw])
            rankers, chosen = learn(sized(parts, size, rng), settings, seed + draw, threads)
            served[size].append(chosen)
            found.append({name: judge(r, judging) for name, r in rankers.items()})
            on_fit(1)
        measured[size] = {
            name: Measured(
                np.stack([f[name][0] for f in found]), np.stack([f[name][1] for f in found])
            )
            for name in NAMES
        }
    if not measured:
        raise TooLittle(
            f"{held} purchases in the lists to learn from, {min(sizes)} wanted: simulate more "
            "impressions"
        )
    _, visitor = np.unique(judging.subject, return_inverse=True)
    return MarketCurve(
        seed=seed,
        visitor=visitor.astype(np.int64),
        platform=judging.platform,
        explore=judging.explore,
        sizes=measured,
        served=served,
        facts={
            "seed": seed,
            "training lists": len(parts.training.lists),
            "purchases to learn from": held,
            "stopping lists": len(parts.stopping.lists),
            "judging lists": len(judging.lists),
            "judging lists with a purchase": judging.bought_lists,
            "label order": parts.order.report["all formats"],
        },
    )


def sized(parts: Parts, purchases: int, rng: np.random.Generator) -> Parts:
    """Training lists drawn until they hold so many purchases; of the stopping lists, their share.

    Raises TooLittle where the training lists hold fewer.
    """
    training = parts.training
    bought = np.bincount(training.lists.owners, training.bought, minlength=len(training.lists))
    order = rng.permutation(len(training.lists))
    held = np.cumsum(bought[order])
    if not len(held) or held[-1] < purchases:
        raise TooLittle(f"the lists to learn from hold fewer than {purchases} purchases")
    last = int(np.searchsorted(held, purchases))
    share = (last + 1) / len(order)
    return replace(
        parts,
        training=training.take(_among(order[: last + 1], len(order))),
        stopping=_share(parts.stopping, share, rng),
    )


def _share(part: Judged, share: float, rng: np.random.Generator) -> Judged:
    """A share of the lists, drawn; those of which something came and the others alike."""
    count = len(part.lists)
    happened = np.bincount(part.lists.owners, part.labels > 0, minlength=count) > 0
    chosen = np.zeros(count, np.bool_)
    for group in (np.flatnonzero(happened), np.flatnonzero(~happened)):
        wanted = min(max(round(share * len(group)), 1), len(group))
        chosen[rng.choice(group, wanted, replace=False)] = True
    return part.take(chosen)


def _among(places: NDArray[np.int64], count: int) -> Mask:
    chosen = np.zeros(count, np.bool_)
    chosen[places] = True
    return chosen


def learn(
    parts: Parts, settings: RankerSettings, seed: int, threads: int = 0
) -> tuple[dict[str, Ranker], str]:
    """(rankers by name, the alternative that serves) of one draw."""
    auto = msgspec.structs.replace(settings, objective="auto")
    tried = try_objectives(parts, auto, seed=seed, threads=threads)
    members = {OF_AUTO[name]: ranker for name, ranker in tried.rankers.items()}
    if WEIGHTED not in members or BINARY not in members:
        raise TooLittle("too few lists with a purchase to compare alternatives by")
    unweighted = msgspec.structs.replace(settings, weights={})
    phase_1 = msgspec.structs.replace(
        settings, middle_actions=False, weights={"purchase": PURCHASE_WEIGHT}
    )
    for name, changed in ((UNWEIGHTED, unweighted), (PHASE_1, phase_1)):
        members[name], _ = fit_on_lists(parts, changed, goal="graded", seed=seed, threads=threads)
    of = [members[BINARY], members[WEIGHTED]]
    members.setdefault(ENSEMBLE, together(of, parts.stopping.lists.features))
    return {**members, SERVED: tried.ranker}, OF_AUTO[tried.served]


def judge(ranker: Ranker, later: Judged) -> tuple[Doubles, Doubles]:
    """(purchase rank, NDCG@10) of each later list."""
    offsets = later.lists.offsets
    ranks = tied_ranks(ranker.score(later.lists.features), offsets)
    return (
        purchase_rank(ranks, later.bought, offsets),
        shown_ndcg(ranks, later.labels, offsets, DEPTH),
    )


def slices_of(curve: MarketCurve) -> dict[str, Mask]:
    """All lists, those of each platform, and those in random order, bool[L]."""
    slices: dict[str, Mask] = {"all": np.ones(len(curve.platform), np.bool_)}
    for code, name in enumerate(PLATFORMS):
        if (curve.platform == code).any():
            slices[name] = curve.platform == code
    if curve.explore.any():
        slices[RANDOMISED] = curve.explore
    return slices
