"""Auction places: which item of the pool stands at them, with the chance that it does.

The best of the pool, by a score of its own, take part in a weighted draw without replacement: the
chance of the first place is the item's need, which is the views still owed for each second left,
over the sum of all (SPEC §2.3, "ratio ranking"). A campaign that is behind is thus shown more, and
one that is ahead makes room. An answer's draw follows from its decision's id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from kindred.rerank.auction_pool import Pool
from kindred.retrieval.segments import offsets_of, places_in_runs
from kindred.schemas.ranking import Candidates, Doubles, Mask, Rows
from kindred.schemas.settings import AuctionSettings


@dataclass(frozen=True, slots=True)
class Drawn:
    """m items drawn to places, by query and then by place."""

    queries: Rows
    rows: Rows
    places: Rows
    """int64[m]: 0 = first of the list"""
    chance: Doubles
    """float64[m] in (0, 1]: that this item was drawn to this place"""

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def nothing(cls) -> Self:
        """No item was drawn."""
        none = np.zeros(0, np.int64)
        return cls(none, none, none, np.zeros(0))


def scored(pool: Pool, relevance: Doubles, settings: AuctionSettings) -> Doubles:
    """float64[n]: w1 z(need) + w2 z(log bid) + w3 z(relevance), z within each query's pool.

    What is unknown counts as the pool's mean. `relevance` is the similarity, or a ranker's score.
    """
    parts = (
        (settings.need_weight, pool.need),
        (settings.bid_weight, np.log(np.maximum(pool.bid, 1e-6))),
        (settings.similarity_weight, relevance.astype(np.float64)),
    )
    score = np.zeros(len(pool))
    for weight, values in parts:
        if weight:
            score += weight * standardised(values, pool.queries)
    return score


def standardised(values: Doubles, owners: Rows) -> Doubles:
    """float64[n]: deviations from the owner's mean in standard deviations; 0 where unknown."""
    known = np.isfinite(values)
    held = np.where(known, values, 0.0)
    count = np.maximum(np.bincount(owners, known), 1)
    centred = np.where(known, held - (np.bincount(owners, held) / count)[owners], 0.0)
    spread = np.sqrt(np.bincount(owners, centred**2) / count)[owners]
    return np.where(spread > 1e-9, centred / np.maximum(spread, 1e-9), 0.0)


def draw(
    pool: Pool, score: Doubles, k: int | Rows, settings: AuctionSettings,
    random: np.random.Generator, queries: int,
) -> Drawn:  # fmt: skip
    """One item of the pool for each place up to k (one number, or int64[queries])."""
    order = np.lexsort((-score, pool.queries))
    order = order[places_in_runs(pool.queries[order]) < settings.drawn_from]
    if not len(order) or not settings.places:
        return Drawn.nothing()
    owners, at = pool.queries[order], places_in_runs(pool.queries[order])
    weight = np.zeros((queries, int(at.max()) + 1))
    row = np.full(weight.shape, -1, np.int64)
    weight[owners, at], row[owners, at] = pool.need[order], pool.rows[order]
    # Exponential races: the first arrival has chance w / Σw, the next of the rest alike.
    arrival = random.standard_exponential(weight.shape)
    arrival = np.where(weight > 0, arrival / np.where(weight > 0, weight, 1.0), np.inf)
    winner = np.argsort(arrival, axis=1, kind="stable")[:, : len(settings.places)]
    chance = np.take_along_axis(marginals(weight, winner.shape[1]), winner[:, None, :], 2)
    place = np.array(settings.places[: winner.shape[1]]) - 1
    stays = np.take_along_axis(weight, winner, 1) > 0
    stays &= place[None, :] < np.broadcast_to(np.asarray(k), (queries,))[:, None]
    who, which = np.nonzero(stays)
    item = winner[who, which]
    return Drawn(who, row[who, item], place[which], chance[who, which, which])


