"""Scores of a ranker that does not serve: loaded late, logged beside, compared with what sold."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy.stats import kendalltau

from kindred.events.decision_tables import StoredDecision
from kindred.indexer.models import ModelStore
from kindred.rerank.features import FEATURES
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.shadow import CANDIDATE, LOOK_EVERY_S, ShadowRanker, compare, kendall
from kindred.schemas.decision import CandidateColumns, Decision, DecisionContext, Shown
from kindred.schemas.model import Card, Gate
from kindred.schemas.query import Subject


def ranker() -> Ranker:
    """Few trees over random features."""
    import lightgbm

    random = np.random.default_rng(3)
    data = lightgbm.Dataset(
        random.random((200, len(FEATURES))), random.integers(0, 2, 200),
        feature_name=list(FEATURES),
    )  # fmt: skip
    params = {"objective": "binary", "verbosity": -1, "min_data_in_leaf": 5, "num_threads": 1}
    return Ranker.of(lightgbm.train(params, data, 3))


def publish(store: ModelStore, *, passed: bool, names: tuple[str, ...] = FEATURES) -> str:
    arrays, texts = ranker().to_artefact()
    arrays |= {"calibration_scores": np.zeros(1), "calibration_probabilities": np.ones(1)}
    gate = Gate(passed=passed, reason="told to")
    card = Card(
        stage="ranker", key=f"{len(store.versions('ranker'))}", code=1, gate=gate, created=1
    )
    return store.publish("ranker", card, arrays, {**texts, "features": "\n".join(names)})


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path)


ROWS = np.random.default_rng(5).random((4, len(FEATURES))).astype(np.float32)


def test_the_candidate_is_the_newest_version_behind_the_serving_one(store: ModelStore):
    serving = publish(store, passed=True)
    now = [0.0]
    shadow = ShadowRanker(store, CANDIDATE, clock=lambda: now[0])
    assert shadow.score(ROWS, serving) is None
    refused = publish(store, passed=False)
    assert shadow.score(ROWS, serving) is None  # it looks now and then only
    now[0] += LOOK_EVERY_S
    found = shadow.score(ROWS, serving)
    assert found is not None
    assert found.version == refused
    np.testing.assert_array_equal(found.scores, ranker().score(ROWS))


def test_a_version_that_serves_shadows_nobody(store: ModelStore):
    serving = publish(store, passed=True)
    shadow = ShadowRanker(store, serving)
    assert shadow.score(ROWS, serving) is None
    assert shadow.score(ROWS, "000009") is not None


@pytest.mark.parametrize("wanted", ["000007", CANDIDATE])
def test_a_version_that_is_gone_or_reads_other_features_costs_its_scores_alone(
    store: ModelStore, wanted: str
):
    serving = publish(store, passed=True)
    publish(store, passed=False, names=("other",))
    assert ShadowRanker(store, wanted).score(ROWS, serving) is None


def decision(name: str, serving: list[float], shadow: list[float], shown: int) -> StoredDecision:
    items = [f"item-{n}" for n in range(len(serving))]
    held = CandidateColumns(
        item_id=items, sources=[1] * len(items), recall_rank=[1] * len(items),
        merged=[0.0] * len(items), score=serving, shadow=shadow, ad_rate_bp=[0] * len(items),
        price_minor=[None] * len(items), formats=[0] * len(items), seller_id=[None] * len(items),
    )  # fmt: skip
    told = Shown(
        item_id=items[:shown], propensity=[1.0] * shown, explore=[False] * shown,
        sponsored=[False] * shown,
    )  # fmt: skip
    made = Decision(
        decision_id=name, occurred_at=1, surface="s", subject=Subject(), shown=told,
        context=DecisionContext(), candidates=held,
        versions={"ranker": "000001", "ranker_shadow": "000002"},
    )  # fmt: skip
    return StoredDecision(made, None)


def test_tau_is_that_of_scipy_ties_and_all():
    random = np.random.default_rng(1)
    for n in (2, 5, 30):
        one, other = random.integers(0, 6, (2, n)).astype(float)
        expected = kendalltau(one, other).statistic
        if np.isfinite(expected):
            assert kendall(one, other) == pytest.approx(expected)
    assert kendall(np.zeros(1), np.zeros(1)) == 1.0


def test_orders_and_the_places_of_what_sold_are_compared():
    same = decision("same", [4.0, 3.0, 2.0, 1.0], [8.0, 6.0, 4.0, 2.0], 3)
    turned = decision("turned", [4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0], 3)
    bought = {"turned": frozenset({"item-2", "item-3"}), "else": frozenset({"item-0"})}
    [found] = compare([same, turned], bought)
    assert (found.serving, found.shadow, found.decisions) == ("000001", "000002", 2)
    assert found.tau == 0.0
    assert found.overlap["3"] == pytest.approx((1 + 2 / 3) / 2)
    assert found.same_first == 0.5
    # item-3 was not shown; item-2 stood third by the serving ranker, first by the shadow.
    assert found.purchases == 1
    assert found.purchase_rank == (3.0, 1.0)
    assert found.purchase_rank_lead == (2.0, 2.0, 2.0)


def test_decisions_without_both_scores_say_nothing():
    plain = decision("plain", [1.0], [1.0], 1)
    held = CandidateColumns(
        item_id=["a"], sources=[1], recall_rank=[1], merged=[0.0], ad_rate_bp=[0],
        price_minor=[None], formats=[0], seller_id=[None],
    )  # fmt: skip
    without = StoredDecision(msgspec.structs.replace(plain.decision, candidates=held), None)
    assert compare([without], {}) == []
