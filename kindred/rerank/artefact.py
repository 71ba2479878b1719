"""A trained ranker on disk: LightGBM's text, the calibration's knots, the feature specification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.rerank.calibration import Calibration
from kindred.rerank.features import FEATURES, SPECIFICATION
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.training import TrainedRanker
from kindred.schemas.errors import VersionMismatch


def to_artefact(trained: TrainedRanker) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """(arrays, texts) to keep."""
    arrays = {
        "calibration_scores": trained.calibration.scores,
        "calibration_probabilities": trained.calibration.probabilities,
        "depth": np.array([trained.ranker.depth]),
    }
    return arrays, {"booster": trained.ranker.text, "features": "\n".join(FEATURES)}


def from_artefact(
    arrays: Mapping[str, NDArray[Any]], texts: Mapping[str, str]
) -> tuple[Ranker, Calibration]:
    """What `to_artefact` kept. Raises VersionMismatch where the features are not today's."""
    if tuple(texts["features"].split("\n")) != FEATURES:
        raise VersionMismatch(
            f"the ranker was trained on other features than specification {SPECIFICATION}: "
            "run `kindred train ranker`"
        )
    calibration = Calibration(arrays["calibration_scores"], arrays["calibration_probabilities"])
    return Ranker.from_text(
        texts["booster"], int(arrays["depth"][0]) if "depth" in arrays else 0
    ), calibration
