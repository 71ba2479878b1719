"""How a candidate's facts relate to the seeds' and to the visitor's place."""

from __future__ import annotations

import itertools

import numpy as np

from kindred.indexer.columns import haversine
from kindred.rerank.features.facts import Facts
from kindred.rerank.features.group import Context, Feature, FeatureGroup
from kindred.rerank.features.shares import Codes, Weighted, rows_of, same
from kindred.schemas.ranking import Floats

KILOMETRE = 1000.0


def seeds_of(context: Context) -> Weighted:
    """The seeds with their weights."""
    queries = context.queries
    return Weighted(queries.owners, queries.seeds, queries.weights, len(queries))


def levels(category: Codes, anchor: Codes) -> Floats:
    """float32[n]: leading levels of int32[L, n] that are the anchor's, int32[Q or n, L or more]."""
    other = anchor.T[: len(category)]
    equal = (category == other) & (category >= 0)
    count: Floats = equal[0].astype(np.float32)
    for upper, lower in itertools.pairwise(equal):
        lower &= upper
        count += lower
    count[(other[0] < 0) | (category[0] < 0)] = np.nan
    return count


def fill(context: Context, out: Floats) -> None:
    """See `GROUP`."""
    columns, rows, of_query = context.corpus.columns, context.rows, context.of_query
    queries, seeds, facts = context.queries, seeds_of(context), context.facts
    anchor, stated = queries.anchor, Facts(columns, seeds.rows)
    out[:, 0] = levels(facts.category, of_query(anchor.category))
    mine = rows_of(stated.category[0], stated.leaf, stated.brand)
    theirs = rows_of(facts.category[0], facts.leaf, facts.brand)
    out[:, 1:4] = seeds.shares(mine, theirs, context.owners).T
    colour, condition = columns.colour.take(rows), columns.condition.take(rows)
    theirs = rows_of(facts.brand, facts.seller, colour, condition)
    mine = rows_of(anchor.brand, anchor.seller, anchor.colour, anchor.condition)
    out[:, 4:8] = same(theirs, of_query(mine.T).T).T
    price = facts.log_price
    out[:, 8] = price - of_query(np.log(np.maximum(anchor.price, 1.0)))
    out[:, 9] = price - of_query(seeds.mean(stated.log_price))
    out[:, 10] = price
    lat, lon = rows_of(anchor.lat, queries.lat), rows_of(anchor.lon, queries.lon)
    known = (~np.isnan(lat).all(axis=1)).nonzero()[0]
    if len(known) < len(lat):
        out[:, 11:13] = np.nan
    if len(known):
        lat, lon = of_query(lat[known].T).T, of_query(lon[known].T).T
        metres = haversine(lat, lon, columns.lat.take(rows), columns.lon.take(rows))
        out[:, 11 + known] = (metres / KILOMETRE).T


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
