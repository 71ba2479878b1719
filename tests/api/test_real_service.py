"""The whole service on a small marketplace: real catalogue, training, index, processes, HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import polars as pl
import pytest
from small_market import small_events, small_items

from kindred.api.bench.client import Connection, connections_to_all, request_bytes
from kindred.api.settings_file import load_settings
from kindred.api.settings_text import write_settings
from kindred.api.supervisor import ONE_THREAD, Serving, Supervisor
from kindred.events.contract import event_columns
from kindred.events.lake import Lake
from kindred.indexer.catalogue import Catalogue
from kindred.schemas.workspace import Workspace

NAMES = [f"item/{n}" for n in range(96)]
SEEN_WITHIN_S = 2.0


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Trained and indexed."""
    held = Workspace(tmp_path_factory.mktemp("market"))
    ranker = {
        "trees": 12,
        "learning_rate": 0.2,
        "min_data_in_leaf": 20,
        "queries": 900,
        "window_days": 40.0,
        "window_share": 0.4,
        "development_share": 0.4,
    }
    write_settings(held.settings, {"encoders": {"spaces": ["attributes"]}, "ranker": ranker})
    catalogue = Catalogue.open(held.catalogue)
    catalogue.upsert(small_items(NAMES))
    catalogue.close()
    rows = [msgspec.to_builtins(event) for event in small_events(NAMES, users=300)]
    Lake(held.lake).append(event_columns(pl.DataFrame(rows)))
    for command in ("train", "index"):
        subprocess.run(
            [sys.executable, "-m", "kindred", "-w", str(held.root), command, "--json"],
            check=True,
            env={**os.environ, **ONE_THREAD},
            stdout=subprocess.DEVNULL,
        )
    return held


@pytest.fixture(scope="module")
def service(workspace: Workspace) -> Iterator[tuple[str, Supervisor]]:
    """Two serving processes and the builder."""
    settings = load_settings(workspace.settings, {})
    api = msgspec.structs.replace(settings.api, port=0, workers=2)
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


@pytest.fixture
def client(service: tuple[str, Supervisor]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service[0], timeout=20) as client:
        yield client


def similar(client: httpx.Client, **question: Any) -> dict[str, Any]:
    answer = client.post("/v1/similar", json=question)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_an_answer_is_ranked_and_tells_how_it_was_made(client: httpx.Client) -> None:
    answer = similar(client, item_id="item/1", k=5, explain=True)
    ids = [row["item_id"] for row in answer["items"]]
    assert len(ids) == 5
    assert "item/1" not in ids
    assert answer["degraded"] == []
    assert {"recall", "features", "rank", "blend", "total"} <= set(answer["ms"])
    assert {"index", "ranker"} <= set(answer["versions"])
    assert answer["plan"]
    assert all(row["sources"] and row["explain"] for row in answer["items"])
    assert [row["score"] for row in answer["items"]] == sorted(
        (row["score"] for row in answer["items"]), reverse=True
    )


def test_a_cold_seed_is_encoded_on_the_spot(client: httpx.Client) -> None:
    cold = {"item_id": "cold", "title": "steel guitar", "category": ["music", "guitar"]}
    answer = similar(client, item=cold, k=4)
    assert len(answer["items"]) == 4


def test_what_is_unknown_is_404(client: httpx.Client) -> None:
    assert client.post("/v1/similar", json={"item_id": "nope"}).status_code == 404
    assert client.get("/v1/items/nope/neighbors").status_code == 404


def test_filters_hold(client: httpx.Client) -> None:
    answer = similar(client, item_id="item/1", k=10, filters={"categories": [["garden"]]})
    found = [
        client.get("/v1/items/" + row["item_id"].replace("/", "%2F")) for row in answer["items"]
    ]
    assert {answer.json()["category"][0] for answer in found} == {"garden"}


def test_neighbors_and_session_recall(client: httpx.Client) -> None:
    near = client.get("/v1/items/item%2F1/neighbors", params={"k": 3, "explain": "true"}).json()
    assert len(near["neighbours"]) == 3
    assert near["space"] in near["spaces"]
    body = {"actions": [{"item_id": "item/1"}, {"item_id": "item/17"}], "n": 20}
    assert len(client.post("/v1/session/recall", json=body).json()["items"]) == 20


def until_seen(
    connections: list[Connection], mark: str, shown: bool, within_s: float = SEEN_WITHIN_S
) -> None:
    """Every process's answers hold (or lack) the item in time."""
    ask = request_bytes("POST", "/v1/similar", {"item_id": "item/0", "filters": {"brands": [mark]}})
    deadline = time.monotonic() + within_s
    for connection in connections:
        while True:
            items = msgspec.json.decode(connection.ask(ask)[1])["items"]
            if (mark in [row["item_id"] for row in items]) is shown:
                break
            assert time.monotonic() < deadline, f"{mark} on {connection.served_by}"
            time.sleep(0.01)


def test_a_change_told_to_one_process_is_in_the_answers_of_both(
    service: tuple[str, Supervisor],
) -> None:
    connections = connections_to_all(service[0], 2, 1)
    for number, connection in enumerate(connections):
        new = {"item_id": f"new-{number}", "brand": f"new-{number}", "category": ["music", "drum"]}
        assert connection.ask(request_bytes("PUT", "/v1/items", {"items": [new]}))[0] == 200
        until_seen(connections, f"new-{number}", shown=True)
        assert connection.ask(request_bytes("DELETE", f"/v1/items/new-{number}"))[0] == 204
        until_seen(connections, f"new-{number}", shown=False)
    for connection in connections:
        connection.close()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_acknowledged_item_outlives_the_kill_of_the_process_that_took_it(
    service: tuple[str, Supervisor],
) -> None:
    url, supervisor = service
    connections = connections_to_all(url, 2, 1)
    taker = next(c for c in connections if c.served_by == "w0")
    new = {"item_id": "kept", "brand": "kept", "title": "soft piano"}
    assert taker.ask(request_bytes("PUT", "/v1/items", {"items": [new]}))[0] == 200
    killed = supervisor.pids["w0"]
    os.kill(killed, signal.SIGKILL)
    for connection in connections:
        connection.close()
    until(lambda: supervisor.pids.get("w0", killed) != killed)
    connections = connections_to_all(url, 2, 1)
    until_seen(connections, "kept", shown=True)
    for connection in connections:
        connection.close()
