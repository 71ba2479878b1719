"""From scores without a scale to probabilities: isotonic regression (Zadrozny and Elkan 2002)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.schemas.ranking import Doubles

LEAST = 1e-6
"""No probability is smaller: its logarithm enters the blend."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A rising step curve, kept by its knots; between knots it is linear."""

    scores: Doubles
    probabilities: Doubles

    def probability(self, scores: NDArray[np.floating]) -> Doubles:
        """float64[n] in (0, 1] for float[n] scores; flat beyond the outer knots."""
        p: Doubles = np.interp(scores, self.scores, self.probabilities)
        return p.clip(LEAST, 1.0)

    def error(self, scores: Doubles, labels: Doubles, bins: int = 20) -> float:
        """Expected calibration error: |mean p - mean label| over equal-count bins, weighted."""
        p = self.probability(scores)
        order = np.argsort(p, kind="stable")
        parts = np.array_split(order, bins)
        gaps = [len(i) * abs(p[i].mean() - labels[i].mean()) for i in parts if len(i)]
        return float(sum(gaps) / max(len(p), 1))


def fit_isotonic(scores: Doubles, labels: Doubles) -> Calibration:
    """The best rising curve in squares for float64[n] scores and 0/1 labels."""
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(out_of_bounds="clip")
    model.fit(scores, labels)
    return Calibration(
        np.asarray(model.X_thresholds_, np.float64), np.asarray(model.y_thresholds_, np.float64)
    )
