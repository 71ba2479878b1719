"""A Qdrant server: its local mode always, a real one where QDRANT_URL names it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import httpx
import pytest
from builders import item
from contracts.vector_store import (
    SPACES,
    EngineShelf,
    MakeShelf,
    Shelf,
    VectorStoreContract,
    directions,
)
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from kindred.indexer.columns import Columns
from kindred.indexer.store.port import Search
from kindred.indexer.store.server import ServerStore, alias_target, connect, switch_alias
from kindred.indexer.store.server_driver import border
from kindred.schemas.errors import InputError, StoreError, StoreTimeout, StoreUnavailable
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


class Answering(BaseHTTPRequestHandler):
    """Answers every request with the status in its server's `status`, once it may."""

    server: Any

    def do_POST(self) -> None:  # the name that the base class calls
        assert self.server.may_answer.wait(60)
        body = b'{"status": {"error": "no"}}'
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        if self.server.status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def answering() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.status, server.may_answer = 200, threading.Event()
    server.may_answer.set()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.may_answer.set()
    server.shutdown()
    thread.join()
    server.server_close()


def distant(port: int) -> ServerStore:
    settings = StoreSettings(url=f"http://127.0.0.1:{port}", timeout_ms=100)
    return ServerStore(connect(settings), "items", SPACES, settings)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, StoreError),
        (404, StoreError),
        (408, StoreTimeout),
        (429, StoreUnavailable),
        (500, StoreError),
        (502, StoreUnavailable),
        (503, StoreUnavailable),
        (504, StoreTimeout),
    ],
)
def test_a_status_is_an_error_of_ours(answering: Any, status: int, error: type[StoreError]) -> None:
    answering.status = status
    with pytest.raises(StoreError, match="count") as caught:
        distant(answering.server_port).count()
    assert type(caught.value) is error


def test_a_silent_server_is_a_timeout(answering: Any) -> None:
    answering.may_answer.clear()  # for as long as the test lasts: only the client can end this
    search = Search(space="text", vectors=directions(1, 6), k=1)
    with pytest.raises(StoreTimeout, match="search"):
        distant(answering.server_port).search([search])


def test_no_server_is_unavailable() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        store = distant(nobody.getsockname()[1])
        with pytest.raises(StoreUnavailable, match="count"):
            store.count()
        with pytest.raises(StoreUnavailable, match="write points"):
            EngineShelf(store, Columns()).fill([item()])


def subclasses(base: type[Exception]) -> Iterator[type[Exception]]:
    yield base
    for below in base.__subclasses__():
        yield from subclasses(below)


@pytest.mark.parametrize("kind", sorted(subclasses(httpx.HTTPError), key=lambda c: c.__name__))
def test_every_fault_of_the_wire_is_translated(kind: type[Exception]) -> None:
    fault = kind.__new__(kind)
    fault.args = ("gone",)
    for raised in (fault, ResponseHandlingException(fault)):
        with pytest.raises(StoreError, match="could not ask: gone") as caught, border("ask"):
            raise raised
        slow = issubclass(kind, httpx.TimeoutException)
        assert isinstance(caught.value, StoreTimeout) == slow
        if issubclass(kind, httpx.TransportError) and not slow:
            assert isinstance(caught.value, StoreUnavailable)


@pytest.mark.parametrize("base", [ApiException, QdrantException])
def test_every_class_of_the_driver_is_translated(base: type[Exception]) -> None:
    made: dict[type[Exception], Exception] = {
        UnexpectedResponse: UnexpectedResponse(500, "no", b"", httpx.Headers()),
        ResponseHandlingException: ResponseHandlingException(ValueError("garbled")),
        ResourceExhaustedResponse: ResourceExhaustedResponse("full", 1),
    }
    for kind in subclasses(base):
        with pytest.raises(StoreError), border("ask"):
            raise made.get(kind) or kind("no")


def test_our_own_errors_pass_as_they_are() -> None:
    with pytest.raises(InputError), border("ask"):
        raise InputError("bad")
