"""OpenTelemetry's exporter and the spans of requests; off unless a setting names an exporter."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from kindred import __version__
from kindred.events.tracing import NAME, export_spans
from kindred.schemas.errors import SettingsError
from kindred.schemas.settings import TelemetrySettings

if TYPE_CHECKING:
    from opentelemetry.trace import Span

EXPORT_MS = 1000
"""How long a span waits for others to be exported with it."""

_provider: Any = None
"""The SDK's provider, once an exporter is on: OpenTelemetry keeps one for the process."""


def start_tracing(settings: TelemetrySettings, process: str) -> None:
    """Export spans from here on; SettingsError where the extra `otel` is not installed."""
    global _provider
    if settings.exporter == "none" or _provider is not None:
        return
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError as error:
        raise SettingsError(
            "spans need the extra `otel`: pip install 'kindred[otel]'", "$.telemetry.exporter"
        ) from error
    facts = {
        "service.name": NAME,
        "service.version": __version__,
        "service.instance.id": f"{process}-{os.getpid()}",
    }
    _provider = TracerProvider(
        resource=Resource.create(facts), sampler=ParentBased(TraceIdRatioBased(settings.sample))
    )
    _provider.add_span_processor(
        BatchSpanProcessor(_exporter(settings), schedule_delay_millis=EXPORT_MS)
    )
    trace.set_tracer_provider(_provider)
    export_spans()


def _exporter(settings: TelemetrySettings) -> Any:
    if settings.exporter == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(
            out=sys.stderr, formatter=lambda span: span.to_json(indent=None) + "\n"
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=settings.endpoint, timeout=5)


def stop_tracing() -> None:
    """Export what waits; a collector that is gone holds nothing up for long."""
    if _provider is not None:
        _provider.force_flush(2000)


def request_span(method: str, path: str, incoming: str | None) -> Span | None:
    """The span of a request below the caller's `traceparent`; None without an exporter.

    The path itself stays out of the name: every item would make a new one.
    """
    if _provider is None:
        return None
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    told = {} if incoming is None else {"traceparent": incoming}
    parent = TraceContextTextMapPropagator().extract(told)
    started: Span = _provider.get_tracer(NAME).start_span(
        method, parent, kind=SpanKind.SERVER,
        attributes={"http.request.method": method, "url.path": path},
    )  # fmt: skip
    return started


def traceparent_of(span: Span) -> str:
    """W3C form of a span's place in its trace."""
    at = span.get_span_context()
    return f"00-{at.trace_id:032x}-{at.span_id:016x}-{int(at.trace_flags) & 1:02x}"


def end_request(span: Span, status: int) -> None:
    """The request was answered with `status`."""
    from opentelemetry.trace import StatusCode

    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(StatusCode.ERROR)
    span.end()
