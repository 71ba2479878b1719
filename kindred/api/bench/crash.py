"""Acknowledged events that are missing after kill -9 at random moments: none may be."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import msgspec

from kindred.api.bench.client import Connection, UnexpectedAnswer
from kindred.api.bench.events import Told, answers, log_service, log_workspace
from kindred.api.bench.report import machine
from kindred.api.supervisor import Supervisor
from kindred.events.history import logged_events
from kindred.schemas.progress import Progress

CONNECTIONS, BATCH = 20, 10
SHORTEST_LOAD_S, LONGEST_LOAD_S = 0.2, 1.0
PATIENCE_S = 60.0


class CrashBench(msgspec.Struct, frozen=True, kw_only=True):
    """What became of acknowledged events."""

    kills: int
    acknowledged: int
    missing: int
    """Acknowledged events that the log does not hold."""
    unacknowledged: int
    """Events that the log holds although their answer never came: told again they count once."""
    seconds: float
    machine: dict[str, str]


def run_crash(below: Path, kills: int, seed: int, progress: Progress) -> CrashBench:
    """Load a serving process, kill it, let it come back, and look for what it acknowledged."""
    draw, began = random.Random(seed), time.monotonic()
    acknowledged: set[str] = set()
    with log_workspace(below) as workspace:
        with progress.task("kills", kills) as advance:
            for number in range(kills):
                load_s = draw.uniform(SHORTEST_LOAD_S, LONGEST_LOAD_S)
                # A service that is killed again and again would come back ever more slowly.
                with log_service(workspace) as (url, supervisor):
                    acknowledged |= _until_killed(url, supervisor, f"kill-{number}", load_s)
                advance(1)
        held = set(logged_events(workspace.log)["event_id"])
    return CrashBench(
        kills=kills,
        acknowledged=len(acknowledged),
        missing=len(acknowledged - held),
        unacknowledged=len(held - acknowledged),
        seconds=round(time.monotonic() - began, 1),
        machine=machine(),
    )


def _until_killed(url: str, supervisor: Supervisor, prefix: str, load_s: float) -> set[str]:
    """Ids that were acknowledged before the process was killed, `load_s` after its load began."""
    told, acknowledged = Told(prefix, money=True), set[str]()
    connections = [Connection(url) for _ in range(CONNECTIONS)]
    pid = supervisor.pids["w0"]
    killer = threading.Timer(load_s, os.kill, (pid, signal.SIGKILL))
    killer.start()
    try:
        for first in answers(connections, told, BATCH, time.perf_counter() + PATIENCE_S):
            acknowledged.update(f"{prefix}-{n}" for n in range(first, first + BATCH))
    except (OSError, UnexpectedAnswer):
        if killer.is_alive():  # it failed before it was killed
            raise
    finally:
        killer.cancel()
        killer.join()
        for connection in connections:
            connection.close()
    return acknowledged
