"""A seeded log of shown lists and what came of them, with one feature that explains it.

The true appeal of a shown item is in the feature APPEAL; clicks need a look, which the position
decides; what is bought was clicked. The merge's order knows the appeal through noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from kindred.events.shown import DECISION_SCHEMA, JOINED_SCHEMA
from kindred.indexer.behaviour.impressions import load_impressions
from kindred.rerank.features import FEATURES, SPECIFICATION
from kindred.rerank.logged import JoinedLog
from kindred.schemas.clock import DAY, HOUR

START = 1_700_000_000_000_000 // DAY * DAY
APPEAL = "visitor_km"
NOISE = "price"
ITEMS = 60
LENGTH = 8


@dataclass(frozen=True, slots=True)
class ShownLog:
    """Decisions and their join, as the lake holds them."""

    decisions: pl.DataFrame
    joined: pl.DataFrame


def item_rows(items: int = ITEMS) -> pl.DataFrame:
    """item_id -> row."""
    return pl.DataFrame({"item_id": [f"item-{i}" for i in range(items)], "row": range(items)})


def joined_row(**fields: Any) -> dict[str, Any]:
    """A joined row of nothing happening, with some fields told."""
    return {
        **dict.fromkeys(JOINED_SCHEMA.names()),
        "decision_id": "d", "occurred_at": START, "position": 1, "item_id": "item-0",
        "platform": "web", "user_id": "u", "list_length": 1, "propensity": 1.0, "explore": False,
        "sponsored": False, "degraded": False, "formats": 1, "feature_spec": SPECIFICATION,
        "policy": "funnel", "surface": "similar", "grade": 0, "censored": False,
        **fields,
    }  # fmt: skip


def joined_frame(*rows: dict[str, Any]) -> pl.DataFrame:
    """Rows of `joined_row` as the table."""
    return pl.DataFrame([joined_row(**row) for row in rows], schema=JOINED_SCHEMA)


def joined(log: ShownLog, specifications: dict[str, tuple[str, ...]] | None = None) -> JoinedLog:
    """The log as training reads it."""

    def decisions(since: int, until: int) -> pl.LazyFrame:
        within = pl.col("occurred_at").is_between(since, until, closed="left")
        return log.decisions.lazy().filter(within)

    shown = load_impressions(log.joined.lazy(), item_rows())
    return JoinedLog(
        shown=shown,
        decisions=decisions,
        specifications=specifications or {},
        inputs={},
        until=shown.newest + 1,
    )


def shown_log(lists: int, *, seed: int = 3, days: float = 20, learnable: bool = True) -> ShownLog:
    """`lists` answers of LENGTH items over `days` days; without `learnable`, chance alone acts."""
    rng = np.random.default_rng(seed)
    n = lists * LENGTH
    appeal = rng.normal(size=(lists, LENGTH))
    merged = appeal * 0.3 + rng.normal(size=appeal.shape)
    explore = rng.random(lists) < 0.3
    key = np.where(explore[:, None], rng.random(appeal.shape), merged)
    order = np.argsort(-key, axis=1)
    recall = np.argsort(np.argsort(-merged, axis=1), axis=1) + 1
    appeal, recall = np.take_along_axis(appeal, order, 1), np.take_along_axis(recall, order, 1)
    at = np.sort(START + rng.integers(0, int(days * DAY), lists))
    force = appeal if learnable else np.zeros_like(appeal)
    looked = rng.random(appeal.shape) < 1 / np.arange(1, LENGTH + 1) ** 0.7
    clicked = looked & (rng.random(appeal.shape) < 1 / (1 + np.exp(1.2 - 1.5 * force)))
    watched = clicked & (rng.random(appeal.shape) < 0.3)
    carted = clicked & (rng.random(appeal.shape) < 0.2)
    bought = clicked & (rng.random(appeal.shape) < 1 / (1 + np.exp(1.5 - 1.5 * force)))
    features = np.full((lists, LENGTH, len(FEATURES)), np.nan, np.float32)
    features[:, :, FEATURES.index(APPEAL)] = appeal
    features[:, :, FEATURES.index(NOISE)] = rng.normal(size=appeal.shape)
    items = np.argsort(rng.random((lists, ITEMS)), axis=1)[:, :LENGTH]
    names = np.array(item_rows()["item_id"].to_list())[items]
    ids = [f"d{i:07}" for i in range(lists)]
    platform = rng.choice(["web", "app"], lists)
    users = np.array([f"u{u}" for u in rng.integers(0, max(lists // 3, 1), lists)])
    late = rng.integers(1 * HOUR, 4 * DAY, n)
    base = np.repeat(at, LENGTH)

    def moments(what: np.ndarray, delay: Any) -> pl.Series:
        return pl.Series(np.where(what.ravel(), base + delay, -1)).replace(-1, None)

    joined = pl.DataFrame(
        {
            "decision_id": np.repeat(ids, LENGTH),
            "occurred_at": base,
            "position": np.tile(np.arange(1, LENGTH + 1), lists),
            "item_id": names.ravel(),
            "platform": np.repeat(platform, LENGTH),
            "user_id": np.repeat(users, LENGTH),
            "list_length": np.full(n, LENGTH),
            "propensity": np.repeat(np.where(explore, 1 / LENGTH, 1.0), LENGTH),
            "explore": np.repeat(explore, LENGTH),
            "formats": np.full(n, 1),
            "feature_spec": np.full(n, SPECIFICATION),
            "censored": np.full(n, fill_value=False),
            "click_at": moments(clicked, 60_000_000),
            "watch_at": moments(watched, 90_000_000),
            "cart_at": moments(carted, 90_000_000),
            "purchase_at": moments(bought, late),
            "grade": np.select([bought, carted, watched, clicked], [6, 3, 2, 1], 0).ravel(),
        }
    )
    decisions = pl.DataFrame(
        {
            "decision_id": ids,
            "occurred_at": at,
            "degraded": [["rank: merge order (no ranker serves)"]] * lists,
            "shown_item": names.tolist(),
            "candidate_item": names.tolist(),
            "candidate_recall_rank": recall.tolist(),
            "feature_spec": [SPECIFICATION] * lists,
            "features": [f.tobytes() for f in features],
        }
    )
    return ShownLog(whole(decisions, DECISION_SCHEMA), whole(joined, JOINED_SCHEMA))


def whole(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The frame with every column of the schema, null where it was not told."""
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in schema.items()
    )
