"""Reasons over HTTP on a real index: explained answers, absent items, previews, shadow scores."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from trained_market import running, trained_market

from kindred.api.cli import main
from kindred.api.service import Service
from kindred.api.settings_file import load_settings
from kindred.api.wiring import open_engine
from kindred.events.decisions import find, newest
from kindred.indexer.models import ModelStore
from kindred.rerank.rescore import rescore
from kindred.schemas.item import Campaign
from kindred.schemas.model import Gate
from kindred.schemas.preview import Preview
from kindred.schemas.query import Answer, SimilarRequest
from kindred.schemas.settings import KindredSettings, SourceSettings
from kindred.schemas.why import LostAt, WhyNot, WhyNotRequest
from kindred.schemas.workspace import Workspace

NAMES = [f"item/{n}" for n in range(96)]
SEED = {"item_id": "item/1", "k": 6}
PAYING = {"blend": {"a": 1e6, "p0_minor": 2000.0, "floor": 0.0, "sponsored_max": 6}}
"""Settings under which rates turn every list over."""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Trained, with a candidate that would turn every order round, and that shadows."""
    held = trained_market(tmp_path_factory.mktemp("reasons"), NAMES, ranker={
        "trees": 12, "learning_rate": 0.2, "min_data_in_leaf": 20, "queries": 900,
        "window_days": 40.0, "window_share": 0.4, "development_share": 0.4, "shadow": "candidate",
    })  # fmt: skip
    models = ModelStore(held.models)
    serving = models.load("ranker")
    members = serving.arrays["members"] * np.array([-1.0, 1.0, 1.0])
    refused = msgspec.structs.replace(
        serving.card, key="turned", gate=Gate(passed=False, reason="only to shadow")
    )
    models.publish("ranker", refused, serving.arrays | {"members": members}, serving.texts)
    return held


@pytest.fixture(scope="module")
def url(workspace: Workspace) -> Iterator[str]:
    with running(workspace, 1) as (address, _):
        yield address


def engine_of(workspace: Workspace, name: str, **changed: Any) -> Service:
    """An engine in this process, with some components' settings replaced; it logs nothing."""
    settings = load_settings(workspace.settings, {})
    decisions = msgspec.structs.replace(settings.decisions, log=False)
    patient = msgspec.structs.replace(settings.api, deadline_ms=60_000)
    changed = {"decisions": decisions, "api": patient, **changed}
    return open_engine(workspace, msgspec.structs.replace(settings, **changed), name)


@pytest.fixture(scope="module")
def settings(workspace: Workspace) -> KindredSettings:
    return load_settings(workspace.settings, {})


def post(url: str, path: str, body: dict[str, Any], status: int = 200) -> httpx.Response:
    answer = httpx.post(url + path, json=body, timeout=30)
    assert answer.status_code == status, answer.text
    return answer


def similar(url: str, **body: Any) -> Answer:
    return msgspec.json.decode(post(url, "/v1/similar", body).content, type=Answer)


def why_not(url: str, item: str, **request: Any) -> WhyNot:
    body = {"request": {**SEED, **request}, "item_id": item}
    return msgspec.json.decode(post(url, "/v1/why-not", body).content, type=WhyNot)


def previewed(url: str, **body: Any) -> Preview:
    return msgspec.json.decode(post(url, "/v1/preview", body).content, type=Preview)


def test_what_every_feature_adds_sums_to_the_score_of_the_log(url: str, workspace: Workspace):
    answer = similar(url, **SEED, explain=True)
    logged = None
    while logged is None:
        logged = find(workspace.lake, workspace.decisions, answer.decision_id)
        time.sleep(0.01)
    held = logged.decision.candidates
    assert held is not None
    assert held.score is not None
    for at, item in enumerate(answer.items):
        why = item.explain
        assert why is not None
        assert why.base is not None
        assert why.base + sum(f.adds for f in why.features) == pytest.approx(why.score, abs=1e-6)
        assert why.score == held.score[at]
        assert why.probability == item.probability
        assert why.places["final"] == item.position == at + 1
        sizes = [abs(f.adds) for f in why.features]
        assert sizes == sorted(sizes, reverse=True)
        assert why.sentence.endswith(".")


