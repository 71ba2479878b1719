"""API keys: which key opens which door, and which addresses need one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from api_engine import DictEngine
from builders import item
from litestar.testing import TestClient

from kindred.api.app import create_app
from kindred.api.keys import Keyring, check_exposure, fingerprint, new_secret
from kindred.schemas.errors import SettingsError
from kindred.schemas.settings import ApiKey, ApiSettings, KindredSettings

SECRETS = {name: f"secret-{name}" for name in ("reader", "writer", "operator", "all")}
SCOPES: dict[str, tuple[Any, ...]] = {
    "reader": ("read",),
    "writer": ("write",),
    "operator": ("admin",),
    "all": ("read", "write", "admin"),
}
KEYS = {
    name: ApiKey(sha256=fingerprint(secret), scopes=SCOPES[name])
    for name, secret in SECRETS.items()
}
DOORS = [
    ("POST", "/v1/similar", "read"),
    ("POST", "/v1/session/recall", "read"),
    ("GET", "/v1/items/item-1/neighbors", "read"),
    ("GET", "/v1/items", "read"),
    ("GET", "/v1/items/item-1", "read"),
    ("PUT", "/v1/items", "write"),
    ("DELETE", "/v1/items/item-1", "write"),
    ("PUT", "/v1/rules", "admin"),
    ("GET", "/v1/rules", "admin"),
    ("DELETE", "/v1/rules/r", "admin"),
    ("GET", "/v1/rule-changes", "admin"),
    ("GET", "/metrics", "admin"),
]
BODIES: dict[str, Any] = {
    "/v1/similar": {"item_id": "item-1"},
    "/v1/session/recall": {"actions": [{"item_id": "item-1"}]},
    "/v1/items": {"items": [{"item_id": "item-2"}]},
    "/v1/rules": {
        "rules": [
            {
                "rule_id": "r",
                "effect": "bury",
                "match": {"items": ["item-1"]},
                "author": "ann",
                "reason": "so",
            }
        ]
    },
}


@pytest.fixture
def client() -> Iterator[TestClient[Any]]:
    engine = DictEngine()
    engine.put_items([item(item_id="item-1")])
    settings = KindredSettings(api=ApiSettings(keys=KEYS))
    with TestClient(create_app(engine, settings)) as client:
        put_back(client)
        yield client


def put_back(client: TestClient[Any]) -> None:
    """What the doors that delete are about."""
    headers = {"authorization": "Bearer secret-all"}
    for path, body in {**BODIES, "/v1/items": {"items": [{"item_id": "item-1"}]}}.items():
        if path in ("/v1/items", "/v1/rules"):
            assert client.put(path, json=body, headers=headers).json()["rejected"] == []


def knock(client: TestClient[Any], method: str, path: str, authorization: str | None) -> Any:
    headers = {} if authorization is None else {"authorization": authorization}
    body = BODIES.get(path) if method in ("POST", "PUT") else None
    return client.request(method, path, headers=headers, json=body)


@pytest.mark.parametrize(("method", "path", "scope"), DOORS)
def test_a_door_opens_to_keys_with_its_scope_alone(
    client: TestClient[Any], method: str, path: str, scope: str
) -> None:
    for name, secret in SECRETS.items():
        answer = knock(client, method, path, f"Bearer {secret}")
        if scope in SCOPES[name]:
            assert answer.status_code < 300, answer.text
        else:
            assert answer.status_code == 403
            assert answer.json()["type"] == "urn:kindred:forbidden"
        if method == "DELETE":
            put_back(client)


@pytest.mark.parametrize(("method", "path", "scope"), DOORS)
@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic cmVhZGVy", "secret-all"]
)
def test_without_a_known_key_every_door_is_shut(
    client: TestClient[Any], method: str, path: str, scope: str, authorization: str | None
) -> None:
    answer = knock(client, method, path, authorization)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["type"] == "urn:kindred:unauthorized"


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/docs", "/docs/openapi.json", "/"]
)
def test_health_and_documentation_need_no_key(client: TestClient[Any], path: str) -> None:
    assert client.get(path).status_code == 200


def test_the_scheme_is_read_in_any_case() -> None:
    Keyring(KEYS).check("bearer secret-reader", "read")


def test_secrets_are_long_and_never_the_same() -> None:
    assert len({new_secret() for _ in range(100)}) == 100
    assert len(new_secret()) > 43


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "::1", "[::1]"])
def test_loopback_needs_no_key(host: str) -> None:
    check_exposure(ApiSettings(host=host))


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.4", "shop.example", "", "127.0.0.1.nip.io"]
)
def test_other_addresses_are_refused_without_a_key(host: str) -> None:
    with pytest.raises(SettingsError, match="kindred keys new"):
        check_exposure(ApiSettings(host=host))
    check_exposure(ApiSettings(host=host, keys=KEYS))


def test_a_rule_is_written_in_the_name_of_its_key() -> None:
    engine = DictEngine()
    with TestClient(create_app(engine, KindredSettings(api=ApiSettings(keys=KEYS)))) as client:
        put_back(client)
    assert [seen[1] for seen in engine.seen if isinstance(seen, tuple)] == ["all"]
    with TestClient(create_app(open_to_all := DictEngine(), KindredSettings())) as client:
        put_back(client)
    assert [seen[1] for seen in open_to_all.seen if isinstance(seen, tuple)] == [""]
