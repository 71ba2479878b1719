"""Spans of each hop that a request leads to: answer, decision, event, join (SPEC §3.11).

The W3C `traceparent` that travels with decisions and events is the parent, so a trace goes on
where another process, or another hour, takes it up. Only OpenTelemetry's interface is used here:
without an exporter (`settings.telemetry`) a hop costs a look at one flag.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

NAME = "kindred"


_exported = False


def export_spans() -> None:
    """From here on this process records spans: an exporter is there to take them."""
    global _exported
    _exported = True


def exporting() -> bool:
    """Whether this process records spans."""
    return _exported


def sampled(traceparent: str | None) -> bool:
    """Whether a span of this trace goes anywhere: an exporter is on, and bit 0 of the flags."""
    return _exported and traceparent is not None and int(traceparent[-1], 16) & 1 == 1


@contextmanager
def hop(name: str, traceparent: str | None, **attributes: str | int | float) -> Iterator[None]:
    """A span around the block, below `traceparent`, where that is sampled."""
    if not sampled(traceparent):
        yield
        return
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    tracer = trace.get_tracer(NAME)
    with tracer.start_as_current_span(name, parent, attributes=attributes):
        yield


def mark(name: str, traceparent: str | None, **attributes: str | int | float) -> None:
    """A span without a length: something was taken in or joined."""
    with hop(name, traceparent, **attributes):
        pass
