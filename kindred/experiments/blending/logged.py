"""The same blends on lists that were logged: what the ranker's probabilities expect of each.

Nobody knows what people would have bought of other orders, so purchases, fees and NDCG are those
that the probabilities expect: how the blend and its rivals trade them, not what they are. Facts of
the items (rates, prices, sellers) are those of the moment of each decision.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import polars as pl

from kindred.indexer.behaviour.impressions import PLATFORMS
from kindred.indexer.columns import Columns
from kindred.rerank.calibration import Calibration
from kindred.rerank.features import SPECIFICATION
from kindred.rerank.lambdamart import Ranker
from kindred.retrieval.segments import offsets_of
from kindred.retrieval.sources import SOURCES
from kindred.schemas.item import Campaign, Item
from kindred.schemas.ranking import Candidates, Doubles, Rows

COLUMNS = (
    "decision_id", "occurred_at", "platform", "user_id", "device_id", "session_id", "policy",
    "candidate_item", "candidate_ad_rate_bp", "candidate_price_minor", "candidate_seller_id",
    "candidate_score", "candidate_probability", "feature_spec", "features",
)  # fmt: skip
FEWEST = 20
"""Candidates that a list needs, so that there is something to choose from; all are cut to it."""


@dataclass(frozen=True, slots=True, eq=False)
class LoggedLists:
    """L lists of `FEWEST` candidates each, the best by probability."""

    columns: Columns
    """A row for each listing as it stood in a decision"""
    rows: Rows
    """int64[L, W]"""
    probability: Doubles
    """float64[L, W]"""
    score: Doubles
    """float64[L, W]: the ranker's, raw"""
    visitor: Rows
    """int64[L]: for intervals"""
    rescored: int
    """Lists whose probabilities were not logged: the ranker in use gave them"""

    def candidates(self, probability: Doubles) -> Candidates:
        """The lists as the funnel's, with these probabilities float64[L, W]."""
        offsets = offsets_of(np.full(len(self.rows), self.rows.shape[1]))
        return Candidates.unfound(
            offsets, self.rows.ravel(), len(SOURCES), probability=probability.ravel()
        )


def logged_lists(
    decisions: pl.LazyFrame, most: int, ranker: Ranker | None, calibration: Calibration | None
) -> LoggedLists | None:
    """The newest `most` decisions of the funnel (DECISION_SCHEMA) that can be blended anew.

    Those without probabilities take them from `ranker` and `calibration`, if their features were
    logged and are today's. None where nothing is left.
    """
    long = pl.col("candidate_item").list.len() >= FEWEST
    whole = pl.col("candidate_probability").is_not_null()
    if ranker is not None and calibration is not None:
        whole |= pl.col("features").is_not_null() & (pl.col("feature_spec") == SPECIFICATION)
    told = decisions.select(COLUMNS).filter((pl.col("policy") == "funnel") & long & whole)
    frame = told.top_k(most, by="occurred_at").collect(engine="streaming")
    if frame.is_empty():
        return None
    lengths = frame["candidate_item"].list.len().to_numpy().astype(np.int64)
    flat = frame.select(
        item=pl.col("candidate_item"), rate=pl.col("candidate_ad_rate_bp"),
        price=pl.col("candidate_price_minor"), seller=pl.col("candidate_seller_id"),
    ).explode("item", "rate", "price", "seller")  # fmt: skip
    scored = _scored(frame, lengths, ranker, calibration)
    columns, row = _facts(flat)
    owners = np.repeat(np.arange(len(frame)), lengths)
    order = np.lexsort((-scored.probability, owners))
    places = np.arange(len(order)) - offsets_of(lengths)[owners]
    head = order[places < FEWEST]
    shape = (len(frame), FEWEST)
    visitor = frame.select(
        pl.coalesce("user_id", "device_id", "session_id", "decision_id").rank("dense")
    ).to_series()
    return LoggedLists(
        columns=columns,
        rows=row[head].reshape(shape),
        probability=scored.probability[head].reshape(shape),
        score=scored.score[head].reshape(shape),
        visitor=visitor.to_numpy().astype(np.int64),
        rescored=scored.rescored,
    )


@dataclass(frozen=True, slots=True)
class _Scored:
    score: Doubles
    probability: Doubles
    rescored: int


def _scored(
    frame: pl.DataFrame, lengths: Rows, ranker: Ranker | None, calibration: Calibration | None
) -> _Scored:
    """Scores and probabilities of all candidates, as logged or else by the ranker in use."""
    bare = frame["candidate_probability"].is_null().to_numpy()
    owners = np.repeat(np.arange(len(frame)), lengths)

    def kept(name: str) -> Doubles:
        lists = frame[name].fill_null([])
        out = np.full(len(owners), np.nan)
        there = ~bare[owners]
        out[there] = lists.filter(pl.Series(~bare)).explode().to_numpy()
        return out

    score, probability = kept("candidate_score"), kept("candidate_probability")
    if bare.any():
        assert ranker is not None
        assert calibration is not None
        rows = b"".join(frame["features"].filter(pl.Series(bare)).to_list())
        mine = bare[owners]
        features = np.frombuffer(rows, "<f4").reshape(int(mine.sum()), -1)
        codes = {name: code for code, name in enumerate(PLATFORMS)}
        platform = frame["platform"].replace_strict(codes, default=-1, return_dtype=pl.Int8)
        score[mine] = ranker.score(features)
        shown_on = platform.to_numpy()[owners[mine]]
        probability[mine] = calibration.probability(score[mine], shown_on)
    return _Scored(score, probability, int(bare.sum()))


def _facts(flat: pl.DataFrame) -> tuple[Columns, Rows]:
    """(a row for each distinct listing as it stood, int64[n] the row of each candidate)."""
    distinct = flat.unique(maintain_order=True).with_row_index("row")
    keys = ["item", "rate", "price", "seller"]
    row = flat.join(distinct, on=keys, how="left", nulls_equal=True, maintain_order="left")["row"]
    columns = Columns(len(distinct))
    items = [
        msgspec.convert(
            {
                "item_id": str(n), "ad_rate_bp": rate, "price_minor": price, "seller_id": seller,
                "currency": None if price is None else "XXX",
                "campaign": (Campaign.PLS if rate else Campaign.NONE).value,
            },
            Item,
        )
        for n, _, rate, price, seller in distinct.iter_rows()
    ]  # fmt: skip
    columns.apply(np.arange(len(items)), items)
    return columns, row.to_numpy().astype(np.int64)
