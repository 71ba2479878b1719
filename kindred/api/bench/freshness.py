"""`kindred bench freshness`: how soon after an event the visitor's next answer knows of it, and how
soon a new listing has neighbours.

Two serving processes, over loopback; while events are sent and looked for, other connections keep
asking, so that the log is read under load.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kindred.api.bench.client import Connection, UnexpectedAnswer, connections_to_all, request_bytes
from kindred.api.bench.report import Spread, machine
from kindred.api.bench.running import service
from kindred.api.bench.similar import PATIENCE_S, K, timed_answer
from kindred.api.bench.workspace import prepared
from kindred.events.log_tables import open_log_file
from kindred.events.sessions import Sessions
from kindred.indexer.versions import IndexFolder
from kindred.schemas.clock import HOUR, micros_now
from kindred.schemas.event import ACTION_CODE, Action
from kindred.schemas.progress import Progress
from kindred.schemas.query import Subject
from kindred.schemas.settings import SessionSettings
from kindred.schemas.workspace import Workspace

UNKNOWN = "session:"
"""How an answer's `degraded` begins while nothing is known of the visitor."""
READS = 2_000


class SessionRead(msgspec.Struct, frozen=True, kw_only=True):
    """Reading one visitor's last hour out of a log that holds everybody's."""

    events: int
    visitors: int
    mean_actions: float
    ms: Spread


class FreshnessBench(msgspec.Struct, frozen=True, kw_only=True):
    """From an event's 202 to the first answer that knows of it."""

    items: int
    events: int
    machine: dict[str, str]
    acknowledged: Spread
    """From the event's first byte to its 202."""
    seen: dict[str, Spread]
    """From the 202 to the end of the first answer that shows it, by process that answers."""
    slowest_ms: float
    asked_first_time: float
    """Share of the events that the very next answer of each process knew of."""
    load_per_s: float
    """Answers a second that other connections were given meanwhile."""
    reads: list[SessionRead]
    listings: int = 0
    """New listings put."""
    listed_space: str = ""
    """The space in which they were asked for."""
    listed: dict[str, Spread] = {}
    """From the 200 of a new listing to its first neighbours in that space, by process."""


