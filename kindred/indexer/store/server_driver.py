"""Qdrant's client: connecting, filters in its words, its errors in ours.

Every `qdrant_client` name is in this file and in `server.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from qdrant_client import QdrantClient
from qdrant_client import models as m
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from kindred.indexer.store.payload import AnyOf, Between, Condition, closed_ring, conditions
from kindred.schemas.errors import StoreError, StoreTimeout, StoreUnavailable
from kindred.schemas.query import Filters, GeoRadius
from kindred.schemas.settings import StoreSettings


def connect(settings: StoreSettings) -> QdrantClient:
    """A client of the server that the settings name; nothing is asked of it yet."""
    client = QdrantClient(
        url=settings.url, api_key=settings.api_key or None, check_compatibility=False
    )
    patience = httpx.Timeout(settings.timeout_ms / 1000).as_dict()

    def hurry(request: httpx.Request, send: Callable[[httpx.Request], httpx.Response]) -> Any:
        # The client knows whole seconds only; a call with a time of its own (a write) names it.
        if "timeout" not in request.url.params:
            request.extensions["timeout"] = patience
        return send(request)

    client.http.client.add_middleware(hurry)
    return client


INDEX_PARAMS: dict[str, Any] = {
    "keyword": m.KeywordIndexParams,
    "integer": m.IntegerIndexParams,
    "float": m.FloatIndexParams,
    "geo": m.GeoIndexParams,
}


def compiled(filters: Filters | None) -> m.Filter | None:
    """A filter in the client's words; None is no condition."""
    if filters is None:
        return None
    wanted = conditions(filters)
    return m.Filter(
        must=[_condition(c) for c in wanted.must],
        must_not=[_condition(c) for c in wanted.must_not],
    )


def _condition(c: Condition) -> m.FieldCondition:
    if isinstance(c, AnyOf):
        return m.FieldCondition(key=c.key, match=m.MatchAny(any=c.values))
    if isinstance(c, Between):
        bounds = m.Range(gte=c.gte, gt=c.gt, lte=c.lte, lt=c.lt)
        return m.FieldCondition(key=c.key, range=bounds)
    if isinstance(c.region, GeoRadius):
        centre = m.GeoPoint(lat=c.region.lat, lon=c.region.lon)
        circle = m.GeoRadius(center=centre, radius=c.region.radius_m)
        return m.FieldCondition(key=c.key, geo_radius=circle)
    ring = [m.GeoPoint(lat=lat, lon=lon) for lat, lon in closed_ring(c.region.points)]
    return m.FieldCondition(
        key=c.key, geo_polygon=m.GeoPolygon(exterior=m.GeoLineString(points=ring))
    )


@contextmanager
def border(doing: str) -> Iterator[None]:
    """Turn what the driver raises into a StoreError."""
    try:
        yield
    except _DRIVER as e:
        cause = e.source if isinstance(e, ResponseHandlingException) else e
        raise _translated(cause)(f"could not {doing}: {cause}") from e


_DRIVER = (ApiException, QdrantException, httpx.HTTPError, ValueError, KeyError)
"""What the client raises; the last two come from its local mode and its own checks."""


def _translated(cause: Exception) -> type[StoreError]:
    if isinstance(cause, httpx.TimeoutException):
        return StoreTimeout
    if isinstance(cause, (httpx.TransportError, ResourceExhaustedResponse)):
        return StoreUnavailable
    if isinstance(cause, UnexpectedResponse):
        return _BY_STATUS.get(cause.status_code or 0, StoreError)
    return StoreError


_BY_STATUS: dict[int, type[StoreError]] = {
    408: StoreTimeout,
    429: StoreUnavailable,
    502: StoreUnavailable,
    503: StoreUnavailable,
    504: StoreTimeout,
}


@contextmanager
def absent_let_be() -> Iterator[None]:
    """The server writes every point that it has, and then complains of the first it has not."""
    try:
        yield
    except UnexpectedResponse as e:
        if b"No point with id" not in e.content:
            raise
    except KeyError:
        # Local mode does the same in its own words.
        pass
