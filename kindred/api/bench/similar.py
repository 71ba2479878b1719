"""`kindred bench similar`: what a widget request costs, and how fast a change is seen.

Everything runs on this machine over loopback: the service in processes of its own, one client
thread here, and the engine's parts alone in between, so that all of them meet the same noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import msgspec
import numpy as np

from kindred.api.bench.client import (
    Connection,
    UnexpectedAnswer,
    connections_to_all,
    request_bytes,
    requests_per_second,
)
from kindred.api.bench.parts import recorded, timed_alone
from kindred.api.bench.report import Latency, Spread, Throughput, Visibility
from kindred.api.bench.running import service
from kindred.api.service import Service
from kindred.retrieval.queries import Queries, make_queries
from kindred.schemas.progress import Progress
from kindred.schemas.query import Answer, Place
from kindred.schemas.ranking import Doubles
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

K = 6
WARM_UP = 100
"""Requests before the first that counts."""
CONNECTIONS = 4
"""Of the throughput measurement, to each process."""
POLL_S = 0.005
PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much to measure."""

    requests: int = 600
    rounds: int = 3
    seconds: float = 5.0
    """Of one throughput round."""
    changes: int = 20
    """Items put and withdrawn; 0 leaves this part out."""


def draw_questions(engine: Service, count: int, seed: int) -> list[dict[str, Any]]:
    """Widget requests: an active seed item and the visitor's place."""
    random = np.random.default_rng(seed)
    columns = engine.bundle.funnel.corpus.columns
    rows = random.choice(np.flatnonzero(columns.active[: columns.size]), count)
    return [
        {
            "item_id": columns.item_ids[row],
            "k": K,
            "place": {"lat": float(random.uniform(47, 60)), "lon": float(random.uniform(5, 25))},
        }
        for row in rows
    ]


def as_queries(engine: Service, question: Mapping[str, Any], now: int) -> Queries:
    """The funnel's form of a question."""
    funnel = engine.bundle.funnel
    return make_queries(
        funnel.corpus.columns,
        np.array([0, 1]),
        funnel.corpus.columns.rows([question["item_id"]]),
        now=now,
        half_life=funnel.recall.session_half_life,
        places=[msgspec.convert(question["place"], Place)],
    )


def measure_latency(
    workspace: Workspace,
    settings: KindredSettings,
    engine: Service,
    plan: Plan,
    seed: int,
    now: int,
    progress: Progress,
) -> Latency:
    """One worker and one client thread; the parts alone after each third of the requests."""
    funnel = engine.bundle.funnel
    questions = draw_questions(engine, plan.requests + WARM_UP, seed)
    calls = recorded(funnel, [as_queries(engine, q, now) for q in questions[WARM_UP:]], K)
    requests = [request_bytes("POST", "/v1/similar", question) for question in questions]
    client: list[float] = []
    answers: list[Answer] = []
    alone: list[dict[str, Doubles]] = []
    with (
        service(workspace, settings, 1) as (url, _),
        progress.task("latency", plan.requests) as tick,
    ):
        connection = Connection(url)
        for request in requests[:WARM_UP]:
            timed_answer(connection, request)
        for part in np.array_split(np.arange(plan.requests), plan.rounds):
            for at in part:
                took, answer = timed_answer(connection, requests[WARM_UP + at])
                client.append(took)
                answers.append(answer)
                tick(1)
            alone.append(timed_alone([calls[at] for at in part], funnel.ranker))
        connection.close()
    parts = {name: np.concatenate([part[name] for part in alone]) for name in alone[0]}
    inside = Spread.of([answer.ms["total"] for answer in answers])
    sizes = [0 if call.features is None else len(call.features) for call in calls]
    return Latency(
        requests=plan.requests,
        candidates=round(float(np.mean(sizes)), 1),
        trees=0 if funnel.ranker is None else funnel.ranker.trees,
        client=Spread.of(client),
        service=inside,
        stages=stage_spreads(answers),
        parts={name: Spread.of(values) for name, values in parts.items()},
        ratio=round(inside.p50 / float(np.median(parts["parts"])), 3),
        degraded=sum(bool(answer.degraded) for answer in answers),
    )


def timed_answer(connection: Connection, request: bytes) -> tuple[float, Answer]:
    """(milliseconds, answer)."""
    begin = time.perf_counter()
    status, body = connection.ask(request)
    took = (time.perf_counter() - begin) * 1e3
    if status != 200:
        raise UnexpectedAnswer(f"status {status}: {body[:300]!r}")
    return took, msgspec.json.decode(body, type=Answer)


