"""Experiments on signals and places: small runs, and markets whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kindred.experiments import places, signals
from kindred.experiments.marketsim.behaviour_knobs import BehaviourKnobs, VisitorKnobs
from kindred.experiments.marketsim.knobs import MarketKnobs
from kindred.experiments.simulated import SimulatedLog, simulated_log
from kindred.indexer.behaviour.als import AlsModel, train_als
from kindred.indexer.behaviour.interactions import Interactions
from kindred.schemas.event import ACTION_CODE
from kindred.schemas.settings import AlsSettings, PlaceSettings, SignalSettings

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SIGNALS = SignalSettings()
SMALL = AlsSettings(embedding_size=8, iterations=4)
STARTED = 1_700_000_000_000_000
HOUR = 3_600_000_000


@pytest.fixture(scope="module")
def market() -> SimulatedLog:
    return simulated_log(
        MarketKnobs(items=400, states=("VT",), sellers_per_item=0.05),
        BehaviourKnobs(visitors=VisitorKnobs(account_share=1.0, logged_in_share=1.0)),
        visitors=150,
        visits=1_500,
        seed=3,
    )


def test_a_simulated_log_is_what_its_events_say(market: SimulatedLog):
    known = market.events.filter(pl.col("entity_kind") == "item")
    assert len(market.log) == known.height
    assert len(market.postcodes) == 400
    home = market.world.places.postcode
    told = known.select("user_id", "postcode").unique()
    assert set(market.homes) == set(told["postcode"].to_list())
    for user, postcode in told.head(20).iter_rows():
        who = int(user.rsplit("-", 1)[1])
        assert home[market.visitors.place[who]] == postcode


def test_the_signals_report_asks_all_variants_the_same(market: SimulatedLog):
    live = signals.live_at_cut(market, SIGNALS)
    report = signals.compare_signals({3: (market.log, live)}, SMALL, SIGNALS, 1)
    assert set(report["tasks"]) == {"user → item", "user → item, converted", "item → item"}
    task = report["tasks"]["user → item"]
    assert task["questions"] > 100
    assert set(task["HR@10"]) == {
        signals.VIEWS, signals.ALIKE, signals.GIVEN, signals.COUNTED,
    }  # fmt: skip
    lead = task["leads"][signals.COUNTED]
    assert lead["difference"][0] == pytest.approx(
        task["HR@10"][signals.COUNTED] - task["HR@10"][signals.VIEWS], abs=2e-5
    )
    assert lead["difference"][1] <= lead["difference"][0] <= lead["difference"][2]


def test_signals_that_say_everything_win(market: SimulatedLog):
    """Views at random, favourites and messages within one of eight shelves of 50 items each."""
    draw = np.random.default_rng(1)
    n, users = 12_000, 200
    subject = draw.integers(0, users, n).astype(np.int32)
    acts = draw.random(n) < 0.4
    row = np.where(acts, subject % 8 * 50 + draw.integers(0, 50, n), draw.integers(0, 400, n))
    code = np.where(draw.random(n) < 0.5, ACTION_CODE["favourite"], ACTION_CODE["send_message"])
    log = Interactions(
        subject=subject,
        session=(subject * 50 + np.arange(n) * 50 // n).astype(np.int32),
        row=row.astype(np.int64),
        action=np.where(acts, code, ACTION_CODE["view"]).astype(np.int16),
        ts=STARTED + np.arange(n) * HOUR // 10,
        subjects=np.arange(users, dtype=np.uint64),
    )
    asked = signals.ask(log, np.ones(400, bool), SMALL, SIGNALS, 1, 1)
    hits = asked["user → item, converted"].hits
    assert hits[signals.COUNTED].mean() > hits[signals.VIEWS].mean() + 0.1
    assert hits[signals.COUNTED].mean() > 0.15


def test_ranks_are_those_of_the_dense_product_among_what_is_new_and_live():
    draw = np.random.default_rng(2)
    n = 600
    log = Interactions(
        subject=draw.integers(0, 30, n).astype(np.int32),
        session=np.arange(n, dtype=np.int32),
        row=draw.integers(0, 50, n).astype(np.int64),
        action=np.full(n, ACTION_CODE["view"], np.int16),
        ts=np.arange(n, dtype=np.int64),
        subjects=np.arange(31, dtype=np.uint64),
    )
    live = draw.random(50) < 0.8
    model: AlsModel = train_als(log, 50, SMALL, SIGNALS, 1, 1)
    visitor = np.array([0, 3, 3, 30, 7], np.int64)
    seen = {(s, r) for s, r in zip(log.subject.tolist(), log.row.tolist(), strict=True)}
    target = np.array([
        next(r for r in range(50) if live[r] and (v, r) not in seen) for v in visitor.tolist()
    ])  # fmt: skip
    ranks = signals.user_ranks(model, log, live, visitor, target)
    for q, (v, t) in enumerate(zip(visitor.tolist(), target.tolist(), strict=True)):
        if v == 30:
            assert ranks[q] == 50
            continue
        scores = model.items @ model.users[np.flatnonzero(model.subjects == v)[0]]
        rivals = [r for r in range(50) if live[r] and (v, r) not in seen]
        assert ranks[q] == sum(scores[r] > scores[t] for r in rivals)


def test_the_places_report_has_a_ceiling_and_a_verdict(market: SimulatedLog):
    settings = PlaceSettings(embedding_size=4, support=5)
    report = places.on_marketsim({3: market}, settings, SIGNALS)
    for question in ("any place", "same category"):
        found = report[question]
        assert found["questions"] > 10
        mean = found["factors - distance"][0]
        assert mean == pytest.approx(found["AUC factors"][0] - found["AUC distance"][0], abs=2e-5)
    lead = report["same category"]["factors - distance"]
    assert report["passes"] is (lead[0] >= places.THRESHOLD and lead[1] > 0)


def trips(seed: int, towns: int = 6) -> pl.DataFrame:
    """Households that shop in the five stores of their town, none bigger than another."""
    draw = np.random.default_rng(seed)
    n = 6_000
    household = draw.integers(0, 900, n)
    store = household % towns * 5 + draw.integers(0, 5, n)
    ts = STARTED + np.arange(n) * HOUR
    return pl.DataFrame({"household_id": household, "store_id": store, "ts": ts})


def test_stores_of_one_town_are_found_without_coordinates():
    report = places.on_stores(trips(1), PlaceSettings(embedding_size=8, regularization=3.0), (1, 2))
    assert report["stores"] == 30
    assert report["AUC factors"][0] > 0.9
    assert abs(report["AUC popularity"][0] - 0.5) < 0.1
    assert report["factors - popularity"][1] > 0.2


def test_stays_are_asked_by_cell():
    told = trips(2).rename({"household_id": "guest"})
    stays = told.with_columns(
        latitude=42 + 0.3 * (pl.col("store_id") // 5),
        longitude=-73 + 0.02 * (pl.col("store_id") % 5),
    )
    report = places.on_stays(stays, PlaceSettings(embedding_size=8, regularization=3.0), (1,))
    assert report["cells"] == 30
    assert report["AUC distance"][0] > 0.95
    shuffled = stays.with_columns(pl.col("guest").shuffle(seed=1))
    chance = places.on_stays(shuffled, PlaceSettings(embedding_size=8), (1,))
    assert abs(chance["AUC factors"][0] - 0.5) < 0.06


@pytest.mark.skipif(not (DATA / "airbnb_albany").exists(), reason="no ../shared/data/airbnb_albany")
def test_the_stays_of_albany_are_read():
    stays = places.read_stays(DATA / "airbnb_albany")
    assert stays.height > 25_000
    assert stays["latitude"].is_between(42, 43).all()
    log, count = places.visits_of(stays.with_columns(cell=pl.lit("x")), "guest", "cell")
    assert count == 1
    assert (np.diff(log.ts) >= 0).all()
    assert replace(log, row=log.row).subject.max() + 1 == len(log.subjects)
