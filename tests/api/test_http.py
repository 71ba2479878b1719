"""The HTTP border: what goes in, what comes out, and what callers are told when it fails."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from api_engine import DictEngine
from builders import item
from litestar.testing import TestClient

from kindred.api.app import create_app
from kindred.api.calls import Lane
from kindred.api.problems import Hung, Overloaded
from kindred.schemas.errors import (
    CatalogueError,
    ImageRejected,
    InputError,
    NotBuilt,
    StoreError,
    StoreTimeout,
    StoreUnavailable,
    UnknownItem,
    VersionMismatch,
)
from kindred.schemas.query import Relation, SimilarRequest
from kindred.schemas.settings import ApiSettings, KindredSettings

Client = TestClient[Any]
JSON = {"content-type": "application/json"}


@pytest.fixture
def engine() -> DictEngine:
    held = DictEngine()
    held.put_items([item(item_id=f"item-{n}") for n in range(5)])
    return held


def client_of(engine: DictEngine, deadline_ms: int) -> Client:
    settings = KindredSettings(
        api=ApiSettings(max_body_bytes=20_000, max_batch=3, deadline_ms=deadline_ms)
    )
    return TestClient(create_app(engine, settings), raise_server_exceptions=False)


@pytest.fixture
def client(engine: DictEngine) -> Iterator[Client]:
    with client_of(engine, 5_000) as client:
        yield client


@pytest.fixture
def hasty(engine: DictEngine) -> Iterator[Client]:
    """It gives up on an engine after 0.2 s."""
    with client_of(engine, 20) as client:
        yield client


def problem(answer: httpx.Response, status: int, name: str) -> dict[str, Any]:
    """The problem in an answer, checked for what all of them have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert told["status"] == status
    assert told["type"] == f"urn:kindred:{name}"
    assert told["title"]
    assert told["instance"] == f"urn:request:{answer.headers['x-request-id']}"
    return told


def paths(told: dict[str, Any]) -> list[str]:
    return [error["path"] for error in told["errors"]]


class TestAnswers:
    def test_similar_reaches_the_engine_as_asked(self, client: Client, engine: DictEngine) -> None:
        answer = client.post("/v1/similar", json={"item_id": "item-1", "k": 2}).json()
        assert engine.seen[-1] == SimilarRequest(item_id="item-1", k=2)
        assert [row["item_id"] for row in answer["items"]] == ["item-0", "item-1"]
        assert answer["ms"]["recall"] == 1.5
        assert 0 <= answer["ms"]["wait"] <= answer["ms"]["total"]
        assert answer["degraded"] == []

    def test_each_answer_has_a_decision_id_that_sorts_by_time(self, client: Client) -> None:
        ids = [
            client.post("/v1/similar", json={"item_id": "item-1"}).json()["decision_id"]
            for _ in range(2)
        ]
        assert [uuid.UUID(i).version for i in ids] == [7, 7]
        assert ids[0] != ids[1]

    def test_session_recall(self, client: Client) -> None:
        body = {"actions": [{"item_id": "item-1", "action": "favourite"}], "n": 3}
        assert len(client.post("/v1/session/recall", json=body).json()["items"]) == 3

    def test_neighbors_take_filters_as_json(self, client: Client, engine: DictEngine) -> None:
        answer = client.get(
            "/v1/items/item-1/neighbors",
            params={
                "k": 2,
                "space": "als",
                "filters": '{"brands":["x"]}',
                "explain": "true",
                "relation": "complement",
            },
        )
        assert answer.status_code == 200
        _, space, k, filters, explain, relation = engine.seen[-1]  # type: ignore[misc]
        assert (space, k, filters.brands, explain) == ("als", 2, ("x",), True)
        assert relation is Relation.COMPLEMENT


