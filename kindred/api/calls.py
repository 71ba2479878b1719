"""Engine calls off the event loop: a few threads, a bounded queue, and a hard time limit.

Deadlines and fallbacks are the engine's; the limit here is for a call that does not come back.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import msgspec

from kindred.api.ids import time_ordered_id
from kindred.api.metrics import Metrics
from kindred.api.ports import Engine, ItemPage, Readiness
from kindred.api.problems import Hung, Overloaded
from kindred.api.wakeups import Wakeups
from kindred.events.log import Appended
from kindred.events.tracing import hop
from kindred.schemas.item import Item
from kindred.schemas.outcome import BatchResult, EventResult, RowError
from kindred.schemas.preview import Preview, PreviewRequest
from kindred.schemas.query import (
    Answer,
    Filters,
    Neighbours,
    Relation,
    SessionRecallRequest,
    SimilarRequest,
    Subject,
    VisitorMerge,
)
from kindred.schemas.rule import Rule, RuleHistory, RuleList, RuleResult
from kindred.schemas.why import WhyNot, WhyNotRequest

T = TypeVar("T")

READ_THREADS = 4
"""The embedded engine holds the interpreter lock: more threads would only wait for it."""
WRITE_THREADS = 2
"""Writes wait for the disk; they must not hold up reads."""
QUEUE = 128
"""Calls that may wait for a thread."""
ASKED_AT_ONCE = 32
"""Listings that an event batch may ask the catalogue about without a thread: it takes less than
0.1 ms, a thread's turn several times that."""
SLOW_S = 0.02
"""A look into the catalogue without a thread that took longer waited for the disk, and every other
request with it."""
PATIENCE_S = 1.0
"""For so long the next looks then take a thread."""
HARD_LIMIT = 10
"""A call may take this many deadlines."""
WRITE_LIMIT_S = 30.0
PREVIEWS = 8
"""Questions about answers that may wait; one thread takes them, so that answers do not."""
PREVIEW_LIMIT_S = 30.0


class Lane:
    """Threads of their own, with at most `queue` calls waiting."""

    def __init__(self, name: str, threads: int, queue: int, limit_s: float) -> None:
        self._new_pool: Callable[[], ThreadPoolExecutor] = lambda: ThreadPoolExecutor(
            threads, thread_name_prefix=name
        )
        self._pool = self._new_pool()
        self._room = threads + queue
        self._limit = limit_s
        self._threads = threads
        self._lock = threading.Lock()
        self._admitted = 0
        self._begun: dict[int, float] = {}

    async def run(self, call: Callable[[], T]) -> T:
        """The call's result; Overloaded without room, Hung past the limit."""
        with self._lock:
            if self._admitted >= self._room:
                raise Overloaded(f"{self._admitted} requests are waiting")
            self._admitted += 1
        future = self._pool.submit(self._timed, call)
        future.add_done_callback(self._leave)
        try:
            async with asyncio.timeout(self._limit):
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            if future.done() and not future.cancelled():
                raise
            raise Hung(f"no answer within {self._limit:g} s") from error

    def _timed(self, call: Callable[[], T]) -> T:
        thread = threading.get_ident()
        self._begun[thread] = time.monotonic()
        try:
            return call()
        finally:
            del self._begun[thread]

    def _leave(self, _: Future[T]) -> None:
        with self._lock:
            self._admitted -= 1

    @property
    def waiting(self) -> int:
        """Calls admitted and not finished."""
        return self._admitted

    def stuck_s(self) -> float:
        """Seconds since the last thread got stuck; 0 while any thread is free or fresh."""
        begun = list(self._begun.values())
        if len(begun) < self._threads:
            return 0.0
        held = time.monotonic() - max(begun)
        return held if held > self._limit else 0.0

    def close(self) -> None:
        """Cancel what waits and let go of what runs; the lane could be used again."""
        old, self._pool = self._pool, self._new_pool()
        old.shutdown(wait=False, cancel_futures=True)


