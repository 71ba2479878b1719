"""Scores become probabilities that mean what they say."""

from __future__ import annotations

import numpy as np

from kindred.rerank.calibration import LEAST, fit_isotonic


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
