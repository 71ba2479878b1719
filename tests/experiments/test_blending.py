"""Frontiers of blends: the market's truth, hand-made frontiers, lists from the log, the picture."""

from __future__ import annotations

from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from logged_decisions import NOW, decided

from kindred.api.blending import picture
from kindred.api.cli.evaluating_blend import verdict_lines
from kindred.events.decision_tables import to_columns
from kindred.experiments.blending.frontier import (
    BAND,
    EXPECTED,
    EXPECTED_SERVED,
    EXPONENTS,
    ORACLE,
    POWER,
    RESAMPLES,
    SERVED,
    WORTHS,
    Judge,
    Point,
    Sums,
    blended,
    by_key,
    summed,
)
from kindred.experiments.blending.logged import FEWEST, logged_lists
from kindred.experiments.blending.market import (
    PRICE,
    Learned,
    TrueMarket,
    purchase_chance,
    true_lists,
)
from kindred.experiments.blending.pricing import FACTORS, price_rows, repriced
from kindred.experiments.blending.report import on_log, simulated
from kindred.experiments.blending.verdicts import concave, dominated, keeps
from kindred.experiments.drawing import Chart, Line, svg, ticks
from kindred.experiments.marketsim.behaviour import draw_deeds
from kindred.experiments.marketsim.behaviour_knobs import ActionKnobs
from kindred.rerank.blend import with_usual_price
from kindred.rerank.calibration import Calibration
from kindred.rerank.lambdamart import Ranker
from kindred.schemas.decision import CandidateColumns
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import BlendSettings, KindredSettings, RankerSettings

QUIET = SilentProgress()


def test_the_chance_of_a_purchase_is_that_of_the_markets_own_draws() -> None:
    rng = np.random.default_rng(1)
    knobs = ActionKnobs()
    for log_odds in (-2.0, 0.0, 1.5):
        for formats in range(1, 8):
            n = 60_000
            worth = np.full(n, log_odds)
            bits = np.full(n, formats)
            drawn = draw_deeds(worth, bits, np.zeros(n, bool), knobs, rng).buys.mean()
            exact = purchase_chance(worth[:1], bits[:1], knobs)[0]
            assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact / n) + 1e-4)


@pytest.fixture(scope="module")
def market() -> TrueMarket:
    return TrueMarket.make(700, 5)


def test_a_list_holds_an_item_once_and_true_chances_order_it_best(market: TrueMarket) -> None:
    lists = true_lists(market, 80, np.random.default_rng(2))
    assert all(len(set(row)) == len(row) for row in lists.rows.tolist())
    judge = Judge(market.columns, lists.rows, lists.chance, np.ones((80, 6)))
    settings = BlendSettings(formula="power", b=0.0, floor=0.0, seller_cap=0, sponsored_max=10_000)
    best = blended(judge, lists.candidates, lists.chance, settings, POWER)
    np.testing.assert_allclose(best.ndcg, 1.0)
    same = by_key(judge, lists.chance, "by hand", 0)
    np.testing.assert_allclose(same.revenue, best.revenue)
    paid = blended(
        judge, lists.candidates, lists.chance, msgspec.structs.replace(settings, b=1.0), POWER
    )
    assert paid.ndcg.mean() < 1
    assert paid.revenue.mean() > best.revenue.mean()
    assert (paid.purchases <= best.purchases + 1e-12).all()


def frontiers(**families: list[tuple[float, float]]) -> Sums:
    """Hand-made points (ndcg, revenue) of each family, without any doubt."""
    none = np.zeros(1)
    of = [
        Point(name, float(n), none, none, none)
        for name, points in families.items()
        for n in range(len(points))
    ]
    flat = np.array([p for points in families.values() for p in points])
    whole = np.broadcast_to(flat, (1 + RESAMPLES, *flat.shape))
    return Sums(of, whole[:, :, 0], np.zeros(whole.shape[:2]), whole[:, :, 1])


