"""The link between the supervisor and one of its processes: a socket pair.

JSON lines go both ways. Its end tells each side that the other is gone, whatever killed it, so a
killed supervisor leaves no process behind.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable

import msgspec

from kindred.schemas.base import Record
from kindred.schemas.settings import KindredSettings


class Orders(Record, frozen=True, kw_only=True):
    """What the supervisor tells a process first."""

    name: str
    workspace: str
    settings: KindredSettings
    host: str
    port: int
    opens: str
    """`module:function` that makes what the process runs."""
    grace_s: float


class Report(Record, frozen=True, kw_only=True):
    """What a process tells the supervisor."""

    listening: bool = False
    problems: list[str] = []
    """Why it cannot answer yet, though it listens."""
    fatal: str | None = None
    """Why it ends, where another try would end the same way."""


class Lifeline:
    """A process's end."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._file = self._socket.makefile("rb")

    def orders(self) -> Orders:
        """Wait for the first message."""
        return msgspec.json.decode(self._file.readline(), type=Orders)

    def report(self, report: Report) -> None:
        """Tell the supervisor; quietly nothing if it is gone."""
        try:
            self._socket.sendall(msgspec.json.encode(report) + b"\n")
        except OSError:
            return

    def when_cut(self, end: Callable[[], None]) -> None:
        """Call `end` in a thread of its own when the supervisor is gone."""

        def wait() -> None:
            while self._file.readline():
                pass
            end()

        threading.Thread(target=wait, name="lifeline", daemon=True).start()


def exit_after(seconds: float, code: int) -> None:
    """End this process without further ado, unless it ends by itself before."""
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()
