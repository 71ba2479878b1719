"""Campaigns in answers over HTTP: auction places, what blending cost, strengths that are tried."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from small_market import small_items
from trained_market import running, trained_market

from kindred.api.auctions import LiveAuctions
from kindred.api.settings_file import load_settings
from kindred.events.decisions import find
from kindred.indexer.columns import Columns
from kindred.rerank.arms import drawn_arm
from kindred.schemas.clock import HOUR, micros_now
from kindred.schemas.decision import Decision
from kindred.schemas.item import Campaign, Format, Item
from kindred.schemas.query import Answer
from kindred.schemas.settings import BlendArm, BlendSettings
from kindred.schemas.workspace import Workspace

NAMES = [f"item-{n}" for n in range(96)]
AUCTIONED, SPENT = ("item-24", "item-36"), "item-48"
ARMS = [{"a": 0.0, "share": 0.4}, {"b": 1.0, "share": 0.6}]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    blend = {"arms": ARMS, "auction": {"places": [2, 4], "refresh_s": 0.1}}
    return trained_market(tmp_path_factory.mktemp("market"), NAMES, blend=blend)


@pytest.fixture(scope="module")
def url(workspace: Workspace) -> Iterator[str]:
    """Two processes, so that each must learn of the views that the other gave."""
    with running(workspace, 2) as (address, _):
        yield address


def put(url: str, *items: Item) -> None:
    told = httpx.put(f"{url}/v1/items", json={"items": msgspec.to_builtins(items)})
    assert told.json()["accepted"] == len(items), told.text


def auctioned(name: str, target: int) -> Item:
    [item] = [i for i in small_items(NAMES) if i.item_id == name]
    return msgspec.structs.replace(
        item, campaign=Campaign.PLX, ad_rate_bp=0, target_views=target, flat_fee_minor=10 * target,
        formats=(Format.AUCTION,), auction_end=micros_now() + 5 * HOUR,
    )  # fmt: skip


def ask(url: str, **fields: Any) -> Answer:
    told = httpx.post(f"{url}/v1/similar", json={"item_id": "item-0", "k": 5, **fields}, timeout=20)
    assert told.status_code == 200, told.text
    return msgspec.json.decode(told.content, type=Answer)


def logged(workspace: Workspace, decision_id: str) -> Decision:
    deadline = time.monotonic() + 30
    while (found := find(workspace.lake, workspace.decisions, decision_id)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found.decision


def test_auction_items_stand_at_their_places_until_their_views_are_delivered(
    url: str, workspace: Workspace
) -> None:
    names = {*AUCTIONED, SPENT}
    put(url, *(auctioned(name, 400) for name in sorted(names)))
    deadline = time.monotonic() + 120
    while len(drawn_of(ask(url))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    views: Counter[str] = Counter()
    while views[SPENT] < 4:
        assert time.monotonic() < deadline
        answer = ask(url)
        drawn = drawn_of(answer)
        assert set(drawn) <= {2, 4}
        assert set(drawn.values()) <= names
        views.update(drawn.values())
        told = logged(workspace, answer.decision_id).shown
        for at, item in enumerate(answer.items):
            assert told.campaign[at] == item.campaign
            assert item.sponsored == (item.campaign is not None)
            if item.campaign is Campaign.PLX:
                assert 0 < told.propensity[at] < 1
            else:
                assert told.propensity[at] == 1
        assert len({item.item_id for item in answer.items}) == len(answer.items)
    put(url, auctioned(SPENT, 4))
    without = 0
    while without < 12:
        assert time.monotonic() < deadline
        without = 0 if SPENT in drawn_of(ask(url)).values() else without + 1


def drawn_of(answer: Answer) -> dict[int, str]:
    """position -> item, of auction places."""
    return {i.position: i.item_id for i in answer.items if i.campaign is Campaign.PLX}


def test_every_answer_says_what_blending_cost_and_without_it_nothing_is_drawn(url: str) -> None:
    plain = ask(url, blend=False)
    assert not drawn_of(plain)
    assert plain.blend_cost is not None
    assert plain.blend_cost.fee_minor == pytest.approx(0, abs=1e-3)
    found = [ask(url) for _ in range(20)]
    costs = [answer.blend_cost for answer in found]
    assert all(cost is not None and cost.ndcg > -1 for cost in costs)
    assert any(cost is not None and cost.ndcg < 0 for cost in costs)


def test_an_explained_answer_tells_its_auction_places_too(url: str) -> None:
    answer = ask(url, explain=True)
    assert drawn_of(answer)
    assert all(item.explain is not None for item in answer.items)


def test_the_strength_of_a_decision_follows_from_its_id_and_is_logged_with_its_chance(
    url: str, workspace: Workspace
) -> None:
    settings = load_settings(workspace.settings, {}).blend
    seen = Counter()
    for _ in range(30):
        answer = ask(url)
        decision = logged(workspace, answer.decision_id)
        arm = drawn_arm(settings, answer.decision_id)
        assert arm is not None
        assert decision.flags[f"blend_{arm.parameter}"] == f"{arm.strength:g}"
        assert decision.slate_propensity == arm.share
        seen[arm.strength] += 1
    assert set(seen) == {0.0, 1.0}


def test_arms_are_drawn_as_often_as_their_shares_say() -> None:
    settings = BlendSettings(arms=(BlendArm(b=0.0, share=0.05), BlendArm(b=0.25, share=0.95)))
    drawn = [drawn_arm(settings, f"decision-{n}") for n in range(20_000)]
    share = sum(arm is not None and arm.strength == 0 for arm in drawn) / len(drawn)
    assert share == pytest.approx(0.05, abs=0.006)
    assert drawn == [drawn_arm(settings, f"decision-{n}") for n in range(20_000)]
    assert drawn_arm(BlendSettings(), "decision-1") is None


def test_a_market_without_auction_campaigns_counts_nothing(workspace: Workspace) -> None:
    live = LiveAuctions.of(workspace, load_settings(workspace.settings, {}))
    assert live is not None
    columns = Columns()
    live.refresh(columns)
    assert not live.deliveries.of(columns.rows(["item-1"])).any()
    live.close()