def test_similarity_by_space_is_what_the_neighbours_say(url: str):
    answer = similar(url, **SEED, explain=True)
    for space in ("als", "attributes"):
        asked = {"space": space, "k": 95}
        near = httpx.get(f"{url}/v1/items/item%2F1/neighbors", params=asked).json()["neighbours"]
        cosine = {n["item_id"]: n["score"] for n in near}
        for item in answer.items:
            told = item.explain.similarity[space]
            assert told == pytest.approx(cosine[item.item_id], abs=1e-5)


@pytest.mark.parametrize("formula", ["expected_value", "power"])
def test_a_rate_that_lifts_an_item_is_told(
    workspace: Workspace, settings: KindredSettings, formula: str
):
    blend = msgspec.structs.replace(settings.blend, **PAYING["blend"], formula=formula, b=5.0)
    engine = engine_of(workspace, "rates", blend=blend)
    try:
        answer = engine.similar(SimilarRequest(**SEED, explain=True), decision_id="d")
        paid = [item for item in answer.items if item.sponsored]
        lifted = []
        for item in paid:
            listing = engine.get_item(item.item_id)
            rate, price = listing.ad_rate_bp, listing.price_minor
            why = item.explain
            by_hand = {
                "power": 5 * max(np.log(rate / 500) + 1, 0),
                "expected_value": np.log(1 + 1e6 * rate / 10_000 * min(price / 2000, 5)),
            }
            assert why.rate_adds == pytest.approx(by_hand[formula])
            assert why.rules_add == pytest.approx(0, abs=1e-6)
            for move in (m for m in why.moves if m.cause == "rate"):
                lifted.append(item.item_id)
                assert move.before == why.places["rank"] > move.after == why.places["blend"]
                assert f"by its ad rate of {rate / 100:g} %" in why.sentence
        assert lifted
    finally:
        engine.close()


def test_a_plain_answer_has_no_reasons(url: str):
    assert all(item.explain is None for item in similar(url, **SEED).items)


def test_recalled_candidates_are_explained_without_a_ranker(url: str):
    body = {"actions": [{"item_id": "item/1"}], "n": 4, "explain": True}
    answer = msgspec.json.decode(post(url, "/v1/session/recall", body).content, type=Answer)
    for item in answer.items:
        why = item.explain
        assert (why.score, why.base, why.features) == (None, None, [])
        assert why.places["merge"] == why.places["final"] == item.position


def test_an_absent_item_is_told_where_it_was_lost(url: str):
    shown = [item.item_id for item in similar(url, **SEED).items]
    everything = [item.item_id for item in similar(url, item_id="item/1", k=100).items]
    assert why_not(url, "nobody's").stage is LostAt.UNKNOWN
    assert why_not(url, "item/1").stage is LostAt.SEED
    assert why_not(url, shown[2]).stage is LostAt.SHOWN
    assert why_not(url, shown[2]).place == 3
    assert why_not(url, everything[-1], dislike=[everything[-1]]).stage is LostAt.DISLIKED
    last = why_not(url, everything[-1])
    assert last.stage is LostAt.RANKED
    assert last.places["rank"] > 6
    assert last.sources
    standing = last.standing
    assert standing.score < standing.score_shown
    assert standing.probability <= standing.probability_shown
    assert standing.costs
    assert [c.costs for c in standing.costs] == sorted(c.costs for c in standing.costs)[::-1]
    assert f"place {last.places['rank']} of {last.candidates}" in last.reason


def test_every_condition_that_refuses_an_item_is_named(url: str):
    filters = {"brands": ["brand 0"], "categories": [["music"]], "price_max_minor": 1}
    lost = why_not(url, "item/80", filters=filters)
    assert lost.stage is LostAt.FILTER
    assert lost.conditions == ["price_max_minor"]
    lost = why_not(url, "item/2", filters=filters)
    assert set(lost.conditions) == {"brands", "categories", "price_max_minor"}
    assert "none of the brands" in lost.reason


def test_a_withdrawn_item_is_told_as_such(url: str):
    assert httpx.delete(f"{url}/v1/items/item%2F50").status_code in (200, 204)
    deadline = time.monotonic() + 30
    while why_not(url, "item/50").stage is not LostAt.WITHDRAWN:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    lost = why_not(url, "item/50", filters={"statuses": ["sold"]})
    assert lost.stage is LostAt.FILTER
    assert lost.conditions == ["statuses"]


