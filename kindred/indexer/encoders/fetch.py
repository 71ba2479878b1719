"""HTTP for strangers' URLs: bounded in time and size, and kept off private networks.

Every connection, redirects included, goes through `_GuardedBackend`: it resolves the name,
refuses the host unless all its addresses are public, and connects to the very address it checked,
so a name that resolves differently a moment later gains nothing. Proxies from the environment are
not used.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable
from functools import cache
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import httpcore

from kindred.schemas.errors import ImageRejected

MAX_REDIRECTS = 4
_REDIRECTS = {301, 302, 303, 307, 308}
_HEADERS = [
    (b"User-Agent", b"kindred"),
    (b"Accept", b"image/*"),
    (b"Accept-Encoding", b"identity"),
    (b"Connection", b"close"),
]


def fetch(url: str, *, timeout_s: float, max_bytes: int, allow_private_hosts: bool) -> bytes:
    """The body behind `url`, following at most 4 redirects.

    `timeout_s` covers everything from the first connection to the last byte, however slowly bytes
    drip; only the name server's answer is not bounded by it. Raises ImageRejected.
    """
    deadline = time.monotonic() + timeout_s
    backend = _GuardedBackend(deadline, allow_private_hosts)
    try:
        for _ in range(MAX_REDIRECTS + 1):
            body, location = _get(url, backend, max_bytes)
            if location is None:
                return body
            url = urljoin(url, location)
            if urlsplit(url).scheme not in ("http", "https"):
                raise ImageRejected("redirected to something other than http(s)")
    except httpcore.TimeoutException:
        raise ImageRejected(f"took longer than {timeout_s:g} s") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
        raise ImageRejected(f"cannot be fetched ({error or type(error).__name__})") from None
    except (ValueError, UnicodeError, TypeError) as error:
        raise ImageRejected(f"not a URL ({error})") from None
    raise ImageRejected(f"more than {MAX_REDIRECTS} redirects")


def _get(url: str, backend: _GuardedBackend, max_bytes: int) -> tuple[bytes, str | None]:
    """(body, None), or (nothing, where to go next)."""
    parts = urlsplit(url)
    if not parts.hostname:
        raise ImageRejected("a URL without a host")
    host = parts.hostname.encode("ascii" if parts.hostname.isascii() else "idna")
    target = httpcore.URL(
        scheme=parts.scheme.lower().encode(),
        host=host,
        port=parts.port,
        target=_target(parts.path, parts.query),
    )
    shown = b"[" + host + b"]" if b":" in host else host
    shown += f":{parts.port}".encode() if parts.port else b""
    with (
        httpcore.ConnectionPool(
            ssl_context=_tls(), network_backend=backend, max_connections=1, retries=0
        ) as pool,
        pool.stream("GET", target, headers=[(b"Host", shown), *_HEADERS]) as response,
    ):
        headers = {name.lower(): value for name, value in response.headers}
        if response.status in _REDIRECTS and b"location" in headers:
            return b"", headers[b"location"].decode("latin-1")
        if response.status != 200:
            raise ImageRejected(f"the server answered {response.status}")
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > max_bytes:
            raise ImageRejected(f"larger than {max_bytes} bytes")
        body = bytearray()
        for chunk in response.iter_stream():
            body += chunk
            if len(body) > max_bytes:
                raise ImageRejected(f"larger than {max_bytes} bytes")
        return bytes(body), None


def _target(path: str, query: str) -> bytes:
    """Path and query with what may not stand in a request line quoted."""
    safe = "/%:@!$&'()*+,;=~-._"
    quoted = quote(path or "/", safe=safe)
    return (f"{quoted}?{quote(query, safe=safe + '?')}" if query else quoted).encode()


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet, also when wrapped in IPv6."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


class _GuardedBackend(httpcore.NetworkBackend):
    """Connects to checked addresses only, and never beyond the deadline."""

    def __init__(self, deadline: float, allow_private_hosts: bool) -> None:
        self._deadline = deadline
        self._allow_private = allow_private_hosts
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """See httpcore.NetworkBackend."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise httpcore.ConnectError(f"host {host!r} is unknown") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not self._allow_private and not all(is_public(a) for a in addresses):
            raise ImageRejected(
                f"host {host!r} is private, and `encoders.image.allow_private_hosts` is off"
            )
        refused: Exception = httpcore.ConnectError(f"host {host!r} has no address")
        for address in addresses:
            left = _left(self._deadline)
            try:
                stream = self._inner.connect_tcp(address, port, left, local_address, socket_options)
            except httpcore.ConnectError as error:
                refused = error
            else:
                return _DeadlineStream(stream, self._deadline)
        raise refused

    def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """No URL leads here."""
        raise httpcore.ConnectError("unix sockets are refused")


class _DeadlineStream(httpcore.NetworkStream):
    """A connection whose every wait ends at one deadline."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """See httpcore.NetworkStream."""
        return self._inner.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """See httpcore.NetworkStream."""
        self._inner.write(buffer, _left(self._deadline))

    def close(self) -> None:
        """See httpcore.NetworkStream."""
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """See httpcore.NetworkStream."""
        stream = self._inner.start_tls(ssl_context, server_hostname, _left(self._deadline))
        return _DeadlineStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """See httpcore.NetworkStream."""
        return self._inner.get_extra_info(info)


def _left(deadline: float) -> float:
    """Seconds to the deadline. Raises httpcore.ReadTimeout where it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout
    return left
