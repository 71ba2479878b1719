"""The learning curve: what is drawn, what is compared, and how the effects are counted."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from shown_lists import ITEMS, joined, shown_log

from kindred.experiments.ranking.crossover import curve_report, relatives
from kindred.experiments.ranking.curve import (
    MarketCurve,
    Measured,
    draws_of,
    measure_market,
    sized,
)
from kindred.experiments.ranking.draws import (
    BINARY,
    NAMES,
    SERVED,
    TUNED,
    TUNED_NAMES,
    WEIGHTED,
    Journal,
)
from kindred.rerank.alternatives import ENSEMBLE
from kindred.rerank.judged import Parts, split_lists
from kindred.rerank.training import TooLittle
from kindred.schemas.settings import JoinSettings, RankerSettings

SETTINGS = RankerSettings(trees=8, learning_rate=0.2, min_data_in_leaf=20)


@pytest.fixture(scope="module")
def parts() -> Parts:
    held = joined(shown_log(1200))
    end = held.shown.newest + 1
    return split_lists(held, end, ITEMS, SETTINGS, JoinSettings(), seed=1)


def test_a_draw_holds_the_purchases_wanted_and_a_share_of_what_stops_the_training(parts: Parts):
    drawn = sized(parts, 30, np.random.default_rng(3))
    share = len(drawn.training.lists) / len(parts.training.lists)
    last = np.bincount(parts.training.lists.owners, parts.training.bought).max()
    assert 30 <= drawn.training.bought.sum() < 30 + last
    assert len(drawn.stopping.lists) / len(parts.stopping.lists) == pytest.approx(share, abs=0.02)
    assert drawn.judging is parts.judging
    other = sized(parts, 30, np.random.default_rng(4))
    assert not np.array_equal(other.training.lists.lists, drawn.training.lists.lists)


def test_more_purchases_than_there_are_are_refused(parts: Parts):
    with pytest.raises(TooLittle, match="fewer than"):
        sized(parts, 100_000, np.random.default_rng(1))
    with pytest.raises(TooLittle, match="simulate more impressions"):
        measure_market(parts, SETTINGS, [100_000], seed=1, draws=1, on_fit=lambda done: None)


def test_every_alternative_learns_and_is_judged_on_the_same_lists(parts: Parts):
    fits: list[int] = []
    curve = measure_market(
        parts, SETTINGS, [40, 100_000], seed=1, draws=2, threads=1, on_fit=fits.append
    )
    assert sum(fits) == 4
    assert not curve.tuned
    assert list(curve.sizes) == [40]
    assert set(curve.sizes[40]) == set(NAMES)
    for held in curve.sizes[40].values():
        assert held.ranks.shape == (2, parts.judging.bought_lists)
        assert not np.isnan(held.ranks).any()
    lists = parts.judging.lists
    middle = (np.diff(lists.offsets).mean() + 1) / 2
    assert curve.sizes[40][SERVED].ranks.mean() < middle - 0.3
    report = curve_report([curve], seed=1)
    whole = report["sizes"]["40"]["slices"]["all"]
    assert whole["judging lists with a purchase"] == parts.judging.bought_lists
    assert sum(report["sizes"]["40"]["auto chose"].values()) == 2
    assert whole["alternatives"][BINARY]["relative to binary"] == [0, 0, 0]
    web, app = (report["sizes"]["40"]["slices"][p] for p in ("web", "app"))
    split = web["judging lists with a purchase"] + app["judging lists with a purchase"]
    assert split == parts.judging.bought_lists
    random = report["sizes"]["40"]["slices"]["randomised"]["judging lists with a purchase"]
    assert 0 < random < parts.judging.bought_lists / 2


def test_draws_do_not_overlap_where_there_is_choice():
    assert [draws_of(size, 1700, 8) for size in (30, 300, 600, 1000, 1701)] == [8, 5, 2, 2, 0]
    assert draws_of(1000, 1700, 1) == 1


def test_weights_are_tuned_on_the_same_draw_and_a_journal_carries_on(parts: Parts, tmp_path: Path):
    pytest.importorskip("optuna", reason="the extra `tune` is not installed")
    settings = msgspec.structs.replace(SETTINGS, trees=4, tune_trials=3)

    def measured(most: int = 300) -> MarketCurve:
        return measure_market(
            parts, settings, [12, 300], seed=1, draws=1, tuned_draws=1, tuned_up_to=most,
            threads=1, journal=Journal(tmp_path), on_fit=lambda done: None,
        )  # fmt: skip

    curve = measured()
    assert {path.name for path in tmp_path.iterdir()} == {
        "12-0.npz", "12-0-tuned.npz", "300-0.npz", "300-0-tuned.npz"
    }  # fmt: skip
    few, enough = (curve.told_tuned[size][0] for size in (12, 300))
    assert few["trials"] == 0
    assert "purchases to tell weights apart" in few["why"]
    given, stood = curve.sizes[12][WEIGHTED], curve.tuned[12][TUNED]
    np.testing.assert_array_equal(given.ranks, stood.ranks)
    assert enough["trials"] == 3
    assert set(curve.tuned[300]) == set(TUNED_NAMES)
    report = curve_report([curve], seed=1)
    assert report["sizes"]["12"]["tuned"]["effects"][f"{TUNED} against {WEIGHTED}"] == [0, 0, 0]

    (tmp_path / "300-0.npz").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = measured()
    assert curve_report([again], seed=1) == report
    assert {n: (tmp_path / n).stat().st_mtime_ns for n in before} == before
    assert set(measured(most=299).tuned) == {12}


def made(effects: dict[int, float], *, market: int) -> MarketCurve:
    """Ranks of 400 visitors, those of all but `binary` larger by the effect."""
    rng = np.random.default_rng(market)
    base = rng.uniform(1, 10, (2, 400))
    sizes = {
        size: {
            name: Measured(base * (1 if name == BINARY else 1 + effect), np.zeros((2, 400)))
            for name in NAMES
        }
        for size, effect in effects.items()
    }
    return MarketCurve(
        seed=market,
        visitor=np.arange(400),
        platform=(np.arange(400) % 2).astype(np.int8),
        explore=np.arange(400) % 3 == 0,
        sizes=sizes,
        tuned={},
        told={
            size: [{"served": name, "purchases to choose by": size} for name in (BINARY, ENSEMBLE)]
            for size in effects
        },
        told_tuned={},
        facts={},
    )


def test_effects_are_relative_ranks_and_the_crossing_lies_between_the_sizes():
    effects = {30: -0.06, 100: -0.02, 300: 0.02}
    report = curve_report([made(effects, market=1), made(effects, market=2)], seed=5)
    for size, effect in effects.items():
        found = report["sizes"][str(size)]["slices"]["all"]["alternatives"]["pairs"]
        assert found["relative to binary"] == pytest.approx([effect] * 3, abs=1e-5)
        assert found["by draw"] == pytest.approx([effect] * 4, abs=1e-5)
    crossing = report["crossover"]["pairs"]
    assert crossing["stands"] == {"30": "ahead", "100": "ahead", "300": "behind"}
    assert crossing["loses its lead at"] == round(np.sqrt(100 * 300))
    passed = {v["claim"]: v["passed"] for v in report["verdicts"]}
    assert passed["ensemble against binary, 30 purchases"]
    assert passed["ensemble against binary, 100 purchases"]
    assert not passed["ensemble against binary, 300 purchases"]
    assert not passed["unweighted grades are worse than binary, 30 purchases"]
    assert passed["the ensemble's sign is equal on web and app, 100 purchases"]


def test_a_lead_of_a_few_visitors_is_within_chance():
    curve = made({30: 0.0}, market=1)
    lucky = curve.sizes[30]["pairs"].ranks
    lucky[:, :2] -= 0.5
    report = curve_report([curve], seed=5)
    assert report["crossover"]["pairs"]["stands"] == {"30": "within chance"}


def test_two_alternatives_are_compared_by_the_visitors_of_both():
    curve = made({30: -0.1}, market=1)
    every = np.ones(400, np.bool_)
    found = relatives(
        [(curve.sizes[30], curve.visitor, every)], [("pairs", BINARY), ("pairs", "ensemble")], 5
    )
    assert found["pairs", BINARY] == pytest.approx((-0.1, -0.1, -0.1))
    assert found["pairs", "ensemble"] == pytest.approx((0, 0, 0))
