"""Learned spaces in the real service: found by, explained, swapped, and there at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from learned_market import bring_in, kindred, learned_market
from trained_market import running

from kindred.api.settings_file import load_settings
from kindred.api.wiring import current_models, open_engine
from kindred.indexer.models import ModelStore
from kindred.indexer.versions import IndexFolder
from kindred.schemas.workspace import Workspace

NAMES = [f"item-{n}" for n in range(96)]
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return learned_market(tmp_path_factory.mktemp("learned"), NAMES)


@pytest.fixture(scope="module")
def url(workspace: Workspace) -> Iterator[str]:
    with running(workspace, 2) as (url, _):
        yield url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=20) as client:
        yield client


def neighbours(client: httpx.Client, item_id: str, **asked: Any) -> dict[str, Any]:
    answer = client.get(f"/v1/items/{item_id}/neighbors", params=asked)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def similar(client: httpx.Client, **question: Any) -> dict[str, Any]:
    answer = client.post("/v1/similar", json=question)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def kinds(client: httpx.Client, rows: list[dict[str, Any]]) -> list[str]:
    """Leaf category of each item of an answer."""
    items = [client.get(f"/v1/items/{row['item_id']}").json() for row in rows]
    return [item["category"][-1] for item in items]


def test_learned_spaces_find_and_are_first_among_neighbours(client: httpx.Client) -> None:
    answer = similar(client, item_id="item-1", k=20, explain=True)
    found = {source for row in answer["items"] for source in row["sources"]}
    assert {"hybrid", "air"} <= found
    assert {"hybrid", "air"} <= set(answer["plan"])
    assert any("hybrid" in row["explain"]["similarity"] for row in answer["items"])
    assert neighbours(client, "item-1")["space"] == "hybrid"


def test_neighbours_tell_the_gate_of_each_input(client: httpx.Client) -> None:
    new = {"item_id": "no-past", "category": ["music", "guitar"], "title": "plain"}
    assert client.put("/v1/items", json={"items": [new]}).status_code == 200
    until_found(client, "no-past", "hybrid")
    told = neighbours(client, "item-1", k=5, explain="true")
    gates = [told["gates"], *(row["gates"] for row in told["neighbours"])]
    assert all({"als", "attributes", "category", "brand"} <= set(gate) for gate in gates)
    assert all(sum(gate.values()) == pytest.approx(1, abs=1e-4) for gate in gates)
    assert told["gates"]["als"] > 0
    cold = neighbours(client, "no-past", space="air", k=1, explain="true")["gates"]
    assert [cold[name] for name in ("als", "brand", "price")] == [0.0, 0.0, 0.0]
    assert cold["category"] > 0
    assert neighbours(client, "item-1", k=1)["gates"] == {}
    assert client.delete("/v1/items/no-past").status_code == 204


def until_found(client: httpx.Client, item_id: str, space: str) -> dict[str, Any]:
    """Neighbours of an item as soon as it has a vector in a space."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        answer = client.get(f"/v1/items/{item_id}/neighbors", params={"space": space, "k": 5})
        if answer.status_code == 200:
            told: dict[str, Any] = answer.json()
            return told
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.02)


def test_a_new_listing_has_its_neighbours_at_once_and_the_same_vectors_after_a_rebuild(
    url: str, workspace: Workspace
) -> None:
    new = {
        "item_id": "fresh", "title": "steel guitar", "brand": "brand 1", "price_minor": 700,
        "currency": "USD", "category": ["music", "guitar"],
    }  # fmt: skip
    engine = open_engine(workspace, load_settings(workspace.settings, {}), "beside")
    with httpx.Client(base_url=url, timeout=20) as client:
        assert client.put("/v1/items", json={"items": [new]}).status_code == 200
        for space in ("air", "hybrid"):
            near = until_found(client, "fresh", space)["neighbours"]
            assert kinds(client, near)[0] == "guitar"
        asked = similar(client, item_id=kinds_of("guitar")[0], k=60)["items"]
        assert "fresh" in [row["item_id"] for row in asked]
    engine.refresh()
    row = engine.bundle.live.columns.rows(["fresh"])
    before = {s: engine.bundle.live.tables[s].gather(row) for s in ("air", "hybrid")}
    kindred(workspace, "index")
    engine.refresh()
    for space, (vectors, present) in before.items():
        assert present.all()
        again, there = engine.bundle.live.tables[space].gather(row)
        assert there.all()
        assert np.array_equal(again, vectors), space
    engine.close()


