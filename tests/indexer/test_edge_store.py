"""Qdrant's engine in this process."""

from __future__ import annotations

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
from kindred.indexer.store.edge import EdgeStore
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
    import shutil

    EngineShelf(store, Columns()).fill([item() for _ in range(5)])
    store.close()
    shutil.copytree(tmp_path / "shard", tmp_path / "replica")
    base = EdgeStore.open(tmp_path / "shard", StoreSettings())
    replica = EdgeStore.open(tmp_path / "replica", StoreSettings())
    replica.delete(rows_of(0, 1))
    assert (base.count(), replica.count()) == (5, 3)


def test_the_graph_is_built_when_asked(tmp_path: Path) -> None:
    store = EdgeStore.create(tmp_path / "shard", {"text": 64}, StoreSettings(ef_construct=16))
    EngineShelf(store, Columns()).fill(
        [item()] * 50_000, text=directions(50_000, 64)
    ) if False else None
    assert store.indexed == 0
    store.optimize()
    assert store.indexed == 0, "nothing to build a graph of"


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


def test_only_the_adapter_knows_the_engine() -> None:
    """The engine raises plain exceptions: anything but ours that passes the border is a fault."""
    assert not [
        name
        for name in dir(qdrant_edge)
        if isinstance(getattr(qdrant_edge, name), type)
        and issubclass(getattr(qdrant_edge, name), BaseException)
    ]
