"""What `kindred bench similar` says, and what every measurement is kept as."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

import msgspec
import numpy as np

from kindred.schemas.ranking import Doubles


class Spread(msgspec.Struct, frozen=True):
    """Milliseconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: Doubles | Sequence[float]) -> Spread:
        """Percentiles of a sample."""
        low, high, top = np.percentile(np.asarray(values, np.float64), (50, 95, 99))
        return cls(round(float(low), 3), round(float(high), 3), round(float(top), 3))


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """One worker, one client thread."""

    requests: int
    candidates: float
    """Mean number that were ranked."""
    trees: int
    client: Spread
    """From the first byte sent to the last received, decoding not counted."""
    service: Spread
    """From the decoded request to the answer, as the answers tell it."""
    stages: dict[str, Spread]
    parts: dict[str, Spread]
    """The engine's parts alone, in the same run."""
    ratio: float
    """Median inside the service, in medians of the parts."""
    degraded: int
    """Answers in which a stage fell back."""


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Requests a second, closed loop."""

    connections: int
    one: list[float]
    """By round, one worker."""
    two: list[float]
    ratio: float
    """Median of two workers over median of one."""


class Visibility(msgspec.Struct, frozen=True, kw_only=True):
    """From the answer to a PUT (or DELETE) until answers show it, by process that answers."""

    changes: int
    put: dict[str, Spread]
    withdrawn: dict[str, Spread]
    slowest_ms: float


class SimilarBench(msgspec.Struct, frozen=True, kw_only=True):
    """The whole measurement."""

    items: int
    seed: int
    machine: dict[str, str]
    latency: Latency
    throughput: Throughput | None = None
    visibility: Visibility | None = None


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "system": platform.system(),
    }
