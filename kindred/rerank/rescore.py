"""Scoring logged features anew: the log and the model of the time must agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import msgspec
import numpy as np

from kindred.events.decision_tables import StoredDecision
from kindred.indexer.models import Artefact
from kindred.rerank.lambdamart import Ranker
from kindred.schemas.errors import ArtefactError, VersionMismatch

TOLERANCE = 1e-6
STAGE = "ranker"


class Rescored(msgspec.Struct, frozen=True, kw_only=True):
    """What scoring anew found."""

    decisions: int
    """Scored anew."""
    candidates: int
    unscored: int
    """Decisions without scores or features: no ranker served, or recall alone answered."""
    largest_difference: float
    """Between a logged score and the new one, in absolute value."""
    decision_id: str | None
    """The decision with the largest difference."""
    versions: dict[str, int]
    """Decisions by version of the ranker."""

    @property
    def agrees(self) -> bool:
        """Whether every score came out the same to 1e-6."""
        return self.largest_difference <= TOLERANCE


def rescore(
    found: Iterable[StoredDecision],
    load: Callable[[str], Artefact],
    names: Callable[[str], tuple[str, ...]],
) -> Rescored:
    """Score every decision's features with the ranker it names.

    `load(version)` gives the ranker's artefact, `names(specification)` the logged columns.
    ArtefactError where a version is gone, VersionMismatch where the columns are not its own.
    """
    rankers, columns = cache(lambda version: _ranker(load, version)), cache(names)
    largest, worst, candidates, unscored = 0.0, None, 0, 0
    versions: dict[str, int] = {}
    for decision, features in found:
        held, version = decision.candidates, decision.versions.get(STAGE)
        if held is None or held.score is None or features is None or version is None:
            unscored += 1
            continue
        ranker, expected = rankers(version)
        if columns(decision.feature_spec or "") != expected:
            raise VersionMismatch(
                f"decision {decision.decision_id} has the features of specification "
                f"{decision.feature_spec}, ranker {version} takes others"
            )
        gaps = np.abs(ranker.score(features) - np.asarray(held.score, np.float64))
        difference = float(gaps.max(initial=0.0))
        if worst is None or not difference <= largest:
            largest, worst = difference, decision.decision_id
        candidates += len(held.item_id)
        versions[version] = versions.get(version, 0) + 1
    return Rescored(
        decisions=sum(versions.values()),
        candidates=candidates,
        unscored=unscored,
        largest_difference=largest,
        decision_id=worst,
        versions=versions,
    )


def _ranker(load: Callable[[str], Artefact], version: str) -> tuple[Ranker, tuple[str, ...]]:
    try:
        artefact = load(version)
    except ArtefactError as error:
        raise ArtefactError(
            f"ranker {version} is gone, its scores cannot be repeated: {error}"
        ) from error
    names = tuple(artefact.texts["features"].split("\n"))
    return Ranker.from_artefact(artefact.arrays, artefact.texts), names
