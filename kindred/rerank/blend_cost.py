"""What blending cost an answer, and what it should earn: the price of every sponsored place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kindred.indexer.columns import Columns
from kindred.rerank.blend import sponsored
from kindred.retrieval.segments import places_in_runs, ranks_within, segment_sum
from kindred.schemas.ranking import Candidates, Doubles, Mask, Rows
from kindred.schemas.settings import BlendSettings


@dataclass(frozen=True, slots=True)
class Costs:
    """Of Q lists."""

    ndcg: Doubles
    """float64[Q]: NDCG@k with the probabilities as gains, less 1"""
    fee: Doubles
    """float64[Q]: expected fees less those of the order of the probabilities, minor units"""


def blend_costs(
    listed: Candidates,
    paid: Mask,
    drawn: Doubles | None,
    columns: Columns,
    settings: BlendSettings,
    k: int | Rows,
) -> Costs:
    """The first k of Q lists beside the first k by probability of what recall found.

    `paid` bool[n] is what counts as sponsored in the lists, `drawn` float64[n] is NaN but for what
    stands at an auction place (None: nothing does). In the order by probability, too, sponsored
    items cost a fee when they sell, as many of them as may be placed by their rate.
    """
    p = listed.probability
    assert p is not None
    owners, rows, ranks = listed.queries, listed.rows, listed.ranks
    auctioned = np.zeros(len(rows), np.bool_) if drawn is None else ~np.isnan(drawn)
    by_sale = expected_fee(columns, rows, p)
    fee = np.where(auctioned, view_fee(columns, rows), np.where(paid, by_sale, 0.0))
    most = np.broadcast_to(np.asarray(k), (listed.query_count,))[owners]
    shown = ranks < most
    order, best = ranks_within(owners, np.where(listed.sources != 0, p, -1.0))
    plain = (best < most[order]) & (listed.sources[order] != 0)
    at, place = order[plain], best[plain]
    rated = sponsored(columns, rows[at])
    charged = np.zeros(len(at), np.bool_)
    charged[rated] = places_in_runs(owners[at][rated]) < settings.sponsored_max
    unblended = np.bincount(owners[at][charged], by_sale[at][charged], listed.query_count)
    ideal = np.bincount(owners[at], p[at] / np.log2(place + 2.0), listed.query_count)
    gained = segment_sum(np.where(shown, p / np.log2(ranks + 2.0), 0.0), listed.offsets)
    earned = segment_sum(np.where(shown, fee, 0.0), listed.offsets)
    found = ideal > 0
    return Costs(
        ndcg=np.where(found, gained / np.where(found, ideal, 1.0) - 1.0, 0.0),
        fee=earned - unblended,
    )


def expected_fee(columns: Columns, rows: Rows, probability: Doubles) -> Doubles:
    """float64[n]: probability x ad rate x price, minor units; 0 where the price is unknown."""
    price = np.nan_to_num(columns.price[rows])
    return np.asarray(probability * columns.ad_rate_bp[rows] / 10_000 * price)


def view_fee(columns: Columns, rows: Rows) -> Doubles:
    """float64[n]: what a view of an auction campaign costs: its flat fee for each view bought."""
    bought = np.maximum(columns.target_views[rows], 1)
    return np.asarray(np.nan_to_num(columns.flat_fee[rows]) / bought)
