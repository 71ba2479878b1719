"""A Qdrant server: its local mode always, a real one where QDRANT_URL names it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from itertools import count

import pytest
from builders import item
from contracts.vector_store import (
    SPACES,
    EngineShelf,
    MakeShelf,
    Shelf,
    VectorStoreContract,
)
from qdrant_client import QdrantClient

from kindred.indexer.columns import Columns
from kindred.indexer.store.server import ServerStore, alias_target, connect, switch_alias
from kindred.schemas.errors import StoreError
from kindred.schemas.settings import StoreSettings


def clients() -> list[object]:
    url = os.environ.get("QDRANT_URL", "")
    absent = pytest.mark.skipif(not url, reason="QDRANT_URL names no Qdrant server")
    return [":memory:", pytest.param(url, marks=absent)]


@pytest.fixture(scope="class", params=clients(), ids=["local", "server"])
def client(request: pytest.FixtureRequest) -> Iterator[QdrantClient]:
    where: str = request.param
    made = QdrantClient(":memory:") if where == ":memory:" else connect(StoreSettings(url=where))
    yield made
    made.close()


@pytest.fixture(scope="class")
def names(client: QdrantClient) -> Iterator[Iterator[str]]:
    """Names of collections, dropped afterwards."""
    stem = f"test-{uuid.uuid4().hex[:8]}"
    yield (f"{stem}-{n}" for n in count())
    for collection in client.get_collections().collections:
        if collection.name.startswith(stem):
            client.delete_collection(collection.name)


class TestServerStore(VectorStoreContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make(cls, client: QdrantClient, names: Iterator[str]) -> MakeShelf:
        def make() -> Shelf:
            store = ServerStore.create(client, next(names), SPACES, StoreSettings())
            return EngineShelf(store, Columns())

        return make

    def test_an_alias_moves_to_the_new_version_and_back(
        self, client: QdrantClient, names: Iterator[str]
    ) -> None:
        settings = StoreSettings()
        blue = ServerStore.create(client, next(names), SPACES, settings)
        green = ServerStore.create(client, next(names), SPACES, settings)
        EngineShelf(blue, Columns()).fill([item()])
        EngineShelf(green, Columns()).fill([item(), item()])
        alias = f"{blue.collection}-alias"
        assert alias_target(client, alias) is None
        assert switch_alias(client, alias, blue.collection) is None
        reader = ServerStore.open(client, alias, settings)
        assert reader.spaces == SPACES
        assert reader.count() == 1
        assert switch_alias(client, alias, green.collection) == blue.collection
        assert reader.count() == 2
        assert switch_alias(client, alias, blue.collection) == green.collection
        assert reader.count() == 1
        assert green.count() == 2

    def test_a_name_is_taken_once(self, client: QdrantClient, names: Iterator[str]) -> None:
        name = next(names)
        ServerStore.create(client, name, SPACES, StoreSettings())
        with pytest.raises(StoreError, match="create the collection"):
            ServerStore.create(client, name, SPACES, StoreSettings())

    def test_no_collection_no_store(self, client: QdrantClient) -> None:
        with pytest.raises(StoreError, match="open the collection"):
            ServerStore.open(client, "nothing-of-that-name", StoreSettings())


def test_errors() -> None: ...
