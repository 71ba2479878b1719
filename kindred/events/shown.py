"""Decisions and their join with events, as columns: the two tables that everything learns from."""

from __future__ import annotations

import polars as pl

from kindred.events.lake import LakeTable

DECISION_SCHEMA = pl.Schema(
    {
        "decision_id": pl.String(),
        "occurred_at": pl.Int64(),
        "surface": pl.String(),
        "platform": pl.String(),
        "role": pl.String(),
        "user_id": pl.String(),
        "device_id": pl.String(),
        "session_id": pl.String(),
        "traceparent": pl.String(),
        "seed_item": pl.String(),
        "session_items": pl.List(pl.String()),
        "query": pl.String(),
        "category": pl.List(pl.String()),
        "lat": pl.Float64(),
        "lon": pl.Float64(),
        "season": pl.String(),
        "region": pl.String(),
        "policy": pl.String(),
        "versions": pl.String(),  # JSON objects: read by people, joined by nobody
        "flags": pl.String(),
        "experiments": pl.String(),
        "ms": pl.String(),
        "degraded": pl.List(pl.String()),
        "epsilon": pl.Float64(),
        "slate_propensity": pl.Float64(),
        "writer": pl.String(),
        "sequence": pl.Int64(),
        "candidate_count": pl.Int64(),
        "shown_item": pl.List(pl.String()),
        "shown_propensity": pl.List(pl.Float64()),
        "shown_explore": pl.List(pl.Boolean()),
        "shown_sponsored": pl.List(pl.Boolean()),
        "shown_campaign": pl.List(pl.String()),
        "candidate_item": pl.List(pl.String()),
        "candidate_sources": pl.List(pl.UInt32()),
        "candidate_recall_rank": pl.List(pl.UInt16()),
        "candidate_merged": pl.List(pl.Float32()),
        "candidate_score": pl.List(pl.Float64()),
        "candidate_shadow": pl.List(pl.Float64()),
        "candidate_probability": pl.List(pl.Float64()),
        "candidate_blend": pl.List(pl.Float64()),
        "candidate_ad_rate_bp": pl.List(pl.UInt16()),
        "candidate_price_minor": pl.List(pl.Int64()),
        "candidate_formats": pl.List(pl.UInt8()),
        "candidate_seller_id": pl.List(pl.String()),
        "feature_spec": pl.String(),
        "features": pl.Binary(),
    }
)
"""One row a decision. Candidate lists are in the order of the answer: entry i is the item shown at
position i + 1, as far as it was shown. `features` holds float32[candidates, F], row by row, in the
machine's little-endian form; `feature_spec` names the columns."""

DECISIONS = LakeTable("decisions", DECISION_SCHEMA, "decision_id")

OUTCOMES = (
    "inview", "click", "view", "show_interest", "watch", "contact", "cart", "offer", "bid",
    "buy_now", "purchase", "dismiss",
)  # fmt: skip
"""Outcomes whose first moment a joined row keeps, as `<outcome>_at`; `watch` is favourite too,
`contact` is message, phone or contact, `click` and `view` content's as well."""

JOINED_SCHEMA = pl.Schema(
    {
        "decision_id": pl.String(),
        "occurred_at": pl.Int64(),
        "position": pl.Int16(),
        "item_id": pl.String(),
        "surface": pl.String(),
        "platform": pl.String(),
        "role": pl.String(),
        "user_id": pl.String(),
        "device_id": pl.String(),
        "session_id": pl.String(),
        "trace_id": pl.String(),
        "seed_item": pl.String(),
        "policy": pl.String(),
        "list_length": pl.Int16(),
        "propensity": pl.Float64(),
        "epsilon": pl.Float64(),
        "explore": pl.Boolean(),
        "sponsored": pl.Boolean(),
        "campaign": pl.String(),
        "degraded": pl.Boolean(),
        "ad_rate_bp": pl.UInt16(),
        "price_minor": pl.Int64(),
        "formats": pl.UInt8(),
        "seller_id": pl.String(),
        "feature_spec": pl.String(),
        **{f"{outcome}_at": pl.Int64() for outcome in OUTCOMES},
        "dwell_ms": pl.Int64(),
        "grade": pl.Int8(),
        "slot_reward": pl.Int8(),
        "aware": pl.Boolean(),
        "sale_minor": pl.Int64(),
        "fee_minor": pl.Int64(),
        "halo_sale_minor": pl.Int64(),
        "halo_fee_minor": pl.Int64(),
        "attribution": pl.String(),
        "censored": pl.Boolean(),
    }
)
"""One row a shown item, unclicked ones too. Null is "did not happen" or "was not known".

`occurred_at` is the decision's. `sponsored` is what its ad rate placed, so that a sale costs a fee;
`campaign` also tells the places of an auction (`plx`). `attribution` is the weakest link that an
outcome of the row came by: `decision`, `trace`, `session` or `visitor`; null without an outcome.
`censored` holds while a window that could still change the row is open."""

JOINED = LakeTable("joined", JOINED_SCHEMA, "decision_id")
"""For reading: a day is written whole, by `events.joining`."""
