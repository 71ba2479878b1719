"""The first items of an answer spread over categories and sellers, by a greedy pass.

As maximal marginal relevance (Carbonell and Goldstein 1998), with counts in the place of
similarities: each place goes to the candidate whose value, less a price for every item of its
category and of its seller that stands before it, is the highest. Values are logarithms of
probabilities, so that the price has one meaning in every answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.columns import Columns
from kindred.rerank.blend import past_cap
from kindred.rerank.duplicates import padded
from kindred.schemas.ranking import Candidates, Doubles, Rows
from kindred.schemas.settings import DiversitySettings


def spread(
    candidates: Candidates,
    columns: Columns,
    values: Doubles,
    settings: DiversitySettings,
    k: int | Rows,
    seller_cap: int = 0,
) -> Rows:
    """int64[n]: the order that gives each question's first k places to spread candidates.

    `values` float64[n] on the log scale. Those past `seller_cap` stay behind all others, where the
    blend put them. Where the settings are 0 it is the order as it stands.
    """
    order = np.arange(len(candidates))
    if not len(candidates) or not (settings.category or settings.seller):
        return order
    at = padded(candidates, settings.first)
    rows = candidates.rows[at]
    depth = columns.category_depth[rows].astype(np.int64)
    category = columns.category[rows, np.maximum(depth - 1, 0)]
    seller = columns.seller[rows]
    late = past_cap(candidates.queries, columns.seller[candidates.rows], seller_cap)
    free = (at >= 0) & ~late[at]
    value = np.where(free, values[at], -np.inf)
    most = min(int(np.max(k)), at.shape[1])
    picked = greedy(value, ((category, settings.category), (seller, settings.seller)), most)
    wanted = np.broadcast_to(np.asarray(k), (len(at),))[:, None]
    chosen = (picked >= 0) & (np.arange(most) < wanted)
    place = candidates.ranks.astype(np.float64)
    owner, nth = np.nonzero(chosen)
    # Chosen ones stand before place 0, in the order in which they were chosen.
    place[at[owner, picked[owner, nth]]] = nth - float(most)
    return np.lexsort((place, candidates.queries))


def greedy(
    value: Doubles, prices: tuple[tuple[NDArray[np.integer], float], ...], most: int
) -> Rows:
    """int64[Q, most]: columns of `value` float64[Q, F] in the order in which they are chosen.

    `prices` are codes int[Q, F], negative for unknown, with what each one chosen costs those of its
    code. -1 where only -inf is left. Ties go to the first.
    """
    left = value.copy()
    every = np.arange(len(value))
    picked = np.full((len(value), most), -1, np.int64)
    for place in range(most):
        best = left.argmax(axis=1)
        there = left[every, best] > -np.inf
        picked[there, place] = best[there]
        for codes, price in prices:
            if price:
                code = codes[every, best]
                left -= price * ((codes == code[:, None]) & (code >= 0)[:, None])
        left[every, best] = -np.inf
    return picked
