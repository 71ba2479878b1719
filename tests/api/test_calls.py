"""Engine calls: what takes a thread, and how long anybody waits."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import msgspec
import pytest
from api_engine import DictEngine
from builders import event

from kindred.api.calls import Calls
from kindred.api.metrics import process_metrics
from kindred.api.problems import Hung
from kindred.events.check import Batch
from kindred.events.log import Appended
from kindred.schemas.clock import micros_now
from kindred.schemas.event import Action
from kindred.schemas.outcome import EventResult


class Noting(DictEngine):
    """Notes whether a batch was logged on the caller's own thread."""

    def __init__(self) -> None:
        super().__init__()
        self.alone: list[bool] = []

    def log_events(self, batch: Batch, traceparent: str | None) -> Future[Appended]:
        self.alone.append(threading.current_thread() is not threading.main_thread())
        return super().log_events(batch, traceparent)


def calls(engine: DictEngine, write_limit_s: float = 30.0) -> Calls:
    return Calls(
        engine, process_metrics(), deadline_ms=1, clock=micros_now, write_limit_s=write_limit_s
    )


async def put(calls: Calls, count: int) -> EventResult:
    told = [event(occurred_at=micros_now(), action=Action.PURCHASE) for _ in range(count)]
    return await calls.put_events([msgspec.json.encode(one) for one in told], None)


def test_a_few_listings_are_looked_up_without_a_thread_until_the_disk_is_slow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Noting()

    async def ask() -> None:
        held = calls(engine)
        monkeypatch.setattr("kindred.api.calls.SLOW_S", 1e9)
        await put(held, 1)
        await put(held, 100)
        await put(held, 1)
        monkeypatch.setattr("kindred.api.calls.SLOW_S", 0.0)
        await put(held, 1)
        await put(held, 1)
        held.close()

    asyncio.run(ask())
    assert engine.alone == [False, True, False, False, True]


class Silent(DictEngine):
    """A log that never says what became of a batch."""

    def log_events(self, batch: Batch, traceparent: str | None) -> Future[Appended]:
        return Future()


def test_a_commit_that_never_comes_is_told_to_the_caller() -> None:
    async def ask() -> None:
        held = calls(Silent(), write_limit_s=0.05)
        with pytest.raises(Hung, match=r"no commit within 0\.05 s"):
            await put(held, 1)
        held.close()

    asyncio.run(ask())
