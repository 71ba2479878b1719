"""All of `kindred bench similar`, in order."""

from __future__ import annotations

from pathlib import Path

from kindred.api.bench.report import SimilarBench, machine
from kindred.api.bench.similar import (
    Plan,
    measure_latency,
    measure_throughput,
    measure_visibility,
)
from kindred.api.bench.workspace import prepared
from kindred.api.wiring import open_engine
from kindred.schemas.clock import micros_now
from kindred.schemas.progress import Progress


def run_similar(
    below: Path, items: int, seed: int, plan: Plan, progress: Progress, *, latency_only: bool
) -> SimilarBench:
    """Make the workspace where it is missing, and measure; `below` is the folder for it."""
    workspace, settings = prepared(below, items, seed, micros_now(), progress)
    engine = open_engine(workspace, settings, "bench")
    try:
        engine.refresh()
        latency = measure_latency(workspace, settings, engine, plan, seed, micros_now(), progress)
        throughput = visibility = None
        if not latency_only:
            throughput = measure_throughput(workspace, settings, engine, plan, seed, progress)
            if plan.changes:
                visibility = measure_visibility(workspace, settings, plan, micros_now, progress)
    finally:
        engine.close()
    return SimilarBench(
        items=items,
        seed=seed,
        machine=machine(),
        latency=latency,
        throughput=throughput,
        visibility=visibility,
    )