def stage_spreads(answers: Sequence[Answer]) -> dict[str, Spread]:
    """Milliseconds by stage as the answers tell them."""
    names = dict.fromkeys(name for answer in answers for name in answer.ms)
    return {
        name: Spread.of([answer.ms[name] for answer in answers if name in answer.ms])
        for name in names
    }


def measure_throughput(
    workspace: Workspace,
    settings: KindredSettings,
    engine: Service,
    plan: Plan,
    seed: int,
    progress: Progress,
) -> Throughput:
    """One worker against two, in turn, each round with a fresh service."""
    questions = draw_questions(engine, 1000, seed + 1)
    requests = [request_bytes("POST", "/v1/similar", question) for question in questions]
    rates: dict[int, list[float]] = {1: [], 2: []}
    with progress.task("throughput", 2 * plan.rounds) as tick:
        for turn in range(plan.rounds):
            for workers in (1, 2) if turn % 2 == 0 else (2, 1):
                with service(workspace, settings, workers) as (url, _):
                    connections = connections_to_all(url, workers, CONNECTIONS)
                    requests_per_second(connections, requests, 1.0)
                    rate = requests_per_second(connections, requests, plan.seconds)
                    for connection in connections:
                        connection.close()
                rates[workers].append(round(rate, 1))
                tick(1)
    return Throughput(
        connections=CONNECTIONS,
        one=rates[1],
        two=rates[2],
        ratio=round(median(rates[2]) / median(rates[1]), 3),
    )


def measure_visibility(
    workspace: Workspace,
    settings: KindredSettings,
    plan: Plan,
    now: Callable[[], int],
    progress: Progress,
) -> Visibility:
    """Put items through one of two processes, and ask both until their answers show it."""
    put: dict[str, list[float]] = {}
    withdrawn: dict[str, list[float]] = {}
    with (
        service(workspace, settings, 2) as (url, _),
        progress.task("visibility", plan.changes) as tick,
    ):
        connections = connections_to_all(url, 2, 1)
        for number in range(plan.changes):
            mark = f"bench-{now()}"
            body = {"items": [{"item_id": mark, "title": "oak table", "brand": mark}]}
            begin = expect(connections[number % 2], request_bytes("PUT", "/v1/items", body))
            for name, took in until_all(connections, mark, begin, shown=True).items():
                put.setdefault(name, []).append(took)
            delete = request_bytes("DELETE", f"/v1/items/{mark}")
            begin = expect(connections[number % 2], delete)
            for name, took in until_all(connections, mark, begin, shown=False).items():
                withdrawn.setdefault(name, []).append(took)
            tick(1)
        for connection in connections:
            connection.close()
    return Visibility(
        changes=plan.changes,
        put={name: Spread.of(took) for name, took in sorted(put.items())},
        withdrawn={name: Spread.of(took) for name, took in sorted(withdrawn.items())},
        slowest_ms=round(max(took for sample in (put, withdrawn) for t in sample.values()
                             for took in t), 1),
    )  # fmt: skip


def expect(connection: Connection, request: bytes) -> float:
    """Ask, and check that it went well; the moment of the answer."""
    status, body = connection.ask(request)
    if status not in (200, 204):
        raise UnexpectedAnswer(f"status {status}: {body[:300]!r}")
    return time.perf_counter()


def until_all(
    connections: Sequence[Connection], item_id: str, begin: float, *, shown: bool
) -> dict[str, float]:
    """Milliseconds from `begin` until each process's answers hold (or lack) the item."""
    body = {"item_id": "item-0", "filters": {"brands": [item_id]}}
    request = request_bytes("POST", "/v1/similar", body)
    waiting = list(connections)
    took: dict[str, float] = {}
    while waiting:
        if time.perf_counter() - begin > PATIENCE_S:
            raise UnexpectedAnswer(f"not seen within {PATIENCE_S:g} s by {len(waiting)} processes")
        for connection in list(waiting):
            _, answer = timed_answer(connection, request)
            if any(found.item_id == item_id for found in answer.items) is shown:
                took[connection.served_by] = (time.perf_counter() - begin) * 1e3
                waiting.remove(connection)
        time.sleep(POLL_S)
    return took
