"""From scores without a scale to probabilities: isotonic regression (Zadrozny and Elkan 2002).

People look and buy differently in an app and on the web, so a platform has a curve of its own where
it has shown enough for one that predicts better than everybody's together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.impressions import PLATFORMS
from kindred.schemas.ranking import Doubles, Mask, Rows

LEAST = 1e-6
"""No probability is smaller: its logarithm enters the blend."""
MOST_KNOTS = 500
"""Parts of equal size that a curve is fitted to."""
RESAMPLED = 30
"""Curves that are averaged."""
BINS = 20
"""Parts of equal size that an error is measured in."""
PLATFORM_POSITIVES = 50
"""Positive rows of a platform from which a curve of its own is tried."""
ALL = "all"
"""Name of the curve for everybody, in reports."""

Platforms = NDArray[np.int8]
"""Code in `impressions.PLATFORMS`, -1 unknown."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A rising curve, kept by its knots and linear between them; and some platforms' own."""

    scores: Doubles
    probabilities: Doubles
    platforms: Mapping[str, Calibration] = field(default_factory=dict)
    """By platform, where it has one of its own"""

    def probability(
        self, scores: NDArray[np.floating], platforms: Platforms | None = None
    ) -> Doubles:
        """float64[n] in (0, 1] for float[n] scores; flat beyond the outer knots.

        `platforms` int8[n]: where each was shown; None, or -1, is the curve for everybody.
        """
        p: Doubles = np.interp(scores, self.scores, self.probabilities)
        if platforms is not None:
            for name, curve in self.platforms.items():
                mine = platforms == PLATFORMS.index(name)
                if mine.any():
                    p[mine] = np.interp(scores[mine], curve.scores, curve.probabilities)
        return p.clip(LEAST, 1.0)

    def moved(self, before: Doubles, after: Doubles) -> Calibration:
        """The same curves on another scale: rising scores `before`, float64[n], became `after`."""
        return Calibration(
            np.interp(self.scores, before, after),
            self.probabilities,
            {name: curve.moved(before, after) for name, curve in self.platforms.items()},
        )

    def error(self, scores: Doubles, labels: Doubles, bins: int = BINS) -> float:
        """Expected calibration error: |mean p - mean label| over equal-count bins, weighted."""
        return expected_error(reliability(self.probability(scores), labels, bins))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `from_arrays` makes it of."""
        kept = {"calibration_scores": self.scores, "calibration_probabilities": self.probabilities}
        for name, curve in self.platforms.items():
            kept[f"calibration_scores_{name}"] = curve.scores
            kept[f"calibration_probabilities_{name}"] = curve.probabilities
        return kept

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Calibration:
        """The calibration that `arrays` has kept."""

        def knots(suffix: str) -> tuple[Doubles, Doubles]:
            names = f"calibration_scores{suffix}", f"calibration_probabilities{suffix}"
            return arrays[names[0]], arrays[names[1]]

        own = [name for name in PLATFORMS if f"calibration_scores_{name}" in arrays]
        return cls(*knots(""), {name: cls(*knots(f"_{name}")) for name in own})


def reliability(p: Doubles, labels: Doubles, bins: int = BINS) -> list[dict[str, float]]:
    """The reliability diagram: of parts of equal size by rising p, the means of p and of labels."""
    order = np.argsort(p, kind="stable")
    return [
        {"predicted": float(p[i].mean()), "observed": float(labels[i].mean()), "rows": len(i)}
        for i in np.array_split(order, bins)
        if len(i)
    ]


def expected_error(diagram: list[dict[str, float]]) -> float:
    """Expected calibration error of a reliability diagram: its gaps, weighted by rows."""
    rows = sum(part["rows"] for part in diagram)
    gaps = sum(part["rows"] * abs(part["predicted"] - part["observed"]) for part in diagram)
    return float(gaps / max(rows, 1))


def fit_isotonic(scores: Doubles, labels: Doubles) -> Calibration:
    """A rising curve for float64[n] scores and 0/1 labels: isotonic regression, centred, averaged.

    The best rising curve in squares is a staircase, and items on one step would be ordered by their
    ad rates alone. So a step's value stands at its centre, with straight lines between (Oron and
    Flournoy 2017), and the curve is the mean of several over resampled rows, whose steps begin
    elsewhere (Breiman 1996): where scores differ, probabilities do.
    """
    from sklearn.isotonic import isotonic_regression

    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, MOST_KNOTS) if len(part)]
    first = np.array([part[0] for part in parts])
    # Equal scores fall together, whichever parts their rows came into.
    at = np.maximum(np.searchsorted(scores[first], scores, side="right") - 1, 0)
    held, part = np.unique(at, return_inverse=True)
    rows = np.bincount(part).astype(np.float64)
    centre = np.bincount(part, scores) / rows
    positive = np.bincount(part, labels).astype(np.float64)
    rng = np.random.default_rng(RESAMPLED)
    curve = np.zeros(len(held))
    for _ in range(RESAMPLED):
        bought = rng.poisson(positive).astype(np.float64)
        seen = bought + rng.poisson(rows - positive)
        some = seen > 0
        if not some.any():
            some, seen, bought = rows > 0, rows, np.asarray(positive, np.float64)
        value = isotonic_regression(
            bought[some] / seen[some], sample_weight=seen[some], y_min=0, y_max=1
        )
        curve += np.interp(centre, *_centred(centre[some], value, seen[some]))
    return Calibration(centre, curve / RESAMPLED)


def _centred(scores: Doubles, values: Doubles, weights: Doubles) -> tuple[Doubles, Doubles]:
    """(float64[m], float64[m]): centre and value of each step of a rising staircase."""
    step = np.cumsum(np.diff(values, prepend=values[0]) > 0)
    total = np.bincount(step, weights)
    return np.bincount(step, scores * weights) / total, np.bincount(step, values * weights) / total


def fit_by_platform(
    scores: Doubles, labels: Doubles, owners: Rows, platforms: Platforms
) -> tuple[Calibration, dict[str, Any]]:
    """(calibration, report) of n rows: scores, 0/1 labels, the list of each, where it was shown.

    What is reported is cross-fitted: the curves of every other list predict the lists between. A
    platform gets a curve of its own where it has positives enough and that curve's likelihood of
    the lists between is higher than the joint one's.
    """
    joint, report = fit_isotonic(scores, labels), {}
    everywhere = _between(scores, labels, owners, np.ones(len(scores), np.bool_))
    best, own = everywhere, {}
    for code, name in enumerate(PLATFORMS):
        mine = platforms == code
        if not mine.any():
            continue
        told: dict[str, Any] = {"rows": int(mine.sum()), "positives": int(labels[mine].sum())}
        if not np.isnan(everywhere).any() and labels[mine].sum() >= PLATFORM_POSITIVES:
            alone = _between(scores, labels, owners, mine)
            losses = [_log_loss(p[mine], labels[mine]) for p in (everywhere, alone)]
            told["log loss, joint and own curve"] = [round(x, 6) for x in losses]
            if losses[1] < losses[0]:
                own[name] = fit_isotonic(scores[mine], labels[mine])
                best = np.where(mine, alone, best)
        report[name] = {**told, "own curve": name in own, **_judged(best[mine], labels[mine])}
    whole = {"rows": len(scores), "positives": int(labels.sum()), **_judged(best, labels)}
    return Calibration(joint.scores, joint.probabilities, own), {ALL: whole, **report}


def _between(scores: Doubles, labels: Doubles, owners: Rows, of: Mask) -> Doubles:
    """float64[n]: each row of the lists `of` predicted by a curve of every other of these lists.

    NaN elsewhere, and throughout where a half has nothing to learn from.
    """
    p = np.full(len(scores), np.nan)
    even = owners % 2 == 0
    for half in (even, ~even):
        learned, asked = of & half, of & ~half
        if not labels[learned].any():
            return np.full(len(scores), np.nan)
        p[asked] = fit_isotonic(scores[learned], labels[learned]).probability(scores[asked])
    return p


def _log_loss(p: Doubles, labels: Doubles) -> float:
    p = p.clip(LEAST, 1 - LEAST)
    return float(-np.mean(labels * np.log(p) + (1 - labels) * np.log1p(-p)))


def _judged(p: Doubles, labels: Doubles) -> dict[str, Any]:
    if not len(p) or np.isnan(p).any():
        return {"expected error": None, "reliability": []}
    diagram = reliability(p, labels)
    return {
        "expected error": round(expected_error(diagram), 6),
        "reliability": [{k: round(v, 6) for k, v in part.items()} for part in diagram],
    }
