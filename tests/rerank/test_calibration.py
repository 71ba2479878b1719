"""Scores become probabilities that mean what they say."""

from __future__ import annotations

import numpy as np

from kindred.indexer.behaviour.impressions import PLATFORMS
from kindred.rerank.calibration import (
    LEAST,
    Calibration,
    expected_error,
    fit_by_platform,
    fit_isotonic,
    reliability,
)


def test_a_known_curve_is_found_and_the_error_is_small_on_fresh_data():
    rng = np.random.default_rng(0)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        score = rng.normal(0, 2, n)
        return score, (rng.random(n) < 1 / (1 + np.exp(3 - score))).astype(float)

    curve = fit_isotonic(*draw(60_000))
    assert curve.error(*draw(60_000)) < 0.01
    assert abs(curve.probability(np.array([3.0]))[0] - 0.5) < 0.05


def test_a_higher_score_never_means_a_lower_probability_and_none_is_zero():
    rng = np.random.default_rng(1)
    score = rng.normal(size=500)
    curve = fit_isotonic(score, (rng.random(500) < 0.1).astype(float))
    p = curve.probability(np.linspace(-10, 10, 400))
    assert np.all(np.diff(p) >= 0)
    assert p.min() >= LEAST
    assert p.max() <= 1


def market(lists: int, seed: int, steeper: float = 1.0) -> tuple[np.ndarray, ...]:
    """(score, label, owner, platform) of lists of ten, app lists bought from less and steeper."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(lists), 10)
    platform = (rng.random(lists) < 0.5).astype(np.int8)[owner]
    score = rng.normal(0, 1, len(owner))
    app = platform == PLATFORMS.index("app")
    odds = np.where(app, steeper * score - 2.5 - steeper, score - 2.5)
    label = (rng.random(len(owner)) < 1 / (1 + np.exp(-odds))).astype(float)
    return score, label, owner, platform


def test_platforms_that_differ_have_curves_of_their_own_and_small_errors() -> None:
    curve, report = fit_by_platform(*market(6000, 1, steeper=2.0))
    assert set(curve.platforms) == {"web", "app"}
    score, label, _, platform = market(6000, 2, steeper=2.0)
    for code, name in enumerate(PLATFORMS):
        mine = platform == code
        own = expected_error(reliability(curve.probability(score, platform)[mine], label[mine]))
        joint = expected_error(reliability(curve.probability(score)[mine], label[mine]))
        assert own < 0.01 < joint, name
        assert report[name]["own curve"]
        assert report[name]["expected error"] < 0.01
    assert report["all"]["expected error"] < 0.01
    assert report["all"]["rows"] == sum(p["rows"] for p in report["all"]["reliability"])


def test_a_platform_with_little_or_nothing_of_its_own_takes_everybodys_curve() -> None:
    score, label, owner, platform = market(300, 3)
    platform[owner >= 20] = PLATFORMS.index("web")
    curve, report = fit_by_platform(score, label, owner, platform)
    assert "app" not in curve.platforms
    assert not report["app"]["own curve"]
    p = curve.probability(score, platform)
    np.testing.assert_array_equal(p[platform == 1], curve.probability(score[platform == 1]))
    unknown = curve.probability(score, np.full(len(score), -1, np.int8))
    np.testing.assert_array_equal(unknown, curve.probability(score))


def test_lists_without_a_single_purchase_have_a_curve_and_no_error_to_report() -> None:
    score, label, owner, platform = market(20, 4)
    curve, report = fit_by_platform(score, np.zeros_like(label), owner, platform)
    assert report["all"]["expected error"] is None
    assert curve.probability(score).max() == LEAST


def test_curves_are_kept_by_platform_and_move_together_to_another_scale() -> None:
    score, label, owner, platform = market(3000, 5, steeper=2.0)
    curve, _ = fit_by_platform(score, label, owner, platform)
    again = Calibration.from_arrays(curve.arrays())
    assert set(again.platforms) == set(curve.platforms)
    np.testing.assert_array_equal(
        again.probability(score, platform), curve.probability(score, platform)
    )
    rising = np.sort(score)
    moved = curve.moved(rising, 3 * rising + 5)
    np.testing.assert_allclose(
        moved.probability(3 * score + 5, platform), curve.probability(score, platform), atol=1e-9
    )
    old = {k: v for k, v in curve.arrays().items() if not k.endswith(("web", "app"))}
    assert not Calibration.from_arrays(old).platforms
