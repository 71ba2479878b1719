"""One process of `kindred serve`: `python -m kindred.api.worker serve|build FD`.

The supervisor starts it with a lifeline as its file descriptor FD (`kindred.api.lifeline`).
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import structlog
import uvicorn

from kindred.api.addresses import listener
from kindred.api.lifeline import Lifeline, Orders, Report, exit_after
from kindred.api.ports import Engine
from kindred.api.spans import start_tracing, stop_tracing
from kindred.api.telemetry import configure_logging
from kindred.schemas.errors import SettingsError
from kindred.schemas.workspace import Workspace

BACKLOG = 2048
KEEP_ALIVE_S = 75
"""Longer than the minute for which load balancers hold idle connections."""
STUCK_S = 30.0
"""A process whose every reading thread has been held this long is ended, to be started anew."""
STUCK_CODE = 70
BUILDER_GRACE_S = 1.0
"""The builder loses nothing when it is cut off, so that nobody need wait for it."""


class Builder(Protocol):
    """What the builder process runs."""

    def run(self, stop: threading.Event) -> None:
        """Keep the index built until `stop` is set."""


def main() -> None:
    """Run the process until it is told to stop or its supervisor dies."""
    role, fd = sys.argv[1], int(sys.argv[2])
    configure_logging()
    lifeline = Lifeline(fd)
    orders = lifeline.orders()
    structlog.contextvars.bind_contextvars(process=orders.name)
    try:
        start_tracing(orders.settings.telemetry, orders.name)
        (serve if role == "serve" else build)(orders, lifeline)
    except SettingsError as error:
        lifeline.report(Report(fatal=str(error)))
        sys.exit(2)


def build(orders: Orders, lifeline: Lifeline) -> None:
    """Run the builder, below the servers in the scheduler's eyes."""
    os.nice(10)
    stop = threading.Event()

    def end(*_: object) -> None:
        stop.set()
        exit_after(BUILDER_GRACE_S, 0)

    signal.signal(signal.SIGTERM, end)
    # The group is this process and the builds that it started: none may outlive the service.
    lifeline.when_cut(lambda: os.killpg(os.getpgrp(), signal.SIGKILL))
    opened: Builder = resolve(orders.opens)(Workspace(Path(orders.workspace)), orders.settings)
    lifeline.report(Report(listening=True))
    opened.run(stop)


def serve(orders: Orders, lifeline: Lifeline) -> None:
    """Open the engine, then listen: a process that cannot answer yet takes no connection."""
    stop = Stop(orders.grace_s)
    signal.signal(signal.SIGTERM, lambda *_: stop.now())
    lifeline.when_cut(stop.now)
    open_engine = resolve(orders.opens)
    engine: Engine = open_engine(Workspace(Path(orders.workspace)), orders.settings, orders.name)
    try:
        _refresh(engine)
        _listen(engine, orders, lifeline, stop)
    finally:
        stop.ended.set()
        engine.close()
        stop_tracing()
    sys.stderr.flush()
    os._exit(0)  # engine calls that hang must not hold up the end


class Stop:
    """How a serving process ends: at once before it listens, then with its requests finished."""

    def __init__(self, grace_s: float) -> None:
        self.ended = threading.Event()
        self.server: uvicorn.Server | None = None
        self._grace_s = grace_s

    def now(self) -> None:
        """End, within the grace and a second."""
        if self.server is None:
            os._exit(0)
        self.server.should_exit = True
        exit_after(self._grace_s + 1, 1)


def _listen(engine: Engine, orders: Orders, lifeline: Lifeline, stop: Stop) -> None:
    from kindred.api.app import create_app

    app = create_app(engine, orders.settings, name=orders.name)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(orders.grace_s),
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            lifeline.report(Report(listening=True, problems=engine.readiness().problems))

    _background(engine, app.state.calls.stuck_s, orders.settings.api.poll_ms / 1000, stop.ended)
    gc.collect()
    gc.freeze()  # the index and the modules are no garbage: collections need not walk them
    stop.server = Server(config)
    # uvicorn takes the signals over, and raises the one that stopped it once more when it is done
    stop.server.run(sockets=[listener(orders.host, orders.port)])


def _background(
    engine: Engine, stuck_s: Callable[[], float], poll_s: float, ended: threading.Event
) -> None:
    """Follow the catalogue, warm the encoders, and watch for threads that hang."""

    def poll() -> None:
        while not ended.wait(poll_s):
            _refresh(engine)

    def watch() -> None:
        while not ended.wait(1.0):
            if stuck_s() > STUCK_S:
                structlog.get_logger("kindred.worker").critical("stuck", seconds=stuck_s())
                os._exit(STUCK_CODE)

    def warm() -> None:
        try:
            engine.warm()
        except Exception:
            structlog.get_logger("kindred.worker").exception("warm-up failed")

    for task in (poll, watch, warm):
        threading.Thread(target=task, name=task.__name__, daemon=True).start()


_last_failure: list[str] = []


def _refresh(engine: Engine) -> None:
    """One look at the catalogue; a failure is logged once, not ten times a second."""
    from kindred.api.metrics import process_metrics

    try:
        engine.refresh()
        process_metrics().stands(engine.readiness())
        _last_failure.clear()
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        if _last_failure != [words]:
            _last_failure[:] = [words]
            structlog.get_logger("kindred.worker").exception("refresh failed")


def resolve(name: str) -> Any:
    """The object that `module:attribute` names."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


if __name__ == "__main__":
    main()
