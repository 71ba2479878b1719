"""The learning curve (SPEC C1-C3, C7): what a ranker makes of 30, 100, 300, 1,000 purchases.

Simulated markets give lists with what came of them. Of the lists to learn from, so many are drawn
that they hold the purchases wanted, and as many in proportion of those that training stops by; all
later lists with a purchase judge. Every alternative learns from the same draw. The measure is the
purchase rank relative to that of the ranker which knows purchases alone: below zero is better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.experiments.ranking.draws import Drawn, Journal, learn, learn_tuned
from kindred.indexer.behaviour.impressions import PLATFORMS
from kindred.rerank.judged import Judged, Parts
from kindred.rerank.training import TooLittle
from kindred.schemas.ranking import Doubles, Mask
from kindred.schemas.settings import RankerSettings

RANDOMISED = "randomised"
UNKEPT = Journal()


@dataclass(frozen=True, slots=True)
class Measured:
    """One alternative on the judging lists of one market, by draw."""

    ranks: Doubles
    """float64[D, L]: purchase rank"""
    ndcg: Doubles
    """float64[D, L]: NDCG@10"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketCurve:
    """Everything measured on one market, on its L judging lists with a purchase."""

    seed: int
    visitor: NDArray[np.int64]
    """int64[L]"""
    platform: NDArray[np.int8]
    """int8[L]"""
    explore: Mask
    """bool[L]: in random order, which no position favours"""
    sizes: Mapping[int, Mapping[str, Measured]]
    tuned: Mapping[int, Mapping[str, Measured]]
    """What learned with tuned weights; of the first draws alone"""
    told: Mapping[int, Sequence[Mapping[str, Any]]]
    """What each draw tells of its choice"""
    told_tuned: Mapping[int, Sequence[Mapping[str, Any]]]
    """The same of the draws whose weights were tuned"""
    facts: Mapping[str, Any]


def measure_market(
    parts: Parts,
    settings: RankerSettings,
    sizes: Sequence[int],
    *,
    seed: int,
    draws: int,
    tuned_draws: int = 0,
    tuned_up_to: int = 300,
    journal: Journal = UNKEPT,
    threads: int = 0,
    on_fit: Callable[[int], None],
) -> MarketCurve:
    """All alternatives at every size that the market's training lists hold purchases for.

    Of the first `tuned_draws` weights are tuned too, which takes thirty rankers each, at sizes up
    to `tuned_up_to`. A draw that `journal` has is not learned again. TooLittle where no size is
    reached.
    """
    held = int(parts.training.bought.sum())
    later = bought_lists(parts.judging)
    found: dict[int, list[Drawn]] = {}
    tuned: dict[int, list[Drawn]] = {}
    for size in sizes:
        count = draws_of(size, held, draws)
        for draw in range(count):
            drawn = sized(parts, size, np.random.default_rng([seed, size, draw]))
            given, name = (drawn, settings, seed + draw, threads), f"{size}-{draw}"
            found.setdefault(size, []).append(journal.once(name, partial(learn, *given), later))
            if draw < tuned_draws and size <= tuned_up_to:
                one = journal.once(f"{name}-tuned", partial(learn_tuned, *given), later)
                tuned.setdefault(size, []).append(one)
            on_fit(1)
        on_fit(draws - count)
    if not found:
        raise TooLittle(
            f"{held} purchases in the lists to learn from, {min(sizes)} wanted: simulate more "
            "impressions"
        )
    _, visitor = np.unique(later.subject, return_inverse=True)
    return MarketCurve(
        seed=seed,
        visitor=visitor.astype(np.int64),
        platform=later.platform,
        explore=later.explore,
        sizes={size: _stacked(drawn) for size, drawn in found.items()},
        tuned={size: _stacked(drawn) for size, drawn in tuned.items()},
        told={size: [one.told for one in drawn] for size, drawn in found.items()},
        told_tuned={size: [one.told for one in drawn] for size, drawn in tuned.items()},
        facts={
            "seed": seed,
            "training lists": len(parts.training.lists),
            "purchases to learn from": held,
            "stopping lists": len(parts.stopping.lists),
            "judging lists": len(parts.judging.lists),
            "judging lists with a purchase": len(later.lists),
            "label order": parts.order.report["all formats"],
        },
    )


def draws_of(size: int, held: int, most: int) -> int:
    """Draws of lists with `size` purchases out of `held`: as many as need not overlap, two at
    least, `most` at most; none where too few are held."""
    return 0 if size > held else min(most, max(held // size, 2))


def bought_lists(part: Judged) -> Judged:
    """The lists with a purchase."""
    return part.take(np.bincount(part.lists.owners, part.bought, len(part.lists)) > 0)


def _stacked(drawn: Sequence[Drawn]) -> dict[str, Measured]:
    return {
        name: Measured(
            np.stack([one.ranks[name] for one in drawn]),
            np.stack([one.ndcg[name] for one in drawn]),
        )
        for name in drawn[0].ranks
    }


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


def slices_of(curve: MarketCurve) -> dict[str, Mask]:
    """All lists, those of each platform, and those in random order, bool[L]."""
    slices: dict[str, Mask] = {"all": np.ones(len(curve.platform), np.bool_)}
    for code, name in enumerate(PLATFORMS):
        if (curve.platform == code).any():
            slices[name] = curve.platform == code
    if curve.explore.any():
        slices[RANDOMISED] = curve.explore
    return slices
