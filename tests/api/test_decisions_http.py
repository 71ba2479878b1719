"""From an answer over HTTP to its decision: the same items, the same scores, and none missing."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from trained_market import running, trained_market

from kindred.api.bench.client import (
    Connection,
    UnexpectedAnswer,
    connections_to_all,
    request_bytes,
)
from kindred.api.cli import main
from kindred.api.settings_file import load_settings
from kindred.api.wiring import open_engine, open_offline
from kindred.events.decision_tables import StoredDecision
from kindred.events.decisions import all_decisions, find
from kindred.events.writers import count_writers
from kindred.indexer.models import ModelStore
from kindred.rerank.features import FEATURES, SPECIFICATION
from kindred.rerank.funnel import run
from kindred.rerank.rescore import rescore
from kindred.retrieval.queries import make_queries
from kindred.schemas.clock import micros_now
from kindred.schemas.decision import Shown
from kindred.schemas.query import Answer, SimilarRequest
from kindred.schemas.settings import DecisionSettings
from kindred.schemas.workspace import Workspace

NAMES = [f"item/{n}" for n in range(96)]
TRACE = "0af7651916cd43dd8448eb211c80319c"
SENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return trained_market(tmp_path_factory.mktemp("market"), NAMES)


@pytest.fixture(scope="module")
def url(workspace: Workspace) -> Iterator[str]:
    """One serving process that answers for most tests here."""
    with running(workspace, 1) as (address, _):
        yield address


def ask(url: str, path: str, body: dict[str, Any]) -> tuple[Answer, httpx.Headers]:
    answer = httpx.post(url + path, json=body, headers={"traceparent": SENT}, timeout=20)
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=Answer), answer.headers


def logged(workspace: Workspace, decision_id: str) -> StoredDecision:
    deadline = time.monotonic() + 30
    while (found := find(workspace.lake, workspace.decisions, decision_id)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def kindred(workspace: Workspace, *arguments: str) -> Any:
    return CliRunner().invoke(main, ["-w", str(workspace.root), "decisions", *arguments])


def test_a_decision_tells_the_session_that_it_started_from(url: str, workspace: Workspace) -> None:
    now = micros_now()
    viewed = [
        {"event_id": f"session-{n}", "occurred_at": now - n, "action": "view",
         "entity_id": f"item/{n}", "user_id": "eve"}
        for n in (3, 7)
    ]  # fmt: skip
    assert httpx.post(f"{url}/v1/events", json={"events": viewed}).json()["accepted"] == 2
    subject = {"user_id": "eve"}
    answer, _ = ask(url, "/v1/similar", {"item_id": "item/3", "subject": subject})
    assert logged(workspace, answer.decision_id).decision.context.session == ("item/7",)
    answer, _ = ask(url, "/v1/session/recall", {"subject": subject})
    assert logged(workspace, answer.decision_id).decision.context.session == ("item/7", "item/3")


def test_an_answer_is_in_the_log_item_by_item(url: str, workspace: Workspace) -> None:
    body = {
        "item_id": "item/1",
        "k": 5,
        "subject": {"user_id": "ann"},
        "place": {"lat": 50.5, "lon": 8.5},
        "platform": "app",
        "surface": "home",
        "explain": True,
    }
    answer, headers = ask(url, "/v1/similar", body)
    decision, features = logged(workspace, answer.decision_id)
    held = decision.candidates
    assert held is not None
    assert features is not None
    assert decision.shown.item_id == [item.item_id for item in answer.items]
    assert decision.shown.sponsored == [item.sponsored for item in answer.items]
    assert decision.shown.propensity == [1.0] * 5
    assert held.item_id[:5] == decision.shown.item_id
    assert held.blend is not None
    assert held.blend[:5] == [item.score for item in answer.items]
    assert held.probability is not None
    assert held.probability[:5] == [item.probability for item in answer.items]
    assert held.price_minor[:5] == [item.price_minor for item in answer.items]
    assert decision.candidate_count >= len(held.item_id) > 5
    assert sorted(held.recall_rank)[0] == 1
    for at, item in enumerate(answer.items):
        assert item.explain is not None
        named = dict(zip(FEATURES, features[at].tolist(), strict=True))
        told = {f.feature: f.value for f in item.explain.features if f.value is not None}
        assert {name: named[name] for name in told} == told
    assert decision.versions == answer.versions
    assert decision.degraded == tuple(answer.degraded)
    assert answer.ms.items() >= {k: v for k, v in decision.ms.items() if k != "total"}.items()
    assert (decision.surface, decision.context.platform.value) == ("home", "app")
    assert decision.context.seed_item == "item/1"
    assert decision.subject.user_id == "ann"
    assert decision.feature_spec == SPECIFICATION
    assert decision.traceparent == headers["traceparent"]
    assert decision.traceparent[3:35] == TRACE


def test_recall_alone_shows_nothing_and_leaves_its_candidates(
    url: str, workspace: Workspace
) -> None:
    body = {"actions": [{"item_id": "item/1"}, {"item_id": "item/17"}], "n": 70}
    answer, _ = ask(url, "/v1/session/recall", body)
    decision, features = logged(workspace, answer.decision_id)
    assert decision.shown == Shown(item_id=[], propensity=[], explore=[], sponsored=[])
    assert decision.candidates is not None
    assert len(answer.items) > 60
    assert decision.candidates.item_id == [item.item_id for item in answer.items[:60]]
    assert decision.candidate_count == len(answer.items)
    assert decision.candidates.recall_rank == list(range(1, 61))
    assert decision.candidates.score is None
    assert (features, decision.feature_spec) == (None, None)
    told = kindred(workspace, "show", answer.decision_id)
    assert told.exit_code == 0, told.output
    assert "60 candidates logged, none of them shown" in told.output


def test_logged_features_give_the_logged_scores_again(url: str, workspace: Workspace) -> None:
    ids = [ask(url, "/v1/similar", {"item_id": f"item/{n}"})[0].decision_id for n in range(8)]
    logged(workspace, ids[-1])
    told = kindred(workspace, "rescore", "--json")
    assert told.exit_code == 0, told.output
    found = msgspec.json.decode(told.output)
    assert found["decisions"] >= 8
    assert found["largest_difference"] <= 1e-6
    stored = logged(workspace, ids[0])
    assert stored.features is not None
    changed = stored.features.copy()
    changed[:] = changed[::-1]
    result = rescore(
        [StoredDecision(stored.decision, changed)],
        lambda version: ModelStore(workspace.models).load("ranker", version),
        lambda specification: FEATURES,
    )
    assert not result.agrees
    assert result.decision_id == ids[0]


def test_an_answer_is_explained_from_its_log(url: str, workspace: Workspace) -> None:
    answer, _ = ask(url, "/v1/similar", {"item_id": "item/1", "k": 3})
    logged(workspace, answer.decision_id)
    shown = kindred(workspace, "show", answer.decision_id)
    assert shown.exit_code == 0, shown.output
    for item in answer.items:
        assert item.item_id in shown.output
        assert all(source in shown.output for source in item.sources)
    assert " no 1)" in shown.output  # the seed's title
    listed = msgspec.json.decode(kindred(workspace, "list", "--limit", "1", "--json").output)
    assert [row["decision_id"] for row in listed] == [answer.decision_id]
    unknown = kindred(workspace, "show", "unknown")
    assert unknown.exit_code == 2


def test_a_model_version_that_is_gone_is_named(url: str, workspace: Workspace) -> None:
    answer, _ = ask(url, "/v1/similar", {"item_id": "item/2"})
    logged(workspace, answer.decision_id)
    folder = workspace.models / "ranker" / answer.versions["ranker"]
    aside = folder.rename(folder.with_name("aside"))
    try:
        told = kindred(workspace, "rescore", answer.decision_id)
    finally:
        aside.rename(folder)
    assert told.exit_code == 2
    assert f"ranker {answer.versions['ranker']} is gone" in told.output


def test_random_order_says_so_and_keeps_the_items(workspace: Workspace, tmp_path: Path) -> None:
    settings = load_settings(workspace.settings, {})
    settings = msgspec.structs.replace(settings, decisions=DecisionSettings(explore=1.0))
    engine = open_engine(workspace, settings, "explorer")
    try:
        answers = [
            engine.similar(SimilarRequest(item_id="item/1", k=6), decision_id=f"drawn-{n}")
            for n in range(8)
        ]
    finally:
        engine.close()
    orders = {tuple(item.item_id for item in answer.items) for answer in answers}
    assert len(orders) > 1
    assert len({frozenset(order) for order in orders}) == 1
    for answer in answers:
        stored = find(workspace.lake, workspace.decisions, answer.decision_id)
        assert stored is not None
        shown = stored.decision.shown
        assert shown.item_id == [item.item_id for item in answer.items]
        assert shown.propensity == pytest.approx([1 / 6] * 6)
        assert (shown.explore, stored.decision.epsilon) == ([True] * 6, 1.0)


def test_answers_without_a_ranker_leave_what_the_first_one_learns_from(
    workspace: Workspace,
) -> None:
    engine = open_engine(workspace, load_settings(workspace.settings, {}), "unranked")
    try:
        whole = engine.similar(SimilarRequest(item_id="item/1"), decision_id="ranked")
        funnel = replace(engine.bundle.funnel, ranker=None, calibration=None)
        engine.served._bundle = replace(engine.bundle, funnel=funnel)
        answer = engine.similar(SimilarRequest(item_id="item/1"), decision_id="unranked")
    finally:
        engine.close()
    assert whole.degraded == []
    assert answer.degraded == ["rank: merge order (no ranker serves)"]
    rows = {}
    for name in ("ranked", "unranked"):
        decision, features = logged(workspace, name)
        assert features is not None
        assert decision.candidates is not None
        rows[name] = dict(zip(decision.candidates.item_id, features, strict=True))
        assert (decision.candidates.score is None) == (name == "unranked")
        assert decision.feature_spec == SPECIFICATION
    both = rows["ranked"].keys() & rows["unranked"].keys()
    assert len(both) > 10
    clock = [FEATURES.index(name) for name in ("hour", "weekday") if name in FEATURES]
    for item in both:
        ranked, unranked = (np.delete(rows[name][item], clock) for name in rows)
        np.testing.assert_allclose(ranked, unranked, rtol=1e-3, atol=1e-3)


def keep_asking(connection: Connection, number: int, answered: set[str]) -> None:
    """Until the service hangs up: what was answered is noted."""
    at = number
    try:
        while True:
            request = request_bytes("POST", "/v1/similar", {"item_id": f"item/{at % 96}"})
            status, body = connection.ask(request)
            if status == 200:
                answered.add(msgspec.json.decode(body)["decision_id"])
            at += 7
    except (UnexpectedAnswer, OSError):
        connection.close()


def test_a_stop_under_load_loses_nothing_and_a_kill_nothing_uncounted(
    workspace: Workspace, tmp_path: Path
) -> None:
    before = {count.writer for count in count_writers(workspace.lake, workspace.decisions)}
    answered: dict[str, set[str]] = {"w0": set(), "w1": set()}
    with running(workspace, 2) as (address, supervisor):
        connections = connections_to_all(address, 2, 2)
        threads = [
            threading.Thread(target=keep_asking, args=(c, n, answered[c.served_by]))
            for n, c in enumerate(connections)
        ]
        for thread in threads:
            thread.start()
        while min(map(len, answered.values())) < 60:
            time.sleep(0.01)
        os.kill(supervisor.pids["w0"], signal.SIGKILL)
        more = len(answered["w1"]) + 60
        while len(answered["w1"]) < more:
            time.sleep(0.01)
    for thread in threads:
        thread.join()
    counts = count_writers(workspace.lake, workspace.decisions)
    ended = {c.writer: c for c in counts if c.writer not in before and c.assigned}
    known = set(all_decisions(workspace.lake, workspace.decisions).collect()["decision_id"])
    killed = next(c for name, c in ended.items() if name.startswith("w0."))
    stopped = next(c for name, c in ended.items() if name.startswith("w1."))
    assert answered["w1"] <= known
    assert (stopped.lost, stopped.waiting, stopped.running) == (0, 0, False)
    assert stopped.assigned >= len(answered["w1"])
    assert len(answered["w0"] - known) <= killed.lost
    assert killed.assigned == killed.written + killed.lost


def test_a_ranker_orders_no_deeper_than_it_has_seen(workspace: Workspace) -> None:
    offline = open_offline(workspace, load_settings(workspace.settings, {}))
    ranker = offline.funnel.ranker
    assert ranker is not None
    columns = offline.funnel.corpus.columns
    seeds = columns.rows(["item/1", "item/2"])
    queries = make_queries(columns, np.array([0, 1, 2]), seeds, now=micros_now(), half_life=3.0)
    merged = run(offline.funnel, queries, k=2, until="recall").candidates
    for depth, kept in ((5, 5), (1, 2)):
        funnel = replace(offline.funnel, ranker=replace(ranker, depth=depth))
        ordered = run(funnel, queries, k=2).candidates
        for query in range(2):
            first = merged.rows[merged.offsets[query] :][:kept]
            got = ordered.rows[ordered.offsets[query] : ordered.offsets[query + 1]]
            assert sorted(got.tolist()) == sorted(first.tolist())
    whole = run(offline.funnel, queries, k=2).candidates
    assert len(whole) == len(merged)
