"""What `/metrics` shows beside Litestar's own request counts (Prometheus).

With several workers each process keeps its numbers in files of PROMETHEUS_MULTIPROC_DIR, which the
supervisor sets, so that a scrape of any of them shows all.
"""

from __future__ import annotations

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from kindred.api.ports import Readiness
from kindred.events.log import Appended
from kindred.schemas.query import Answer

BUCKETS = (0.0005, 0.001, 0.002, 0.004, 0.007, 0.01, 0.015, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds."""


class Metrics:
    """Histograms and gauges of one process; `process_metrics` has it, as names register once."""

    def __init__(self) -> None:
        self._stages = Histogram(
            "kindred_stage_seconds", "Time by stage of an answer", ["use", "stage"], buckets=BUCKETS
        )
        self._degraded = Counter(
            "kindred_degraded_total", "Answers in which a stage fell back", ["use", "stage"]
        )
        self._left_out = Counter(
            "kindred_left_out_total", "Candidates that a rule dropped", ["use", "rule"]
        )
        self._events = Counter(
            "kindred_events_total", "Events told over HTTP, by what became of them", ["outcome"]
        )
        self._decisions = Counter(
            "kindred_decisions_total", "Decisions by what became of them", ["outcome"]
        )
        for outcome in ("written", "lost"):
            self._decisions.labels(outcome)
        self._sequence = Gauge(
            "kindred_index_sequence",
            "Catalogue change that the slowest worker's answers show",
            multiprocess_mode="livemin",
        )
        self._lag = Gauge(
            "kindred_index_lag", "Catalogue changes not shown yet", multiprocess_mode="livemax"
        )
        self._pending = Gauge(
            "kindred_index_pending", "Items without some vectors", multiprocess_mode="livemax"
        )
        self._ready = Gauge(
            "kindred_ready_workers", "Workers that can answer", multiprocess_mode="livesum"
        )

    def answered(self, use: str, answer: Answer) -> None:
        """Record an answer's milliseconds by stage, what was degraded and what was left out."""
        for stage, ms in answer.ms.items():
            self._stages.labels(use, stage).observe(ms / 1000)
        for stage in answer.degraded:
            self._degraded.labels(use, stage.partition(":")[0]).inc()
        for rule, count in answer.left_out.items():
            self._left_out.labels(use, rule).inc(count)

    def logged(self, appended: Appended, rejected: int) -> None:
        """Record what became of a batch of events."""
        self._events.labels("accepted").inc(appended.accepted)
        self._events.labels("unchanged").inc(appended.unchanged)
        self._events.labels("rejected").inc(rejected)

    def decided(self, outcome: str, count: int) -> None:
        """Count decisions by what became of them: `written` or `lost`."""
        self._decisions.labels(outcome).inc(count)

    def stands(self, readiness: Readiness) -> None:
        """Record where the index stands."""
        self._sequence.set(readiness.sequence)
        self._lag.set(readiness.lag)
        self._pending.set(readiness.pending)
        self._ready.set(float(readiness.ready))


@cache
def process_metrics() -> Metrics:
    """The metrics of this process: Prometheus keeps one registry."""
    return Metrics()
