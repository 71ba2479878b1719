"""Which objective serves: purchases alone, grades, weighted pairs, or several of them together.

On simulated markets the graded ranker loses to the binary one, and the mean of both beats either
as long as purchases are few (SPEC §3.7; benchmarks/ranking). What a real market has is measured:
each alternative is ranked on the stopping part, which none of them learned from, and the one that
serves is named in the card with what the others were worth. Choosing the lowest figure would chase
chance, as a few dozen purchases decide it; another one serves where its lead on the ensemble is
clear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kindred.rerank.fitting import (
    Goal,
    fit_on_all,
    fit_on_lists,
    rank_weights,
)
from kindred.rerank.judged import Known, Parts
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.metrics import tied_ranks
from kindred.rerank.training import TooLittle, silent
from kindred.schemas.ranking import Doubles, Floats
from kindred.schemas.settings import RankerSettings

ENSEMBLE = "ensemble"
GOALS: tuple[Goal, ...] = ("binary", "pairs", "graded")
NEEDED_PURCHASES = 10
"""Training lists with a purchase that all take but `graded`."""
CHOOSING_PURCHASES = 20
"""On the stopping lists, from which on they choose an objective; of fewer, chance would."""
CLEAR = 1.96
"""Standard errors of a lead that counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """Every alternative that the settings ask for, and which of them serves."""

    served: str
    rankers: Mapping[str, Ranker]
    """By objective"""
    facts: Mapping[str, dict[str, Any]]
    """Of each member's training"""
    report: dict[str, Any]
    """For the card"""

    @property
    def ranker(self) -> Ranker:
        """The one that serves."""
        return self.rankers[self.served]

    def members(self, objective: str | None = None) -> list[Goal]:
        """The members of an objective, by default of the one that serves."""
        names = [m.name for m in self.rankers[objective or self.served].members]
        return [goal for goal in GOALS if goal in names]


def wanted_goals(settings: RankerSettings) -> tuple[Goal, ...]:
    """The members to train for what the settings ask for."""
    if settings.objective == "auto":
        return GOALS
    if settings.objective == "ensemble":
        return tuple(dict.fromkeys(settings.ensemble))
    return (settings.objective,)


def try_objectives(
    parts: Parts,
    settings: RankerSettings,
    *,
    seed: int,
    threads: int = 0,
    on_tree: Callable[[int], None] = silent,
) -> Tried:
    """Train what the settings ask for, put the ensemble together, choose one.

    Where hardly anything was bought, only grades can be learned from; an objective that was asked
    for by name then raises TooLittle.
    """
    wanted, bought = wanted_goals(settings), parts.training.bought_lists
    if bought < NEEDED_PURCHASES:
        if settings.objective not in ("auto", "graded"):
            raise TooLittle(
                f"{bought} training lists with a purchase: the objective {settings.objective} "
                f"takes {NEEDED_PURCHASES}"
            )
        wanted = ("graded",)
    rankers: dict[str, Ranker] = {}
    facts: dict[str, dict[str, Any]] = {}
    for goal in wanted:
        rankers[goal], facts[goal] = fit_on_lists(
            parts, settings, goal=goal, seed=seed, threads=threads, on_tree=on_tree
        )
    of = [rankers[goal] for goal in dict.fromkeys(settings.ensemble) if goal in rankers]
    if len(of) == len(set(settings.ensemble)):
        rankers[ENSEMBLE] = together(of, parts.stopping.lists.features)
    served, report = choose(rankers, parts, settings)
    return Tried(served=served, rankers=rankers, facts=facts, report=report)


def together(rankers: Sequence[Ranker], features: Floats) -> Ranker:
    """The mean of rankers of one member each, standardised by their scores of float32[n, F]."""
    members = []
    for ranker in rankers:
        scores = ranker.score(features)
        spread = float(scores.std())
        [member] = ranker.members
        members.append(
            replace(
                member,
                weight=1 / len(rankers),
                mean=float(scores.mean()),
                std=spread if spread > 0 else 1.0,
            )
        )
    return Ranker(tuple(members), rankers[0].features, rankers[0].depth)