def test_a_rule_that_left_an_item_out_is_named(url: str):
    shown = similar(url, **SEED).items
    rule = {
        "rule_id": "no-first", "effect": "exclude", "match": {"items": [shown[0].item_id]},
        "author": "ann", "reason": "recalled by its maker",
    }  # fmt: skip
    assert httpx.put(f"{url}/v1/rules", json={"rules": [rule]}).status_code in (200, 202)
    try:
        deadline = time.monotonic() + 30
        while (lost := why_not(url, shown[0].item_id)).stage is LostAt.SHOWN:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert lost.stage is LostAt.EXCLUDED
        assert lost.rules == ["rule:no-first"]
        assert "the rule no-first" in lost.reason
    finally:
        httpx.delete(f"{url}/v1/rules/no-first")


def test_what_was_not_recalled_is_told_how_near_it_was(
    workspace: Workspace, settings: KindredSettings
):
    sources = {name: SourceSettings(quota=0) for name in settings.recall.sources}
    sources["als"] = SourceSettings(quota=8)
    recall = msgspec.structs.replace(settings.recall, sources=sources)
    engine = engine_of(workspace, "narrow", recall=recall)
    try:
        request = SimilarRequest(**SEED)
        corpus = engine.bundle.funnel.corpus
        vectors, has = corpus.tables["als"].gather(np.arange(96))
        cosine = np.where(has & corpus.columns.active, vectors @ vectors[1], -2)
        order = np.argsort(-cosine)
        far = int(order[30])
        lost = engine.why_not(WhyNotRequest(request=request, item_id=NAMES[far]))
        assert lost.stage is LostAt.NOT_RECALLED
        [als] = [d for d in lost.spaces if d.space == "als"]
        assert als.similarity == pytest.approx(cosine[far], abs=1e-5)
        assert als.rank == 30  # the seed itself does not count
        assert als.quota == 8
        assert als.weakest == pytest.approx(cosine[order[9]], abs=0.2)
        assert als.weakest > als.similarity
        assert lost.together >= 0
        assert "`als`" in lost.reason
    finally:
        engine.close()


def test_what_is_past_the_limit_of_candidates_is_told_its_place(
    workspace: Workspace, settings: KindredSettings
):
    recall = msgspec.structs.replace(settings.recall, candidates=10)
    engine, whole = engine_of(workspace, "short", recall=recall), engine_of(workspace, "whole")
    try:
        answer = whole.similar(
            SimilarRequest(item_id="item/1", k=100, explain=True), decision_id="d"
        )
        places = {item.item_id: item.explain.places["merge"] for item in answer.items}
        item = next(name for name, place in places.items() if place == 14)
        lost = engine.why_not(WhyNotRequest(request=SimilarRequest(**SEED), item_id=item))
        assert (lost.stage, lost.place, lost.candidates) == (LostAt.LIMIT, 14, 10)
    finally:
        engine.close()
        whole.close()


def test_a_seller_with_enough_items_is_told_as_a_cap(
    workspace: Workspace, settings: KindredSettings
):
    free = engine_of(
        workspace, "free", blend=msgspec.structs.replace(settings.blend, b=0.0, seller_cap=0)
    )
    capped = engine_of(
        workspace, "capped", blend=msgspec.structs.replace(settings.blend, b=0.0, seller_cap=1)
    )
    try:
        request = SimilarRequest(item_id="item/1", k=15)  # of 20 sellers
        items = [i.item_id for i in free.similar(request, decision_id="d").items]
        sellers = [free.get_item(i).seller_id for i in items]
        second = next(i for i, s in enumerate(sellers) if s in sellers[:i])
        lost = capped.why_not(WhyNotRequest(request=request, item_id=items[second]))
        assert lost.stage is LostAt.CAPPED
        assert lost.rules == ["seller_cap"]
        assert lost.places["rank"] <= 15 < lost.place
        assert "seller" in lost.reason
    finally:
        free.close()
        capped.close()


def counted(url: str, workspace: Workspace) -> tuple[int, list[str]]:
    """Decisions logged, and what the service counts of answers and decisions."""
    time.sleep(0.2)  # the log writes within 20 ms
    text = httpx.get(f"{url}/metrics").text.splitlines()
    ours = [line for line in text if line.startswith("kindred_") and "_http_" not in line]
    told = [line for line in ours if "answer" in line or "decision" in line]
    assert told
    return newest(workspace.lake, workspace.decisions, 1000).height, told


