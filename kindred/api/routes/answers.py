"""The questions: similar items, a session's candidates, an item's neighbours."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter, SkipValidation

from kindred.api.body import StrictJSON, decode_filters
from kindred.api.calls import Calls
from kindred.api.keys import needs
from kindred.api.problems import documented
from kindred.api.routes.paths import item_id_of
from kindred.schemas.query import (
    Answer,
    Neighbours,
    Relation,
    SessionRecallRequest,
    SimilarRequest,
)

TAG = "answers"


def traceparent_in(request: Request[Any, Any, Any]) -> str | None:
    """The request's place in its trace (`telemetry.traced`)."""
    told: str | None = request.scope["state"].get("traceparent")
    return told


@post(
    "/v1/similar",
    dto=StrictJSON[SimilarRequest],
    return_dto=None,
    status_code=200,
    guards=[needs("read")],
    tags=[TAG],
    operation_id="similar",
    summary="Items that go with an item",
    responses=documented(400, 401, 403, 404, 413, 415, 503, 504),
)
async def similar(
    data: JSONBody[SimilarRequest],
    calls: NamedDependency[SkipValidation[Calls]],
    request: Request[Any, Any, Any],
) -> Answer:
    """Found, ranked and blended items for a seed: one that the catalogue holds (`item_id`; 404 if
    it does not) or one told inline (`item`), which is encoded on the spot.
    """
    return await calls.similar(data, traceparent_in(request))


@post(
    "/v1/session/recall",
    dto=StrictJSON[SessionRecallRequest],
    return_dto=None,
    status_code=200,
    guards=[needs("read")],
    tags=[TAG],
    operation_id="session_recall",
    summary="Candidates for a session",
    responses=documented(400, 401, 403, 413, 415, 503, 504),
)
async def session_recall(
    data: JSONBody[SessionRecallRequest],
    calls: NamedDependency[SkipValidation[Calls]],
    request: Request[Any, Any, Any],
) -> Answer:
    """Candidates from every recall source, merged, with rank and score by source; neither ranked
    nor blended.
    """
    return await calls.session_recall(data, traceparent_in(request))


@get(
    "/v1/items/{item_id:str}/neighbors",
    guards=[needs("read")],
    tags=[TAG],
    operation_id="neighbors",
    summary="Nearest items in one vector space",
    responses=documented(400, 401, 403, 404, 503, 504),
)
async def neighbors(
    item_id: FromPath[str],
    calls: NamedDependency[SkipValidation[Calls]],
    space: Annotated[
        str | None,
        QueryParameter(min_length=1, max_length=64, description="Vector space, such as `text`."),
    ] = None,
    relation: Annotated[
        Relation | None,
        QueryParameter(description="Neighbours of this kind; picks the space where none is named."),
    ] = None,
    k: Annotated[int, QueryParameter(ge=1, le=100, description="How many.")] = 10,
    filters: Annotated[
        str | None, QueryParameter(description="Filters, as JSON.", max_length=8192)
    ] = None,
    explain: FromQuery[bool] = False,
) -> Neighbours:
    """What lies beside an item in one space, and with `explain` how they differ."""
    return await calls.neighbors(
        item_id_of(item_id), space, k, decode_filters(filters), explain, relation
    )
