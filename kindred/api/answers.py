"""From ordered columns to the items of an answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kindred.indexer.catalogue import Catalogue
from kindred.indexer.columns import Columns
from kindred.rerank.funnel import Ranked
from kindred.retrieval.sources import SOURCES
from kindred.schemas.query import RankedItem, SourceScore
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
    paid = ranked.sponsored[: len(top)]
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
            sponsored=bool(paid[i]),
            probability=None if top.probability is None else float(top.probability[i]),
            title=titles[i],
            price_minor=None if np.isnan(prices[i]) else int(prices[i]),
            sources=sources_of(top, i),
            explain=None if reasons is None else reasons[i],
        )
        for i, row in enumerate(rows)
    ]


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
