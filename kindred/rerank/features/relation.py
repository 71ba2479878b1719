"""How a candidate's facts relate to the seeds' and to the visitor's place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.columns import Columns, haversine
from kindred.rerank.features.group import Context, Feature, FeatureGroup
from kindred.rerank.features.shares import Weighted
from kindred.schemas.ranking import Doubles, Floats, Rows

KILOMETRE = 1000.0


def leaf_of(columns: Columns, rows: Rows) -> NDArray[np.int32]:
    """int32[n]: code of the whole category path, -1 without one."""
    depth = columns.category_depth[rows].astype(np.int64)
    return columns.category[rows, np.maximum(depth - 1, 0)]


def log_price(columns: Columns, rows: Rows) -> Doubles:
    """float64[n]: ln of the price in minor units, of at least one; NaN unknown."""
    price: Doubles = np.log(np.maximum(columns.price[rows], 1.0))
    return price


def seeds_of(context: Context) -> Weighted:
    """The seeds with their weights."""
    queries = context.queries
    return Weighted(queries.owners, queries.seeds, queries.weights, len(queries))


def same(codes: NDArray[np.signedinteger], anchor: NDArray[np.signedinteger]) -> Floats:
    """1 where equal, 0 where different, NaN where either is unknown."""
    found: Floats = (codes == anchor).astype(np.float32)
    found[(codes < 0) | (anchor < 0)] = np.nan
    return found


def fill(context: Context, out: Floats) -> None:
    """See `GROUP`."""
    columns, rows, owners = context.corpus.columns, context.rows, context.owners
    queries, seeds = context.queries, seeds_of(context)
    anchor = queries.anchor
    category, brand = columns.category[rows], columns.brand[rows]
    equal = (category == anchor.category[owners]) & (category >= 0)
    levels = np.logical_and.accumulate(equal, axis=1).sum(axis=1, dtype=np.float32)
    levels[(anchor.category[owners, 0] < 0) | (category[:, 0] < 0)] = np.nan
    out[:, 0] = levels
    out[:, 1] = seeds.share(columns.category[seeds.rows, 0], category[:, 0], owners)
    out[:, 2] = seeds.share(leaf_of(columns, seeds.rows), leaf_of(columns, rows), owners)
    out[:, 3] = seeds.share(columns.brand[seeds.rows], brand, owners)
    out[:, 4] = same(brand, anchor.brand[owners])
    out[:, 5] = same(columns.seller[rows], anchor.seller[owners])
    out[:, 6] = same(columns.colour[rows], anchor.colour[owners])
    out[:, 7] = same(columns.condition[rows], anchor.condition[owners])
    price = log_price(columns, rows)
    out[:, 8] = price - np.log(np.maximum(anchor.price, 1.0))[owners]
    out[:, 9] = price - seeds.mean(log_price(columns, seeds.rows))[owners]
    out[:, 10] = price
    lats, lons = columns.lat[rows], columns.lon[rows]
    out[:, 11] = kilometres(anchor.lat, anchor.lon, lats, lons, owners)
    out[:, 12] = kilometres(queries.lat, queries.lon, lats, lons, owners)


def kilometres(
    lat: Doubles, lon: Doubles, lats: Doubles, lons: Doubles, owners: Rows
) -> Doubles | float:
    """float64[n] from each query's place float64[Q] to its candidates'; NaN unknown."""
    if len(lat) == 1:
        if np.isnan(lat[0]):
            return np.nan
        return haversine(float(lat[0]), float(lon[0]), lats, lons) / KILOMETRE
    return haversine(lat[owners], lon[owners], lats, lons) / KILOMETRE


def _share(name: str, meaning: str, why: str) -> Feature:
    return Feature(name, meaning, "share", "catalogue, session", why)


def _same(what: str, why: str) -> Feature:
    meaning = f"1 where the newest seed's {what} is the candidate's"
    return Feature(f"same_{what}", meaning, "1 or 0", "catalogue, seed", why)


GROUP = FeatureGroup(
    "relation",
    (
        Feature(
            "category_levels", "levels of the category path shared with the newest seed", "count",
            "catalogue, seed", "a substitute is of the same leaf, a complement of the same root",
        ),
        _share(
            "seeds_in_top_category",
            "weight share of the seeds in the candidate's top category",
            "the errand of the whole session",
        ),
        _share(
            "seeds_in_leaf_category",
            "weight share of the seeds in the candidate's leaf category",
            "comparing alternatives, or gathering different things",
        ),
        _share(
            "seeds_of_brand",
            "weight share of the seeds of the candidate's brand",
            "a session that keeps to a brand",
        ),
        _same("brand", "a brand is meant more often than a seller"),
        _same("seller", "postage together; or a seller who lists the same twice"),
        _same("colour", "things that go together are seldom of any colour"),
        _same("condition", "who looks at used goods accepts used goods"),
        Feature(
            "price_ratio", "ln(candidate's price / newest seed's price)", "ln ratio",
            "catalogue, seed", "dearer is seldom bought after cheaper",
        ),
        Feature(
            "session_price_gap", "ln of the candidate's price over the seeds' geometric mean",
            "ln ratio", "catalogue, session", "a budget shows over several items",
        ),
        Feature(
            "price", "ln(price in minor units)", "ln minor units", "catalogue",
            "cheap things are bought sooner",
        ),
        Feature(
            "seed_km", "between candidate and newest seed", "kilometres", "catalogue, seed",
            "two things fetched on one way",
        ),
        Feature(
            "visitor_km", "between candidate and visitor", "kilometres", "catalogue, request",
            "what must be fetched is bought near by",
        ),
    ),
    fill,
)  # fmt: skip
