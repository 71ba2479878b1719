"""A client that costs next to nothing beside the service it measures: sockets, keep-alive, JSON."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec

from kindred.schemas.errors import KindredError

MEET_ALL_S = 120.0
"""A process that has just been started has so long to take its first connection."""


class UnexpectedAnswer(KindredError):
    """The service answered with something else than 2xx."""


@dataclass(slots=True)
class Connection:
    """One keep-alive connection; `ask` blocks."""

    url: str
    served_by: str = ""
    """Process that answers on this connection, known after the first answer."""
    _socket: socket.socket = field(init=False)
    _heard: bytearray = field(init=False, default_factory=bytearray)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 80), 30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def send(self, request: bytes) -> None:
        """Send a request made by `request_bytes`."""
        self._socket.sendall(request)

    def receive(self) -> tuple[int, bytes] | None:
        """Read once; (status, body) if the answer is complete, else None."""
        chunk = self._socket.recv(262_144)
        if not chunk:
            raise UnexpectedAnswer("the service hung up")
        self._heard += chunk
        end = self._heard.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._heard[:end]).lower()
        length = _header(head, b"content-length")
        size = int(length) if length else 0
        if len(self._heard) < end + 4 + size:
            return None
        body = bytes(self._heard[end + 4 : end + 4 + size])
        del self._heard[: end + 4 + size]
        self.served_by = _header(head, b"x-served-by").decode()
        return int(head[9:12]), body

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send, and wait for the answer."""
        self.send(request)
        while (answer := self.receive()) is None:
            pass
        return answer


def _header(head: bytes, name: bytes) -> bytes:
    at = head.find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    begin = at + 3 + len(name)
    end = head.find(b"\r\n", begin)
    return head[begin : end if end >= 0 else len(head)].strip()


def request_bytes(method: str, path: str, body: Any = None) -> bytes:
    """An HTTP/1.1 request with a JSON body."""
    content = b"" if body is None else msgspec.json.encode(body)
    return (
        f"{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    ).encode() + content


def connections_to_all(url: str, workers: int, each: int) -> list[Connection]:
    """`each` connections to every one of `workers` processes; the kernel spreads them at random."""
    probe = request_bytes("GET", "/health/live")
    kept: dict[str, list[Connection]] = {}
    deadline = time.monotonic() + MEET_ALL_S
    while len(kept) < workers or any(len(held) < each for held in kept.values()):
        if time.monotonic() > deadline:
            raise UnexpectedAnswer(f"met only {sorted(kept)} of {workers} processes")
        connection = Connection(url)
        connection.ask(probe)
        held = kept.setdefault(connection.served_by, [])
        if len(held) < each:
            held.append(connection)
        else:
            connection.close()
    return [connection for held in kept.values() for connection in held]


def requests_per_second(
    connections: Sequence[Connection], requests: Sequence[bytes], seconds: float
) -> float:
    """Answers per second, each connection asking again as soon as it is answered."""
    selector = selectors.DefaultSelector()
    asked = 0

    def ask(connection: Connection) -> None:
        nonlocal asked
        connection.send(requests[asked % len(requests)])
        asked += 1

    for connection in connections:
        selector.register(connection, selectors.EVENT_READ, connection)
        ask(connection)
    answered = 0
    begin = time.perf_counter()
    ends = begin + seconds
    while (now := time.perf_counter()) < ends:
        for key, _ in selector.select(ends - now):
            connection = key.data
            answer = connection.receive()
            if answer is None:
                continue
            if answer[0] != 200:
                raise UnexpectedAnswer(f"status {answer[0]}: {answer[1][:300]!r}")
            answered += 1
            ask(connection)
    rate = answered / (time.perf_counter() - begin)
    open_answers = list(connections)
    for connection in open_answers:  # leave no answer behind on the connection
        while connection.receive() is None:
            pass
    selector.close()
    return rate
