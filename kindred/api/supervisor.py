"""`kindred serve`: N serving processes behind one port, one builder, and what keeps them alive.

Each serving process listens on a socket of its own, bound to the same port (SO_REUSEPORT): the
kernel spreads connections. A process that dies is started anew, after a pause that doubles while it
keeps dying. SIGTERM and SIGINT end all of them, requests in flight first.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from kindred.api.addresses import reserve
from kindred.api.lifeline import Orders, Report
from kindred.schemas.errors import KindredError
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

_POOLS = ("OMP", "OPENBLAS", "MKL", "RAYON")
ONE_THREAD = {f"{pool}_NUM_THREADS": "1" for pool in _POOLS} | {"POLARS_MAX_THREADS": "1"}
"""Processes, not threads, use the cores; libraries read these when they are imported."""
GRACE_S = 10.0
"""What requests in flight have after the signal to end."""
TICK_S = 0.1
PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
HEALTHY_S = 10.0
"""A process that lived this long begins with a short pause again."""
TRIES = 3
"""Starts of a serving process that never came to listen before all is given up."""


class ServeFailed(KindredError):
    """The serving processes do not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """`module:function` of what the processes run."""

    engine: str = "kindred.api.wiring:open_engine"
    """(workspace, settings, name) -> Engine"""
    builder: str | None = "kindred.api.wiring:open_builder"
    """(workspace, settings) -> Builder; None serves without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What is being served, once every process listens."""

    url: str
    workers: int
    problems: list[str]
    """Why questions cannot be answered yet."""


@dataclass(slots=True)
class Process:
    """One child, as the supervisor sees it."""

    name: str
    role: str
    opens: str
    handle: subprocess.Popen[bytes] | None = None
    link: socket.socket | None = None
    heard: bytes = b""
    report: Report = field(default_factory=Report)
    began: float = 0.0
    due: float = 0.0
    tries: int = 0
    """Starts in a row that did not live long."""


