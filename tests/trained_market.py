"""The small marketplace in a workspace, trained, indexed and served by the real commands."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from small_market import small_events, small_items

from kindred.api.settings_file import load_settings
from kindred.api.settings_text import write_settings
from kindred.api.supervisor import ONE_THREAD, Serving, Supervisor
from kindred.events.contract import event_columns
from kindred.events.lake import Lake
from kindred.indexer.catalogue import Catalogue
from kindred.schemas.workspace import Workspace

SETTINGS: dict[str, Any] = {
    # A busy machine must not turn a ranked answer into a late one.
    "api": {"deadline_ms": 60_000},
    "encoders": {"spaces": ["attributes"]},
    "representations": {"stages": []},
    "ranker": {
        "trees": 12,
        "learning_rate": 0.2,
        "min_data_in_leaf": 20,
        "queries": 900,
        "window_days": 40.0,
        "window_share": 0.4,
        "development_share": 0.4,
    },
}


def trained_market(root: Path, names: Sequence[str], **settings: Any) -> Workspace:
    """A workspace with the items `names` and a ranker that serves; `settings` by component."""
    held = Workspace(root)
    write_settings(held.settings, SETTINGS | settings)
    catalogue = Catalogue.open(held.catalogue)
    catalogue.upsert(small_items(names))
    catalogue.close()
    rows = [msgspec.to_builtins(event) for event in small_events(names, users=300)]
    Lake(held.lake).append(event_columns(pl.DataFrame(rows)))
    for command in ("train", "index"):
        subprocess.run(
            [sys.executable, "-m", "kindred", "-w", str(held.root), command, "--json"],
            check=True,
            env={**os.environ, **ONE_THREAD},
            stdout=subprocess.DEVNULL,
        )
    return held


@contextmanager
def running(workspace: Workspace, workers: int) -> Iterator[tuple[str, Supervisor]]:
    """The service on a free port, with its builder; (url, supervisor)."""
    settings = load_settings(workspace.settings, {})
    api = msgspec.structs.replace(settings.api, port=0, workers=workers)
    supervisor = Supervisor(workspace, msgspec.structs.replace(settings, api=api))
    ready = threading.Event()
    known: list[Serving] = []
    thread = threading.Thread(
        target=supervisor.run, args=(lambda serving: (known.append(serving), ready.set()),)
    )
    thread.start()
    try:
        assert ready.wait(60)
        assert known[0].problems == []
        yield known[0].url, supervisor
    finally:
        supervisor.stop()
        thread.join()
