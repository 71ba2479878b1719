"""`kindred bench decisions`: what logging every answer costs, and what of the log goes missing.

Two services of one process each, over loopback: one logs decisions, the other does not. They are
asked in turn, so that both meet the same noise; then the one that logs gets all the load that it
can bear.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from kindred.api.bench.client import Connection, connections_to_all, request_bytes
from kindred.api.bench.client import requests_per_second as load
from kindred.api.bench.report import Spread, machine
from kindred.api.bench.running import service
from kindred.api.bench.similar import CONNECTIONS, WARM_UP, K, timed_answer
from kindred.api.bench.workspace import prepared
from kindred.events.shown import DECISIONS
from kindred.events.writers import count_writers, marks_of
from kindred.schemas.clock import micros_now
from kindred.schemas.progress import Progress
from kindred.schemas.settings import DecisionSettings, KindredSettings
from kindred.schemas.workspace import Workspace

QUESTIONS = 500


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """Latency with the log, or without it."""

    client: Spread
    """From the first byte sent to the last received."""
    service: Spread
    """As the answers tell it."""


class DecisionBench(msgspec.Struct, frozen=True, kw_only=True):
    """Losses under load, and the log's price."""

    items: int
    machine: dict[str, str]
    connections: int
    seconds: float
    answers_per_s: float
    """Under load, logging."""
    answers: int
    """That should have left a decision, warm-up and latency rounds too."""
    lost: int
    """Missing sequence numbers after a graceful stop."""
    share_lost: float
    mebibytes: float
    """Size of the log."""
    on: Logged
    off: Logged
    ratio: float
    """Median over the rounds of the client's p50 with the log over that without it."""
    ratios: list[float]
    """By round."""


def run_decisions(
    below: Path,
    items: int,
    requests: int,
    rounds: int,
    seconds: float,
    seed: int,
    progress: Progress,
) -> DecisionBench:
    """Measure on the workspace of `bench similar` with `items` items, made where it is missing."""
    workspace, settings = prepared(below, items, seed, micros_now(), progress)
    forget(workspace)
    questions = asked(items, seed)
    took: dict[bool, list[list[tuple[float, float]]]] = {True: [], False: []}
    with service(workspace, logging(settings, on=True), 1) as (url_on, _):
        with service(workspace, logging(settings, on=False), 1) as (url_off, _):
            connections = {True: Connection(url_on), False: Connection(url_off)}
            for connection in connections.values():
                for request in questions[:WARM_UP]:
                    timed_answer(connection, request)
            with progress.task("latency", rounds) as tick:
                for turn in range(rounds):
                    for on in (True, False) if turn % 2 else (False, True):
                        part = one_round(connections[on], questions, turn, requests // rounds)
                        took[on].append(part)
                    tick(1)
            for connection in connections.values():
                connection.close()
        held = connections_to_all(url_on, 1, CONNECTIONS)
        rate = load(held, questions, seconds)
        for connection in held:
            connection.close()
    counts = count_writers(workspace.lake, workspace.decisions)
    answers, lost = sum(c.assigned for c in counts), sum(c.lost for c in counts)
    p50 = {on: [float(np.median([c for c, _ in part])) for part in took[on]] for on in took}
    ratios = [on / off for on, off in zip(p50[True], p50[False], strict=True)]
    return DecisionBench(
        items=items,
        machine=machine(),
        connections=CONNECTIONS,
        seconds=seconds,
        answers_per_s=round(rate, 1),
        answers=answers,
        lost=lost,
        share_lost=lost / max(answers, 1),
        mebibytes=round(workspace.decisions.stat().st_size / 2**20, 1),
        on=spreads(took[True]),
        off=spreads(took[False]),
        ratio=round(median(ratios), 4),
        ratios=[round(ratio, 4) for ratio in ratios],
    )


def forget(workspace: Workspace) -> None:
    """Begin with an empty log, and none of it in the lake."""
    for name in ("", "-wal", "-shm"):
        path = workspace.decisions
        path.with_name(path.name + name).unlink(missing_ok=True)
    for folder in (marks_of(workspace.decisions), workspace.lake / DECISIONS.folder):
        shutil.rmtree(folder, ignore_errors=True)


def asked(items: int, seed: int) -> list[bytes]:
    """Requests for similar items."""
    random = np.random.default_rng(seed)
    return [
        request_bytes("POST", "/v1/similar", {"item_id": f"item-{row}", "k": K})
        for row in random.integers(items, size=QUESTIONS)
    ]


def logging(settings: KindredSettings, *, on: bool) -> KindredSettings:
    """The settings with the log on or off."""
    decisions: DecisionSettings = msgspec.structs.replace(settings.decisions, log=on)
    changed: KindredSettings = msgspec.structs.replace(settings, decisions=decisions)
    return changed


def one_round(
    connection: Connection, questions: list[bytes], turn: int, count: int
) -> list[tuple[float, float]]:
    """(ms at the client, ms in the service) of each answer; a turn has its own questions."""
    took = []
    for at in range(count):
        request = questions[(turn * count + at) % len(questions)]
        client, answer = timed_answer(connection, request)
        took.append((client, answer.ms["total"]))
    return took


def spreads(rounds: list[list[tuple[float, float]]]) -> Logged:
    """All rounds together."""
    whole = np.array([pair for part in rounds for pair in part])
    return Logged(client=Spread.of(whole[:, 0]), service=Spread.of(whole[:, 1]))
