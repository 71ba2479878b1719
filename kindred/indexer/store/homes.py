"""Where the vectors of index versions live: a shard in the version's folder, or a collection.

Both are written aside and taken into use in one step, the one by renaming the folder around it,
the other by an alias.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from kindred.indexer.store.port import VectorStore
from kindred.indexer.versions import VERSION
from kindred.schemas.settings import StoreSettings

INDEXING_PATIENCE_S = 3600.0
"""How long a server may take to build its graphs before the version is used as it is."""


class StoreHome(Protocol):
    """Makes, opens and removes the stores of index versions."""

    kind: Literal["embedded", "server"]
    """`embedded`: each process writes to a copy. `server`: one process writes, all read."""

    def collection(self, version: str) -> str | None:
        """Name of the version's collection; None without a server."""

    def create(self, version: str, folder: Path, spaces: Mapping[str, int]) -> VectorStore:
        """An empty store; `folder` is where a shard goes."""

    def finish(self, version: str, store: VectorStore) -> None:
        """Everything is written: build the graphs, flush, release."""

    def take(self, version: str) -> None:
        """Let whoever asks by the fixed name get this version."""

    def open(self, version: str, folder: Path) -> VectorStore:
        """The store of a finished version; `folder` is where its shard is."""

    def keep_only(self, versions: Collection[str]) -> None:
        """Remove what belongs to other versions."""


class EmbeddedHome:
    """Qdrant Edge: one shard below each version's folder."""

    kind: Literal["embedded", "server"] = "embedded"

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings

    def collection(self, version: str) -> str | None:  # noqa: ARG002
        """None."""
        return None

    def create(self, version: str, folder: Path, spaces: Mapping[str, int]) -> VectorStore:  # noqa: ARG002
        """See StoreHome.create."""
        from kindred.indexer.store.edge import EdgeStore

        return EdgeStore.create(folder, spaces, self._settings)

    def finish(self, version: str, store: VectorStore) -> None:  # noqa: ARG002
        """Build the graphs in this process, which does nothing else meanwhile."""
        from kindred.indexer.store.edge import EdgeStore

        assert isinstance(store, EdgeStore)
        store.flush()
        store.optimize()
        store.close()

    def take(self, version: str) -> None:
        """Nothing to do: the folder's link names the version."""

    def open(self, version: str, folder: Path) -> VectorStore:  # noqa: ARG002
        """See StoreHome.open."""
        from kindred.indexer.store.edge import EdgeStore

        return EdgeStore.open(folder, self._settings)

    def keep_only(self, versions: Collection[str]) -> None:
        """Nothing to do: a shard goes with its folder."""


class ServerHome:
    """A Qdrant server: collection `<collection>-<version>`, alias `<collection>`."""

    kind: Literal["embedded", "server"] = "server"

    def __init__(self, settings: StoreSettings, client: Any = None) -> None:
        """`client` is a QdrantClient to use instead of a new one for the settings' address."""
        from kindred.indexer.store import server

        self._server = server
        self._settings = settings
        self._client = client or server.connect(settings)

    def collection(self, version: str) -> str:
        """See StoreHome.collection."""
        return f"{self._settings.collection}-{version}"

    def create(self, version: str, folder: Path, spaces: Mapping[str, int]) -> VectorStore:  # noqa: ARG002
        """See StoreHome.create."""
        name = self.collection(version)
        return self._server.ServerStore.create(self._client, name, spaces, self._settings)

    def finish(self, version: str, store: VectorStore) -> None:  # noqa: ARG002
        """Wait for the server's graphs."""
        self._server.wait_indexed(self._client, self.collection(version), INDEXING_PATIENCE_S)

    def take(self, version: str) -> None:
        """See StoreHome.take."""
        self._server.switch_alias(self._client, self._settings.collection, self.collection(version))

    def open(self, version: str, folder: Path) -> VectorStore:  # noqa: ARG002
        """See StoreHome.open."""
        name = self.collection(version)
        return self._server.ServerStore.open(self._client, name, self._settings)

    def keep_only(self, versions: Collection[str]) -> None:
        """See StoreHome.keep_only; collections of other names are let be."""
        prefix = f"{self._settings.collection}-"
        for name in self._server.collections(self._client):
            version = name.removeprefix(prefix)
            ours = name.startswith(prefix) and VERSION.fullmatch(version)
            if ours and version not in versions:
                self._server.drop_collection(self._client, name)


def home_of(settings: StoreSettings) -> StoreHome:
    """Where the settings say; connects to nothing yet."""
    return EmbeddedHome(settings) if settings.kind == "embedded" else ServerHome(settings)
