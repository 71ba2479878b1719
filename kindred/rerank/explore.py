"""Now and then the shown items in random order: what it takes to learn what positions do.

With probability ε the first k of an answer come in uniformly random order, else as the funnel
ordered them. An item's propensity is the chance that it stands where it stands under both:
(1 - ε) · [the funnel puts it there] + ε / k. What a rule put at its place stays there for certain,
what an auction did with the chance of its draw, and the others change places among themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kindred.rerank.funnel import Ranked
from kindred.schemas.ranking import Doubles, Mask, Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored:
    """An order with the chance that each entry stands where it stands."""

    ranked: Ranked
    propensity: Doubles
    """float64[n] in (0, 1]; NaN past the first k of a query, which are not shown"""
    explore: Mask
    """bool[n]: shown, in random order"""


def seed_of(decision_id: str) -> np.random.Generator:
    """The generator that an answer's chances come from: its id alone decides them."""
    return np.random.default_rng(list(decision_id.encode()))


def as_ordered(ranked: Ranked, k: int) -> Explored:
    """The first k of each query as they are: propensity 1, but for what an auction drew."""
    inside = ranked.candidates.ranks < k
    return Explored(
        ranked=ranked,
        propensity=np.where(inside, certain(ranked), np.nan),
        explore=np.zeros(len(inside), np.bool_),
    )


def explored(ranked: Ranked, k: int | Rows, share: float, random: np.random.Generator) -> Explored:
    """With probability `share` each query's first k (one number, or int64[Q]) in random order."""
    candidates = ranked.candidates
    owners, ranks = candidates.queries, candidates.ranks
    inside = ranks < np.minimum(k, np.diff(candidates.offsets))[owners]
    moves = inside if ranked.fixed is None else inside & ~ranked.fixed
    at = np.flatnonzero(moves)
    drawn = (random.random(candidates.query_count) < share)[owners] & moves
    key = np.where(drawn, random.random(len(ranks)), ranks + 1.0)
    # Those that move take one another's places; for all others the order is as it stands.
    order = np.arange(len(ranks))
    order[at] = at[np.lexsort((key[at], owners[at]))]
    movable = np.maximum(np.bincount(owners[at], minlength=candidates.query_count), 1)[owners]
    free = (1.0 - share) * (order == np.arange(len(order))) + share / movable
    chance = np.where(moves, free, certain(ranked))
    return Explored(
        ranked=replace(
            ranked, candidates=candidates.take(order), sponsored=ranked.sponsored[order]
        ),
        propensity=np.where(inside, np.minimum(chance, 1.0), np.nan),
        explore=drawn,
    )


def certain(ranked: Ranked) -> Doubles:
    """float64[n]: chance of what stands still: 1, at auction places that of the draw."""
    if ranked.drawn is None:
        return np.ones(len(ranked.candidates))
    return np.where(np.isnan(ranked.drawn), 1.0, ranked.drawn)
