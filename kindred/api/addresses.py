"""One address for several processes: who holds it, and who listens on it."""

from __future__ import annotations

import socket

from kindred.schemas.errors import SettingsError


def reserve(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen: holds the port for the processes, even as they restart.

    SettingsError if somebody else listens there; without this check SO_REUSEPORT would let two
    services of one user share a port unnoticed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            address = probe.getsockname()
        held = socket.socket(family, kind, protocol)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
    except OSError as error:
        path = "$.api.host" if isinstance(error, socket.gaierror) else "$.api.port"
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror}", path) from error
    return held


def listener(host: str, port: int) -> socket.socket:
    """A socket bound to an address that other processes of ours are bound to as well."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(address)
    bound.setblocking(False)
    return bound
