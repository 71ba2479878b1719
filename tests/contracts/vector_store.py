"""What every vector store must do: one suite, inherited once per adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from builders import item
from contracts.filters import CASES, CATALOGUE, any_filters, any_items
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kindred.indexer.columns import Columns
from kindred.indexer.store.exact import ExactStore
from kindred.indexer.store.payload import payload
from kindred.indexer.store.port import Allowed, Plan, Points, Search, VectorSearch, VectorStore
from kindred.indexer.store.tables import VectorTable
from kindred.schemas.errors import InputError
from kindred.schemas.item import Item, Status
from kindred.schemas.query import Filters
from kindred.schemas.ranking import Floats, Rows

SPACES = {"text": 6, "als": 4}
EXACT = Plan(mode="filtered", exact=True)


def rows_of(*rows: int) -> Rows:
    return np.array(rows, np.int64)


def directions(count: int, dim: int, seed: int = 0) -> Floats:
    """`count` unit vectors."""
    drawn = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


class Shelf:
    """A store with the columns that go with it, written together."""

    def __init__(self, store: VectorSearch, columns: Columns) -> None:
        self.store = store
        self.columns = columns

    def put(self, rows: Rows, items: Sequence[Item], **vectors: Floats) -> None:
        """Write whole items."""
        raise NotImplementedError

    def change(self, rows: Rows, items: Sequence[Item]) -> None:
        """Write facts, leave vectors."""
        raise NotImplementedError

    def set_vectors(self, rows: Rows, space: str, vectors: Floats) -> None:
        raise NotImplementedError

    def remove(self, rows: Rows) -> None:
        raise NotImplementedError

    def fill(self, items: Sequence[Item], **vectors: Floats) -> None:
        """Items in rows 0, 1, 2, ... with drawn text vectors unless given."""
        rows = np.arange(len(items))
        self.put(rows, items, **(vectors or {"text": directions(len(items), SPACES["text"])}))

    def passing(self, filters: Filters | None) -> list[int]:
        """Rows that the store finds under a filter, all of them, by exact search."""
        question = directions(1, SPACES["text"], seed=99)
        search = Search(space="text", vectors=question, k=500, filters=filters, plan=EXACT)
        rows = self.store.search([search])[0].rows[0]
        return sorted(rows[rows >= 0].tolist())


class EngineShelf(Shelf):
    """A store that keeps points of its own."""

    store: VectorStore

    def put(self, rows: Rows, items: Sequence[Item], **vectors: Floats) -> None:
        self.columns.apply(rows, items)
        every = np.arange(len(rows))
        named = {space: (every, matrix) for space, matrix in vectors.items()}
        payloads = [payload(i) for i in items]
        self.store.upsert(Points(rows=rows, payloads=payloads, vectors=named))

    def change(self, rows: Rows, items: Sequence[Item]) -> None:
        self.columns.apply(rows, items)
        self.store.set_payload(rows, [payload(i) for i in items])

    def set_vectors(self, rows: Rows, space: str, vectors: Floats) -> None:
        self.store.set_vectors(rows, space, vectors)

    def remove(self, rows: Rows) -> None:
        self.columns.apply(rows, [item(status=Status.ENDED) for _ in rows])
        self.store.delete(rows)


class ExactShelf(Shelf):
    """The exact store reads what others write."""

    def __init__(self) -> None:
        self.tables = {space: VectorTable(dim) for space, dim in SPACES.items()}
        columns = Columns()
        super().__init__(ExactStore(columns, self.tables), columns)

    def put(self, rows: Rows, items: Sequence[Item], **vectors: Floats) -> None:
        self.columns.apply(rows, items)
        for space, table in self.tables.items():
            table.clear(rows)
            if space in vectors:
                table.set(rows, vectors[space])

    def change(self, rows: Rows, items: Sequence[Item]) -> None:
        self.columns.apply(rows, items)

    def set_vectors(self, rows: Rows, space: str, vectors: Floats) -> None:
        self.tables[space].set(rows, vectors)

    def remove(self, rows: Rows) -> None:
        self.columns.apply(rows, [item(status=Status.ENDED) for _ in rows])
        for table in self.tables.values():
            table.clear(rows)


MakeShelf = Callable[[], Shelf]


class VectorSearchContract:
    """Inherit and give a fixture `make` that makes empty shelves with SPACES."""

    @pytest.fixture
    def shelf(self, make: MakeShelf) -> Shelf:
        return make()

    # searching

    def test_an_empty_store_answers_with_nothing(self, shelf: Shelf) -> None:
        found = shelf.store.search([Search(space="text", vectors=directions(2, 6), k=3)])[0]
        assert found.rows.tolist() == [[-1] * 3] * 2
        assert np.isneginf(found.scores).all()
        assert shelf.store.count() == 0
        assert shelf.store.count(Filters()) == 0

    def test_no_searches_no_answers(self, shelf: Shelf) -> None:
        assert shelf.store.search([]) == []

    def test_answers_are_cosines_best_first(self, shelf: Shelf) -> None:
        vectors = directions(40, 6)
        shelf.fill([item() for _ in range(40)], text=vectors)
        question = directions(1, 6, seed=5)
        found = shelf.store.search([Search(space="text", vectors=question, k=10, plan=EXACT)])[0]
        cosines = vectors @ question[0]
        assert found.rows[0].tolist() == np.argsort(-cosines)[:10].tolist()
        assert found.rows.dtype == np.int64
        assert found.scores.dtype == np.float32
        np.testing.assert_allclose(found.scores[0], np.sort(cosines)[::-1][:10], atol=1e-5)

    def test_k_beyond_the_store_is_padded(self, shelf: Shelf) -> None:
        shelf.fill([item() for _ in range(3)])
        found = shelf.store.search([Search(space="text", vectors=directions(1, 6), k=7)])[0]
        assert sorted(found.rows[0, :3].tolist()) == [0, 1, 2]
        assert found.rows[0, 3:].tolist() == [-1] * 4
        assert np.isneginf(found.scores[0, 3:]).all()

    def test_a_batch_mixes_spaces_filters_and_widths_of_answer(self, shelf: Shelf) -> None:
        items = [item(brand="oak" if row % 2 else "elm") for row in range(20)]
        text, als = directions(20, 6), directions(20, 4, seed=1)
        shelf.fill(items, text=text, als=als)
        oak = Filters(brands=("oak",))
        found = shelf.store.search(
            [
                Search(space="text", vectors=text[:3], k=2, plan=EXACT),
                Search(space="als", vectors=als[4:6], k=5, filters=oak, plan=EXACT),
                Search(space="text", vectors=text[7:8], k=1, filters=oak, plan=EXACT),
            ]
        )
        assert found[0].rows[:, 0].tolist() == [0, 1, 2]
        assert found[1].rows.shape == (2, 5)
        assert (found[1].rows % 2 == 1).all()
        assert found[1].rows[1, 0] == 5
        assert found[2].rows.tolist() == [[7]]

    def test_only_rows_with_a_vector_of_the_space_are_found(self, shelf: Shelf) -> None:
        shelf.put(rows_of(0, 1), [item(), item()], text=directions(2, 6), als=directions(2, 4))
        shelf.put(rows_of(2), [item()], text=directions(1, 6, seed=2))
        found = shelf.store.search([Search(space="als", vectors=directions(1, 4), k=9)])[0]
        assert sorted(found.rows[0][found.rows[0] >= 0].tolist()) == [0, 1]

    def test_a_question_of_zeros_has_no_answer(self, shelf: Shelf) -> None:
        shelf.fill([item() for _ in range(3)])
        vectors = directions(3, 6)
        vectors[1] = 0
        found = shelf.store.search([Search(space="text", vectors=vectors, k=2)])[0]
        assert (found.rows[[0, 2]] >= 0).all()
        assert found.rows[1].tolist() == [-1, -1]

    def test_the_graph_plan_drops_what_is_not_allowed(self, shelf: Shelf) -> None:
        shelf.fill([item(brand="oak" if row % 3 else "elm") for row in range(30)])
        oak = Filters(brands=("oak",))
        allowed = Allowed(shelf.columns.mask(oak))
        search = Search(
            space="text",
            vectors=directions(2, 6, seed=4),
            k=5,
            filters=oak,
            allowed=allowed,
            plan=Plan(mode="graph", oversampling=4),
        )
        found = shelf.store.search([search])[0]
        assert (found.rows >= 0).all()
        assert (found.rows % 3 != 0).all()

    @pytest.mark.parametrize(
        ("vectors", "fault"),
        [
            (np.ones((1, 5), np.float32), "width"),
            (np.full((1, 6), np.nan, np.float32), "finite"),
            (np.full((1, 6), np.inf, np.float32), "finite"),
            (np.full((1, 6), 7, np.float32), "length"),
        ],
    )
    def test_bad_questions_are_refused(self, shelf: Shelf, vectors: Floats, fault: str) -> None:
        shelf.fill([item()])
        with pytest.raises(InputError, match=fault):
            shelf.store.search([Search(space="text", vectors=vectors, k=1)])

    def test_an_unknown_space_is_refused(self, shelf: Shelf) -> None:
        with pytest.raises(InputError, match="sound"):
            shelf.store.search([Search(space="sound", vectors=directions(1, 6), k=1)])
        with pytest.raises(InputError, match="sound"):
            shelf.store.retrieve(rows_of(0), "sound")

    # writing

    def test_bad_vectors_are_not_written(self, shelf: Shelf) -> None:
        for bad in (np.full((1, 6), np.nan), np.ones((1, 5)) / np.sqrt(5), np.zeros((1, 6))):
            with pytest.raises(InputError):
                shelf.put(rows_of(0), [item()], text=bad.astype(np.float32))
            with pytest.raises(InputError):
                shelf.set_vectors(rows_of(0), "text", bad.astype(np.float32))

    def test_an_upsert_replaces_the_whole_point(self, shelf: Shelf) -> None:
        shelf.put(rows_of(0), [item(brand="oak")], text=directions(1, 6), als=directions(1, 4))
        new = directions(1, 6, seed=8)
        shelf.put(rows_of(0), [item(brand=None)], text=new)
        assert shelf.store.count() == 1
        assert shelf.store.count(Filters(brands=("oak",))) == 0
        vectors, _ = shelf.store.retrieve(rows_of(0), "text")
        np.testing.assert_allclose(vectors, new, atol=1e-6)
        assert not shelf.store.retrieve(rows_of(0), "als")[1].any()

    def test_facts_change_without_the_vectors(self, shelf: Shelf) -> None:
        shelf.fill([item(price_minor=10), item(price_minor=10)])
        shelf.change(rows_of(1), [item(price_minor=99)])
        assert shelf.passing(Filters(price_min_minor=50)) == [1]
        assert shelf.store.retrieve(rows_of(0, 1), "text")[1].all()

    def test_vectors_change_without_the_facts(self, shelf: Shelf) -> None:
        shelf.fill([item(brand="oak"), item(brand="oak")])
        new = directions(1, 6, seed=3)
        shelf.set_vectors(rows_of(1), "text", new)
        oak = Filters(brands=("oak",))
        search = Search(space="text", vectors=new, k=1, filters=oak, plan=EXACT)
        found = shelf.store.search([search])[0]
        assert found.rows.tolist() == [[1]]
        assert found.scores[0, 0] == pytest.approx(1, abs=1e-5)

    def test_a_removed_row_is_gone_and_may_come_back(self, shelf: Shelf) -> None:
        shelf.fill([item() for _ in range(4)])
        shelf.remove(rows_of(1, 2))
        shelf.remove(rows_of(2))
        assert shelf.passing(Filters()) == [0, 3]
        assert shelf.store.count(Filters()) == 2
        shelf.put(rows_of(2), [item()], text=directions(1, 6))
        assert shelf.passing(Filters()) == [0, 2, 3]

    def test_retrieve_keeps_order_and_says_what_exists(self, shelf: Shelf) -> None:
        vectors = directions(3, 6)
        shelf.fill([item() for _ in range(3)], text=vectors)
        got, exist = shelf.store.retrieve(rows_of(2, 7, 0, 2, -1), "text")
        assert exist.tolist() == [True, False, True, True, False]
        np.testing.assert_allclose(got[exist], vectors[[2, 0, 2]], atol=1e-6)
        assert (got[~exist] == 0).all()
        none, nobody = shelf.store.retrieve(rows_of(), "text")
        assert none.shape == (0, 6)
        assert nobody.shape == (0,)

    # filters

    @pytest.mark.parametrize(("fields", "passing"), CASES, ids=str)
    def test_what_a_filter_means(
        self, catalogue: Shelf, fields: dict[str, Any], passing: list[int]
    ) -> None:
        filters = Filters(**fields)
        assert np.flatnonzero(catalogue.columns.mask(filters)).tolist() == passing
        assert catalogue.passing(filters) == passing
        assert catalogue.store.count(filters) == len(passing)

    @pytest.fixture(scope="class")
    @classmethod
    def catalogue(cls, make: MakeShelf) -> Shelf:
        shelf = make()
        shelf.fill(CATALOGUE)
        return shelf

    def test_every_field_of_a_filter_has_a_case(self) -> None:
        assert {name for fields, _ in CASES for name in fields} == set(Filters.__struct_fields__)

    def test_no_filter_is_no_condition(self, catalogue: Shelf) -> None:
        assert catalogue.passing(None) == list(range(len(CATALOGUE)))
        assert catalogue.store.count() == len(CATALOGUE)

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(items=any_items(12), asked=st.lists(any_filters(), min_size=5, max_size=5))
    def test_filters_mean_what_the_columns_say(
        self, make: MakeShelf, reused: list[Shelf], items: list[Item], asked: list[Filters]
    ) -> None:
        if not reused:
            reused.append(make())
        shelf = reused[0]
        shelf.fill(items)
        for filters in asked:
            passing = np.flatnonzero(shelf.columns.mask(filters)).tolist()
            assert shelf.passing(filters) == passing
            assert shelf.store.count(filters) == len(passing)

    @pytest.fixture(scope="class")
    @classmethod
    def reused(cls) -> list[Shelf]:
        return []


class VectorStoreContract(VectorSearchContract):
    """What a store that keeps its own points must do besides."""

    @pytest.fixture
    def store(self, shelf: Shelf) -> VectorStore:
        assert isinstance(shelf, EngineShelf)
        return shelf.store

    def test_some_keys_of_a_payload_change(self, shelf: Shelf, store: VectorStore) -> None:
        shelf.fill([item(brand="oak", price_minor=10) for _ in range(3)])
        store.set_payload(rows_of(0, 2), [{"price": 70}, {"price": 70}])
        assert shelf.passing(Filters(brands=("oak",), price_min_minor=50)) == [0, 2]

    def test_none_removes_a_key(self, shelf: Shelf, store: VectorStore) -> None:
        shelf.fill([item(price_minor=10), item(price_minor=10)])
        store.set_payload(rows_of(1), [{"price": None}])
        assert shelf.passing(Filters(price_min_minor=1)) == [0]

    def test_absent_rows_are_let_be(self, shelf: Shelf, store: VectorStore) -> None:
        shelf.fill([item(brand="oak", price_minor=10) for _ in range(2)])
        store.set_payload(rows_of(9, 0, 8, 1), [{"price": 70}] * 4)
        assert store.count(Filters(price_min_minor=50)) == 2
        new = directions(3, 6, seed=3)
        store.set_vectors(rows_of(7, 1, 6), "text", new)
        np.testing.assert_allclose(store.retrieve(rows_of(1), "text")[0], new[1:2], atol=1e-6)
        store.delete(rows_of(5, 0))
        assert store.count() == 1

    def test_a_point_needs_no_vector(self, shelf: Shelf, store: VectorStore) -> None:
        store.upsert(Points(rows=rows_of(0), payloads=[payload(item())]))
        assert store.count(Filters()) == 1
        assert shelf.passing(Filters()) == []

    def test_columns_of_points_fit_together(self, store: VectorStore) -> None:
        short: list[dict[str, Any]] = [{}]
        with pytest.raises(InputError, match="payloads"):
            store.upsert(Points(rows=rows_of(0, 1), payloads=short))
        vectors = {"text": (rows_of(0), directions(2, 6))}
        with pytest.raises(InputError, match="2 vectors for 1"):
            store.upsert(Points(rows=rows_of(0), payloads=short, vectors=vectors))
        with pytest.raises(InputError, match="rows"):
            store.upsert(Points(rows=rows_of(-1), payloads=short))

    def test_nothing_to_write_is_no_error(self, store: VectorStore) -> None:
        store.upsert(Points(rows=rows_of(), payloads=[]))
        store.set_payload(rows_of(), [])
        store.set_vectors(rows_of(), "text", np.zeros((0, 6), np.float32))
        store.delete(rows_of())
        store.flush()
        assert store.count() == 0
