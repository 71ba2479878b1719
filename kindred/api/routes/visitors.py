"""Visitors: who turned out to be whom."""

from __future__ import annotations

from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation

from kindred.api.body import StrictJSON
from kindred.api.calls import Calls
from kindred.api.keys import needs
from kindred.api.problems import documented
from kindred.schemas.query import VisitorMerge


@post(
    "/v1/visitors/merge",
    dto=StrictJSON[VisitorMerge],
    return_dto=None,
    status_code=204,
    guards=[needs("write")],
    tags=["events"],
    operation_id="merge_visitor",
    summary="A visitor logs in",
    responses=documented(400, 401, 403, 413, 415, 503),
)
async def merge_visitor(
    data: JSONBody[VisitorMerge], calls: NamedDependency[SkipValidation[Calls]]
) -> None:
    """What a device or a session did without a user until now is in the user's session from here
    on. What the device does without a user afterwards is not. Twice is as good as once.
    """
    await calls.merge_visitor(data)