class TestItems:
    def test_put_get_list_delete(self, client: Client) -> None:
        new = {"item_id": "new", "title": "chair"}
        answer = client.put("/v1/items", json={"items": [new]})
        assert answer.json() == {"accepted": 1, "unchanged": 0, "rejected": [], "sequence": 6}
        assert client.put("/v1/items", json={"items": [new]}).json()["unchanged"] == 1
        assert client.get("/v1/items/new").json() == new
        assert client.delete("/v1/items/new").status_code == 204
        problem(client.get("/v1/items/new"), 404, "unknown-item")
        problem(client.delete("/v1/items/new"), 404, "unknown-item")

    def test_pages_follow_each_other_to_the_end(self, client: Client) -> None:
        after, found = 0, []
        while after is not None:
            page = client.get("/v1/items", params={"after": after, "limit": 2}).json()
            found += [row["item_id"] for row in page["items"]]
            after = page["next"]
        assert found == [f"item-{n}" for n in range(5)]

    def test_a_bad_row_is_rejected_and_the_others_go_in(
        self, client: Client, engine: DictEngine
    ) -> None:
        rows = [{"item_id": "a"}, {"item_id": "b", "price_minor": 5}, {"item_id": "c", "tilte": ""}]
        answer = client.put("/v1/items", json={"items": rows})
        assert answer.status_code == 200
        assert answer.json()["accepted"] == 1
        assert [(row["index"], row["path"]) for row in answer.json()["rejected"]] == [
            (1, "$.items[1]"),
            (2, "$.items[2]"),
        ]
        assert "tilte" in answer.json()["rejected"][1]["reason"]
        assert "a" in engine.items
        assert "c" not in engine.items

    @pytest.mark.parametrize("row", [b"5", b"{", b'{"item_id":"\xff"}', b"[" * 5000])
    def test_a_broken_row_never_breaks_the_service(self, client: Client, row: bytes) -> None:
        answer = client.put("/v1/items", content=b'{"items":[' + row + b"]}", headers=JSON)
        assert answer.status_code in (200, 400)

    def test_only_a_wrong_envelope_is_refused(self, client: Client) -> None:
        told = problem(client.put("/v1/items", json=[]), 400, "invalid-request")
        assert paths(told) == ["$"]
        too_many = {"items": [{"item_id": str(n)} for n in range(4)]}
        told = problem(client.put("/v1/items", json=too_many), 400, "invalid-request")
        assert paths(told) == ["$.items"]

    @pytest.mark.parametrize(
        "item_id",
        ["a/b", "a/b/neighbors", "//", "?", "a b", "%2F", "ø", "#", "..%2F..", "a+b", "'"],
    )
    def test_an_id_may_hold_any_characters(
        self, client: Client, engine: DictEngine, item_id: str
    ) -> None:
        engine.put_items([item(item_id=item_id)])
        encoded = "/v1/items/" + "".join(f"%{byte:02X}" for byte in item_id.encode())
        assert client.get(encoded).json()["item_id"] == item_id
        assert client.get(f"{encoded}/neighbors").json()["item_id"] == item_id
        assert client.delete(encoded).status_code == 204

    @pytest.mark.parametrize("segment", ["%FF", "%00", "x" * 129, "%C3%B8" * 65])
    def test_what_cannot_be_an_id_is_unknown(self, client: Client, segment: str) -> None:
        problem(client.get(f"/v1/items/{segment}"), 404, "unknown-item")


