"""`ServerStore`: a Qdrant server or cluster.

A collection is one version of the index; an alias names the one in use, so that a new version is
built beside the old one and takes its place in one step.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from qdrant_client import QdrantClient
from qdrant_client import models as m

from kindred.indexer.store.answers import (
    asked,
    check_points,
    found,
    limit,
    named_vectors,
    retrieved,
    same_payloads,
)
from kindred.indexer.store.checks import check_rows, check_space, check_vectors
from kindred.indexer.store.payload import INDEXES
from kindred.indexer.store.port import Found, Points, Search
from kindred.indexer.store.server_driver import (
    INDEX_PARAMS,
    absent_let_be,
    border,
    compiled,
    connect,
)
from kindred.schemas.errors import StoreError
from kindred.schemas.query import Filters
from kindred.schemas.ranking import Floats, Mask, Rows
from kindred.schemas.settings import StoreSettings

__all__ = ["ServerStore", "alias_target", "connect", "switch_alias"]

_BATCH = 512
"""Points of one request."""


class ServerStore:
    """See `VectorStore`. `collection` may be an alias."""

    def __init__(
        self,
        client: QdrantClient,
        collection: str,
        spaces: Mapping[str, int],
        settings: StoreSettings,
    ) -> None:
        self._client = client
        self.collection = collection
        self._spaces = dict(spaces)
        self._ef = settings.ef
        self._patience = settings.write_timeout_s

    @classmethod
    def create(
        cls,
        client: QdrantClient,
        collection: str,
        spaces: Mapping[str, int],
        settings: StoreSettings,
    ) -> ServerStore:
        """A new collection; StoreError where one of that name exists.

        Payload indexes exist before the first point, so that the graph gets their links.
        """
        patience = settings.write_timeout_s
        with border("create the collection"):
            client.create_collection(
                collection,
                {s: m.VectorParams(size=d, distance=m.Distance.COSINE) for s, d in spaces.items()},
                hnsw_config=m.HnswConfigDiff(
                    m=settings.m,
                    ef_construct=settings.ef_construct,
                    full_scan_threshold=settings.graph_from_kb,
                ),
                optimizers_config=m.OptimizersConfigDiff(indexing_threshold=settings.graph_from_kb),
                timeout=patience,
            )
            for key, index in INDEXES.items():
                schema = INDEX_PARAMS[index.kind](type=index.kind, enable_hnsw=index.links)
                client.create_payload_index(collection, key, schema, timeout=patience)
        return cls(client, collection, spaces, settings)

    @classmethod
    def open(cls, client: QdrantClient, collection: str, settings: StoreSettings) -> ServerStore:
        """The collection of that name or alias; StoreError where there is none."""
        with border("open the collection"):
            vectors = client.get_collection(collection).config.params.vectors
        if not isinstance(vectors, dict):
            raise StoreError(f"collection {collection!r} has no named vectors")
        return cls(client, collection, {s: p.size for s, p in vectors.items()}, settings)

    @property
    def spaces(self) -> Mapping[str, int]:
        """See VectorSearch.spaces."""
        return self._spaces

    def upsert(self, points: Points) -> None:
        """See VectorStore.upsert."""
        check_points(points, self._spaces)
        named = named_vectors(points)
        rows = points.rows.tolist()
        for start in range(0, len(rows), _BATCH):
            batch = [
                m.PointStruct(
                    id=rows[i],
                    vector={space: vector.tolist() for space, vector in named[i].items()},
                    payload=dict(points.payloads[i]),
                )
                for i in range(start, min(start + _BATCH, len(rows)))
            ]
            with border("write points"):
                self._client.upsert(self.collection, batch, timeout=self._patience)

    def set_payload(self, rows: Rows, payloads: Sequence[Mapping[str, Any]]) -> None:
        """See VectorStore.set_payload; rows that get the same payload are one operation."""
        check_rows(rows)
        for ids, payload in same_payloads(rows, payloads):
            with border("write payload"), absent_let_be():
                self._client.set_payload(
                    self.collection, payload, points=list(ids), timeout=self._patience
                )

    def set_vectors(self, rows: Rows, space: str, vectors: Floats) -> None:
        """See VectorStore.set_vectors."""
        check_rows(rows)
        check_vectors(vectors, check_space(self._spaces, space), count=len(rows))
        for start in range(0, len(rows), _BATCH):
            part = slice(start, start + _BATCH)
            pairs = zip(rows[part].tolist(), vectors[part].tolist(), strict=True)
            batch = [m.PointVectors(id=row, vector={space: vector}) for row, vector in pairs]
            with border("write vectors"), absent_let_be():
                self._client.update_vectors(self.collection, batch, timeout=self._patience)

    def delete(self, rows: Rows) -> None:
        """See VectorStore.delete."""
        check_rows(rows)
        if len(rows):
            with border("delete points"):
                points = m.PointIdsList(points=rows.tolist())
                self._client.delete(self.collection, points, timeout=self._patience)

    def count(self, filters: Filters | None = None) -> int:
        """See VectorSearch.count."""
        with border("count"):
            return self._client.count(self.collection, compiled(filters), exact=True).count

    def search(self, searches: Sequence[Search]) -> list[Found]:
        """See VectorSearch.search; a plan's `scan` is the server's own exact search here."""
        positions = [asked(search, self._spaces) for search in searches]
        requests = [
            request
            for search, wanted in zip(searches, positions, strict=True)
            for request in self._requests(search, wanted)
        ]
        if requests:
            with border("search"):
                responses = self._client.query_batch_points(self.collection, requests)
        ends = np.cumsum([len(wanted) for wanted in positions]).tolist()
        return [
            found(search, wanted, [r.points for r in responses[end - len(wanted) : end]])
            if len(wanted)
            else Found.nothing(len(search.vectors), search.k)
            for search, wanted, end in zip(searches, positions, ends, strict=True)
        ]

    def _requests(self, search: Search, wanted: Rows) -> list[m.QueryRequest]:
        plan = search.plan
        under = None if plan.mode == "graph" else compiled(search.filters)
        params = m.SearchParams(
            hnsw_ef=max(self._ef, plan.ef or 0), exact=plan.exact or plan.mode == "scan"
        )
        fetched = limit(search)
        return [
            m.QueryRequest(
                query=vector, using=search.space, limit=fetched, filter=under, params=params
            )
            for vector in search.vectors[wanted].tolist()
        ]

    def retrieve(self, rows: Rows, space: str) -> tuple[Floats, Mask]:
        """See VectorSearch.retrieve; the server keeps vectors scaled to length one."""
        check_space(self._spaces, space)
        wanted = np.unique(rows[rows >= 0])
        with border("retrieve"):
            records = self._client.retrieve(
                self.collection, wanted.tolist(), with_payload=False, with_vectors=[space]
            )
        return retrieved(rows, [(r.id, r.vector) for r in records], space, self._spaces[space])

    def flush(self) -> None:
        """Nothing to do: the server answers a write when its log has it."""

    def close(self) -> None:
        """Release the client's connections."""
        with border("close"):
            self._client.close()