class Supervisor:
    """Starts, watches and ends the processes. `run` blocks until `stop`, or a signal."""

    def __init__(
        self, workspace: Workspace, settings: KindredSettings, parts: Parts | None = None
    ) -> None:
        parts = parts or Parts()
        self._workspace, self._settings = workspace, settings
        count = settings.api.workers or len(os.sched_getaffinity(0))
        self._processes = [Process(f"w{n}", "serve", parts.engine) for n in range(count)]
        if parts.builder is not None:
            self._processes.append(Process("builder", "build", parts.builder))
        self._stop = threading.Event()
        self._signals = 0
        self._told = False
        self._port = settings.api.port
        self._metrics = ""
        self._log = structlog.get_logger("kindred.supervisor")

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name, of those that run."""
        return {p.name: p.handle.pid for p in self._processes if p.handle is not None}

    @property
    def stopping(self) -> bool:
        """Whether `run` is about to end."""
        return self._stop.is_set()

    def stop(self) -> None:
        """End everything, gracefully; `run` returns when it is done."""
        self._stop.set()

    def run(self, on_ready: Callable[[Serving], None]) -> None:
        """Serve. `on_ready` is called once, when every serving process listens.

        SettingsError if the port is taken, ServeFailed if the processes do not come up.
        """
        reserved = reserve(self._settings.api.host, self._port)
        self._port = reserved.getsockname()[1]
        self._metrics = tempfile.mkdtemp(prefix="kindred-metrics-")
        restore = self._catch_signals()
        try:
            while not self._stop.is_set():
                self._start_due()
                self._listen()
                self._bury()
                if not self._told and (serving := self._serving()) is not None:
                    self._told = True
                    on_ready(serving)
        finally:
            self._end_all()
            restore()
            reserved.close()
            shutil.rmtree(self._metrics, ignore_errors=True)

    def _serving(self) -> Serving | None:
        serving = [p for p in self._processes if p.role == "serve"]
        if not all(p.report.listening for p in serving):
            return None
        host = self._settings.api.host
        shown = f"[{host}]" if ":" in host else host
        problems = sorted({words for p in serving for words in p.report.problems})
        return Serving(url=f"http://{shown}:{self._port}", workers=len(serving), problems=problems)

    def _start_due(self) -> None:
        now = time.monotonic()
        for process in self._processes:
            if process.handle is None and process.due <= now:
                self._start(process)

    def _start(self, process: Process) -> None:
        ours, theirs = socket.socketpair()
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": self._metrics}
        if process.role == "serve":
            environment |= ONE_THREAD
        process.handle = subprocess.Popen(
            [sys.executable, "-m", "kindred.api.worker", process.role, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the supervisor alone
        )
        theirs.close()
        orders = Orders(
            name=process.name,
            workspace=str(self._workspace.root),
            settings=self._settings,
            host=self._settings.api.host,
            port=self._port,
            opens=process.opens,
            grace_s=GRACE_S,
        )
        process.link, process.heard, process.report = ours, b"", Report()
        process.began = time.monotonic()
        process.tries += 1
        ours.sendall(msgspec.json.encode(orders) + b"\n")
        ours.setblocking(False)

    def _listen(self) -> None:
        """Wait a tick for what the processes report."""
        links = {p.link: p for p in self._processes if p.link is not None}
        readable, _, _ = select.select(list(links), [], [], TICK_S)
        for link in readable:
            process = links[link]
            try:
                heard = link.recv(65536)
            except OSError:
                heard = b""
            if not heard:
                link.close()
                process.link = None
                continue
            *lines, process.heard = (process.heard + heard).split(b"\n")
            for line in lines:
                process.report = msgspec.json.decode(line, type=Report)

    def _bury(self) -> None:
        """Note who died, and when to start it again."""
        now = time.monotonic()
        for process in self._processes:
            if process.handle is None or (code := process.handle.poll()) is None:
                continue
            self._forget_gauges(process.handle.pid)
            _kill_group(process.handle.pid)
            lived, report = now - process.began, process.report
            if process.link is not None:
                process.link.close()
            process.handle = process.link = None
            if process.role == "serve" and not self._told and not self._stop.is_set():
                self._give_up_on(process, code)
            if report.listening and lived > HEALTHY_S:
                process.tries = 0
            pause = min(PAUSE_S * 2**process.tries, LONGEST_PAUSE_S)
            process.due, process.report = now + pause, Report()
            self._log.error(
                "process ended", name=process.name, how=_how(code), after_s=round(lived, 1),
                again_in_s=pause,
            )  # fmt: skip

    def _give_up_on(self, process: Process, code: int) -> None:
        """Raise ServeFailed where another start would end the same way.

        Only before the service has ever been up: later the other processes go on without it.
        """
        if process.report.fatal is not None:
            raise ServeFailed(process.report.fatal)
        if not process.report.listening and process.tries >= TRIES:
            raise ServeFailed(
                f"{process.name} ended {TRIES} times before it listened (last: {_how(code)}); "
                "its log is above"
            )

    def _forget_gauges(self, pid: int) -> None:
        """Drop a dead process's live gauges from `/metrics`; its counts stay."""
        for file in Path(self._metrics).glob(f"gauge_live*_{pid}.db"):
            file.unlink(missing_ok=True)

    def _end_all(self) -> None:
        """SIGTERM to all, and SIGKILL to those that outlive the grace or a second signal."""
        running = [p.handle for p in self._processes if p.handle is not None]
        for handle in running:
            handle.terminate()
        deadline = time.monotonic() + GRACE_S + 2
        while any(handle.poll() is None for handle in running):
            if time.monotonic() > deadline or self._signals > 1:
                for handle in running:
                    _kill_group(handle.pid)
                deadline = time.monotonic() + 5
            time.sleep(0.02)
        for handle in running:
            _kill_group(handle.pid)  # builds that outlive the builder
        for process in self._processes:
            if process.link is not None:
                process.link.close()

    def _catch_signals(self) -> Callable[[], None]:
        """SIGTERM and SIGINT stop the run; returns what puts the old handlers back."""
        if threading.current_thread() is not threading.main_thread():
            return lambda: None

        def handle(*_: object) -> None:
            self._signals += 1
            self._stop.set()

        old = {s: signal.signal(s, handle) for s in (signal.SIGTERM, signal.SIGINT)}
        return lambda: _restore(old)


def _restore(handlers: Mapping[signal.Signals, object]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)  # type: ignore[arg-type]


def _kill_group(pid: int) -> None:
    """Kill a process with all that it started; each leads a group of its own."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def serve(
    workspace: Workspace,
    settings: KindredSettings,
    on_ready: Callable[[Serving], None],
    parts: Parts | None = None,
) -> None:
    """Check that the address may be served, and serve until a signal comes."""
    from kindred.api.keys import check_exposure

    check_exposure(settings.api)
    Supervisor(workspace, settings, parts).run(on_ready)
