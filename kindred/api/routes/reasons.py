"""Questions about answers: why an item is absent, what other settings would change."""

from __future__ import annotations

from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation

from kindred.api.body import StrictJSON
from kindred.api.calls import Calls
from kindred.api.keys import needs
from kindred.api.problems import documented
from kindred.schemas.preview import Preview, PreviewRequest
from kindred.schemas.why import WhyNot, WhyNotRequest

TAG = "reasons"


@post(
    "/v1/why-not",
    dto=StrictJSON[WhyNotRequest],
    return_dto=None,
    status_code=200,
    guards=[needs("read")],
    tags=[TAG],
    operation_id="why_not",
    summary="Why an item is absent",
    responses=documented(400, 401, 403, 404, 413, 415, 503, 504),
)
async def why_not(
    data: JSONBody[WhyNotRequest], calls: NamedDependency[SkipValidation[Calls]]
) -> WhyNot:
    """The first stage that lost an item from the answer to a request: its state, a condition, a
    rule, recall, the ranker or a limit, with what it would have taken.
    """
    return await calls.why_not(data)


@post(
    "/v1/preview",
    dto=StrictJSON[PreviewRequest],
    return_dto=None,
    status_code=200,
    guards=[needs("read")],
    tags=[TAG],
    operation_id="preview",
    summary="Answers under other settings",
    responses=documented(400, 401, 403, 404, 413, 415, 503, 504),
)
async def preview(
    data: JSONBody[PreviewRequest], calls: NamedDependency[SkipValidation[Calls]]
) -> Preview:
    """What moves, enters and leaves, and what purchases and fees are to be expected, if settings or
    rules were others: for one request, or for a sample of logged ones. Nothing is changed.
    """
    return await calls.preview(data)
