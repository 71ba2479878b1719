"""`EdgeStore`: Qdrant's engine in this process. Every `qdrant_edge` name is in this file.

A shard is a derived view of the catalogue, so it is kept without a write-ahead log: what a killed
process had not flushed is applied again from the catalogue's change sequence. Every call holds the
GIL: build and optimize in another process, keep calls short. One process writes to a folder; a
reader that writes too opens a copy of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import qdrant_edge as q

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
from kindred.indexer.store.payload import (
    INDEXES,
    AnyOf,
    Between,
    Condition,
    closed_ring,
    conditions,
)
from kindred.indexer.store.port import Found, Points, Search
from kindred.schemas.errors import StoreError, StoreUnavailable
from kindred.schemas.query import Filters, GeoRadius
from kindred.schemas.ranking import Floats, Mask, Rows
from kindred.schemas.settings import StoreSettings

_SPACES = "spaces.json"
"""Space -> width, beside the engine's own files."""
_BATCH = 4096
"""Points handed to the engine at once: each is a Python object."""
_SEGMENT_KB = 1_000_000_000
"""No bound: one segment is searched faster, and with better recall, than several."""


class EdgeStore:
    """See `VectorStore`. Search costs what the engine costs and about 0.1 µs a result more."""

    def __init__(self, shard: Any, spaces: Mapping[str, int], settings: StoreSettings) -> None:
        self._shard = shard
        self._spaces = dict(spaces)
        self._ef = settings.ef

    @classmethod
    def create(cls, folder: Path, spaces: Mapping[str, int], settings: StoreSettings) -> EdgeStore:
        """A new shard in `folder`, made when missing; StoreError where it holds one already.

        Payload indexes exist before the first point, so that the graph gets their links.
        """
        if not spaces:
            raise StoreError("a store needs at least one vector space")
        folder.mkdir(parents=True, exist_ok=True)
        config = q.EdgeConfig(
            vectors=_vectors(spaces),
            hnsw_config=q.HnswIndexConfig(
                settings.m, settings.ef_construct, settings.graph_from_kb
            ),
            optimizers=q.EdgeOptimizersConfig(
                default_segment_number=1,
                max_segment_size=_SEGMENT_KB,
                indexing_threshold=settings.graph_from_kb,
            ),
            max_search_threads=settings.search_threads,
            wal_enabled=False,
        )
        with border("create the index"):
            shard = q.EdgeShard.create(str(folder), config)
            for key, index in INDEXES.items():
                params = _INDEX_PARAMS[index.kind](enable_hnsw=index.links)
                shard.update(q.UpdateOperation.create_field_index(key, params))
            shard.flush()
        (folder / _SPACES).write_bytes(msgspec.json.encode(dict(spaces)))
        return cls(shard, spaces, settings)

    @classmethod
    def open(cls, folder: Path, settings: StoreSettings) -> EdgeStore:
        """The shard that `create` made in `folder`; StoreUnavailable where there is none."""
        try:
            spaces = msgspec.json.decode((folder / _SPACES).read_bytes(), type=dict[str, int])
        except (OSError, msgspec.MsgspecError) as e:
            raise StoreUnavailable(f"no index in {folder}: {e}") from e
        with border("open the index"):
            config = q.EdgeConfig(_vectors(spaces), max_search_threads=settings.search_threads)
            return cls(q.EdgeShard.load(str(folder), config), spaces, settings)

    @property
    def spaces(self) -> Mapping[str, int]:
        """See VectorSearch.spaces."""
        return self._spaces

    @property
    def indexed(self) -> int:
        """Vectors, of all spaces together, that are in graphs; the others are scanned."""
        with border("read the index's state"):
            return int(self._shard.info().indexed_vectors_count)

    def optimize(self) -> None:
        """Build the graphs: minutes for a million points, with nothing else in this process."""
        with border("build the graphs"):
            self._shard.optimize()

    def upsert(self, points: Points) -> None:
        """See VectorStore.upsert; about 0.03 ms a point and space."""
        check_points(points, self._spaces)
        named = named_vectors(points)
        rows = points.rows.tolist()
        for start in range(0, len(rows), _BATCH):
            part = range(start, min(start + _BATCH, len(rows)))
            batch = [q.Point(rows[i], named[i], dict(points.payloads[i])) for i in part]
            with border("write points"):
                self._shard.update(q.UpdateOperation.upsert_points(batch))

    def set_payload(self, rows: Rows, payloads: Sequence[Mapping[str, Any]]) -> None:
        """See VectorStore.set_payload; rows that get the same payload are one operation."""
        check_rows(rows)
        for ids, payload in same_payloads(rows, payloads):
            with border("write payload"), _absent_let_be():
                self._shard.update(q.UpdateOperation.set_payload(ids, payload))

    def set_vectors(self, rows: Rows, space: str, vectors: Floats) -> None:
        """See VectorStore.set_vectors."""
        check_rows(rows)
        check_vectors(vectors, check_space(self._spaces, space), count=len(rows))
        for start in range(0, len(rows), _BATCH):
            part = slice(start, start + _BATCH)
            pairs = zip(rows[part].tolist(), vectors[part], strict=True)
            batch = [q.PointVectors(row, {space: vector}) for row, vector in pairs]
            with border("write vectors"), _absent_let_be():
                self._shard.update(q.UpdateOperation.update_vectors(batch))

    def delete(self, rows: Rows) -> None:
        """See VectorStore.delete."""
        check_rows(rows)
        with border("delete points"):
            self._shard.update(q.UpdateOperation.delete_points(rows.tolist()))

    def count(self, filters: Filters | None = None) -> int:
        """See VectorSearch.count."""
        with border("count"):
            return int(self._shard.count(q.CountRequest(exact=True, filter=_filter(filters))))

    def search(self, searches: Sequence[Search]) -> list[Found]:
        """See VectorSearch.search; all questions go to the engine as one batch.

        A plan's `scan` is the engine's own exact search here.
        """
        positions = [asked(search, self._spaces) for search in searches]
        requests = [
            request
            for search, wanted in zip(searches, positions, strict=True)
            for request in self._requests(search, wanted)
        ]
        with border("search"):
            # A batch of one costs more than the plain call.
            if len(requests) == 1:
                answers = [self._shard.query(requests[0])]
            else:
                answers = self._shard.query_batch(q.QueryBatchRequest(requests))
        ends = np.cumsum([len(wanted) for wanted in positions]).tolist()
        return [
            found(search, wanted, answers[end - len(wanted) : end])
            for search, wanted, end in zip(searches, positions, ends, strict=True)
        ]

    def _requests(self, search: Search, wanted: Rows) -> list[Any]:
        plan = search.plan
        under = None if plan.mode == "graph" else _filter(search.filters)
        params = q.SearchParams(
            hnsw_ef=max(self._ef, plan.ef or 0), exact=plan.exact or plan.mode == "scan"
        )
        fetched = limit(search)
        return [
            q.QueryRequest(
                limit=fetched,
                query=q.Query.Nearest(search.vectors[i], search.space),
                filter=under,
                params=params,
            )
            for i in wanted
        ]

    def retrieve(self, rows: Rows, space: str) -> tuple[Floats, Mask]:
        """See VectorSearch.retrieve; the engine keeps vectors scaled to length one."""
        dim = check_space(self._spaces, space)
        wanted = np.unique(rows[rows >= 0])
        with border("retrieve"):
            records = self._shard.retrieve(wanted.tolist(), False, [space])
        return retrieved(rows, [(r.id, r.vector) for r in records], space, dim)

    def flush(self) -> None:
        """See VectorStore.flush."""
        with border("flush"):
            self._shard.flush()

    def close(self) -> None:
        """Flush, and release the folder."""
        with border("close"):
            self._shard.close()