def test_a_preview_is_what_an_engine_with_those_settings_would_answer(
    url: str, workspace: Workspace, settings: KindredSettings
):
    now = similar(url, **SEED)
    blend = msgspec.structs.replace(settings.blend, **PAYING["blend"])
    engine = engine_of(workspace, "proposed", blend=blend)
    try:
        then = engine.similar(SimilarRequest(**SEED), decision_id="d")
    finally:
        engine.close()
    found = previewed(url, request=SEED, settings=PAYING)
    [one] = found.lists
    old = {item.item_id: item.position for item in now.items}
    new = {item.item_id: item.position for item in then.items}
    assert {p.item_id: p.place for p in one.entered} == {
        i: n for i, n in new.items() if i not in old
    }
    assert {p.item_id: p.place for p in one.left} == {i: n for i, n in old.items() if i not in new}
    assert {m.item_id: (m.before, m.after) for m in one.moved} == {
        i: (old[i], n) for i, n in new.items() if old.get(i, n) != n
    }
    assert (found.questions, found.changed) == (1, 1)
    bought = sum(item.probability for item in now.items)
    assert found.current.purchases == pytest.approx(bought)
    assert found.proposed.purchases == pytest.approx(sum(i.probability for i in then.items))
    assert found.proposed.fee_minor > found.current.fee_minor
    assert found.proposed.ndcg < found.current.ndcg <= 0


def test_a_strength_alone_is_tried_by_its_own_formula(url: str):
    alone = previewed(url, request=SEED, settings={"blend": {"b": 2.0}})
    named = previewed(url, request=SEED, settings={"blend": {"formula": "power", "b": 2.0}})
    other = previewed(
        url, request=SEED, settings={"blend": {"formula": "expected_value", "b": 2.0}}
    )
    assert alone.proposed == named.proposed
    assert other.proposed == other.current != named.proposed


def test_a_preview_leaves_no_trace(url: str, workspace: Workspace):
    similar(url, **SEED)
    before = counted(url, workspace)
    previewed(url, request=SEED, settings=PAYING)
    previewed(url, sample=5, settings=PAYING)
    why_not(url, "item/2")
    assert counted(url, workspace) == before


def test_logged_questions_are_asked_again_as_they_were(url: str, workspace: Workspace):
    filters = {"categories": [["garden"]], "price_max_minor": 2000}
    asked = [
        similar(url, item_id="item/7", k=4, subject={"user_id": "user-3"}, filters=filters),
        similar(url, item_id="item/9", k=3, blend=False, dislike=["item/21"]),
        similar(url, item_id="item/5", k=5, relation="similar", place={"lat": 50.5, "lon": 8.5}),
    ]
    counted(url, workspace)
    found = previewed(url, sample=3, settings={"diversity": {"same_title": True}})
    assert {one.decision_id for one in found.lists} == {one.decision_id for one in asked}
    for one in found.lists:
        answer = next(a for a in asked if a.decision_id == one.decision_id)
        total = sum(item.probability for item in answer.items)
        assert one.current.purchases == pytest.approx(total)
    again = previewed(url, sample=3)
    assert again.changed == 0
    assert again.current == again.proposed


def test_rules_can_be_tried(url: str):
    first = similar(url, **SEED).items[0].item_id
    rule = {
        "rule_id": "r", "effect": "exclude", "match": {"items": [first]},
        "author": "ann", "reason": "to see",
    }  # fmt: skip
    [one] = previewed(url, request=SEED, rules=[rule]).lists
    assert [(p.item_id, p.place) for p in one.left] == [(first, 1)]
    assert similar(url, **SEED).items[0].item_id == first


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$"),
        ({"request": SEED, "sample": 3}, "$"),
        ({"sample": 0}, "$.sample"),
        ({"request": {**SEED, "k": 0}}, "$.request.k"),
        ({"request": SEED, "settings": {"blend": {"b": -1}}}, "$.settings.blend.b"),
        ({"request": SEED, "settings": {"blend": {"bb": 1}}}, "$.settings.blend"),
        ({"request": SEED, "settings": {"blend": {"arms": [{"b": 0.0, "share": 0.5}]}}},
         "$.settings.blend"),
        ({"request": SEED, "settings": {"recall": {"sources": {"smell": {"quota": 1}}}}},
         "$.settings.recall.sources.smell"),
        ({"request": SEED, "settings": {"recall": {"candidates": 10**9}}},
         "$.settings.recall.candidates"),
        ({"request": SEED, "rules": [{"rule_id": "r", "effect": "pin", "match": {"items": ["a"]},
                                      "author": "a", "reason": "b"}]}, "$.rules[0].place"),
    ],
)  # fmt: skip
def test_a_bad_preview_is_refused_with_the_path(url: str, body: dict[str, Any], path: str):
    told = post(url, "/v1/preview", body, 400).json()
    assert told["errors"][0]["path"] == path