def test_a_frontier_dominates_what_earns_less_at_the_same_ndcg() -> None:
    line = [(0.0, 0.0), (-0.1, 0.2), (-0.3, 0.3)]
    sums = frontiers(**{
        POWER: line, "below": [(-0.05, 0.09), (-0.2, 0.24), (-0.5, 0.29)],
        "above": [(-0.05, 0.11)], "mixed": [(-0.05, 0.11), (-0.2, 0.1)],
    })  # fmt: skip
    assert dominated(sums, "below")["verdict"] == "dominated"
    assert [p["revenue ahead"][0] for p in dominated(sums, "below")["at"]] == pytest.approx(
        [0.01, 0.01, 0.01]
    )
    assert dominated(sums, "above")["verdict"] == "not dominated"
    assert dominated(sums, "mixed")["ahead"] == 1
    weak = frontiers(**{POWER: [(0.0, 0.0), (-0.1, 0.2)], "late": [(-0.2, 0.5)]})
    assert dominated(weak, POWER, "late")["at"][0]["revenue ahead"][0] == pytest.approx(0.05)
    assert dominated(weak, POWER, "late")["points"] == 1, "nothing is ahead where no ad counts"
    assert concave(sums)["passed"]
    assert not concave(frontiers(**{POWER: [(0.0, 0.0), (-0.1, 0.1), (-0.2, 0.3)]}))["passed"]


def test_the_exponent_to_keep_is_the_largest_that_keeps_the_purchases() -> None:
    bought = {0.0: 1.0, 0.1: 0.995, 0.25: 0.97}
    many = [
        Point(POWER, b, np.ones(200), np.full(200, kept), np.ones(200))
        for b, kept in bought.items()
    ]
    told = keeps(summed(many, np.arange(200), 1), POWER)
    assert told["strength"] == told["strength, with 95 % confidence"] == 0.1
    assert told["purchases"]["0.25"] == pytest.approx([0.97] * 3)


@pytest.fixture(scope="module")
def told() -> dict:
    """A small simulated report."""
    settings = KindredSettings(ranker=RankerSettings(trees=20, min_data_in_leaf=20))
    return simulated(settings, QUIET, seeds=[1, 2], items=700, lists=60, training_lists=400, k=6)


def test_a_simulated_report_has_every_family_with_intervals_and_verdicts(told: dict) -> None:
    rows = {(r["family"], r["strength"]): r for r in told["frontier"]}
    base = rows[POWER, 0.0]
    assert base["ndcg"] == base["revenue"] == base["purchases"] == [0.0, 0.0, 0.0]
    assert {s for f, s in rows if f == SERVED} == set(EXPONENTS)
    assert {s for f, s in rows if f == EXPECTED_SERVED} == set(WORTHS)
    for measure in ("ndcg", "purchases", "revenue"):
        assert rows[EXPECTED, 0.0][measure] == rows[POWER, 0.0][measure]
        assert rows[EXPECTED_SERVED, 0.0][measure] == rows[SERVED, 0.0][measure]
    assert rows[ORACLE, 0.0]["ndcg"][0] > 0, "the truth orders better than any ranker"
    assert rows[EXPECTED, 4.0]["revenue"][0] > rows[EXPECTED, 0.5]["revenue"][0] > 0
    assert rows[POWER, 1.0]["revenue"][0] > rows[POWER, 0.1]["revenue"][0] > 0
    assert any(f == BAND for f, _ in rows)
    assert len(told["runs"]) == len(told["by seed"]) == 2
    prices = {(r["order"], r["price"]): r for r in told["repriced"]}
    assert {order for order, _ in prices} == {"probability", "power", "expected_value"}
    assert all(prices[order, 1.0]["sales"] == [0.0, 0.0, 0.0] for order, _ in prices)
    lines = verdict_lines(told["verdicts"])
    assert any("keeps 99 %" in line for line in lines)
    report = {"simulated": told, "logged": None, "ranker": None}
    ElementTree.fromstring(picture(report))


@pytest.mark.parametrize("sees_price", [True, False])
def test_a_dearer_item_is_moved_by_its_fee_and_by_what_the_ranker_thinks_of_its_price(
    market: TrueMarket, sees_price: bool
) -> None:
    class OfFitAndPrice(Ranker):
        def score(self, features: np.ndarray) -> np.ndarray:
            return np.asarray(0.5 * features[:, 0] - 3.0 * sees_price * features[:, PRICE], float)

    scores = np.linspace(-20, 20, 400)
    curve = Calibration(scores, 0.2 / (1 + np.exp(-scores)))
    learned = Learned(OfFitAndPrice.__new__(OfFitAndPrice), curve, {}, {})
    lists = true_lists(market, 300, np.random.default_rng(8))
    look = np.tile(1 / np.arange(1.0, 7.0), (300, 1))
    for a in (0.0, 4.0):
        settings = with_usual_price(BlendSettings(a=a), market.columns)
        chance = np.random.default_rng(1)
        visitor, told = repriced(market, learned, lists, look, settings, chance)
        rows = {(r["order"], r["price"]): r for r in price_rows(visitor, told, 1, 20)}
        rising = sorted(FACTORS)
        plain = [rows["probability", f]["looks"][0] for f in rising]
        by_value = [rows["expected_value", f]["looks"][0] for f in rising]
        if a == 0:
            assert by_value == plain
        elif not sees_price:
            assert by_value == sorted(by_value)
            assert by_value[-1] > 0, "a ranker that does not see the price pays for it"
        assert plain == sorted(plain, reverse=True)
        assert (plain[-1] < 0) == sees_price
        sales = [rows["probability", f]["sales"][0] for f in rising]
        assert sales == sorted(sales, reverse=True), "people buy less of what is dearer"


