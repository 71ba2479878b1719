"""Logs, request ids and W3C trace context.

The log is JSON lines on stderr. It tells of failures and of what the process does, not of every
request: those are counted (`kindred.api.metrics`).
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import structlog
from litestar.types import HTTPScope, Message, Send

from kindred.api.ids import span_id, trace_id
from kindred.api.spans import end_request, request_span, traceparent_of

_TRACEPARENT = re.compile(
    r"^(?!ff)(?P<version>[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})"
    r"-(?P<parent>(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?$"
)
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")


def configure_logging(level: str = "info") -> None:
    """JSON lines on stderr, exceptions as structured tracebacks without local variables.

    What libraries log through `logging`, from warnings up, comes out the same way.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        ),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def next_traceparent(incoming: str | None) -> str:
    """This service's place in the caller's trace, or the start of a new, unsampled one."""
    match = _TRACEPARENT.match(incoming) if incoming else None
    if match is None or (match["version"] == "00" and match["rest"]):
        return f"00-{trace_id()}-{span_id()}-00"
    return f"00-{match['trace']}-{span_id()}-{int(match['flags'], 16) & 1:02x}"


def traced(scope: HTTPScope, send: Send, served_by: bytes) -> Send:
    """Give a request an id and a place in a trace, and a `send` that tells the caller both.

    `served_by`: this process's name, told too.
    """
    incoming_trace = incoming_id = None
    for name, value in scope["headers"]:
        if name == b"traceparent":
            incoming_trace = value.decode("latin-1")
        elif name == b"x-request-id":
            incoming_id = value.decode("latin-1")
    span = request_span(scope["method"], scope["path"], incoming_trace)
    traceparent = next_traceparent(incoming_trace) if span is None else traceparent_of(span)
    known = incoming_id is not None and _REQUEST_ID.match(incoming_id)
    request_id = incoming_id if known else traceparent[3:35]
    state: dict[str, Any] = scope.setdefault("state", {})
    state["request_id"], state["traceparent"] = request_id, traceparent
    ours = [
        (b"x-request-id", (request_id or "").encode()),
        (b"traceparent", traceparent.encode()),
        (b"x-served-by", served_by),
    ]

    async def send_traced(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *ours]
            if span is not None:
                end_request(span, message["status"])
        await send(message)

    return send_traced