def marginals(weight: Doubles, draws: int) -> Doubles:
    """float64[Q, draws, n]: chance of each of n items to be drawn first, second and third.

    `weight` is float64[Q, n]; items are drawn without replacement, each time by weight. Where
    nothing is left to draw the chance is 0.
    """
    assert draws <= 3, "the orders of more draws are too many to count"
    n = weight.shape[1]
    left = weight.sum(axis=1)[:, None]
    first = _share(weight, left)
    found = [first]
    other = ~np.eye(n, dtype=np.bool_)
    if draws > 1:
        # [Q, i, j]: j second after i was first
        after = left - weight
        pair = first[:, :, None] * _share(weight[:, None, :], after[:, :, None]) * other
        found.append(pair.sum(axis=1))
    if draws > 2:
        # [Q, i, j, l]: l third after i and j
        rest = after[:, :, None] - weight[:, None, :]
        triple = pair[..., None] * _share(weight[:, None, None, :], rest[..., None])
        found.append((triple * other[None, :, None, :] * other[None, None, :, :]).sum(axis=(1, 2)))
    return np.stack(found, axis=1)


def _share(weight: Doubles, left: Doubles) -> Doubles:
    enough = left > 1e-300
    return np.where(enough, weight / np.where(enough, left, 1.0), 0.0)


def with_pool(candidates: Candidates, pool: Pool, size: int) -> tuple[Candidates, Rows]:
    """(candidates and, behind each query's, what of its pool no source found; those as keys).

    A key is query x size + row, `size` the number of catalogue rows.
    """
    known = candidates.queries * size + candidates.rows
    new = pool.take(~np.isin(pool.queries * size + pool.rows, known))
    offsets = offsets_of(np.bincount(new.queries, minlength=candidates.query_count))
    more = Candidates.unfound(offsets, new.rows, candidates.source_ranks.shape[1])
    return candidates.followed_by(more)[0], new.queries * size + new.rows


def seated(listed: Candidates, fixed: Mask, drawn: Drawn) -> Drawn:
    """What of the draw stands: where nothing has its place already (bool[n] `fixed` entries)."""
    step = int(max(drawn.places.max(initial=0), listed.ranks.max(initial=0))) + 1
    held = listed.queries[fixed] * step + listed.ranks[fixed]
    free = ~np.isin(drawn.queries * step + drawn.places, held)
    return Drawn(drawn.queries[free], drawn.rows[free], drawn.places[free], drawn.chance[free])


def placed(
    listed: Candidates, fixed: Mask, chosen: Candidates, drawn: Drawn, size: int
) -> tuple[Candidates, Rows]:
    """(the lists with what was drawn at its places, where each entry stood in listed + chosen).

    `chosen` are the entries of `drawn`, one for one; another entry of the same row goes from its
    list. What is `fixed` keeps its place, the others move back. In a list too short for its places
    they stand at its end.
    """
    keys = drawn.queries * size + drawn.rows
    stays = ~np.isin(listed.queries * size + listed.rows, keys)
    pinned = fixed & stays
    slot = _free_slots(listed, stays & ~fixed, pinned, drawn)
    slot[pinned] = listed.ranks[pinned]
    both, entry = listed.take(stays).followed_by(chosen)
    slots = np.concatenate([slot[stays], drawn.places])[entry]
    order = np.lexsort((slots, both.queries))
    origin = np.concatenate([np.flatnonzero(stays), len(stays) + np.arange(len(drawn))])
    return both.take(order), origin[entry][order]


def _free_slots(listed: Candidates, free: Mask, pinned: Mask, drawn: Drawn) -> Rows:
    """int64[n]: the places that the entries `free` come to, in their order, between the others'."""
    owners = np.concatenate([listed.queries[pinned], drawn.queries])
    taken = np.concatenate([listed.ranks[pinned], drawn.places])
    order = np.lexsort((taken, owners))
    owners, taken = owners[order], taken[order]
    number = places_in_runs(owners)
    seats = np.full((listed.query_count, int(number.max(initial=-1)) + 1), np.iinfo(np.int64).max)
    seats[owners, number] = taken - number
    slot = np.zeros(len(listed), np.int64)
    rank = places_in_runs(listed.queries[free])
    behind = seats[listed.queries[free]] <= rank[:, None]
    slot[free] = rank + behind.sum(axis=1)
    return slot