def test_logged_lists_are_blended_with_the_facts_of_their_moment() -> None:
    n = FEWEST + 5
    rng = np.random.default_rng(3)

    def one(name: str, at: int, scored: bool) -> tuple:
        held = CandidateColumns(
            item_id=[f"i{x}" for x in range(n)], sources=[1] * n,
            recall_rank=list(range(1, n + 1)), merged=[0.1] * n,
            score=rng.normal(size=n).tolist() if scored else None,
            probability=rng.uniform(0.01, 0.2, n).tolist() if scored else None,
            ad_rate_bp=[(x % 3) * 500 * (1 + at) for x in range(n)], price_minor=[1000 + at] * n,
            formats=[1] * n, seller_id=[f"s{x}" for x in range(n)],
        )  # fmt: skip
        logged = decided(name, NOW + at, candidates=held, policy="funnel")
        return logged.build("w", at + 1), None

    rows = [one("a", 0, scored=True), one("b", 1, scored=True), one("c", 2, scored=False)]
    found = logged_lists(to_columns(rows).lazy(), 10, None, None)
    assert found is not None
    assert found.rows.shape == (2, FEWEST), "what was never scored cannot be blended"
    assert (np.diff(found.probability, axis=1) <= 0).all()
    newest = found.rows[0]
    assert set(found.columns.price[newest].tolist()) == {1001.0}
    assert set(found.columns.ad_rate_bp[newest].tolist()) == {0, 1000, 2000}
    report = on_log(found, BlendSettings(), 6, 1)
    rows_of = {(r["family"], r["strength"]): r for r in report["frontier"]}
    assert rows_of[POWER, 0.25]["revenue"][0] > 0 > rows_of[POWER, 0.25]["ndcg"][0]
    assert logged_lists(to_columns(rows[2:]).lazy(), 10, None, None) is None


def test_lists_without_probabilities_take_them_from_the_ranker_in_use() -> None:
    from kindred.rerank.features import FEATURES, SPECIFICATION

    n = FEWEST
    features = np.random.default_rng(4).normal(size=(n, len(FEATURES))).astype("<f4")
    held = CandidateColumns(
        item_id=[f"i{x}" for x in range(n)], sources=[1] * n, recall_rank=list(range(1, n + 1)),
        merged=[0.1] * n, ad_rate_bp=[100] * n, price_minor=[None] * n, formats=[1] * n,
        seller_id=[None] * n,
    )  # fmt: skip
    logged = decided("a", candidates=held, policy="funnel", feature_spec=SPECIFICATION)
    frame = to_columns([(logged.build("w", 1), features.tobytes())])

    class FirstFeature(Ranker):
        def score(self, features: np.ndarray) -> np.ndarray:
            return features[:, 0].astype(np.float64)

    curve = Calibration(np.array([-3.0, 3.0]), np.array([0.01, 0.5]))
    found = logged_lists(frame.lazy(), 10, FirstFeature.__new__(FirstFeature), curve)
    assert found is not None
    assert found.rescored == 1
    np.testing.assert_allclose(found.score[0], -np.sort(-features[:, 0]), rtol=1e-6)
    np.testing.assert_allclose(found.probability, curve.probability(found.score))


def test_a_chart_is_a_picture_with_its_points_and_round_ticks() -> None:
    chart = Chart("a < b", "x", "y", [Line("one & two", [(0, 0), (1, 2)], ["0", "1"])])
    tree = ElementTree.fromstring(svg([chart, chart]))
    circles = [e for e in tree.iter() if e.tag.endswith("circle")]
    assert len(circles) == 4
    assert any((e.text or "") == "one & two" for e in tree.iter())
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(-0.013, 0.011) == [-0.01, -0.005, 0.0, 0.005, 0.01]
