"""A logged decision tells the request that it answered."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from kindred.api.asked_before import asked_before, flags_of
from kindred.events.decision_tables import to_columns
from kindred.events.decisions import newest
from kindred.events.lake import Lake
from kindred.events.shown import DECISIONS
from kindred.schemas.clock import DAY
from kindred.schemas.decision import Decision, DecisionContext, Shown
from kindred.schemas.event import Platform
from kindred.schemas.query import (
    Filters,
    GeoRadius,
    Place,
    Relation,
    SessionAction,
    SessionRecallRequest,
    SimilarRequest,
    Subject,
)
from kindred.schemas.workspace import Workspace

NOON = 1_700_000_000_000_000
REQUESTS = (
    SimilarRequest(item_id="a", k=2),
    SimilarRequest(
        item_id="b", k=2, platform=Platform.APP, surface="home", relation=Relation.SIMILAR,
        place=Place(lat=50.0, lon=8.0), dislike=("x", "y"), blend=False,
        subject=Subject(user_id="ann", session_id="s"), session=(SessionAction(item_id="c"),),
        filters=Filters(
            categories=(("garden", "pot"),), geo=GeoRadius(lat=50, lon=8, radius_m=1000)
        ),
    ),
)  # fmt: skip


def decision(name: str, request: SimilarRequest, at: int, shown: int = 2, **other: str) -> Decision:
    return Decision(
        decision_id=name,
        occurred_at=at,
        surface=request.surface,
        subject=request.subject or Subject(),
        context=DecisionContext(
            seed_item=request.item_id,
            session=tuple(action.item_id for action in request.session),
            place=request.place,
            platform=request.platform,
        ),
        shown=Shown(
            item_id=[f"i-{n}" for n in range(shown)],
            propensity=[1.0] * shown,
            explore=[False] * shown,
            sponsored=[False] * shown,
        ),
        flags=flags_of(request),
        **other,  # type: ignore[arg-type]
    )


def logged(root: Path, *decisions: Decision) -> Workspace:
    held = Workspace(root)
    Lake(held.lake, DECISIONS).append(to_columns([(one, None) for one in decisions]))
    return held


@pytest.mark.parametrize("request_", REQUESTS, ids=["plain", "with everything"])
def test_a_request_comes_back_as_it_was(tmp_path: Path, request_: SimilarRequest):
    held = logged(tmp_path, decision("d", request_, NOON))
    assert asked_before(held, 5).requests == {"d": request_}


def test_only_what_is_not_the_default_is_flagged():
    assert flags_of(REQUESTS[0]) == {}
    assert set(flags_of(REQUESTS[1])) == {"filters", "relation", "dislike", "blend"}
    recall = SessionRecallRequest(actions=(SessionAction(item_id="a"),))
    assert flags_of(recall) == {}


def test_decisions_that_tell_no_request_are_counted(tmp_path: Path):
    held = logged(
        tmp_path,
        decision("good", REQUESTS[0], NOON),
        decision("recall", REQUESTS[0], NOON + 1, policy="recall"),
        decision("empty", REQUESTS[0], NOON + 2, shown=0),
    )
    found = asked_before(held, 5)
    assert list(found.requests) == ["good"]
    assert found.left_out == {"not of the funnel": 1, "nothing shown": 1}


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_the_newest_are_found_however_far_back_they_lie(tmp_path: Path, limit: int):
    days = (0, 1, 1, 9, 30, 31, 31, 200)
    told = [decision(f"d{n}", REQUESTS[0], NOON - back * DAY - n) for n, back in enumerate(days)]
    held = logged(tmp_path, *told)
    found = newest(held.lake, held.decisions, limit, columns=("decision_id", "occurred_at"))
    assert found["decision_id"].to_list() == [f"d{n}" for n in range(len(days))][:limit]
    assert found.schema == pl.Schema({"decision_id": pl.String, "occurred_at": pl.Int64})