def test_an_unknown_seed_is_not_found_at_its_path(url: str):
    nobody = {"item_id": "nobody's"}
    for path, body in (
        ("/v1/preview", {"request": nobody}),
        ("/v1/why-not", {"request": nobody, "item_id": "item/2"}),
    ):
        told = post(url, path, body, 404).json()
        assert told["errors"][0]["path"] == "$.request.item_id"


def test_a_candidate_ranker_is_logged_beside_the_serving_one(url: str, workspace: Workspace):
    answer = similar(url, **SEED)
    counted(url, workspace)
    logged = find(workspace.lake, workspace.decisions, answer.decision_id)
    held = logged.decision.candidates
    assert logged.decision.versions["ranker_shadow"] == "000002"
    assert logged.decision.versions["ranker"] == answer.versions["ranker"] == "000001"
    assert held.shadow == pytest.approx([-score for score in held.score])
    models = ModelStore(workspace.models)
    again = rescore(
        [logged], lambda version: models.load("ranker", version),
        lambda _: tuple(models.load("ranker").texts["features"].split("\n")),
    )  # fmt: skip
    assert again.agrees
    done = CliRunner().invoke(main, ["-w", str(workspace.root), "decisions", "shadow", "--json"])
    assert done.exit_code == 0, done.output
    [pair] = msgspec.json.decode(done.stdout)["pairs"]
    assert (pair["serving"], pair["shadow"]) == ("000001", "000002")
    assert pair["tau"] == pytest.approx(-1, abs=1e-6)
    assert pair["same_first"] == 0
    assert pair["decisions"] >= 1


def test_the_commands_answer_what_the_service_answers(url: str, workspace: Workspace):
    body = {"request": SEED, "item_id": "item/90"}
    ask = ["-w", str(workspace.root), "why-not", "--json"]
    done = CliRunner().invoke(main, ask, input=msgspec.json.encode(body))
    assert done.exit_code == 0, done.output
    assert msgspec.json.decode(done.stdout)["reason"] == why_not(url, "item/90").reason
    ask = ["-w", str(workspace.root), "preview", "--json"]
    tried = {"request": SEED, "settings": PAYING}
    done = CliRunner().invoke(main, ask, input=msgspec.json.encode(tried))
    assert done.exit_code == 0, done.output
    told = msgspec.json.decode(done.stdout, type=Preview)
    assert told.proposed == previewed(url, **tried).proposed
    refused = CliRunner().invoke(main, ask, input=b'{"sample": "many"}')
    assert refused.exit_code == 2


def test_what_stands_at_an_auction_place_says_so(url: str):
    """The last one here: it changes items."""
    bought = {"campaign": "plx", "ad_rate_bp": 0, "target_views": 1000, "flat_fee_minor": 5000}
    items = [
        {**httpx.get(f"{url}/v1/items/item%2F{n}").json(), **bought} for n in (5, 13, 25, 41)
    ]  # fmt: skip
    assert httpx.put(f"{url}/v1/items", json={"items": items}).json()["rejected"] == []
    deadline, drawn = time.monotonic() + 20, []
    while not drawn:
        assert time.monotonic() < deadline
        answer = similar(url, **SEED, explain=True)
        drawn = [item for item in answer.items if item.campaign is Campaign.PLX]
        time.sleep(0.05)
    for item in drawn:
        why = item.explain
        assert (why.rate_adds, why.rules_add) == (None, None)
        assert why.moves[-1].cause == "auction"
        assert why.moves[-1].after == item.position
        assert "because its campaign bought views" in why.sentence
        assert why.base + sum(f.adds for f in why.features) == pytest.approx(why.score, abs=1e-6)
