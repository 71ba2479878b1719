"""A batch of the funnel's answers as columns of the decision log."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from kindred.experiments.marketsim.shops import Asked
from kindred.indexer.columns import Columns
from kindred.rerank.explore import Explored
from kindred.rerank.funnel import Ranked
from kindred.rerank.held import merge_ranks
from kindred.retrieval.queries import Queries
from kindred.retrieval.segments import offsets_of
from kindred.schemas.item import Campaign
from kindred.schemas.ranking import Candidates, Rows


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """n answers: what was asked, and the first candidates of each, flat."""

    asked: Asked
    session: tuple[Rows, Rows]
    """(int64[n + 1], rows): what each question started from besides its seed, oldest first"""
    ids: NDArray[np.object_]
    """object[n]: decision ids"""
    trace: NDArray[np.object_]
    kept: Candidates
    count: Rows
    """int64[n]: candidates that there were"""
    lists: pl.DataFrame
    """One row for each kept candidate: `query`, `candidate_…`, `shown_…`"""
    features: list[bytes]
    """float32[candidates, F] of each answer; empty where none were assembled"""
    ms: str
    degraded: list[str]

    @classmethod
    def of(
        cls,
        asked: Asked,
        queries: Queries,
        told: Explored,
        ids: NDArray[np.object_],
        trace: NDArray[np.object_],
        most: int,
    ) -> Answered:
        """Keeps the first `most` candidates of each answer; the last seed is the page's."""
        last = np.zeros(len(queries.seeds), bool)
        last[queries.offsets[1:] - 1] = True
        whole = told.ranked.candidates
        inside = whole.ranks < most
        kept = whole.take(inside)
        lists = {
            "query": kept.queries,
            "candidate_sources": kept.sources,
            "candidate_recall_rank": merge_ranks(whole)[inside],
            "candidate_merged": kept.merged,
            "shown_propensity": told.propensity[inside],
            "shown_explore": told.explore[inside],
            "shown_sponsored": told.ranked.sponsored[inside],
        }
        for name in ("score", "probability", "blend"):
            column = getattr(kept, name)
            if column is not None:
                lists[f"candidate_{name}"] = column
        return cls(
            asked=asked,
            session=(offsets_of(queries.lengths - 1), queries.seeds[~last]),
            ids=ids,
            trace=trace,
            kept=kept,
            count=np.diff(whole.offsets),
            lists=pl.DataFrame(lists).with_columns(campaigns(told.ranked).filter(inside)),
            features=feature_rows(kept),
            ms=msgspec.json.encode(told.ranked.ms).decode(),
            degraded=list(told.ranked.degraded),
        )

    def columns(self, facts: Columns) -> pl.DataFrame:
        """Columns of `DECISION_SCHEMA` about the candidates, one row for each answer."""
        rows, n = self.kept.rows, len(self.ids)
        bounds, before = self.session[0].tolist(), self.session[1].tolist()
        items = [facts.item_ids[r] for r in before]
        sellers = facts.vocabularies["seller"]
        lists = self.lists.with_columns(
            candidate_item=pl.Series([facts.item_ids[r] for r in rows.tolist()], dtype=pl.String),
            candidate_ad_rate_bp=facts.ad_rate_bp[rows],
            candidate_price_minor=pl.Series(facts.price[rows], nan_to_null=True).round(),
            candidate_formats=facts.formats[rows],
            candidate_seller_id=pl.Series(
                [None if s < 0 else sellers.name(s) for s in facts.seller[rows].tolist()],
                dtype=pl.String,
            ),
        ).with_columns(shown_item=pl.col("candidate_item"))
        shown = pl.col("shown_propensity").is_not_nan()
        by_query = lists.group_by("query", maintain_order=True).agg(
            pl.col("^candidate_.*$"), pl.col("^shown_.*$").filter(shown)
        )
        each = pl.DataFrame(
            {
                "query": pl.Series(np.arange(n), dtype=by_query.schema["query"]),
                "session_items": pl.Series(
                    [items[a:b] for a, b in pairwise(bounds)], dtype=pl.List(pl.String)
                ),
                "candidate_count": self.count,
                "ms": [self.ms] * n,
                "degraded": pl.Series([self.degraded] * n, dtype=pl.List(pl.String)),
                "features": pl.Series(self.features or [None] * n, dtype=pl.Binary),
            }
        )
        whole = each.join(by_query, on="query", how="left", maintain_order="left").drop("query")
        nothing = [
            pl.col(name).fill_null(pl.lit([], whole.schema[name]))
            for name in whole.columns
            if name.startswith(("candidate_", "shown_")) and name != "candidate_count"
        ]
        return whole.with_columns(nothing)


def campaigns(ranked: Ranked) -> pl.Series:
    """`shown_campaign`: which kind of campaign paid for each place, null where none did."""
    auctioned = np.zeros(len(ranked.sponsored), np.bool_)
    if ranked.drawn is not None:
        auctioned = ~np.isnan(ranked.drawn)
    kinds = (
        pl.when(pl.lit(pl.Series(auctioned)))
        .then(pl.lit(Campaign.PLX.value))
        .when(pl.lit(pl.Series(ranked.sponsored)))
        .then(pl.lit(Campaign.PLS.value))
    )
    return pl.select(shown_campaign=kinds).to_series()


def feature_rows(kept: Candidates) -> list[bytes]:
    """Each query's features, as the log keeps them."""
    if kept.features is None:
        return []
    rows = kept.features.astype("<f4")
    return [rows[a:b].tobytes() for a, b in pairwise(kept.offsets.tolist())]