def kinds_of(kind: str) -> list[str]:
    """Items of one family, as `small_items` deals them out."""
    from small_market import FAMILIES

    place = [leaf for _, leaf in FAMILIES].index(kind)
    return NAMES[place :: len(FAMILIES)]


def test_relations_differ(client: httpx.Client) -> None:
    stands_in = similar(client, item_id="item-8", k=8, relation="similar", explain=True)
    beside = similar(client, item_id="item-8", k=8, relation="complement", explain=True)
    own = client.get("/v1/items/item-8").json()["category"][-1]
    assert own in kinds(client, stands_in["items"])
    assert own not in kinds(client, beside["items"])
    sources = [{s for r in a["items"] for s in r["sources"]} for a in (stands_in, beside)]
    assert not sources[0] & {"pairs", "forward", "als", "hybrid", "popular"}
    assert not sources[1] & {"attributes", "air", "popular", "fresh"}
    near = neighbours(client, "item-8", relation="complement", k=8)
    assert near["space"] == "als"
    assert own not in kinds(client, near["neighbours"])
    assert neighbours(client, "item-8", relation="similar")["space"] == "air"
    assert (
        client.post("/v1/similar", json={"item_id": "item-8", "relation": "x"}).status_code == 400
    )


def test_a_cold_seed_is_seen_by_what_was_learned(client: httpx.Client) -> None:
    cold = {"item_id": "cold", "category": ["music", "drum"], "brand": "brand 2"}
    answer = similar(client, item=cold, k=8, relation="similar")
    sources = {source for row in answer["items"] for source in row["sources"]}
    assert "air" in sources
    learned = [row for row in answer["items"] if "air" in row["sources"]]
    nearest = min(learned, key=lambda row: row["sources"]["air"]["rank"])
    assert kinds(client, [nearest]) == ["drum"]


class Asking:
    """Connections that ask for as long as the block lasts, and keep which versions answered."""

    def __init__(self, url: str) -> None:
        self._url, self._stop = url, threading.Event()
        self.versions: list[tuple[str, str]] = []
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(3)]

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=20) as client:
            while not self._stop.is_set():
                answer = client.post("/v1/similar", json={"item_id": f"item-{number}", "k": 5})
                if answer.status_code != 200:
                    self.failures.append(answer.text)
                    continue
                told = answer.json()["versions"]
                self.versions.append((told["index"], told["hybrid"]))

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def served(client: httpx.Client, stage: str, version: str) -> None:
    """Wait until a few answers in a row are made with a version."""
    deadline = time.monotonic() + PATIENCE_S
    in_a_row = 0
    while in_a_row < 20:
        told = similar(client, item_id="item-1")["versions"]
        in_a_row = in_a_row + 1 if told[stage] == version else 0
        assert time.monotonic() < deadline, told
        time.sleep(0.02)


def test_newer_and_older_models_are_taken_up_whole_and_without_a_restart(
    url: str, workspace: Workspace
) -> None:
    models = ModelStore(workspace.models)
    before = models.current("hybrid")
    assert before is not None
    with httpx.Client(base_url=url, timeout=20) as client, Asking(url) as asking:
        served(client, "hybrid", before)
        newer = bring_in(models, "hybrid", scale=-3.0)
        served(client, "hybrid", newer)
        kindred(workspace, "models", "rollback", "hybrid")
        served(client, "hybrid", before)
    assert asking.failures == []
    named: dict[str, set[str]] = {}
    for index, hybrid in asking.versions:
        named.setdefault(index, set()).add(hybrid)
    assert all(len(hybrids) == 1 for hybrids in named.values()), "an answer of two halves"
    assert {before, newer} == set().union(*named.values())
    assert len(named) == 3
    assert IndexFolder(workspace.index).manifest().models == current_models(workspace)
