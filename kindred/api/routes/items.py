"""The catalogue over HTTP: write, read, list and withdraw items."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Response, delete, get, put
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter, SkipValidation

from kindred.api.body import ItemBatch, StrictJSON, check_batch, decode_items
from kindred.api.calls import Calls
from kindred.api.keys import needs
from kindred.api.ports import ItemPage
from kindred.api.problems import documented
from kindred.api.routes.paths import item_id_of
from kindred.schemas.errors import UnknownItem
from kindred.schemas.item import Item
from kindred.schemas.outcome import BatchResult

TAG = "catalogue"
Place = Annotated[int, QueryParameter(ge=0, lt=2**53, description="`next` of the page before.")]
PageSize = Annotated[int, QueryParameter(ge=1, le=1000, description="Items on a page.")]


def options(path: str, methods: str) -> HTTPRouteHandler:
    """The answer to OPTIONS where several handlers share an address.

    Litestar's own tells the methods of the first of them alone. Registered before them, these take
    its place.
    """

    def handler() -> Response[None]:
        return Response(None, status_code=204, headers={"allow": methods})

    return HTTPRouteHandler(
        path, http_method="OPTIONS", include_in_schema=False, sync_to_thread=False
    )(handler)


OPTIONS = (
    options("/v1/items", "GET, OPTIONS, PUT"),
    options("/v1/items/{item_id:str}", "DELETE, GET, OPTIONS"),
)


@put(
    "/v1/items",
    dto=StrictJSON[ItemBatch],
    return_dto=None,
    guards=[needs("write")],
    tags=[TAG],
    operation_id="put_items",
    summary="Upsert items",
    responses=documented(400, 401, 403, 413, 415, 503),
)
async def put_items(
    data: JSONBody[ItemBatch],
    calls: NamedDependency[SkipValidation[Calls]],
) -> BatchResult:
    """Write a batch. Rows are judged one by one: the good ones are durable when this answers,
    the others come back in `rejected` with index, path and reason. An identical item changes
    nothing.
    """
    check_batch(len(data.items), calls.max_batch)
    items, places, errors = decode_items(data)
    result = await calls.put_items(items)
    refused = [msgspec.structs.replace(row, index=places[row.index]) for row in result.rejected]
    rejected = sorted([*refused, *errors], key=lambda row: row.index)
    return msgspec.structs.replace(result, rejected=rejected)


@get(
    "/v1/items",
    guards=[needs("read")],
    tags=[TAG],
    operation_id="list_items",
    summary="List items",
    responses=documented(400, 401, 403, 503),
)
async def list_items(
    calls: NamedDependency[SkipValidation[Calls]],
    after: Place = 0,
    limit: PageSize = 100,
) -> ItemPage:
    """Every item that was ever put, withdrawn ones too, in the order of their first arrival."""
    return await calls.list_items(after, limit)


@get(
    "/v1/items/{item_id:str}",
    guards=[needs("read")],
    tags=[TAG],
    operation_id="get_item",
    summary="One item",
    responses=documented(400, 401, 403, 404, 503),
)
async def get_item(item_id: FromPath[str], calls: NamedDependency[SkipValidation[Calls]]) -> Item:
    """The item as the catalogue holds it."""
    item = await calls.get_item(wanted := item_id_of(item_id))
    if item is None:
        raise UnknownItem(wanted, "path.item_id")
    return item


@delete(
    "/v1/items/{item_id:str}",
    guards=[needs("write")],
    tags=[TAG],
    operation_id="withdraw_item",
    summary="Withdraw an item",
    responses=documented(400, 401, 403, 404, 503),
)
async def withdraw_item(
    item_id: FromPath[str], calls: NamedDependency[SkipValidation[Calls]]
) -> None:
    """End a listing: it leaves every answer, and its row stays. Twice is as good as once."""
    if not await calls.withdraw(wanted := item_id_of(item_id)):
        raise UnknownItem(wanted, "path.item_id")
