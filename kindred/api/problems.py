"""Every failure as problem details (RFC 9457), with the path of the field at fault.

Paths: `$.filters.geo.lat` is in the JSON body, `query.k` in the query string.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, InternalServerException, ValidationException
from litestar.openapi.datastructures import ResponseSpec

from kindred.schemas.errors import (
    CatalogueError,
    InputError,
    KindredError,
    LogError,
    LogFull,
    NotBuilt,
    RulesError,
    StoreTimeout,
    StoreUnavailable,
    UnknownItem,
    UnknownRule,
)
from kindred.schemas.faults import fault_of, in_words
from kindred.schemas.outcome import Problem, RowError

MEDIA_TYPE = "application/problem+json"

_TITLES = {
    400: ("invalid-request", "The request is not valid"),
    401: ("unauthorized", "An API key is needed"),
    403: ("forbidden", "The API key does not allow this"),
    404: ("not-found", "There is nothing here"),
    405: ("method-not-allowed", "This address does not take that method"),
    413: ("body-too-large", "The body is too large"),
    415: ("unsupported-media-type", "The body must be JSON"),
    429: ("too-many-requests", "Too many requests"),
    500: ("internal", "Something went wrong on our side"),
    503: ("unavailable", "The service cannot answer now"),
    504: ("store-timeout", "The vector store did not answer in time"),
}


class Overloaded(KindredError):
    """More requests wait than this process will hold."""


class Hung(KindredError):
    """An engine call did not return within the hard limit."""


_STATUS: Mapping[type[KindredError], tuple[int, str, str]] = {
    UnknownItem: (404, "unknown-item", "The catalogue does not hold this item"),
    UnknownRule: (404, "unknown-rule", "There is no such rule"),
    InputError: (400, *_TITLES[400]),
    NotBuilt: (503, "not-built", "There is no index yet"),
    StoreUnavailable: (503, "store-unavailable", "The vector store does not answer"),
    StoreTimeout: (504, *_TITLES[504]),
    CatalogueError: (503, "catalogue-unavailable", "The catalogue cannot be read or written"),
    RulesError: (503, "rules-unavailable", "The rules cannot be read or written"),
    LogError: (503, "log-unavailable", "The event log cannot be written"),
    Overloaded: (503, "overloaded", "More requests wait than this process will hold"),
    Hung: (503, "hung", "The answer took far longer than it may"),
}


def as_input_error(error: Exception, prefix: str = "$") -> InputError:
    """What a decoder raised, with the path behind `prefix`."""
    path, reason = fault_of(error, "the body")
    return InputError(reason, prefix + path[1:])


def problem_of(error: Exception) -> Problem:
    """The problem that tells a caller about `error`, without a word about our insides."""
    if isinstance(error, KindredError):
        return _kindred_problem(error)
    if isinstance(error, ValidationException):
        return _problem(400, errors=_validation_errors(error))
    if isinstance(error, HTTPException) and error.status_code != 500:
        return _problem(error.status_code, detail=error.detail)
    return _problem(500, detail="The request id leads to the log entry.")


def _kindred_problem(error: KindredError) -> Problem:
    for kind in type(error).__mro__:
        if kind in _STATUS:
            status, name, title = _STATUS[kind]
            break
    else:
        return _problem(500, detail="The request id leads to the log entry.")
    if isinstance(error, InputError):
        errors = [RowError(index=0, path=error.path, reason=error.message)]
        detail = f"{error.message} (at {error.path})"
    elif isinstance(error, LogFull):
        errors, detail = [], f"{error}. Send the same request again."
    elif isinstance(error, LogError):
        errors, detail = [], "The log cannot be written. Send the same request again."
    elif isinstance(error, NotBuilt | Overloaded | Hung):
        errors, detail = [], str(error)
    else:
        errors, detail = [], ""
    return Problem(
        type=f"urn:kindred:{name}", title=title, status=status, detail=detail, errors=errors
    )


def _problem(status: int, *, detail: str = "", errors: list[RowError] | None = None) -> Problem:
    name, title = _TITLES.get(status, ("error", "The request failed"))
    if errors and not detail:
        detail = f"{errors[0].reason} (at {errors[0].path})"
    return Problem(
        type=f"urn:kindred:{name}", title=title, status=status, detail=detail, errors=errors or []
    )


def _validation_errors(error: ValidationException) -> list[RowError]:
    """Litestar's list of faults in parameters; a missing body has the key `data`."""
    faults: Any = error.extra if isinstance(error.extra, list) else []
    found = []
    for fault in faults:
        key, source = str(fault.get("key", "")), fault.get("source", "query")
        if key in ("data", ""):
            found.append(RowError(index=0, path="$", reason="a JSON body is required"))
        else:
            reason = in_words(str(fault.get("message", "")))[1]
            found.append(
                RowError(index=0, path=f"{getattr(source, 'value', source)}.{key}", reason=reason)
            )
    return found or [RowError(index=0, path="query", reason=str(error.detail))]


def problem_response(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Answer `error`; what is our fault goes to the log with the trace."""
    problem = problem_of(error)
    scope = request.scope
    headers = dict(getattr(error, "headers", None) or {})
    request_id = scope.get("state", {}).get("request_id")
    if problem.status == 413:
        limit = request.app.state.max_body_bytes
        problem = msgspec.structs.replace(problem, detail=f"A body may have {limit:,} bytes.")
    if problem.status in (500, 503, 504) and not _gone(error):
        log = structlog.get_logger("kindred.http")
        log.error(
            problem.type.rpartition(":")[2],
            request_id=request_id,
            method=scope.get("method"),
            path=scope["path"],
            status=problem.status,
            error=f"{type(error).__name__}: {error}",
            exc_info=error if problem.status == 500 else None,
        )
    if problem.status == 503:
        headers.setdefault("retry-after", "1")
    if problem.status == 401:
        headers.setdefault("www-authenticate", 'Bearer realm="kindred"')
    return Response(
        msgspec.structs.replace(problem, instance=request_id and f"urn:request:{request_id}"),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def _gone(error: Exception) -> bool:
    """Whether the client hung up while it was sending: nobody is there to be told."""
    return isinstance(error, InternalServerException) and "disconnected" in str(error.detail)


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """Problem responses of a handler, for its OpenAPI entry."""
    return {
        status: ResponseSpec(
            Problem,
            media_type=MEDIA_TYPE,
            generate_examples=False,
            description=_TITLES[status][1],
        )
        for status in statuses
    }
