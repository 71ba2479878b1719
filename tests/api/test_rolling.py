"""The builder process rolls closed hours beside its work."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders import event

from kindred.api.rolling import RollingBuilder
from kindred.events.lake import Lake
from kindred.events.log import EventLog
from kindred.schemas.clock import DAY
from kindred.schemas.settings import EventSettings
from kindred.schemas.workspace import Workspace

NOW = 1_700_000_000_000_000
SETTINGS = EventSettings(roll_every_s=0.01)


class Idle:
    """A builder with nothing to build."""

    def run(self, stop: threading.Event) -> None:
        stop.wait()


def test_a_look_that_fails_for_whatever_reason_is_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody_listens(*_: object, **__: object) -> None:
        raise OSError("no space left")

    workspace = Workspace(tmp_path)
    builder = RollingBuilder(Idle(), workspace, SETTINGS, lambda: NOW)
    monkeypatch.setattr(builder, "_log", SimpleNamespace(error=nobody_listens, info=nobody_listens))
    settings = EventSettings(keep_days=1)
    monkeypatch.setattr(builder, "_settings", settings)
    old = workspace.lake / "raw" / "dt=2001-01-01"
    old.mkdir(parents=True)
    (workspace.lake / "raw" / ".lock").mkdir()  # what should be locked cannot be
    builder.step()
    assert old.exists()
    (workspace.lake / "raw" / ".lock").rmdir()
    builder.step()
    assert not old.exists()


def test_closed_hours_leave_the_log_while_the_builder_works(tmp_path: Path) -> None:
    """Also where the lake could not be written for a while."""
    workspace = Workspace(tmp_path)
    log = EventLog.open(workspace.log, SETTINGS, lambda: NOW)
    log.append([event(occurred_at=NOW + n) for n in range(100)])
    log.close()
    builder = RollingBuilder(Idle(), workspace, SETTINGS, lambda: NOW + DAY)
    workspace.lake.write_text("a file where the folder should be")
    builder.step()
    assert len(log.scan()) == 100
    workspace.lake.unlink()
    stop = threading.Event()
    running = threading.Thread(target=builder.run, args=(stop,))
    running.start()
    deadline = time.monotonic() + 20
    while len(log.scan()) and time.monotonic() < deadline:
        time.sleep(0.005)
    stop.set()
    running.join()
    assert Lake(workspace.lake).count() == 100
    assert len(log.scan()) == 0
