"""What people do, over HTTP."""

from __future__ import annotations

from typing import Any

from litestar import Request, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation

from kindred.api.body import EventBatch, StrictJSON, check_batch
from kindred.api.calls import Calls
from kindred.api.keys import needs
from kindred.api.problems import documented
from kindred.schemas.outcome import EventResult


@post(
    "/v1/events",
    dto=StrictJSON[EventBatch],
    return_dto=None,
    status_code=202,
    guards=[needs("write")],
    tags=["events"],
    operation_id="put_events",
    summary="Log what people did",
    responses=documented(400, 401, 403, 413, 415, 503),
)
async def put_events(
    data: JSONBody[EventBatch],
    request: Request[Any, Any, Any],
    calls: NamedDependency[SkipValidation[Calls]],
) -> EventResult:
    """Log a batch, in any order. Rows are judged one by one: the good ones are committed when this
    answers, the others come back in `rejected` with index, path and reason. An event whose id the
    log holds changes nothing, so that a batch can be sent again after a failure.

    An event without `traceparent` takes the request's, where the request tells one.
    """
    check_batch(len(data.events), calls.max_batch, "events")
    return await calls.put_events(data.events, _told_trace(request))


def _told_trace(request: Request[Any, Any, Any]) -> str | None:
    """This service's place in the caller's trace; None where the caller told none."""
    told = request.headers.get("traceparent")
    ours: str | None = request.scope.get("state", {}).get("traceparent")
    return ours if told and ours and told[3:35] == ours[3:35] else None