def run_freshness(
    below: Path, items: int, events: int, seed: int, progress: Progress
) -> FreshnessBench:
    """Measure on the workspace of `bench similar` with `items` items, made where it is missing."""
    workspace, settings = prepared(below, items, seed, micros_now(), progress)
    workspace.log.unlink(missing_ok=True)
    for rest in ("-wal", "-shm"):
        workspace.log.with_name(workspace.log.name + rest).unlink(missing_ok=True)
    random = np.random.default_rng(seed)
    acknowledged: list[float] = []
    seen: dict[str, list[float]] = {}
    firsts: list[bool] = []
    with (
        service(workspace, settings, 2) as (url, _),
        progress.task("freshness", events) as tick,
        Load(url, items, seed) as load,
    ):
        connections = connections_to_all(url, 2, 1)
        for number in range(events):
            visitor = f"bench-{micros_now()}-{number}"
            event = {
                "event_id": visitor, "occurred_at": micros_now(), "action": "view",
                "entity_id": f"item-{random.integers(items)}", "device_id": visitor,
            }  # fmt: skip
            begin = time.perf_counter()
            status, body = connections[number % 2].ask(
                request_bytes("POST", "/v1/events", {"events": [event]})
            )
            if status != 202:
                raise UnexpectedAnswer(f"status {status}: {body[:300]!r}")
            at = time.perf_counter()
            acknowledged.append((at - begin) * 1e3)
            for name, (took, first) in until_known(connections, visitor, at).items():
                seen.setdefault(name, []).append(took)
                firsts.append(first)
            tick(1)
        space = best_space(workspace)
        listed = put_listings(connections, space, max(1, events // 10), items, seed)
        for connection in connections:
            connection.close()
    return FreshnessBench(
        items=items,
        events=events,
        machine=machine(),
        acknowledged=Spread.of(acknowledged),
        seen={name: Spread.of(took) for name, took in sorted(seen.items())},
        slowest_ms=round(max(max(took) for took in seen.values()), 1),
        asked_first_time=round(float(np.mean(firsts)), 4),
        load_per_s=round(load.answered / load.seconds, 1),
        reads=[
            session_reads(1_000_000, visitors, seed, progress) for visitors in (100_000, 15_000)
        ],
        listings=max(1, events // 10),
        listed_space=space,
        listed={name: Spread.of(took) for name, took in sorted(listed.items())},
    )


def best_space(workspace: Workspace) -> str:
    """The space of the index that a new listing's vector takes longest to: the most learned one."""
    spaces = IndexFolder(workspace.index).manifest().spaces
    return next(s for s in ("hybrid", "air", "text", "attributes") if s in spaces)


def put_listings(
    connections: Sequence[Connection], space: str, count: int, items: int, seed: int
) -> dict[str, list[float]]:
    """ms from a listing's 200 to its first neighbours in `space`, by process; then withdrawn.

    A listing is one of the market's under another title, so that nothing of it is in the cache.
    """
    random = np.random.default_rng(seed + 2)
    took: dict[str, list[float]] = {}
    for number, row in enumerate(random.integers(items, size=count).tolist()):
        like = msgspec.json.decode(ask(connections[0], "GET", f"/v1/items/item-{row}"))
        new = f"bench-{micros_now()}-{number}"
        told = {**like, "item_id": new, "title": f"{like['title']} {new}"}
        ask(connections[number % 2], "PUT", "/v1/items", {"items": [told]})
        begin = time.perf_counter()
        request = request_bytes("GET", f"/v1/items/{new}/neighbors?k=6&space={space}")
        waiting = list(connections)
        while waiting:
            if time.perf_counter() - begin > PATIENCE_S:
                raise UnexpectedAnswer(f"a listing has no neighbours after {PATIENCE_S:g} s")
            for connection in list(waiting):
                if connection.ask(request)[0] == 200:
                    ms = (time.perf_counter() - begin) * 1e3
                    took.setdefault(connection.served_by, []).append(ms)
                    waiting.remove(connection)
        ask(connections[0], "DELETE", f"/v1/items/{new}")
    return took


def ask(connection: Connection, method: str, path: str, body: Any = None) -> bytes:
    """The answer's body; UnexpectedAnswer for a refusal."""
    status, answer = connection.ask(request_bytes(method, path, body))
    if status >= 300:
        raise UnexpectedAnswer(f"{method} {path}: status {status}: {answer[:300]!r}")
    return answer


def until_known(
    connections: Sequence[Connection], visitor: str, begin: float
) -> dict[str, tuple[float, bool]]:
    """(ms from `begin` until a process's answer knows of the visitor, at once) by process."""
    body = {"subject": {"device_id": visitor}, "n": K}
    request = request_bytes("POST", "/v1/session/recall", body)
    took: dict[str, tuple[float, bool]] = {}
    waiting = list(connections)
    tries = 0
    while waiting:
        if time.perf_counter() - begin > PATIENCE_S:
            raise UnexpectedAnswer(f"an event is not known after {PATIENCE_S:g} s")
        for connection in list(waiting):
            _, answer = timed_answer(connection, request)
            if not any(words.startswith(UNKNOWN) for words in answer.degraded):
                ms = (time.perf_counter() - begin) * 1e3
                took[connection.served_by] = (ms, tries == 0)
                waiting.remove(connection)
        tries += 1
    return took


class Load:
    """Two connections that keep asking for similar items until the block ends."""

    def __init__(self, url: str, items: int, seed: int) -> None:
        random = np.random.default_rng(seed + 1)
        self._url = url
        self._requests = [
            request_bytes("POST", "/v1/similar", {"item_id": f"item-{row}", "k": K})
            for row in random.integers(items, size=200)
        ]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(2)]
        self.answered = 0
        self.seconds = 0.0

    def _ask(self) -> None:
        connection = Connection(self._url)
        at = 0
        while not self._stop.is_set():
            connection.ask(self._requests[at % len(self._requests)])
            self.answered += 1
            at += 1
            time.sleep(0.02)  # some load, not all that the cores can bear
        connection.close()

    def __enter__(self) -> Load:
        self._began = time.perf_counter()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.seconds = time.perf_counter() - self._began


def session_reads(events: int, visitors: int, seed: int, progress: Progress) -> SessionRead:
    """Sessions of visitors drawn by their activity, from a log with `events` in the last hour."""
    random = np.random.default_rng(seed)
    now = micros_now()
    with tempfile.TemporaryDirectory() as folder, progress.task("session reads", READS) as tick:
        path = Path(folder) / "log.sqlite"
        rows = zip(
            (f"e{n}" for n in range(events)),
            (now - random.integers(0, HOUR, events)).tolist(),
            random.integers(0, 100_000, events).tolist(),
            random.integers(0, visitors, events).tolist(),
            strict=True,
        )
        db = open_log_file(path)
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO events (event_id, occurred_at, received_at, action, entity_kind, "
            "entity_id, user_id, logged_in, role, platform) VALUES "
            f"(?, ?, {now}, {ACTION_CODE[Action.VIEW.value]}, 'item', 'item-' || ?, 'u' || ?, 1, "
            "'customer', 'web')",
            rows,
        )
        db.execute("COMMIT")
        db.close()
        sessions = Sessions(path, SessionSettings(), clock=lambda: now)
        took, held = [], []
        for visitor in random.integers(0, visitors, READS).tolist():
            begin = time.perf_counter()
            session = sessions.of(Subject(user_id=f"u{visitor}"))
            took.append((time.perf_counter() - begin) * 1e3)
            held.append(len(session))
            tick(1)
        sessions.close()
    return SessionRead(
        events=events,
        visitors=visitors,
        mean_actions=round(float(np.mean(held)), 1),
        ms=Spread.of(took),
    )
