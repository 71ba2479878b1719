"""API keys: a bearer secret, kept as its SHA-256, with scopes.

Without keys the service is open, and then only on loopback (`check_exposure`).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler

from kindred.schemas.errors import SettingsError
from kindred.schemas.settings import ApiKey, ApiSettings

Scope = Literal["read", "write", "admin"]
Connection = ASGIConnection[Any, Any, Any, Any]
SCHEME = "Bearer"
"""Name of the security scheme in the OpenAPI document."""


def new_secret() -> str:
    """A secret of 256 random bits."""
    return "kindred_" + secrets.token_urlsafe(32)


def fingerprint(secret: str) -> str:
    """SHA-256 in hex: what `kindred.toml` holds."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Keyring:
    """The keys in force."""

    def __init__(self, keys: Mapping[str, ApiKey]) -> None:
        self._keys = [
            (name, key.sha256.encode(), frozenset(key.scopes)) for name, key in keys.items()
        ]

    @property
    def open(self) -> bool:
        """True where no key is set, so that none is asked for."""
        return not self._keys

    def holder(self, secret: str) -> tuple[str, frozenset[str]] | None:
        """(caller's name, scopes) of a secret; None if unknown.

        Looks at every key whatever it finds, in constant time.
        """
        given = fingerprint(secret).encode()
        found = None
        for name, digest, scopes in self._keys:
            if hmac.compare_digest(given, digest):
                found = (name, scopes)
        return found

    def name_of(self, authorization: str | None) -> str:
        """Whose key a header that passed `check` holds; empty where no key is asked for."""
        holder = None if self.open else self.holder((authorization or "").partition(" ")[2].strip())
        return "" if holder is None else holder[0]

    def check(self, authorization: str | None, scope: Scope) -> None:
        """Raise 401 or 403 unless the header holds a key with the scope."""
        if self.open:
            return
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            raise NotAuthorizedException("send `Authorization: Bearer <key>`")
        holder = self.holder(secret.strip())
        if holder is None:
            raise NotAuthorizedException("this key is not known")
        if scope not in holder[1]:
            raise PermissionDeniedException(f"the key `{holder[0]}` lacks the scope `{scope}`")


def needs(scope: Scope) -> Callable[[Connection, BaseRouteHandler], Awaitable[None]]:
    """A guard for routes that ask for `scope`. Asynchronous: others cost a thread each time."""

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        keyring: Keyring = connection.app.state.keyring
        if not keyring.open:
            keyring.check(connection.headers.get("authorization"), scope)

    return guard


def caller_of(connection: Connection) -> str:
    """Name of the key that a request was sent with; empty where the service is open."""
    keyring: Keyring = connection.app.state.keyring
    return keyring.name_of(connection.headers.get("authorization"))


def check_exposure(settings: ApiSettings) -> None:
    """Raise SettingsError for an address that others can reach while no key is set."""
    if settings.keys or _is_loopback(settings.host):
        return
    raise SettingsError(
        f"listening on `{settings.host}` needs at least one key, since others can reach it: "
        "`kindred keys new NAME` makes one; or listen on 127.0.0.1",
        "$.api.keys",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
