"""Ad rates blended into the order, on calibrated probabilities (SPEC §3.8, B3).

blend = log p + b · log(rate / r0) + c · log(price / p0), where an item that is not sponsored has
the rate r0 / e. Raw ranker scores are never blended: they have no common scale across lists.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.columns import CAMPAIGN_CODE, Columns
from kindred.retrieval.segments import places_in_runs, ranks_within
from kindred.schemas.item import Campaign
from kindred.schemas.ranking import Candidates, Doubles, Mask, Rows
from kindred.schemas.settings import BlendSettings


def sponsored(columns: Columns, rows: Rows) -> Mask:
    """bool[n]: in a pay-per-sale campaign with a rate."""
    return np.asarray(
        (columns.campaign[rows] == CAMPAIGN_CODE[Campaign.PLS]) & (columns.ad_rate_bp[rows] > 0)
    )


def kth_probability(candidates: Candidates, k: int) -> Doubles:
    """float64[Q]: each query's k-th highest probability, or its lowest of fewer."""
    assert candidates.probability is not None
    order, ranks = ranks_within(candidates.queries, candidates.probability)
    lengths = np.diff(candidates.offsets)
    kth = np.zeros(candidates.query_count)
    at = order[ranks == np.minimum(k, lengths)[candidates.queries[order]] - 1]
    kth[candidates.queries[at]] = candidates.probability[at]
    return kth


def blend(
    candidates: Candidates, columns: Columns, settings: BlendSettings, k: int
) -> tuple[Candidates, Mask]:
    """(candidates best first with `blend` filled, bool[n]: shown as sponsored).

    A sponsored item whose probability is under `floor` × the k-th one's competes without its
    rate. Past `seller_cap` items of a seller or `sponsored_max` sponsored ones, the rest moves
    behind everything else, in order.
    """
    assert candidates.probability is not None
    p, rows, owners = candidates.probability, candidates.rows, candidates.queries
    floor = settings.floor * kth_probability(candidates, k)[owners]
    paid = sponsored(columns, rows) & (p >= floor)
    r0 = float(settings.r0_bp)
    rate = np.clip(columns.ad_rate_bp[rows], settings.rate_min_bp, settings.rate_max_bp)
    value = np.log(p) + settings.b * np.log(np.where(paid, rate, r0 / math.e) / r0)
    if settings.c:
        value = value + settings.c * price_term(columns.price[rows], owners, candidates.query_count)
    order = np.lexsort((-value, owners))
    late = capped(owners[order], columns.seller[rows[order]], paid[order], settings)
    order = order[np.lexsort((late, owners[order]))]
    return candidates.with_columns(blend=value).take(order), paid[order]


def price_term(price: Doubles, owners: Rows, queries: int) -> Doubles:
    """float64[n]: log(price / p0), p0 the query's geometric mean; 0 where the price is unknown."""
    log_price = np.log(np.maximum(price, 1.0))
    known = np.isfinite(log_price)
    sums = np.bincount(owners[known], log_price[known], queries)
    means = sums / np.maximum(np.bincount(owners[known], minlength=queries), 1)
    return np.where(known, log_price - means[owners], 0.0)


def capped(owners: Rows, sellers: NDArray[np.int32], paid: Mask, settings: BlendSettings) -> Mask:
    """bool[n]: entries past a cap, of lists in order. Sponsored overflow goes first, so that it
    takes no place from its seller's other items."""
    late = np.zeros(len(owners), np.bool_)
    if settings.sponsored_max < len(owners):
        at = np.flatnonzero(paid)
        late[at[running_rank(owners[at]) >= settings.sponsored_max]] = True
    if settings.seller_cap:
        at = np.flatnonzero((sellers >= 0) & ~late)
        key = owners[at] * (int(sellers.max(initial=0)) + 1) + sellers[at]
        late[at[running_rank(key) >= settings.seller_cap]] = True
    return late


def running_rank(keys: Rows) -> Rows:
    """int64[n]: how many earlier entries have the same key."""
    order = np.argsort(keys, kind="stable")
    out = np.empty(len(keys), np.int64)
    out[order] = places_in_runs(keys[order])
    return out
