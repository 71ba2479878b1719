"""Acknowledged events a second: one serving process, many keep-alive connections, loopback."""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from kindred.api.bench.client import Connection, UnexpectedAnswer, connections_to_all
from kindred.api.bench.report import Spread, machine
from kindred.api.bench.running import cpu_seconds, service
from kindred.api.supervisor import Parts, Supervisor
from kindred.indexer.catalogue import Catalogue
from kindred.schemas.clock import micros_now
from kindred.schemas.item import Item
from kindred.schemas.outcome import EventResult
from kindred.schemas.progress import Progress
from kindred.schemas.settings import ApiSettings, EncoderSettings, KindredSettings
from kindred.schemas.workspace import Workspace

ITEMS, VISITORS = 2_000, 5_000
MONEY_EVERY = 20
"""In the mix `money`, one event in so many is a purchase, whose commit waits for the disk."""
SETTINGS = KindredSettings(
    api=ApiSettings(max_batch=500), encoders=EncoderSettings(spaces=("attributes",))
)


class EventRound(msgspec.Struct, frozen=True, kw_only=True):
    """One mix in one batch size."""

    mix: str
    """`views`: nothing of money; `money`: one event in twenty is a purchase."""
    batch: int
    """Events in a request."""
    acknowledged: int
    per_second: float
    ms: Spread
    """From a request's first byte to its answer."""
    cores: float
    """Processor time of the serving process by the clock's."""


class EventBench(msgspec.Struct, frozen=True, kw_only=True):
    """The whole measurement."""

    connections: int
    machine: dict[str, str]
    rounds: list[EventRound]


@dataclass(slots=True)
class Told:
    """Makes requests of events that were never told before; cheap beside what it measures."""

    prefix: str
    money: bool
    told: int = 0
    now: int = field(default_factory=micros_now)

    def request(self, batch: int) -> bytes:
        """The next `batch` events, as a whole HTTP request."""
        first, self.told = self.told, self.told + batch
        body = ('{"events":[' + ",".join(map(self._row, range(first, self.told))) + "]}").encode()
        return (
            b"POST /v1/events HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )

    def _row(self, n: int) -> str:
        action = "purchase" if self.money and n % MONEY_EVERY == 0 else "view"
        visitor = n * 7919 % VISITORS
        return (
            f'{{"event_id":"{self.prefix}-{n}","occurred_at":{self.now},"action":"{action}",'
            f'"entity_id":"item-{n * 31 % ITEMS}","user_id":"user-{visitor}",'
            f'"device_id":"device-{visitor}","session_id":"session-{visitor}"}}'
        )


@contextmanager
def log_workspace(below: Path) -> Iterator[Workspace]:
    """A small catalogue and no index; removed afterwards."""
    below.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="events-", dir=below) as folder:
        workspace = Workspace(Path(folder))
        catalogue = Catalogue.open(workspace.catalogue)
        catalogue.upsert([Item(item_id=f"item-{n}") for n in range(ITEMS)])
        catalogue.close()
        yield workspace


def log_service(workspace: Workspace) -> AbstractContextManager[tuple[str, Supervisor]]:
    """One serving process, without a builder."""
    return service(workspace, SETTINGS, 1, Parts(builder=None), indexed=False)


def run_events(
    below: Path, batches: Sequence[int], connections: int, seconds: float, progress: Progress
) -> EventBench:
    """Measure each batch size with both mixes; `below` is the folder for the workspace."""
    rounds = []
    with log_workspace(below) as workspace, log_service(workspace) as (url, supervisor):
        held = connections_to_all(url, 1, connections)
        plans = [(mix, batch) for mix in ("views", "money") for batch in batches]
        with progress.task("rounds", len(plans)) as advance:
            for mix, batch in plans:
                rounds.append(_round(held, supervisor.pids["w0"], mix, batch, seconds))
                advance(1)
        for connection in held:
            connection.close()
    return EventBench(connections=connections, machine=machine(), rounds=rounds)


def _round(
    connections: Sequence[Connection], pid: int, mix: str, batch: int, seconds: float
) -> EventRound:
    told = Told(f"{mix}-{batch}", money=mix == "money")
    taken: deque[float] = deque()
    cpu, began = cpu_seconds(pid), time.perf_counter()
    for _ in answers(connections, told, batch, began + seconds, taken):
        pass
    lasted = time.perf_counter() - began
    return EventRound(
        mix=mix,
        batch=batch,
        acknowledged=told.told,
        per_second=round(told.told / lasted, 1),
        ms=Spread.of(list(taken)),
        cores=round((cpu_seconds(pid) - cpu) / lasted, 2),
    )


def answers(
    connections: Sequence[Connection],
    told: Told,
    batch: int,
    until: float,
    taken: deque[float] | None = None,
) -> Iterator[int]:
    """Ask on every connection again as soon as it is answered; yields each request's first event.

    Ends when everything that was asked before the moment `until` has been answered. Milliseconds
    go to `taken`. UnexpectedAnswer for anything but the acknowledgement of a whole batch.
    """
    with selectors.DefaultSelector() as selector:
        asked: dict[int, tuple[int, float]] = {}  # by file descriptor

        def ask(connection: Connection) -> None:
            first, request = told.told, told.request(batch)
            asked[connection.fileno()] = (first, time.perf_counter())
            connection.send(request)

        for connection in connections:
            selector.register(connection, selectors.EVENT_READ, connection)
            ask(connection)
        while asked:
            for key, _ in selector.select(30):
                connection = key.data
                answer = connection.receive()
                if answer is None:
                    continue
                first, at = asked.pop(connection.fileno())
                _check(answer, batch)
                now = time.perf_counter()
                if taken is not None:
                    taken.append((now - at) * 1e3)
                yield first
                if now < until:
                    ask(connection)


def _check(answer: tuple[int, bytes], batch: int) -> None:
    status, body = answer
    if status != 202:
        raise UnexpectedAnswer(f"status {status}: {body[:300]!r}")
    result = msgspec.json.decode(body, type=EventResult)
    if result.accepted != batch:
        raise UnexpectedAnswer(f"{result.accepted} of {batch} events were accepted: {body[:300]!r}")