def _vectors(spaces: Mapping[str, int]) -> dict[str, Any]:
    return {s: q.EdgeVectorParams(dim, q.Distance.Cosine) for s, dim in spaces.items()}


_INDEX_PARAMS = {
    "keyword": q.KeywordIndexParams,
    "integer": q.IntegerIndexParams,
    "float": q.FloatIndexParams,
    "geo": q.GeoIndexParams,
}


def _filter(filters: Filters | None) -> Any:
    if filters is None:
        return None
    wanted = conditions(filters)
    return q.Filter(
        must=[_condition(c) for c in wanted.must],
        must_not=[_condition(c) for c in wanted.must_not],
    )


def _condition(c: Condition) -> Any:
    if isinstance(c, AnyOf):
        return q.FieldCondition(c.key, match=q.MatchAny(c.values))
    if isinstance(c, Between):
        return q.FieldCondition(c.key, range=q.RangeFloat(gte=c.gte, gt=c.gt, lte=c.lte, lt=c.lt))
    if isinstance(c.region, GeoRadius):
        circle = q.GeoRadius(_point(c.region.lat, c.region.lon), c.region.radius_m)
        return q.FieldCondition(c.key, geo_radius=circle)
    ring = [_point(lat, lon) for lat, lon in closed_ring(c.region.points)]
    return q.FieldCondition(c.key, geo_polygon=q.GeoPolygon(ring))


def _point(lat: float, lon: float) -> Any:
    return q.GeoPoint(lon=lon, lat=lat)


@contextmanager
def border(doing: str) -> Iterator[None]:
    """Turn whatever the engine raises into a StoreError; it has no classes of its own."""
    try:
        yield
    except Exception as e:
        words = str(e)
        if any(sign in words for sign in _GONE):
            raise StoreUnavailable(f"could not {doing}: {words}") from e
        raise StoreError(f"could not {doing}: {words}") from e
    except BaseException as e:
        # A panic of the engine is no Exception, so as not to be caught by mistake.
        if type(e).__name__ != "PanicException":
            raise
        raise StoreError(f"could not {doing}: the engine gave up: {e}") from e


_GONE = ("not initialized", "cannot load edge shard", "WouldBlock", "already in use")
"""Signs that the shard is closed, absent or held by somebody else."""


@contextmanager
def _absent_let_be() -> Iterator[None]:
    """The engine writes every point that it has, and then complains of the first it has not."""
    try:
        yield
    except Exception as e:
        if not str(e).startswith("No point with id"):
            raise