class TestProblems:
    @pytest.mark.parametrize(
        ("body", "path"),
        [
            ({}, "$"),
            ({"item_id": "a", "item": {"item_id": "b"}}, "$"),
            ({"item_id": "a", "k": "5"}, "$.k"),
            ({"item_id": "a", "k": 101}, "$.k"),
            ({"item_id": "a", "size": 5}, "$"),
            ({"item_id": "a", "filters": {"geo": {"kind": "disc"}}}, "$.filters.geo.kind"),
            (
                {"item_id": "a", "filters": {"geo": {"kind": "radius", "lat": 91}}},
                "$.filters.geo.lat",
            ),
            (
                {"item_id": "a", "filters": {"price_min_minor": 2, "price_max_minor": 1}},
                "$.filters",
            ),
            ({"item_id": "a", "session": [{"item_id": 1}]}, "$.session[0].item_id"),
            ({"item": {"item_id": "a", "price_minor": 1}}, "$.item"),
        ],
    )
    def test_a_wrong_field_is_named_by_its_path(
        self, client: Client, body: dict[str, Any], path: str
    ) -> None:
        told = problem(client.post("/v1/similar", json=body), 400, "invalid-request")
        assert paths(told) == [path]

    @pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'"\\ud800"', b"[" * 9000])
    def test_what_is_not_json_is_refused(self, client: Client, body: bytes) -> None:
        answer = client.post("/v1/similar", content=body, headers=JSON)
        assert paths(problem(answer, 400, "invalid-request")) == ["$"]

    @pytest.mark.parametrize(
        ("query", "path"),
        [
            ("k=x", "query.k"),
            ("k=101", "query.k"),
            ("space=", "query.space"),
            ("relation=x", "query.relation"),
            ("filters=x", "query.filters"),
            ('filters={"geo":{"kind":"box","north":91}}', "query.filters.geo.north"),
        ],
    )
    def test_a_wrong_parameter_is_named(self, client: Client, query: str, path: str) -> None:
        answer = client.get(f"/v1/items/item-1/neighbors?{query}")
        assert paths(problem(answer, 400, "invalid-request")) == [path]

    @pytest.mark.parametrize(
        ("error", "status", "name"),
        [
            (UnknownItem("x"), 404, "unknown-item"),
            (InputError("wrong", "$.item"), 400, "invalid-request"),
            (ImageRejected("too large", "$.item.images[0]"), 400, "invalid-request"),
            (NotBuilt("run `kindred index`"), 503, "not-built"),
            (StoreUnavailable("10.0.0.7 refused"), 503, "store-unavailable"),
            (StoreTimeout("10.0.0.7"), 504, "store-timeout"),
            (CatalogueError("/data/x.sqlite is locked"), 503, "catalogue-unavailable"),
            (StoreError("secret"), 500, "internal"),
            (VersionMismatch("secret"), 500, "internal"),
            (RuntimeError("secret"), 500, "internal"),
        ],
    )
    def test_the_error_tree_maps_to_problems_that_leak_nothing(
        self, client: Client, engine: DictEngine, error: Exception, status: int, name: str
    ) -> None:
        engine.error = error
        answer = client.post("/v1/similar", json={"item_id": "item-1"})
        problem(answer, status, name)
        for secret in ("secret", "10.0.0.7", "/data"):
            assert secret not in answer.text
        assert ("retry-after" in answer.headers) == (status == 503)

    def test_no_route_no_method_no_json_too_large(self, client: Client) -> None:
        problem(client.get("/nowhere"), 404, "not-found")
        problem(client.patch("/v1/items"), 405, "method-not-allowed")
        problem(client.post("/v1/similar", content=b"{}"), 415, "unsupported-media-type")
        large = b'{"item_id":"' + b"a" * 20_000 + b'"}'
        told = problem(
            client.post("/v1/similar", content=large, headers=JSON), 413, "body-too-large"
        )
        assert "20,000 bytes" in told["detail"]
        chunked = client.post("/v1/similar", content=iter([large]), headers=JSON)
        problem(chunked, 413, "body-too-large")


