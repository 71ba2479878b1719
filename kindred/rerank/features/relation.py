"""How a candidate's facts relate to the seeds' and to the visitor's place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.columns import Columns, haversine
from kindred.rerank.features.group import Context, FeatureGroup, table
from kindred.retrieval.segments import segment_sum
from kindred.schemas.ranking import Doubles, Floats, Rows

KILOMETRE = 1000.0


def leaf_of(columns: Columns, rows: Rows) -> NDArray[np.int32]:
    """int32[n]: code of the whole category path, -1 without one."""
    depth = columns.category_depth[rows].astype(np.int64)
    return columns.category[rows, np.maximum(depth - 1, 0)]


def seed_share(context: Context, codes_of: Callable[[Rows], NDArray[np.int32]]) -> Floats:
    """float32[n]: weight of the query's seeds whose code equals the candidate's, 0 to 1.

    NaN where the candidate has no code.
    """
    queries, codes = context.queries, codes_of(context.rows).astype(np.int64)
    if not len(queries.seeds):
        return np.full(len(codes), np.nan, np.float32)
    seeds = codes_of(queries.seeds).astype(np.int64)
    if len(seeds) == len(queries):
        alone = seeds[context.owners] if (queries.lengths == 1).all() else None
        if alone is not None:
            return np.where(codes >= 0, codes == alone, np.nan).astype(np.float32)
    span = max(int(codes.max(initial=0)), int(seeds.max(initial=0))) + 2
    keys, inverse = np.unique(queries.owners * span + seeds + 1, return_inverse=True)
    weights = np.bincount(inverse, queries.weights)
    totals = segment_sum(queries.weights, queries.offsets)[context.owners]
    key = context.owners * span + codes + 1
    at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
    share = np.where(keys[at] == key, weights[at], 0.0) / np.maximum(totals, 1e-9)
    return np.where((codes >= 0) & (totals > 0), share, np.nan).astype(np.float32)


def same(codes: NDArray[np.signedinteger], anchor: NDArray[np.signedinteger]) -> Floats:
    """1 where equal, 0 where different, NaN where either is unknown."""
    known = (codes >= 0) & (anchor >= 0)
    return np.where(known, codes == anchor, np.nan).astype(np.float32)


def fill(context: Context, out: Floats) -> None:
    """See `GROUP`."""
    columns, rows, owners = context.corpus.columns, context.rows, context.owners
    anchor, queries = context.queries.anchor, context.queries
    category, seed = columns.category[rows], anchor.category[owners]
    levels = np.cumprod((category == seed) & (seed >= 0), axis=1).sum(axis=1)
    out[:, 0] = np.where(anchor.category[owners, 0] >= 0, levels, np.nan)
    out[:, 1] = seed_share(context, lambda at: columns.category[at, 0])
    out[:, 2] = seed_share(context, lambda at: leaf_of(columns, at))
    out[:, 3] = seed_share(context, lambda at: columns.brand[at])
    out[:, 4] = same(columns.brand[rows], anchor.brand[owners])
    out[:, 5] = same(columns.seller[rows], anchor.seller[owners])
    out[:, 6] = same(columns.colour[rows], anchor.colour[owners])
    out[:, 7] = same(columns.condition[rows], anchor.condition[owners])
    with np.errstate(divide="ignore", invalid="ignore"):
        price = np.log(np.maximum(columns.price[rows], 1.0))
        out[:, 8] = price - np.log(np.maximum(anchor.price[owners], 1.0))
        out[:, 9] = np.abs(out[:, 8])
        out[:, 10] = price
    out[:, 11] = kilometres(context, anchor.lat, anchor.lon)
    out[:, 12] = kilometres(context, queries.lat, queries.lon)


def kilometres(context: Context, lat: Doubles, lon: Doubles) -> Doubles:
    """float64[n] from each query's place float64[Q] to its candidates; NaN unknown."""
    if np.isnan(lat).all():
        return np.full(len(context.rows), np.nan)
    columns, rows, owners = context.corpus.columns, context.rows, context.owners
    metres = haversine(lat[owners], lon[owners], columns.lat[rows], columns.lon[rows])
    return metres / KILOMETRE


GROUP = FeatureGroup(
    "relation",
    table(
        category_levels="levels of the category path shared with the newest seed",
        seeds_in_top_category="weight share of the seeds in the candidate's top category",
        seeds_in_leaf_category="weight share of the seeds in the candidate's leaf category",
        seeds_of_brand="weight share of the seeds of the candidate's brand",
        same_brand="1 where the newest seed's brand is the candidate's",
        same_seller="1 where the newest seed's seller is the candidate's",
        same_colour="1 where the newest seed's colour is the candidate's",
        same_condition="1 where the newest seed's condition is the candidate's",
        price_ratio="ln(candidate's price / newest seed's price)",
        price_gap="absolute value of price_ratio",
        price="ln(price in minor units)",
        seed_km="kilometres between candidate and newest seed",
        visitor_km="kilometres between candidate and visitor",
    ),
    fill,
)
