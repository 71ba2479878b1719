"""Rules over HTTP: write, list, remove, and what was done to them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter, SkipValidation

from kindred.api.body import RuleBatch, StrictJSON, all_refused, check_batch, decode_rules
from kindred.api.calls import Calls
from kindred.api.keys import caller_of, needs
from kindred.api.problems import documented
from kindred.api.routes.items import options
from kindred.schemas.errors import UnknownRule
from kindred.schemas.rule import RuleHistory, RuleList, RuleResult

TAG = "rules"
OPTIONS = (
    options("/v1/rules", "GET, OPTIONS, PUT"),
    options("/v1/rules/{rule_id:str}", "DELETE, OPTIONS"),
)
RuleName = Annotated[
    str | None, QueryParameter(min_length=1, max_length=64, description="Of this rule alone.")
]
OnSurface = Annotated[
    str | None,
    QueryParameter(
        min_length=1, max_length=64, description="For this surface: those for all are among them."
    ),
]
InTime = Annotated[
    bool | None, QueryParameter(description="true: those whose time is now; false: the others.")
]
Most = Annotated[int, QueryParameter(ge=1, le=1000, description="At most so many.")]


@put(
    "/v1/rules",
    dto=StrictJSON[RuleBatch],
    return_dto=None,
    guards=[needs("admin")],
    tags=[TAG],
    operation_id="put_rules",
    summary="Write rules",
    responses=documented(400, 401, 403, 413, 415, 503),
)
async def put_rules(
    data: JSONBody[RuleBatch],
    request: Request[Any, Any, Any],
    calls: NamedDependency[SkipValidation[Calls]],
) -> RuleResult:
    """Write a batch, each rule in the place of what had its id. They are judged one by one: the
    good ones are durable when this answers, and act in every process within two seconds; the others
    come back in `rejected` with index, path and reason. An identical rule changes nothing.
    """
    check_batch(len(data.rules), calls.max_batch, "rules")
    rules, places, errors = decode_rules(data)
    result = await calls.put_rules(rules, caller_of(request))
    rejected = all_refused(result.rejected, places, errors)
    return msgspec.structs.replace(result, rejected=rejected)


@get(
    "/v1/rules",
    guards=[needs("admin")],
    tags=[TAG],
    operation_id="list_rules",
    summary="List rules",
    responses=documented(400, 401, 403, 503),
)
async def list_rules(
    calls: NamedDependency[SkipValidation[Calls]],
    surface: OnSurface = None,
    active: InTime = None,
) -> RuleList:
    """Rules by id, as they were written."""
    return await calls.list_rules(surface, active)


@delete(
    "/v1/rules/{rule_id:str}",
    guards=[needs("admin")],
    tags=[TAG],
    operation_id="remove_rule",
    summary="Remove a rule",
    responses=documented(400, 401, 403, 404, 503),
)
async def remove_rule(
    rule_id: FromPath[str],
    request: Request[Any, Any, Any],
    calls: NamedDependency[SkipValidation[Calls]],
) -> None:
    """The rule acts no more, within two seconds in every process; its history stays."""
    if not await calls.remove_rule(rule_id, caller_of(request)):
        raise UnknownRule(rule_id[:64])


@get(
    "/v1/rule-changes",
    guards=[needs("admin")],
    tags=[TAG],
    operation_id="rule_changes",
    summary="What was done to rules",
    responses=documented(400, 401, 403, 503),
)
async def rule_changes(
    calls: NamedDependency[SkipValidation[Calls]],
    rule_id: RuleName = None,
    limit: Most = 100,
) -> RuleHistory:
    """Who wrote or removed which rule when, newest first; removed rules too."""
    return await calls.rule_changes(rule_id, limit)
