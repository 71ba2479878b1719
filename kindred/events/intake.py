"""Events on their way in: judged, with what the catalogue says of their items, into the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future

import msgspec

from kindred.events.check import Batch, EventChecks
from kindred.events.contract import Facts
from kindred.events.log import Appended, EventLog
from kindred.events.tracing import mark, sampled
from kindred.schemas.clock import micros_now
from kindred.schemas.event import Event

FactsAt = Callable[[Sequence[str], Sequence[int]], list[Facts | None]]
"""(item ids, times in µs UTC) -> what the catalogue says of each, None for unknown items."""


class EventIntake:
    """What a serving process does with a request of events. Safe for several threads."""

    def __init__(
        self,
        log: EventLog,
        checks: EventChecks,
        facts_at: FactsAt,
        clock: Callable[[], int] = micros_now,
        *,
        on_close: Callable[[], object] = lambda: None,
    ) -> None:
        """`on_close` lets go of what `facts_at` reads."""
        self._on_close = on_close
        self._log, self._checks, self._facts_at, self._clock = log, checks, facts_at, clock

    def read(self, rows: Sequence[bytes | msgspec.Raw]) -> Batch:
        """Decode rows and judge them by themselves; it waits for nothing."""
        return self._checks.read(rows, self._clock())

    def log(self, batch: Batch, traceparent: str | None = None) -> Future[Appended]:
        """Judge what the catalogue is asked about, and hand everything to the log.

        Waits for the catalogue where `batch.asks`, never for the log: the future is done after the
        commit. Raises LogFull and CatalogueError; the future's exception is a LogError.
        """
        if batch.asks:
            asking = [batch.events[at] for at in batch.asks]
            facts = self._facts_at([e.entity_id for e in asking], [e.occurred_at for e in asking])
            self._checks.judge(batch, facts)
        logged = self._log.append(
            batch.events, batch.facts, refused=batch.refused, traceparent=traceparent
        )
        traced = [e for e in batch.events if sampled(e.traceparent or traceparent)]
        if traced:
            logged.add_done_callback(lambda done: _mark(traced, traceparent, done))
        return logged

    def close(self) -> None:
        """Commit what waits, and release the log."""
        self._log.close()
        self._on_close()


def _mark(events: Sequence[Event], traceparent: str | None, done: Future[Appended]) -> None:
    """A span in the trace of each event: it is in the log."""
    if done.exception() is None:
        for event in events:
            parent = event.traceparent or traceparent
            mark("event", parent, event_id=event.event_id, action=event.action.value)