class Calls:
    """The engine as handlers use it: awaitable, counted, and with a decision id for each answer."""

    def __init__(
        self,
        engine: Engine,
        metrics: Metrics,
        *,
        deadline_ms: int,
        clock: Callable[[], int],
        max_batch: int = 500,
        read_threads: int = READ_THREADS,
        queue: int = QUEUE,
        write_limit_s: float = WRITE_LIMIT_S,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._clock = clock
        self._wakeups = Wakeups()
        self._disk_slow_until = 0.0
        self.max_batch = max_batch
        limit_s = HARD_LIMIT * deadline_ms / 1000
        self.reads = Lane("engine-read", read_threads, queue, limit_s)
        self._write_limit_s = max(write_limit_s, limit_s)
        self.writes = Lane("engine-write", WRITE_THREADS, queue, self._write_limit_s)
        self.previews = Lane("engine-preview", 1, PREVIEWS, PREVIEW_LIMIT_S)

    async def similar(self, request: SimilarRequest, traceparent: str | None = None) -> Answer:
        """See Engine.similar."""
        return await self._answer("similar", self._engine.similar, request, traceparent)

    async def session_recall(
        self, request: SessionRecallRequest, traceparent: str | None = None
    ) -> Answer:
        """See Engine.session_recall."""
        return await self._answer(
            "session_recall", self._engine.session_recall, request, traceparent
        )

    async def _answer(
        self, use: str, ask: Callable[..., Answer], request: object, traceparent: str | None
    ) -> Answer:
        """The engine's answer, with `wait` (for a thread) and the whole time as `total` in `ms`."""
        decision = time_ordered_id(self._clock())
        asked = time.perf_counter()

        def timed() -> Answer:
            begun = time.perf_counter()
            with hop(use, traceparent, decision_id=decision):
                answer = ask(request, decision_id=decision, traceparent=traceparent)
            answer.ms["wait"] = round((begun - asked) * 1e3, 4)
            answer.ms["total"] = round((time.perf_counter() - asked) * 1e3, 4)
            return answer

        answer = await self.reads.run(timed)
        self._metrics.answered(use, answer)
        return answer

    async def why_not(self, request: WhyNotRequest) -> WhyNot:
        """See Engine.why_not."""
        return await self.previews.run(lambda: self._engine.why_not(request))

    async def preview(self, request: PreviewRequest) -> Preview:
        """See Engine.preview."""
        return await self.previews.run(lambda: self._engine.preview(request))

    async def merge_visitor(self, told: VisitorMerge) -> None:
        """See Engine.merge_visitor."""
        anonymous = Subject(device_id=told.device_id, session_id=told.session_id)
        await self.writes.run(lambda: self._engine.merge_visitor(anonymous, told.user_id))

    async def neighbors(
        self,
        item_id: str,
        space: str | None,
        k: int,
        filters: Filters,
        explain: bool,
        relation: Relation | None = None,
    ) -> Neighbours:
        """See Engine.neighbors."""
        return await self.reads.run(
            lambda: self._engine.neighbors(item_id, space, k, filters, explain, relation)
        )

    async def put_items(self, items: Sequence[Item]) -> BatchResult:
        """See Engine.put_items."""
        return await self.writes.run(lambda: self._engine.put_items(items))

    async def put_events(
        self, rows: Sequence[bytes | msgspec.Raw], traceparent: str | None
    ) -> EventResult:
        """See Engine.read_events and Engine.log_events."""
        batch = self._engine.read_events(rows)

        def log() -> Future[Appended]:
            return self._engine.log_events(batch, traceparent)

        begun, asked = time.monotonic(), len(batch.asks)
        if asked > ASKED_AT_ONCE or (asked and begun < self._disk_slow_until):
            logged = await self.writes.run(log)
        else:
            logged = log()
            if asked and (now := time.monotonic()) - begun > SLOW_S:
                self._disk_slow_until = now + PATIENCE_S
        appended = await self._committed(logged)
        self._metrics.logged(appended, len(batch.refused))
        return EventResult(
            accepted=appended.accepted,
            unchanged=appended.unchanged,
            rejected=[RowError(index=r.place, path=r.path, reason=r.reason) for r in batch.refused],
        )

    async def _committed(self, logged: Future[Appended]) -> Appended:
        """What became of a batch; Hung where the log does not say."""
        try:
            return await self._wakeups.result(logged, self._write_limit_s)
        except TimeoutError as error:
            if logged.done():
                raise
            raise Hung(f"no commit within {self._write_limit_s:g} s") from error

    async def withdraw(self, item_id: str) -> bool:
        """See Engine.withdraw."""
        return await self.writes.run(lambda: self._engine.withdraw(item_id))

    async def put_rules(self, rules: Sequence[Rule], by: str) -> RuleResult:
        """See Engine.put_rules."""
        return await self.writes.run(lambda: self._engine.put_rules(rules, by))

    async def remove_rule(self, rule_id: str, by: str) -> bool:
        """See Engine.remove_rule."""
        return await self.writes.run(lambda: self._engine.remove_rule(rule_id, by))

    async def list_rules(self, surface: str | None, active: bool | None) -> RuleList:
        """See Engine.list_rules."""
        return await self.reads.run(lambda: self._engine.list_rules(surface, active))

    async def rule_changes(self, rule_id: str | None, limit: int) -> RuleHistory:
        """See Engine.rule_changes."""
        return await self.reads.run(lambda: self._engine.rule_changes(rule_id, limit))

    async def get_item(self, item_id: str) -> Item | None:
        """See Engine.get_item."""
        return await self.reads.run(lambda: self._engine.get_item(item_id))

    async def list_items(self, after: int, limit: int) -> ItemPage:
        """See Engine.list_items."""
        return await self.reads.run(lambda: self._engine.list_items(after, limit))

    def readiness(self) -> Readiness:
        """See Engine.readiness."""
        return self._engine.readiness()

    def stuck_s(self) -> float:
        """Seconds for which every reading thread has been stuck."""
        return self.reads.stuck_s()

    def close(self) -> None:
        """See Lane.close."""
        self.reads.close()
        self.writes.close()
        self.previews.close()
