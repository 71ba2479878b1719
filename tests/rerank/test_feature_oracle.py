"""Facts of the catalogue in features, against one candidate at a time in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from feature_market import N, found, questions, whole_corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from kindred.indexer.columns import Columns, haversine
from kindred.rerank.features import FEATURES, Context, assemble
from kindred.retrieval.queries import Queries
from kindred.retrieval.sources import Corpus

NAN = math.nan
Entries = list[tuple[int, float]]
"""Catalogue rows with their weights."""


def path(columns: Columns, row: int) -> list[int]:
    return [int(code) for code in columns.category[row] if code >= 0]


def leaf(columns: Columns, row: int) -> int:
    return (path(columns, row) or [-1])[-1]


def top(columns: Columns, row: int) -> int:
    return (path(columns, row) or [-1])[0]


def code(name: str, columns: Columns, row: int) -> int:
    return int(getattr(columns, name)[row])


def share(entries: Entries, columns: Columns, row: int, of: object) -> float:
    """Weight of the entries that say what `row` says, of those that say anything."""
    assert callable(of)
    stated = [(of(columns, other), weight) for other, weight in entries]
    total = sum(weight for said, weight in stated if said >= 0)
    mine = of(columns, row)
    if mine < 0 or total == 0:
        return NAN
    return sum(weight for said, weight in stated if said == mine) / total


def same(name: str, columns: Columns, row: int, anchor: int) -> float:
    codes = code(name, columns, row), code(name, columns, anchor)
    return NAN if min(codes) < 0 else float(codes[0] == codes[1])


def expected(corpus: Corpus, queries: Queries, q: int, row: int) -> dict[str, float]:
    columns, at = corpus.columns, slice(queries.offsets[q], queries.offsets[q + 1])
    seeds = list(zip(queries.seeds[at].tolist(), queries.weights[at].tolist(), strict=True))
    said = {
        "seeds_in_top_category": share(seeds, columns, row, top),
        "seeds_in_leaf_category": share(seeds, columns, row, leaf),
        "seeds_of_brand": share(seeds, columns, row, lambda c, r: code("brand", c, r)),
        "price": math.log(columns.price[row]),
        "visitor_km": apart(columns, row, queries.lat[q], queries.lon[q]),
    }
    if seeds:
        anchor = seeds[-1][0]
        mine, theirs = path(columns, row), path(columns, anchor)
        both = next((n for n, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b),
                    min(len(mine), len(theirs)))  # fmt: skip
        said["category_levels"] = both if mine and theirs else NAN
        said |= {
            f"same_{name}": same(name, columns, row, anchor)
            for name in ("brand", "seller", "colour", "condition")
        }
        said["seed_km"] = apart(columns, row, columns.lat[anchor], columns.lon[anchor])
    assert corpus.tastes is not None
    assert queries.users is not None
    _, rows, weights = corpus.tastes.lookup(queries.users[[q]])
    past = list(zip(rows.tolist(), weights.tolist(), strict=True))
    said["user_item"] = share(past, columns, row, lambda _, r: r)
    said["user_leaf_category"] = share(past, columns, row, leaf)
    said["user_seller"] = share(past, columns, row, lambda c, r: code("seller", c, r))
    return said


def apart(columns: Columns, row: int, lat: float, lon: float) -> float:
    return float(haversine(lat, lon, columns.lat[[row]], columns.lon[[row]])[0]) / 1000


@pytest.mark.parametrize("count", [1, 4])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_each_candidate_compares_as_it_does_by_hand(count: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    corpus = whole_corpus(seed)
    queries = questions(corpus, draw, count)
    candidates = found(draw, draw.integers(1, N, count))
    features = assemble(Context(queries, candidates, corpus))
    for entry, (q, row) in enumerate(zip(candidates.queries, candidates.rows, strict=True)):
        for name, value in expected(corpus, queries, int(q), int(row)).items():
            got = features[entry, FEATURES.index(name)]
            assert got == pytest.approx(value, rel=2e-5, abs=1e-6, nan_ok=True), (name, q, row)
