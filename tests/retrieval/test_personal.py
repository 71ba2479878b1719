"""Items for a known user: the factorisation's own order, or the own past, and nobody else's."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from small_market import small_items

from kindred.indexer.behaviour.tastes import Tastes
from kindred.indexer.behaviour.users import UserFactors, user_key, user_keys
from kindred.indexer.columns import Columns
from kindred.indexer.store.exact import ExactStore
from kindred.indexer.store.tables import VectorTable
from kindred.retrieval.personal import OVERFETCH, personal
from kindred.retrieval.plan import FilterPlanner
from kindred.retrieval.queries import Queries, make_queries
from kindred.retrieval.recall import recall
from kindred.retrieval.sources import SOURCES, Corpus
from kindred.schemas.query import Filters
from kindred.schemas.settings import PlanSettings, RecallSettings, SourceSettings

ITEMS, DIM = 120, 6
IDS = ["ann", "bo", "cy"]
KITCHEN = Filters(categories=(("kitchen",),))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    draw = np.random.default_rng(5)
    columns = Columns(ITEMS)
    columns.apply(np.arange(ITEMS), small_items([f"i{n}" for n in range(ITEMS)]))
    factors = draw.normal(size=(ITEMS, DIM)).astype(np.float32)
    factors *= draw.uniform(0.8, 1.2, (ITEMS, 1)).astype(np.float32)
    table = VectorTable(DIM)
    table.set(np.arange(ITEMS), factors / np.linalg.norm(factors, axis=1, keepdims=True))
    exact = ExactStore(columns, {"als": table})
    keys = user_keys(IDS)
    order = np.argsort(keys)
    users = draw.normal(size=(3, DIM)).astype(np.float32)
    return Corpus(
        columns=columns,
        tables={"als": table},
        store=exact,
        exact=exact,
        planner=FilterPlanner(columns, PlanSettings()),
        users=UserFactors(keys[order], users[order], factors),
    )


def asked(corpus: Corpus, *ids: str | None, **given: object) -> Queries:
    return make_queries(
        corpus.columns,
        np.zeros(len(ids) + 1, np.int64),
        np.zeros(0, np.int64),
        now=1,
        half_life=3.0,
        users=user_keys(ids),
        **given,
    )


def by_hand(corpus: Corpus, user: str, quota: int, allowed: np.ndarray) -> list[int]:
    held = corpus.users
    assert held is not None
    x = held.users[held.find(user_keys([user]))[0]]
    rows = np.flatnonzero(allowed)
    cosine = held.items[rows] @ x / np.linalg.norm(held.items[rows], axis=1)
    near = rows[np.argsort(-cosine)[: OVERFETCH * quota]]
    return near[np.argsort(-(held.items[near] @ x))[:quota]].tolist()


def test_known_users_get_the_best_by_the_product_and_others_nothing(corpus: Corpus):
    queries = asked(corpus, "ann", None, "stranger", "cy")
    found = personal(queries, corpus, 7)
    everything = np.ones(ITEMS, bool)
    for q, user in ((0, "ann"), (3, "cy")):
        assert found.rows[found.queries == q].tolist() == by_hand(corpus, user, 7, everything)
    assert set(found.queries.tolist()) == {0, 3}


def test_the_filter_of_each_query_holds(corpus: Corpus):
    queries = asked(corpus, "ann", "bo", filters=(Filters(), KITCHEN), filter_ids=np.array([1, 0]))
    found = personal(queries, corpus, 5)
    kitchen = corpus.columns.mask(KITCHEN)
    assert found.rows[found.queries == 0].tolist() == by_hand(corpus, "ann", 5, kitchen)
    assert found.rows[found.queries == 1].tolist() == by_hand(corpus, "bo", 5, kitchen | True)


def test_an_item_newer_than_the_factors_is_not_scored_by_another_ones(corpus: Corpus):
    held = corpus.users
    assert held is not None
    older = replace(held, items=held.items[:10])
    scores = older.scores(np.ones((2, DIM), np.float32), np.array([3, 50]))
    assert scores[0] == pytest.approx(float(held.items[3].sum()), rel=1e-5)
    assert scores[1] == 0


def test_recall_names_the_source_where_it_has_a_quota(corpus: Corpus):
    queries = asked(corpus, "bo")
    on = msgspec.structs.replace(RecallSettings(), sources={"user": SourceSettings(quota=6)})
    candidates = recall(queries, corpus, on).candidates
    assert candidates.rows.tolist() == by_hand(corpus, "bo", 6, np.ones(ITEMS, bool))
    assert set(candidates.sources.tolist()) == {1 << SOURCES.index("user")}
    assert not len(recall(queries, replace(corpus, users=None), on).candidates)
    nobody = replace(queries, users=None)
    assert not len(recall(nobody, corpus, on).candidates)


def with_tastes(corpus: Corpus, recalled: bool = True) -> Corpus:
    """Ann chose 7, 3, 50 and something newer than the index; bo chose 9."""
    keys = user_keys(["ann", "bo"])
    assert keys[0] < keys[1]
    tastes = Tastes(
        keys=keys, indptr=np.array([0, 4, 5]), rows=np.array([7, 999, 3, 50, 9], np.int32),
        weights=np.array([4, 3, 2, 1, 1], np.float32), recalled=np.array(recalled),
    )  # fmt: skip
    return replace(corpus, tastes=tastes)


def test_what_a_user_chose_before_comes_again_heaviest_first(corpus: Corpus):
    on = msgspec.structs.replace(RecallSettings(), sources={"again": SourceSettings(quota=2)})
    queries = asked(corpus, "ann", None, "stranger", "bo")
    candidates = recall(queries, with_tastes(corpus), on).candidates
    assert candidates.rows.tolist() == [7, 3, 9]
    assert candidates.queries.tolist() == [0, 0, 3]
    assert set(candidates.sources.tolist()) == {1 << SOURCES.index("again")}
    assert not len(recall(replace(queries, users=None), with_tastes(corpus), on).candidates)
    assert not len(recall(queries, corpus, on).candidates)
    columns, seven = corpus.columns, np.array([7])
    seeded = make_queries(columns, np.array([0, 1]), seven, now=1, half_life=3.0,
                          users=user_keys(["ann"]))  # fmt: skip
    assert recall(seeded, with_tastes(corpus), on).candidates.rows.tolist() == [3, 50]


def test_where_nobody_comes_back_for_the_same_it_is_not_recalled(corpus: Corpus):
    on = msgspec.structs.replace(RecallSettings(), sources={"again": SourceSettings(quota=2)})
    asked_by_ann = asked(corpus, "ann")
    assert not len(recall(asked_by_ann, with_tastes(corpus, recalled=False), on).candidates)


def test_keys_are_the_same_everywhere_and_none_has_none():
    assert user_key("ann") == 10_436_368_346_848_905_880
    assert user_key(None) == 0
    assert len({user_key(f"u{n}") for n in range(10_000)}) == 10_000
