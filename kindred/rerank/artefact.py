"""A trained ranker on disk: boosters as text, the calibration's knots, the features' names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from kindred.rerank.calibration import Calibration
from kindred.rerank.features import FEATURES, SPECIFICATION
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.training import TrainedRanker
from kindred.rerank.tree_walk import process_walk
from kindred.schemas.errors import VersionMismatch


def to_artefact(trained: TrainedRanker) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """(arrays, texts) to keep."""
    arrays, texts = trained.ranker.to_artefact()
    return arrays | trained.calibration.arrays(), {**texts, "features": "\n".join(FEATURES)}


def from_artefact(
    arrays: Mapping[str, NDArray[Any]], texts: Mapping[str, str]
) -> tuple[Ranker, Calibration]:
    """What `to_artefact` kept. Raises VersionMismatch where the features are not today's.

    Where this process has the compiled walk, it walks the ranker's trees.
    """
    if tuple(texts["features"].split("\n")) != FEATURES:
        raise VersionMismatch(
            f"the ranker was trained on other features than specification {SPECIFICATION}: "
            "run `kindred train ranker`"
        )
    ranker = Ranker.from_artefact(arrays, texts).walked_by(process_walk())
    return ranker, Calibration.from_arrays(arrays)
