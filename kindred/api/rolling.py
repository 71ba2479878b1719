"""The builder process rolls too."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec
import structlog

from kindred.api.worker import Builder
from kindred.events.roll import Rolled, roll_closed
from kindred.events.telling import tell
from kindred.schemas.clock import micros_now
from kindred.schemas.settings import EventSettings
from kindred.schemas.workspace import Workspace


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
            if rolled is not None and rolled != Rolled():
                self._log.info("rolled", **msgspec.to_builtins(rolled))
        except Exception as error:  # whatever it is: the next look may find it gone
            tell(self._log, "closed hours stay in the log", error)
