"""POST /v1/events on a real catalogue and a real log."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from builders import event, item
from click.testing import CliRunner
from litestar.testing import TestClient

from kindred.api.app import create_app
from kindred.api.cli import main
from kindred.api.keys import fingerprint
from kindred.api.material import read_material
from kindred.api.service import Service
from kindred.api.wiring import open_engine
from kindred.events.history import logged_events
from kindred.schemas.clock import micros_now
from kindred.schemas.errors import SettingsError
from kindred.schemas.event import Action, Event
from kindred.schemas.item import Format
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import (
    ApiKey,
    ApiSettings,
    EncoderSettings,
    EventSettings,
    KindredSettings,
)
from kindred.schemas.workspace import Workspace

Client = TestClient[Any]
SETTINGS = KindredSettings(
    api=ApiSettings(max_batch=5),
    encoders=EncoderSettings(spaces=("attributes",)),
    events=EventSettings(busy_s=0.1),
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def service(workspace: Workspace) -> Iterator[Service]:
    engine = open_engine(workspace, SETTINGS, "test")
    yield engine
    engine.close()


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with TestClient(create_app(service, SETTINGS), raise_server_exceptions=False) as client:
        yield client


def recent(**fields: object) -> Event:
    return event(**{"occurred_at": micros_now(), **fields})


def rows(*events: Event) -> dict[str, Any]:
    return {"events": [msgspec.to_builtins(told) for told in events]}


def test_good_rows_are_in_the_log_and_bad_ones_are_told(
    client: Client, workspace: Workspace
) -> None:
    good = recent(event_id="good")
    body = rows(good, good, recent(occurred_at=1), recent())
    body["events"][3]["action"] = "leap"
    answer = client.post("/v1/events", json=body)
    assert answer.status_code == 202
    told = answer.json()
    assert (told["accepted"], told["unchanged"]) == (1, 1)
    found = [(row["index"], row["path"]) for row in told["rejected"]]
    assert found == [(2, "$.events[2].occurred_at"), (3, "$.events[3].action")]
    assert logged_events(workspace.log)["event_id"].to_list() == ["good"]
    metrics = client.get("/metrics").text
    for outcome in ("accepted", "unchanged", "rejected"):
        assert f'kindred_events_total{{outcome="{outcome}"}}' in metrics
    shown = CliRunner().invoke(main, ["-w", str(workspace.root), "events", "rejects", "--json"])
    reasons = [row["path"] for row in msgspec.json.decode(shown.stdout)]
    assert reasons == ["$.events[3].action", "$.events[2].occurred_at"]


HALVES = [
    (r"cut \ud83d", "cut \ufffd"),
    (r"\ud83d\ud83d\ude00!", "\ufffd😀!"),
    (r"\ude00\ud83d", "\ufffd\ufffd"),
    (r"\\ud83d \\\ud83d", "\\ud83d \\\ufffd"),
    (r"\\ud83d\ude00", "\\ud83d\ufffd"),
]
"""Texts as JSON tells them, with half emoji, and as they are taken."""


@pytest.mark.parametrize(("told", "taken"), HALVES)
def test_half_an_emoji_spoils_one_character(
    client: Client, workspace: Workspace, told: str, taken: str
) -> None:
    body = msgspec.json.encode(rows(recent(event_id="a"), recent(event_id="b", text="TEXT")))
    body = body.replace(b"TEXT", told.encode())
    answer = client.post("/v1/events", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["accepted"]) == (202, 2), answer.text
    assert logged_events(workspace.log).sort("event_id")["text"].to_list() == [None, taken]


def test_half_an_emoji_in_a_title_keeps_no_item_out(client: Client) -> None:
    body = msgspec.json.encode({"items": [msgspec.to_builtins(item(item_id="x", title="TEXT"))]})
    body = body.replace(b"TEXT", rb"oak \ud83e")
    assert client.put(
        "/v1/items", content=body, headers={"content-type": "application/json"}
    ).json()["accepted"]
    assert client.get("/v1/items/x").json()["title"] == "oak \ufffd"


def test_what_is_no_json_is_told_as_it_is(client: Client) -> None:
    body = rb'{"events": [{"text": "\ud83d", }]}'
    answer = client.post("/v1/events", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "trailing comma" in answer.json()["detail"]


def test_formats_count_as_they_were_at_the_time(client: Client, workspace: Workspace) -> None:
    def put(*formats: Format) -> None:
        listing = item(item_id="x", formats=formats, campaign="pls", ad_rate_bp=200, seller_id="s")
        assert client.put("/v1/items", json={"items": [msgspec.to_builtins(listing)]}).json()

    put(Format.BUY_NOW)
    before = micros_now()
    put(Format.AUCTION, Format.BEST_OFFER)
    told = [
        recent(event_id="then", action=Action.BUY_NOW, entity_id="x", occurred_at=before),
        recent(event_id="now", action=Action.BUY_NOW, entity_id="x"),
        recent(event_id="bid", action=Action.PLACE_BID, entity_id="x"),
        recent(event_id="early bid", action=Action.PLACE_BID, entity_id="x", occurred_at=before),
        recent(event_id="unknown", action=Action.BUY_NOW, entity_id="y"),
    ]
    answer = client.post("/v1/events", json=rows(*told)).json()
    assert [row["index"] for row in answer["rejected"]] == [1, 3]
    assert "this one had best_offer, auction" in answer["rejected"][0]["reason"]
    kept = logged_events(workspace.log).select("event_id", "formats", "seller_id", "ad_rate_bp")
    assert kept.rows() == [("then", 1, "s", 200), ("bid", 6, "s", 200), ("unknown", *3 * [None])]


def test_the_request_s_trace_goes_to_its_events(client: Client, workspace: Workspace) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    header = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    client.post("/v1/events", json=rows(recent()), headers=header)
    client.post("/v1/events", json=rows(recent()))
    client.post("/v1/events", json=rows(recent()), headers={"traceparent": "nonsense"})
    kept = logged_events(workspace.log)["traceparent"].to_list()
    assert kept[0][3:35] == trace
    assert kept[1:] == [None, None]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"events": []}, "$.events"),
        ({"events": [{}] * 6}, "$.events"),
        ({"event": []}, "$"),
        ([], "$"),
    ],
)
def test_a_body_that_is_no_batch_is_refused_whole(client: Client, body: object, path: str) -> None:
    answer = client.post("/v1/events", json=body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["path"] == path


def test_a_log_that_cannot_be_written_is_told_and_recovers(
    client: Client, workspace: Workspace
) -> None:
    body = rows(recent(event_id="again"))
    assert client.post("/v1/events", json=rows(recent())).status_code == 202
    with sqlite3.connect(workspace.log, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = client.post("/v1/events", json=body)
        other.execute("ROLLBACK")
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:kindred:log-unavailable"
    assert answer.json()["detail"] == "The log cannot be written. Send the same request again."
    assert answer.headers["retry-after"] == "1"
    assert client.post("/v1/events", json=body).json()["accepted"] == 1


def test_writing_needs_its_scope(service: Service) -> None:
    keys = {
        "reader": ApiKey(sha256=fingerprint("r" * 32), scopes=("read",)),
        "writer": ApiKey(sha256=fingerprint("w" * 32), scopes=("write",)),
    }
    app = create_app(service, KindredSettings(api=ApiSettings(keys=keys)))
    with TestClient(app, raise_server_exceptions=False) as client:
        for letter, status in (("r", 403), ("w", 202)):
            bearer = {"authorization": f"Bearer {letter * 32}"}
            answer = client.post("/v1/events", json=rows(recent()), headers=bearer)
            assert answer.status_code == status


def test_the_log_keeps_what_sessions_read(workspace: Workspace) -> None:
    late = KindredSettings(events=EventSettings(late_minutes=59))
    with pytest.raises(SettingsError, match=r"sessions\.window_minutes, which is 60"):
        open_engine(workspace, late, "test")


def test_closing_the_service_commits_what_was_told(workspace: Workspace) -> None:
    engine = open_engine(workspace, SETTINGS, "closing")
    raws = [msgspec.json.encode(recent()) for _ in range(100)]
    for raw in raws:
        engine.log_events(engine.read_events([raw]), None)
    engine.close()
    assert len(logged_events(workspace.log)) == 100


def test_training_reads_the_open_hours(client: Client, workspace: Workspace) -> None:
    listing = msgspec.to_builtins(item(item_id="x"))
    assert client.put("/v1/items", json={"items": [listing]}).json()["accepted"] == 1
    assert client.post("/v1/events", json=rows(recent(entity_id="x"))).status_code == 202
    first = read_material(workspace, SETTINGS, SilentProgress())
    assert len(first.log) == 1
    assert client.post("/v1/events", json=rows(recent(entity_id="x"))).status_code == 202
    second = read_material(workspace, SETTINGS, SilentProgress())
    assert len(second.log) == 2
    assert first.inputs["events"] != second.inputs["events"]


def test_the_logs_can_be_exported(client: Client, workspace: Workspace, tmp_path: Path) -> None:
    client.post("/v1/events", json=rows(recent(event_id="open")))
    out = tmp_path / "out"
    for _ in range(2):  # the same again replaces what was there
        arguments = ["--output", str(out), "--what", "events", "--all", "--json"]
        ran = CliRunner().invoke(main, ["-w", str(workspace.root), "export", *arguments])
        assert ran.exit_code == 0, ran.output
    told = msgspec.json.decode(ran.stdout)
    assert told["copies"][0]["rows"] == 1
    assert len(list((out / "raw").glob("dt=*/part-*.parquet"))) == 1
    without = CliRunner().invoke(main, ["-w", str(workspace.root), "export", "--all"])
    assert without.exit_code == 2
