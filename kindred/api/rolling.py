"""Rolling, as the builder process and `kindred export` do it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec
import structlog

from kindred.api.worker import Builder
from kindred.events.lake import Appended
from kindred.events.roll import (
    LoggedDecisions,
    LoggedEvents,
    closed_before,
    expire,
    only_one,
    roll,
)
from kindred.schemas.clock import micros_now
from kindred.schemas.errors import KindredError
from kindred.schemas.settings import EventSettings
from kindred.schemas.workspace import Workspace


class Rolled(msgspec.Struct, frozen=True, kw_only=True):
    """What went from the logs into the lake."""

    events: int = 0
    decisions: int = 0
    repeated: int = 0
    """Rows that the lake had already, after an interruption."""
    expired: list[str] = []
    """Days whose time is over, by table."""


def roll_closed(
    workspace: Workspace, settings: EventSettings, now: int, *, wait: bool = True
) -> Rolled | None:
    """Roll what is closed and delete what has expired; None where another process is at it.

    `wait`: for that process instead. LogError, ArtefactError.
    """
    with only_one(workspace.lake, wait=wait) as ours:
        if not ours:
            return None
        before = closed_before(now, settings)
        moved = {"events": Appended(0, 0), "decisions": Appended(0, 0)}
        if workspace.log.exists():
            moved["events"] = roll(LoggedEvents(workspace.log), workspace.lake, before)
        if workspace.decisions.exists():
            moved["decisions"] = roll(LoggedDecisions(workspace.decisions), workspace.lake, before)
        return Rolled(
            events=moved["events"].new,
            decisions=moved["decisions"].new,
            repeated=sum(m.duplicate for m in moved.values()),
            expired=expire(workspace.lake, workspace.log, settings, now),
        )


class RollingBuilder:
    """The builder with a thread beside it that rolls closed hours."""

    def __init__(
        self,
        builder: Builder,
        workspace: Workspace,
        settings: EventSettings,
        clock: Callable[[], int] = micros_now,
    ) -> None:
        self._builder, self._workspace = builder, workspace
        self._settings, self._clock = settings, clock
        self._log = structlog.get_logger("kindred.rolling")

    def run(self, stop: threading.Event) -> None:
        """Build and roll until `stop` is set."""
        rolling = threading.Thread(target=self._roll, args=(stop,), name="rolling", daemon=True)
        rolling.start()
        self._builder.run(stop)
        rolling.join()

    def _roll(self, stop: threading.Event) -> None:
        while not stop.wait(self._settings.roll_every_s):
            self.step()

    def step(self) -> None:
        """One look for closed hours; a failure is told, and tried again at the next look."""
        try:
            rolled = roll_closed(self._workspace, self._settings, self._clock(), wait=False)
        except KindredError as error:
            self._log.error("closed hours stay in the log", reason=str(error))
            return
        if rolled is not None and rolled != Rolled():
            self._log.info("rolled", **msgspec.to_builtins(rolled))
