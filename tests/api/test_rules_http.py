"""Rules in the real service: two processes, a real index, a ranker that serves."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from click.testing import CliRunner
from trained_market import running, trained_market

from kindred.api.bench.client import connections_to_all, request_bytes
from kindred.api.cli import main
from kindred.api.supervisor import Supervisor
from kindred.schemas.clock import micros_now
from kindred.schemas.workspace import Workspace

NAMES = [f"item-{n}" for n in range(96)]
PATIENCE_S = 30.0
ABOUT = {"item_id": "item-1", "k": 6}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    bought = {"bought_days": 30, "bought_categories": [["music"]]}
    return trained_market(tmp_path_factory.mktemp("ruled"), NAMES, exclusions=bought)


@pytest.fixture(scope="module")
def service(workspace: Workspace) -> Iterator[tuple[str, Supervisor]]:
    """Two serving processes and the builder."""
    with running(workspace, 2) as served:
        yield served


@pytest.fixture
def client(service: tuple[str, Supervisor]) -> Iterator[httpx.Client]:
    """A client of a service without rules, before and after."""
    with httpx.Client(base_url=service[0], timeout=20) as client:
        yield client
        for held in client.get("/v1/rules").json()["rules"]:
            assert client.delete(f"/v1/rules/{held['rule_id']}").status_code == 204
        everywhere(service[0], lambda answer: "mine" not in str(answer["left_out"]))


def rule(rule_id: str, effect: str, match: dict[str, Any], **facts: Any) -> dict[str, Any]:
    return {
        "rule_id": rule_id, "effect": effect, "match": match, "author": "ann", "reason": "so",
        **facts,
    }  # fmt: skip


def put(client: httpx.Client, *rules: dict[str, Any]) -> dict[str, Any]:
    answer = client.put("/v1/rules", json={"rules": list(rules)})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def asked_of_all(url: str, **question: Any) -> list[dict[str, Any]]:
    """The answer of each process."""
    answers = []
    for connection in connections_to_all(url, 2, 1):
        body = {**ABOUT, **question}
        status, answer = connection.ask(request_bytes("POST", "/v1/similar", body))
        connection.close()
        assert status == 200, answer
        answers.append(msgspec.json.decode(answer))
    assert len(answers) == 2
    return answers


def everywhere(
    url: str, true: Callable[[dict[str, Any]], bool], **question: Any
) -> list[dict[str, Any]]:
    """The answers of all processes as soon as something is true of each."""
    deadline = time.monotonic() + PATIENCE_S
    while not all(map(true, answers := asked_of_all(url, **question))):
        assert time.monotonic() < deadline, answers
    return answers


def ids(answer: dict[str, Any]) -> list[str]:
    return [row["item_id"] for row in answer["items"]]


def test_every_process_does_what_a_rule_says_and_stops_when_it_is_gone(
    client: httpx.Client, service: tuple[str, Supervisor]
) -> None:
    url = service[0]
    before = ids(asked_of_all(url)[0])
    gone, pinned = before[0], next(name for name in NAMES[2:] if name not in before)
    told = put(
        client,
        rule("out", "exclude", {"items": [gone]}),
        rule("top", "pin", {"items": [pinned]}, place=2),
        rule("last", "bury", {"items": [before[2]]}),
    )
    assert (told["accepted"], told["rejected"]) == (3, [])
    answers = everywhere(url, lambda a: ids(a)[1] == pinned and gone not in ids(a))
    for answer in answers:
        assert answer["left_out"]["rule:out"] == 1
        assert answer["versions"]["rules"] == str(told["sequence"])
        assert before[2] not in ids(answer)
        kept = [name for name in ids(answer) if name != pinned]
        assert kept[:4] == [name for name in before[1:] if name != before[2]][:4]
    for name in ("out", "top", "last"):
        assert client.delete(f"/v1/rules/{name}").status_code == 204
    assert client.delete("/v1/rules/out").json()["type"] == "urn:kindred:unknown-rule"
    everywhere(url, lambda a: ids(a) == before)


def test_a_boost_lifts_by_its_factor_and_probabilities_stay(
    client: httpx.Client, service: tuple[str, Supervisor]
) -> None:
    before = asked_of_all(service[0], k=20)[0]
    eighth = before["items"][7]
    put(client, rule("mine", "boost", {"items": [eighth["item_id"]]}, factor=1.5))

    def of_it(answer: dict[str, Any]) -> dict[str, Any]:
        return next((r for r in answer["items"] if r["item_id"] == eighth["item_id"]), eighth)

    for answer in everywhere(service[0], lambda a: of_it(a)["score"] != eighth["score"], k=20):
        assert of_it(answer)["score"] == pytest.approx(eighth["score"] + math.log(1.5))
        assert of_it(answer)["probability"] == eighth["probability"]
        assert of_it(answer)["position"] <= eighth["position"]


def test_rules_are_for_their_surfaces_seeds_and_times(
    client: httpx.Client, service: tuple[str, Supervisor]
) -> None:
    url = service[0]
    first = ids(asked_of_all(url)[0])[0]
    now = micros_now()
    put(
        client,
        rule("mine", "exclude", {"items": [first]}, surfaces=["cart"]),
        rule("mine-over", "exclude", {"items": [first]}, ends=now),
        rule("mine-soon", "exclude", {"items": [first]}, starts=now + 10**9),
        rule("mine-other", "exclude", {"items": [first]}, seeds={"items": ["item-2"]}),
    )
    answers = everywhere(url, lambda a: "rule:mine" in a["left_out"], surface="cart")
    assert all(first not in ids(answer) for answer in answers)
    assert all(ids(answer)[0] == first for answer in asked_of_all(url))
    found = client.get("/v1/rules", params={"surface": "cart", "active": True}).json()["rules"]
    assert [r["rule_id"] for r in found] == ["mine", "mine-other"]
    found = client.get("/v1/rules", params={"active": False}).json()["rules"]
    assert [r["rule_id"] for r in found] == ["mine-over", "mine-soon"]
    body = {"actions": [{"item_id": "item-2"}], "n": 300}
    recalled = client.post("/v1/session/recall", json=body).json()
    assert first not in ids(recalled)
    assert recalled["left_out"]["rule:mine-other"] == 1


def test_what_is_wrong_with_a_rule_is_told_with_its_path(client: httpx.Client) -> None:
    told = put(
        client,
        rule("no place", "exclude", {"items": ["item-1"]}),
        rule("good", "exclude", {"brands": ["brand 1"]}),
        rule("pin", "pin", {"items": ["item-1"]}),
        rule("lost", "exclude", {"items": ["item-1", "nowhere"]}),
        rule("over", "bury", {"items": ["item-1"]}, starts=5, ends=4),
        rule("deep", "pin", {"items": ["item-1"]}, place=101),
        {"rule_id": "bare"},
    )
    assert told["accepted"] == 1
    assert [(row["index"], row["path"]) for row in told["rejected"]] == [
        (0, "$.rules[0].rule_id"), (2, "$.rules[2].place"), (3, "$.rules[3].match.items[1]"),
        (4, "$.rules[4].ends"), (5, "$.rules[5].place"), (6, "$.rules[6]"),
    ]  # fmt: skip
    listed = client.get("/v1/rules").json()["rules"]
    assert [r["rule_id"] for r in listed] == ["good"]
    for body, path in (({"rules": []}, "$.rules"), ({"rule": []}, "$"), ([], "$")):
        refused = client.put("/v1/rules", json=body)
        assert refused.status_code == 400
        assert refused.json()["errors"][0]["path"] == path


def test_the_history_tells_who_did_what(client: httpx.Client) -> None:
    first, second = (rule("twice", "bury", {"items": [name]}) for name in ("item-1", "item-2"))
    put(client, first)
    sequence = put(client, second)["sequence"]
    assert put(client, second)["unchanged"] == 1
    client.delete("/v1/rules/twice")
    changes = client.get("/v1/rule-changes", params={"rule_id": "twice"}).json()["changes"]
    assert [c["sequence"] for c in changes] == [sequence + 1, sequence, sequence - 1]
    assert [c["rule"] and c["rule"]["match"] for c in changes] == [
        None, second["match"], first["match"],
    ]  # fmt: skip
    assert [c["by"] for c in changes] == ["", "", ""]
    latest = client.get("/v1/rule-changes", params={"limit": 1}).json()["changes"]
    assert latest == changes[:1]


def test_an_item_that_comes_later_meets_the_rule(
    client: httpx.Client, service: tuple[str, Supervisor]
) -> None:
    put(client, rule("mine", "exclude", {"sellers": ["newcomer"]}))
    new = {
        "item_id": "later", "title": "steel guitar", "brand": "brand 1", "price_minor": 700,
        "currency": "USD", "category": ["music", "guitar"], "seller_id": "newcomer",
    }  # fmt: skip
    assert client.put("/v1/items", json={"items": [new]}).json()["accepted"] == 1
    guitar = next(name for n, name in enumerate(NAMES) if n % 12 == 8)
    answers = everywhere(service[0], lambda a: "rule:mine" in a["left_out"], item_id=guitar, k=100)
    assert all("later" not in ids(answer) for answer in answers)
    assert client.delete("/v1/items/later").status_code == 204


def test_a_visitor_meets_neither_own_nor_bought_items(
    client: httpx.Client, service: tuple[str, Supervisor]
) -> None:
    guitars = [name for n, name in enumerate(NAMES) if n % 12 == 8]
    asked: dict[str, Any] = {"item_id": guitars[0], "k": 30}
    plain = ids(asked_of_all(service[0], **asked)[0])
    bought, milk = next(name for name in plain if name in guitars[2:]), "item-12"
    seller = next(
        maker
        for name in plain
        if (maker := client.get(f"/v1/items/{name}").json()["seller_id"])
        != client.get(f"/v1/items/{bought}").json()["seller_id"]
    )
    # The session is told, so that what was bought is none of its own items.
    asked["session"] = [{"item_id": guitars[1]}]
    for name in (bought, milk):
        event = {
            "event_id": f"bought-{name}-{time.time_ns()}", "occurred_at": micros_now(),
            "action": "purchase", "entity_id": name, "user_id": seller,
        }  # fmt: skip
        assert client.post("/v1/events", json={"events": [event]}).json()["accepted"] == 1
    for answer in asked_of_all(service[0], subject={"user_id": seller}, **asked):
        sellers = {client.get(f"/v1/items/{name}").json()["seller_id"] for name in ids(answer)}
        assert seller not in sellers
        assert bought not in ids(answer)
        assert answer["left_out"]["own"] >= 1
        assert answer["left_out"]["bought"] == 1
    for answer in asked_of_all(service[0], item_id="item-0", subject={"user_id": seller}):
        assert "bought" not in answer["left_out"]


def test_a_rule_that_was_acknowledged_outlives_the_death_of_its_process(
    client: httpx.Client, service: tuple[str, Supervisor]
) -> None:
    url, supervisor = service
    first = ids(asked_of_all(url)[0])[0]
    told = put(client, rule("mine", "exclude", {"items": [first]}))
    killed = dict(supervisor.pids)
    for name in ("w0", "w1"):
        os.kill(killed[name], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while any(supervisor.pids.get(n, killed[n]) == killed[n] for n in ("w0", "w1")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    while True:
        try:
            with httpx.Client(base_url=url, timeout=20) as fresh:
                answer = fresh.post("/v1/similar", json=ABOUT)
                if answer.status_code == 200:
                    break
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    # The very first answer of a new process knows the rule.
    assert first not in ids(answer.json())
    assert answer.json()["versions"]["rules"] == str(told["sequence"])


def test_the_command_line_writes_what_the_service_follows(
    client: httpx.Client, service: tuple[str, Supervisor], workspace: Workspace, tmp_path: Path
) -> None:
    first = ids(asked_of_all(service[0])[0])[0]
    file = tmp_path / "rules.json"
    good = rule("mine", "exclude", {"items": [first]})
    file.write_text(json.dumps({"rules": [good, rule("p", "pin", {"items": [first]})]}))

    def kindred(*words: str, code: int = 0) -> Any:
        run = CliRunner().invoke(main, ["-w", str(workspace.root), "rules", *words])
        assert run.exit_code == code, run.output
        return json.loads(run.stdout) if "--json" in words else run.output

    told = kindred("add", str(file), "--json", code=2)
    assert [(row["index"], row["path"]) for row in told["rejected"]] == [(1, "$.rules[1].place")]
    assert told["accepted"] == 1
    everywhere(service[0], lambda a: first not in ids(a))
    listed = kindred("list", "--json", "--active")
    assert [r["rule_id"] for r in listed["rules"]] == ["mine"]
    assert first in kindred("list")
    assert client.get("/v1/rules").json()["rules"] == listed["rules"]
    assert kindred("remove", "mine", "--json") == {"removed": 1, "unknown": []}
    assert "unknown rule 'mine'" in kindred("remove", "mine", code=2)
    everywhere(service[0], lambda a: first in ids(a))
    changes = kindred("history", "mine", "--json")["changes"]
    assert [c["by"] for c in changes[:2]] == ["cli", "cli"]
    assert "removed" in kindred("history")
    file.write_text("[]")
    kindred("add", str(file), code=2)
