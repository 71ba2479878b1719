"""The behaviour stages as they run: real tables, real gates, from one small log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from traces import random_trace

from kindred.indexer.behaviour.als import AlsModel, FoldIn
from kindred.indexer.behaviour.history import History
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.behaviour.pairs import PairTable, count_pairs
from kindred.indexer.behaviour.stages import NAMES, SIGNALS, behaviour_stages, judge
from kindred.indexer.behaviour.users import NOBODY, UserFactors
from kindred.indexer.models import ModelStore
from kindred.indexer.stage_run import run_stages
from kindred.indexer.stages import Made, StageRow
from kindred.schemas.model import Card, Gate
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import AlsSettings, KindredSettings

SETTINGS = KindredSettings(als=AlsSettings(embedding_size=8, iterations=3))
ROWS = 60


def market(noise: float = 0.0) -> Interactions:
    """Visitors who each keep to one of six shelves of ten items, but for some noise."""
    x = random_trace(4, 20_000, rows=ROWS, subjects=400)
    draw = np.random.default_rng(1)
    shelf = x.subject % 6 * 10 + x.row % 10
    return replace(x, row=np.where(draw.random(len(x)) < noise, x.row, shelf).astype(np.int64))


def run(store: ModelStore, log: Interactions, events: str, **kw) -> dict[str, StageRow]:
    stages = behaviour_stages(
        log, ROWS, int(log.ts[-1]) + 1, SETTINGS, {"events": events}, threads=1, **kw
    )
    rows = run_stages(stages, store, seed=SETTINGS.seed, progress=SilentProgress(), clock=lambda: 1)
    return {r.stage: r for r in rows}


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def test_every_stage_is_kept_and_can_be_loaded(store: ModelStore):
    log = market()
    rows = run(store, log, "e1")
    assert [rows[n].state for n in NAMES] == ["trained"] * len(NAMES)
    table = PairTable.load(store.load("pairs").arrays)
    np.testing.assert_array_equal(table.rows, count_pairs(log, ROWS, SETTINGS.pairs).rows)
    assert len(PairTable.load(store.load("forward").arrays).rows)
    assert len(History.load(store.load("history").arrays).by_popularity) == ROWS
    als = AlsModel.load(store.load("als").arrays)
    assert FoldIn(als)(np.array([3]), np.ones(1, np.float32)).any()
    np.testing.assert_allclose(als.unit(), store.load("als").arrays["unit"], atol=1e-6)
    assert rows["pairs"].metrics["next_item"]["hit_rate"] > 0.9
    assert "nothing to compare with" in store.card("pairs").gate.reason


def test_factors_of_users_are_kept_under_their_keys(store: ModelStore):
    log = market()
    keys = np.where(log.subjects % 3 > 0, log.subjects + 7, 0).astype(np.uint64)
    run(store, replace(log, users=keys), "e1")
    arrays = store.load("als").arrays
    users = UserFactors.of(arrays)
    assert users is not None
    assert (np.diff(users.keys.astype(np.int64)) > 0).all()
    assert set(users.keys.tolist()) <= set(keys[keys > 0].tolist())
    assert len(users.keys) > 200
    # Visitors keep to a shelf: what their factors like best stands on it.
    vectors, known = users.vectors(np.array([8, 9, 10, 11, 12, 999], np.uint64))
    subjects = np.array([1, 2, 3, 4, 5, 0])
    assert known.tolist() == [True, True, False, True, True, False]
    best = np.argsort(-(vectors @ users.items.T), axis=1)[:, :5]
    assert (best[known] // 10 == subjects[known][:, None] % 6).mean() > 0.9
    run(store, log, "e2")
    assert UserFactors.of(store.load("als").arrays) is None


@pytest.mark.parametrize(("noise", "recalled"), [(0.0, True), (1.0, False)])
def test_own_items_are_recalled_where_people_come_back_for_them(
    store: ModelStore, noise: float, recalled: bool
):
    log = market(noise)
    rows = run(store, replace(log, users=log.subjects.astype(np.uint64) + 1), "e1")
    assert bool(store.load("tastes").arrays["recalled"]) is recalled
    asked = rows["tastes"].metrics["next_item"]
    assert (asked["lead at least"] > 0) is recalled
    assert asked["questions"] > 100
    run(store, log, "e2")  # the same, by people who never logged in
    assert not store.load("tastes").arrays["recalled"]


def test_own_items_are_judged_by_those_who_have_any(store: ModelStore):
    log = market()
    keys = np.where(log.subjects % 7 == 0, log.subjects + 1, NOBODY).astype(np.uint64)
    rows = run(store, replace(log, users=keys), "e1")  # one in seven is logged in
    assert store.load("tastes").arrays["recalled"]
    asked = rows["tastes"].metrics["next_item"]
    assert asked["hit_rate"] > 0.9
    assert 100 <= asked["questions"] < rows["pairs"].metrics["next_item"]["questions"] / 5


def test_a_log_that_lost_its_sense_does_not_replace_what_is_in_use(store: ModelStore):
    run(store, market(), "e1")
    rows = run(store, market(noise=1.0), "e2")
    for name in ("pairs", "forward", "als"):
        assert rows[name].state == "failed its gate"
        assert store.current(name) == "000001"
        assert "in use (000001)" in store.card(name, "000002").gate.reason
    assert rows["history"].state == "trained"


def test_stages_of_another_moment_stand_beside_and_have_no_gate(store: ModelStore):
    rows = run(store, market(noise=1.0), "e1", suffix="_past")
    assert list(rows) == [f"{n}_past" for n in (SIGNALS, *NAMES)]
    assert "next_item" not in rows["pairs_past"].metrics


def card(hits: float, error: float, asked: int) -> Card:
    gate = Gate(passed=True, reason="")
    metrics = {"next_item": {"hit_rate": hits, "error": error, "questions": asked}}
    return Card(stage="als", key="k", code=1, created=0, gate=gate, metrics=metrics)


@pytest.mark.parametrize(
    ("hits", "in_use", "passed"),
    [
        (0.10, None, True),
        (0.10, card(0.11, 0.004, 2000), True),
        (0.08, card(0.11, 0.004, 2000), False),
        (0.00, card(0.11, 0.09, 12), True),
        (0.20, card(0.10, 0.004, 2000), True),
    ],
)
def test_only_a_clear_loss_fails(hits: float, in_use: Card | None, passed: bool):
    made = Made(metrics={"next_item": {"hit_rate": hits, "error": 0.004, "questions": 2000}})
    assert judge(made, in_use).passed is passed


def test_too_few_visits_decide_nothing():
    made = Made(metrics={"next_item": {"hit_rate": 0.0, "error": 0.0, "questions": 20}})
    assert judge(made, card(0.5, 0.01, 2000)).passed


def test_a_marketplace_without_events_is_no_error(store: ModelStore):
    empty = market().before(0)
    stages = behaviour_stages(empty, ROWS, 10**15, SETTINGS, {"events": "none"}, threads=1)
    rows = run_stages(stages, store, seed=1, progress=SilentProgress(), clock=lambda: 1)
    assert {r.stage for r in rows if r.state != "trained"} == {SIGNALS}