def switch_alias(client: QdrantClient, alias: str, collection: str) -> str | None:
    """Let `alias` name `collection` from now on, in one step; returns what it named before."""
    with border("switch the alias"):
        before = alias_target(client, alias)
        create = m.CreateAliasOperation(
            create_alias=m.CreateAlias(collection_name=collection, alias_name=alias)
        )
        delete = m.DeleteAliasOperation(delete_alias=m.DeleteAlias(alias_name=alias))
        client.update_collection_aliases([create] if before is None else [delete, create])
    return before


def alias_target(client: QdrantClient, alias: str) -> str | None:
    """The collection that `alias` names; None where there is no such alias."""
    with border("read the aliases"):
        named = {a.alias_name: a.collection_name for a in client.get_aliases().aliases}
    return named.get(alias)


def collections(client: QdrantClient) -> list[str]:
    """Names of all collections of the server."""
    with border("list the collections"):
        return [c.name for c in client.get_collections().collections]


def drop_collection(client: QdrantClient, collection: str) -> None:
    """Remove a collection; one that is absent is no error."""
    with border("remove the collection"):
        client.delete_collection(collection)


def wait_indexed(client: QdrantClient, collection: str, patience_s: float) -> bool:
    """Wait until the graphs of what was written are built; False where it takes longer."""
    end = time.monotonic() + patience_s
    while True:
        with border("read the collection's state"):
            if client.get_collection(collection).status == m.CollectionStatus.GREEN:
                return True
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
