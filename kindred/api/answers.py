"""From ordered columns to the items of an answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kindred.indexer.catalogue import Catalogue
from kindred.indexer.columns import Columns
from kindred.rerank.blend_cost import blend_costs
from kindred.rerank.funnel import Funnel, Ranked
from kindred.retrieval.sources import SOURCES
from kindred.schemas.item import Campaign
from kindred.schemas.query import BlendCost, RankedItem, SourceScore
from kindred.schemas.ranking import Candidates
from kindred.schemas.reasons import Explanation

TITLED = 100
"""Titles are read from the catalogue for answers of at most this many items."""


def listed(
    ranked: Ranked,
    k: int,
    columns: Columns,
    catalogue: Catalogue,
    reasons: Sequence[Explanation] | None = None,
) -> list[RankedItem]:
    """The first k items of a single query's list, in order, with their reasons if there are any."""
    top = ranked.candidates.head(k)
    campaigns = campaigns_of(ranked, len(top))
    rows = top.rows.tolist()
    titles: list[str | None] = [None] * len(rows)
    if len(rows) <= TITLED:
        titles = [item.title or None for item in catalogue.by_rows(rows)]
    order = next(c for c in (top.blend, top.score, top.merged) if c is not None)
    prices = columns.price[top.rows]
    return [
        RankedItem(
            item_id=columns.item_ids[row],
            position=i + 1,
            score=float(order[i]),
            sponsored=campaigns[i] is not None,
            campaign=campaigns[i],
            probability=None if top.probability is None else float(top.probability[i]),
            title=titles[i],
            price_minor=None if np.isnan(prices[i]) else int(prices[i]),
            sources=sources_of(top, i),
            explain=None if reasons is None else reasons[i],
        )
        for i, row in enumerate(rows)
    ]


def campaigns_of(ranked: Ranked, count: int) -> list[Campaign | None]:
    """Which kind of campaign paid for each of the first `count` places, None where none did."""
    paid = ranked.sponsored[:count].tolist()
    drawn = [False] * count if ranked.drawn is None else (~np.isnan(ranked.drawn[:count])).tolist()
    return [
        Campaign.PLX if auctioned else Campaign.PLS if by_rate else None
        for auctioned, by_rate in zip(drawn, paid, strict=True)
    ]


def blend_cost_of(ranked: Ranked, funnel: Funnel, k: int) -> BlendCost | None:
    """What blending cost the first k of a single query's list; None where nothing was blended."""
    listed = ranked.candidates
    if listed.probability is None or listed.blend is None or not len(listed):
        return None
    columns, settings = funnel.corpus.columns, funnel.blend
    cost = blend_costs(listed, ranked.sponsored, ranked.drawn, columns, settings, k)
    return BlendCost(ndcg=round(float(cost.ndcg[0]), 6), fee_minor=round(float(cost.fee[0]), 4))


def sources_of(candidates: Candidates, entry: int) -> dict[str, SourceScore]:
    """Which sources found an entry, with its rank and score there."""
    found = np.flatnonzero(candidates.source_ranks[entry])
    return {
        SOURCES[s]: SourceScore(
            rank=int(candidates.source_ranks[entry, s]),
            score=round(float(candidates.source_scores[entry, s]), 6),
        )
        for s in found.tolist()
    }
