"""The guard: what only looks alike does not cross categories, what people did may."""

from __future__ import annotations

import numpy as np
import pytest
from builders import item
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kindred.indexer.columns import Columns
from kindred.indexer.store.exact import ExactStore
from kindred.indexer.store.tables import VectorTable
from kindred.retrieval.guard import CONTENT, mismatched
from kindred.retrieval.plan import FilterPlanner
from kindred.retrieval.queries import Queries, make_queries
from kindred.retrieval.recall import recall
from kindred.retrieval.segments import offsets_of
from kindred.retrieval.sources import SOURCES, Corpus
from kindred.schemas.item import Item
from kindred.schemas.query import Filters
from kindred.schemas.settings import PlanSettings, RecallSettings

NOW = 1_700_000_000_000_000
TOPS, BRANDS = ("music", "lifts", "garden"), ("Schimmler", "Otto", "Kone")


def corpus_of_items(items: list[Item], past: list[int], text: list[list[float]]) -> Corpus:
    """A corpus with a past for some rows and words for all."""
    columns = Columns()
    columns.apply(np.arange(len(items)), items)
    als, words = VectorTable(2), VectorTable(2)
    als.set(np.array(past, np.int64), np.tile(np.float32([1, 0]), (len(past), 1)))
    words.set(np.arange(len(text)), np.asarray(text, np.float32))
    tables = {"als": als, "text": words}
    exact = ExactStore(columns, tables)
    return Corpus(
        columns=columns, tables=tables, store=exact, exact=exact,
        planner=FilterPlanner(columns, PlanSettings(), 64),
    )  # fmt: skip


def asked(corpus: Corpus, *seeds: list[int]) -> Queries:
    lengths = np.array([len(s) for s in seeds])
    rows = np.array([row for s in seeds for row in s], np.int64)
    return make_queries(corpus.columns, offsets_of(lengths), rows, now=NOW, half_life=3.0)


def by_hand(corpus: Corpus, seeds: list[int], row: int, bits: int) -> bool:
    """The rule in words, one candidate at a time."""
    columns = corpus.columns
    top = [int(columns.category[r, 0]) for r in (*seeds, row)]
    brand = [int(columns.brand[r]) for r in (*seeds, row)]
    if not seeds or top[-1] < 0 or top[-2] < 0 or top[-1] in top[:-1]:
        return False
    if brand[-1] >= 0 and brand[-1] in brand[:-1]:
        return False
    past = corpus.tables["als"].present
    both = row < len(past) and past[row] and any(s < len(past) and past[s] for s in seeds)
    looks = CONTENT if both else (*CONTENT, "hybrid")
    return all(name in looks for s, name in enumerate(SOURCES) if bits >> s & 1)


maybe = st.one_of(st.none(), st.integers(0, 2))


@settings(max_examples=150, deadline=None)
@given(
    facts=st.lists(st.tuples(maybe, maybe, st.booleans()), min_size=2, max_size=8),
    sessions=st.lists(st.lists(st.integers(0, 7), max_size=4), min_size=1, max_size=4),
    bits=arrays.arrays(np.uint32, 12, elements=st.integers(1, (1 << len(SOURCES)) - 1)),
    draw=st.randoms(use_true_random=False),
)
def test_it_drops_what_the_rule_says(facts, sessions, bits, draw) -> None:
    items = [
        item(
            item_id=str(n), category=() if top is None else (TOPS[top],),
            brand=None if brand is None else BRANDS[brand],
        )
        for n, (top, brand, _) in enumerate(facts)
    ]  # fmt: skip
    past = [n for n, (_, _, known) in enumerate(facts) if known]
    corpus = corpus_of_items(items, past, [[1.0, 0.0]] * len(items))
    sessions = [[row % len(items) for row in rows] for rows in sessions]
    queries = asked(corpus, *sessions)
    few = np.array([1 << draw.randrange(len(SOURCES)) for _ in range(12)], np.uint32)
    sources = np.concatenate([bits, few])
    owners = np.array([draw.randrange(len(sessions)) for _ in sources], np.int64)
    rows = np.array([draw.randrange(len(items)) for _ in sources], np.int64)
    expected = [
        by_hand(corpus, sessions[q], r, b)
        for q, r, b in zip(owners.tolist(), rows.tolist(), sources.tolist(), strict=True)
    ]
    assert mismatched(queries, corpus, owners, rows, sources).tolist() == expected


@pytest.fixture
def shop() -> Corpus:
    """A piano maker's name is also a lift maker's."""
    items = [
        item(item_id="piano", title="Schimmler upright", category=("music", "piano"),
             brand="Schimmler"),
        item(item_id="lift", title="Schimmler goods lift", category=("lifts",), brand="Kone"),
        item(item_id="grand", title="Schimmler grand", category=("music", "piano"), brand="Otto"),
        item(item_id="stool", title="Schimmler stool", category=("garden",), brand="Schimmler"),
        item(item_id="lot", title="Schimmler, all sorts", category=(), brand="Kone"),
    ]  # fmt: skip
    near = [[1.0, 0.0], [1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.6, 0.8]]
    return corpus_of_items(items, [], near)


def found(corpus: Corpus, **given: object) -> tuple[list[int], int]:
    """(rows for the piano, how many the guard dropped)."""
    told = recall(asked(corpus, [0]), corpus, RecallSettings(**given))
    return told.candidates.rows.tolist(), int(told.mismatched.sum())


def test_a_lift_does_not_go_with_a_piano_for_its_name(shop: Corpus) -> None:
    rows, dropped = found(shop)
    assert rows == [2, 3, 4]
    assert dropped == 1
    assert found(shop, mismatch_guard=False) == ([2, 1, 3, 4], 0)


def test_what_people_did_may_cross(shop: Corpus) -> None:
    shop.tables["als"].set(np.arange(2), np.tile(np.float32([1, 0]), (2, 1)))
    rows, dropped = found(shop)
    assert 1 in rows
    assert dropped == 0


def test_what_is_dropped_takes_no_place(shop: Corpus) -> None:
    assert found(shop, candidates=2) == ([2, 3], 1)


def test_who_names_a_category_or_a_brand_gets_it(shop: Corpus) -> None:
    sources = np.full(1, 1 << SOURCES.index("text"), np.uint32)
    none, lift = np.zeros(1, np.int64), np.ones(1, np.int64)
    for named in (Filters(categories=(("lifts",),)), Filters(brands=("Kone",))):
        queries = make_queries(
            shop.columns, np.array([0, 1]), none, now=NOW, half_life=3.0, filters=(named,)
        )
        assert not mismatched(queries, shop, none, lift, sources).any()


def test_an_older_seed_vouches_too(shop: Corpus) -> None:
    queries = asked(shop, [1, 0])
    sources = np.full(1, 1 << SOURCES.index("text"), np.uint32)
    none, lift = np.zeros(1, np.int64), np.ones(1, np.int64)
    assert not mismatched(queries, shop, none, lift, sources).any()
    assert mismatched(asked(shop, [0]), shop, none, lift, sources).all()
