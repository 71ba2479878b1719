"""Visitors and their intents, as columns."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kindred.experiments.marketsim.behaviour_knobs import VisitorKnobs
from kindred.experiments.marketsim.world import World
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows

HISTORY = 16
"""Newest items of a visit that are asked with."""
NO_ITEM, SEARCH, CATEGORY, CLICKED = range(4)
"""How a page comes about: a link to a listing, a search, a category, a click in a list."""


@dataclass(frozen=True, slots=True, eq=False)
class Visitors:
    """V visitors in columns: who they are and what they like in the long run."""

    taste: Floats
    """float32[V, S], unit: their own style"""
    leaves: NDArray[np.int32]
    """int32[V, L]: categories of their taste, the likeliest first"""
    place: NDArray[np.int32]
    """int32[V]: row of the home in the world's places"""
    spends: Doubles
    """float64[V]: price level, 1 is a category's median"""
    account: Mask
    """bool[V]: has a user id besides the device id"""
    app: Mask
    """bool[V]: uses the app"""
    activity: Doubles
    """float64[V]: chance that a visit is theirs; sums to 1"""

    def __len__(self) -> int:
        return len(self.place)


def make_visitors(
    world: World, knobs: VisitorKnobs, count: int, rng: np.random.Generator
) -> Visitors:
    """`count` visitors of a world."""
    weight = np.bincount(world.category, minlength=len(world.categories.centre)) ** 0.5
    likely = np.log(np.maximum(weight, 1e-9)) + rng.gumbel(size=(count, len(weight)))
    activity = (1.0 + rng.permutation(count)) ** -knobs.activity_power
    return Visitors(
        taste=unit(rng.normal(size=(count, world.style.shape[1]))),
        leaves=np.argsort(-likely, axis=1)[:, : knobs.taste_leaves].astype(np.int32),
        place=rng.choice(len(world.places.weight), count, p=world.places.weight).astype(np.int32),
        spends=np.exp(rng.normal(0, knobs.price_sigma, count)),
        account=rng.random(count) < knobs.account_share,
        app=rng.random(count) < knobs.app_share,
        activity=activity / activity.sum(),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Visits:
    """n visits under way, in columns."""

    visitor: Rows
    number: Rows
    """int64[n]: names the visit"""
    logged_in: Mask
    leaf: NDArray[np.int32]
    """int32[n]: category that is looked for"""
    target: Floats
    """float32[n, S], unit: style that is looked for"""
    next_at: Rows
    """int64[n] µs: when the next page is opened"""
    entry: NDArray[np.int8]
    """int8[n]: how, NO_ITEM … CLICKED"""
    seed: Rows
    """int64[n]: the item clicked, -1 where the entry is another"""
    pages: Rows
    """int64[n]: pages so far"""
    seen: Rows
    """int64[n, HISTORY]: items viewed, newest last, -1 before the first"""
    did: NDArray[np.int16]
    """int16[n, HISTORY]: code of the strongest action on each"""
    did_by: Rows
    """int64[n, HISTORY] µs: when that was done at the latest"""

    def __len__(self) -> int:
        return len(self.visitor)

    def take(self, index: Mask | Rows) -> Self:
        """The visits at `index`."""
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def joined(self, other: Visits) -> Self:
        """These, then the others."""
        both: dict[str, Any] = {
            f.name: np.concatenate([getattr(self, f.name), getattr(other, f.name)])
            for f in fields(self)
        }
        return replace(self, **both)


def remembering(
    visits: Visits, owner: Rows, rows: Rows, did: NDArray[np.int16], by: Rows
) -> Visits:
    """The visits with what they viewed, newest last; what else was `did` was done `by` then.

    `owner` int64[m] is the place of each view's visit in the batch; a visit's views are in order.
    """
    seen, done, done_by = visits.seen.copy(), visits.did.copy(), visits.did_by.copy()
    left = np.arange(len(owner))
    while len(left):  # once for the first view of each visit, again for its second, …
        _, first = np.unique(owner[left], return_index=True)
        now = left[first]
        at = owner[now]
        for held, new in ((seen, rows), (done, did), (done_by, by)):
            held[at, :-1] = held[at, 1:]
            held[at, -1] = new[now]
        left = np.delete(left, first)
    return replace(visits, seen=seen, did=done, did_by=done_by)


def begin_visits(
    world: World,
    visitors: Visitors,
    knobs: VisitorKnobs,
    at: Rows,
    first_number: int,
    rng: np.random.Generator,
) -> Visits:
    """A visit at each moment of `at` int64[n], by visitors drawn by activity."""
    n = len(at)
    visitor = rng.choice(len(visitors), n, p=visitors.activity)
    leaf = draw_leaves(world, visitors, knobs, visitor, rng)
    begins = np.array([knobs.begin_item, knobs.begin_search, knobs.begin_category])
    return Visits(
        visitor=visitor,
        number=first_number + np.arange(n),
        logged_in=visitors.account[visitor] & (rng.random(n) < knobs.logged_in_share),
        leaf=leaf,
        target=draw_targets(world, visitors, knobs, visitor, leaf, rng),
        next_at=at,
        entry=rng.choice(3, n, p=begins / begins.sum()).astype(np.int8),
        seed=np.full(n, -1, np.int64),
        pages=np.zeros(n, np.int64),
        seen=np.full((n, HISTORY), -1, np.int64),
        did=np.zeros((n, HISTORY), np.int16),
        did_by=np.zeros((n, HISTORY), np.int64),
    )


def draw_leaves(
    world: World,
    visitors: Visitors,
    knobs: VisitorKnobs,
    visitor: Rows,
    rng: np.random.Generator,
) -> NDArray[np.int32]:
    """int32[n]: a category of each visitor's taste, or any."""
    width = visitors.leaves.shape[1]
    weight = 0.5 ** np.arange(width)
    place = rng.choice(width, len(visitor), p=weight / weight.sum())
    other = world.category[rng.integers(0, len(world.category), len(visitor))]
    own = rng.random(len(visitor)) < knobs.taste_share
    return np.where(own, visitors.leaves[visitor, place], other).astype(np.int32)


def draw_targets(
    world: World,
    visitors: Visitors,
    knobs: VisitorKnobs,
    visitor: Rows,
    leaf: NDArray[np.int32],
    rng: np.random.Generator,
) -> Floats:
    """float32[n, S], unit: the category's centre, the visitor's taste and the hour's fancy."""
    fancy = unit(rng.normal(size=(len(visitor), world.style.shape[1])))
    centre = world.categories.centre[leaf]
    return unit(centre + knobs.taste_pull * visitors.taste[visitor] + knobs.intent_noise * fancy)


def drifted(target: Floats, amount: float, rng: np.random.Generator) -> Floats:
    """float32[n, S], unit: the targets, moved by `amount` in any direction."""
    return unit(target + amount * unit(rng.normal(size=target.shape)))


def unit(vectors: NDArray[Any]) -> Floats:
    """float32, rows of length 1."""
    length = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return np.asarray(vectors / length, np.float32)
