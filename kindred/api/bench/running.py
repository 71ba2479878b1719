"""A service to measure: its own processes on a free port, left alone until they have settled."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from kindred.api.bench.client import UnexpectedAnswer
from kindred.api.supervisor import Parts, Serving, Supervisor
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace


@contextmanager
def service(
    workspace: Workspace,
    settings: KindredSettings,
    workers: int,
    parts: Parts | None = None,
    *,
    indexed: bool = True,
) -> Iterator[tuple[str, Supervisor]]:
    """A running service on a free port; (url, supervisor). `indexed`: it can answer questions."""
    api = msgspec.structs.replace(settings.api, host="127.0.0.1", port=0, workers=workers, keys={})
    supervisor = Supervisor(workspace, msgspec.structs.replace(settings, api=api), parts)
    ready = threading.Event()
    known: list[Serving] = []
    failed: list[BaseException] = []

    def on_ready(serving: Serving) -> None:
        known.append(serving)
        ready.set()

    def serve() -> None:
        try:
            supervisor.run(on_ready)
        except BaseException as error:
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=serve, name="supervisor")
    thread.start()
    try:
        ready.wait()
        if failed:
            raise failed[0]
        if indexed and known[0].problems:
            raise UnexpectedAnswer("; ".join(known[0].problems))
        settle(list(supervisor.pids.values()))
        yield known[0].url, supervisor
    finally:
        supervisor.stop()
        thread.join()


def settle(pids: Sequence[int], share: float = 0.1, patience_s: float = 60.0) -> None:
    """Wait until processes that have just started (and load models beside) use little of a core."""
    deadline = time.monotonic() + patience_s
    before = [cpu_seconds(pid) for pid in pids]
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = [cpu_seconds(pid) for pid in pids]
        if all(b - a < share * 0.5 for a, b in zip(before, now, strict=True)):
            return
        before = now


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