class TestLimits:
    def test_a_hung_engine_does_not_hang_the_client(
        self, client: Client, hasty: Client, engine: DictEngine
    ) -> None:
        engine.released.clear()
        try:
            answer = hasty.post("/v1/similar", json={"item_id": "item-1"})
            assert "0.2 s" in problem(answer, 503, "hung")["detail"]
        finally:
            engine.released.set()
        assert client.post("/v1/similar", json={"item_id": "item-1"}).status_code == 200

    def test_more_than_the_queue_holds_is_refused_at_once(self) -> None:
        release = threading.Event()

        async def ask() -> list[Any]:
            lane = Lane("test", threads=1, queue=2, limit_s=20)
            waiting = [asyncio.create_task(lane.run(lambda: release.wait(20))) for _ in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await lane.run(lambda: True)
            release.set()
            answers = [*await asyncio.gather(*waiting), await lane.run(lambda: True)]
            lane.close()
            return answers

        assert asyncio.run(ask()) == [True] * 4

    def test_a_call_that_came_too_late_gives_its_place_back(self) -> None:
        release = threading.Event()

        async def ask() -> bool:
            lane = Lane("test", threads=1, queue=0, limit_s=0.05)
            with pytest.raises(Hung):
                await lane.run(lambda: release.wait(20))
            assert lane.stuck_s() > 0
            release.set()
            while lane.waiting:
                await asyncio.sleep(0.001)
            assert lane.stuck_s() == 0
            return await lane.run(lambda: True)

        assert asyncio.run(ask())


class TestOperations:
    def test_ready_tells_why_not(self, client: Client, engine: DictEngine) -> None:
        assert client.get("/health/ready").json()["index"] == "v1"
        engine.not_ready = ["no index has been built"]
        answer = client.get("/health/ready")
        assert (answer.status_code, answer.json()["problems"]) == (503, ["no index has been built"])
        assert client.get("/health/live").status_code == 200

    def test_ready_tells_of_threads_that_all_hang(self, hasty: Client, engine: DictEngine) -> None:
        engine.released.clear()
        try:
            for _ in range(4):
                hasty.post("/v1/similar", json={"item_id": "item-1"})
            answer = hasty.get("/health/ready")
            assert answer.status_code == 503
            assert "every thread" in answer.json()["problems"][0]
        finally:
            engine.released.set()

    def test_metrics_tell_stages_and_group_paths(self, client: Client) -> None:
        client.post("/v1/similar", json={"item_id": "item-1"})
        client.get("/v1/items/item-1")
        text = client.get("/metrics").text
        assert 'kindred_stage_seconds_bucket{le="0.002",stage="recall",use="similar"}' in text
        assert "kindred_index_sequence 5.0" in text
        assert 'path="/v1/items/{item_id}"' in text
        assert "item-1" not in text

    def test_a_trace_goes_on_and_a_request_id_comes_back(self, client: Client) -> None:
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "x-request-id": "abc.1"}
        answer = client.get("/health/live", headers=headers)
        version, same, span, flags = answer.headers["traceparent"].split("-")
        assert (version, same, flags) == ("00", trace, "01")
        assert span != "00f067aa0ba902b7"
        assert answer.headers["x-request-id"] == "abc.1"

    @pytest.mark.parametrize("bad", ["", "00-0-0-0", "00-" + "0" * 32 + "-00f067aa0ba902b7-01"])
    def test_a_broken_trace_is_replaced(self, client: Client, bad: str) -> None:
        answer = client.get("/nowhere", headers={"traceparent": bad, "x-request-id": "a b\x7f"})
        assert len(answer.headers["traceparent"]) == 55
        assert answer.headers["x-request-id"] in answer.headers["traceparent"]

    def test_pages_ask_nothing_of_other_hosts(self, client: Client) -> None:
        for page in ("/", "/docs"):
            text = client.get(page).text
            assert "http://" not in text.replace("http://testserver", "")
            assert "https://" not in text
        for asset in ("swagger-ui-bundle.js", "swagger-ui-standalone-preset.js", "swagger-ui.css"):
            assert f"/static/swagger-ui/{asset}" in client.get("/docs").text
            assert client.get(f"/static/swagger-ui/{asset}").status_code == 200

    def test_failures_of_ours_are_logged_with_the_request(
        self, client: Client, engine: DictEngine, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from kindred.api.telemetry import configure_logging

        configure_logging()
        engine.error = RuntimeError("the reason")
        answer = client.post("/v1/similar", json={"item_id": "item-1"})
        line = json.loads(capsys.readouterr().err.strip().splitlines()[-1])
        assert line["error"] == "RuntimeError: the reason"
        assert line["request_id"] == answer.headers["x-request-id"]
        assert line["exception"][0]["frames"]
        assert "locals" not in line["exception"][0]["frames"][0]
