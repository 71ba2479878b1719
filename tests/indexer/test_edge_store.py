"""Qdrant's engine in this process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import qdrant_edge
from builders import item
from contracts.vector_store import (
    SPACES,
    EngineShelf,
    MakeShelf,
    Shelf,
    VectorStoreContract,
    directions,
    rows_of,
)

from kindred.indexer.columns import Columns
from kindred.indexer.store.edge import EdgeStore, border
from kindred.indexer.store.port import Search
from kindred.schemas.errors import StoreError, StoreUnavailable
from kindred.schemas.settings import StoreSettings


class TestEdgeStore(VectorStoreContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeShelf]:
        opened: list[EdgeStore] = []
        numbers = count()

        def make() -> Shelf:
            folder = tmp_path_factory.mktemp("shards") / str(next(numbers))
            opened.append(EdgeStore.create(folder, SPACES, StoreSettings()))
            return EngineShelf(opened[-1], Columns())

        yield make
        for store in opened:
            store.close()


@pytest.fixture
def store(tmp_path: Path) -> EdgeStore:
    return EdgeStore.create(tmp_path / "shard", SPACES, StoreSettings())


def test_what_was_flushed_is_there_when_opened_again(store: EdgeStore, tmp_path: Path) -> None:
    EngineShelf(store, Columns()).fill([item() for _ in range(5)])
    store.flush()
    store.close()
    again = EdgeStore.open(tmp_path / "shard", StoreSettings())
    assert again.spaces == SPACES
    assert again.count() == 5
    again.close()


def test_two_copies_are_written_apart(store: EdgeStore, tmp_path: Path) -> None:
    EngineShelf(store, Columns()).fill([item() for _ in range(5)])
    store.close()
    shutil.copytree(tmp_path / "shard", tmp_path / "replica")
    base = EdgeStore.open(tmp_path / "shard", StoreSettings())
    replica = EdgeStore.open(tmp_path / "replica", StoreSettings())
    replica.delete(rows_of(0, 1))
    assert (base.count(), replica.count()) == (5, 3)


def test_the_graph_is_built_when_asked(tmp_path: Path) -> None:
    settings = StoreSettings(m=8, ef_construct=16)
    store = EdgeStore.create(tmp_path / "shard", {"text": 512}, settings)
    vectors = directions(6000, 512)
    EngineShelf(store, Columns()).fill([item()] * 6000, text=vectors)
    store.optimize()
    assert store.indexed == 6000
    found = store.search([Search(space="text", vectors=vectors[:20], k=1)])[0]
    assert (found.rows[:, 0] == range(20)).mean() >= 0.9
    store.close()


def test_a_folder_holds_one_shard(store: EdgeStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="create the index"):
        EdgeStore.create(tmp_path / "shard", SPACES, StoreSettings())


def test_no_shard_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="no index"):
        EdgeStore.open(tmp_path / "nothing", StoreSettings())
    with pytest.raises(StoreError, match="space"):
        EdgeStore.create(tmp_path / "other", {}, StoreSettings())


def test_a_closed_store_is_unavailable(store: EdgeStore) -> None:
    store.close()
    with pytest.raises(StoreUnavailable, match="count"):
        store.count()
    with pytest.raises(StoreUnavailable, match="delete"):
        store.delete(rows_of(1))


class PanicException(BaseException):
    """Stands for the engine's, which cannot be imported and is no Exception."""


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (Exception("Vector dimension error"), StoreError),
        (Exception("Service runtime error: Shard is not initialized"), StoreUnavailable),
        (Exception("Resource temporarily unavailable, WouldBlock"), StoreUnavailable),
        (ValueError("failed to convert NaN"), StoreError),
        (PanicException("index out of bounds"), StoreError),
    ],
)
def test_whatever_the_engine_raises_is_an_error_of_ours(
    raised: BaseException, error: type[StoreError]
) -> None:
    with pytest.raises(StoreError, match="could not count") as caught, border("count"):
        raise raised
    assert type(caught.value) is error


def test_an_interrupt_is_no_fault_of_the_store() -> None:
    with pytest.raises(KeyboardInterrupt), border("count"):
        raise KeyboardInterrupt


def test_the_engine_has_no_exceptions_of_its_own() -> None:
    """Once it has, `border` should tell them apart by class and not by their words."""
    kinds = [v for v in vars(qdrant_edge).values() if isinstance(v, type)]
    assert not [k for k in kinds if issubclass(k, BaseException)]