def choose(
    rankers: Mapping[str, Ranker], parts: Parts, settings: RankerSettings
) -> tuple[str, dict[str, Any]]:
    """(objective, report): the one asked for, or the ensemble unless another leads it clearly."""
    stopping = parts.stopping.labelled()
    weights, counted = rank_weights(stopping, parts, settings, CHOOSING_PURCHASES)
    rows = weights > 0
    offsets, features = stopping.lists.offsets, stopping.lists.features
    ranks = {n: tied_ranks(r.score(features), offsets)[rows] for n, r in rankers.items()}
    first = ENSEMBLE if ENSEMBLE in rankers else next(iter(rankers))
    visitors = stopping.subject[stopping.lists.owners][rows]
    leads = {n: lead_of(rank - ranks[first], weights[rows], visitors) for n, rank in ranks.items()}
    served: str = settings.objective
    why = "the settings ask for it"
    if settings.objective == "auto":
        served, why = _clear_leader(leads, first, int(stopping.bought.sum()))
    report = {
        "served": served,
        "why": why,
        "measured by": counted,
        "rows measured": int(rows.sum()),
        "stopping part": {
            name: {
                "rank": round(float(np.average(rank, weights=weights[rows])), 4),
                f"less {first}": None if name == first else [round(x, 4) for x in leads[name]],
            }
            for name, rank in ranks.items()
        },
    }
    return served, report


def _clear_leader(
    leads: Mapping[str, tuple[float, float, float]], first: str, bought: int
) -> tuple[str, str]:
    """(objective, why) from (mean, low, high) of each rank less that of `first`."""
    if len(leads) == 1:
        return first, "nothing else can be learned from so few purchases"
    if bought < CHOOSING_PURCHASES:
        return first, f"{bought} purchases to choose by, {CHOOSING_PURCHASES} needed"
    ahead = [name for name, lead in leads.items() if name != first and lead[2] < 0]
    if not ahead:
        return first, "no other one leads it clearly"
    best = min(ahead, key=lambda name: leads[name][0])
    return best, f"it leads {first} clearly"


def lead_of(
    differences: Doubles, weights: Doubles, visitors: np.ndarray[Any, np.dtype[np.uint64]]
) -> tuple[float, float, float]:
    """(mean, low, high) of weighted paired differences; rows of one visitor count as one draw."""
    mean = float(np.average(differences, weights=weights))
    _, visitor = np.unique(visitors, return_inverse=True)
    off = np.bincount(visitor, weights * (differences - mean))
    reach = CLEAR * float(np.sqrt((off**2).sum()) / weights.sum())
    return mean, mean - reach, mean + reach


def grow_objectives(
    known: Known,
    settings: RankerSettings,
    tried: Tried,
    *,
    seed: int,
    threads: int = 0,
    on_tree: Callable[[int], None] = silent,
) -> tuple[dict[str, Ranker], dict[str, Any]]:
    """(rankers by objective, facts by member): all that were tried, made of all that is known."""
    alone: dict[str, Ranker] = {}
    told: dict[str, Any] = {}
    for goal in GOALS:
        if goal in tried.facts:
            alone[goal], told[goal] = fit_on_all(
                known, settings, tried.facts[goal], goal=goal, seed=seed, threads=threads,
                on_tree=on_tree,
            )  # fmt: skip
    features = known.lists.lists.features
    return {
        name: together([alone[goal] for goal in tried.members(name)], features)
        if name == ENSEMBLE
        else alone[name]
        for name in tried.rankers
    }, told


def grow_members(
    known: Known,
    settings: RankerSettings,
    facts: Mapping[str, Mapping[str, Any]],
    goals: Sequence[Goal],
    *,
    seed: int,
    threads: int = 0,
    on_tree: Callable[[int], None] = silent,
) -> tuple[Ranker, dict[str, Any]]:
    """(ranker, facts): the members `goals` made anew as `facts` say, of all that is known."""
    grown: list[Ranker] = []
    told: dict[str, Any] = {}
    for goal in goals:
        ranker, told[goal] = fit_on_all(
            known, settings, facts[goal], goal=goal, seed=seed, threads=threads, on_tree=on_tree
        )
        grown.append(ranker)
    if len(grown) == 1:
        return grown[0], told
    return together(grown, known.lists.lists.features), told
