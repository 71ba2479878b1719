"""Inputs from behaviour that have not seen the pairs a tower learns from.

Factors of users × items that were made of everybody know each training pair: whoever put two items
in one basket has drawn their factors together. A tower that learns from them trusts them more than
they deserve for the pairs of tomorrow. So visitors are parted in two, factors are made of one half
while the tower learns from the pairs of the other, and each half's factors are turned (orthogonal
Procrustes) onto those of everybody, which is what the tower reads when it serves.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kindred.indexer.behaviour.als import train_als
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.representations import Given
from kindred.indexer.towers.inputs import POPULARITY, Inputs, popularity_value
from kindred.indexer.towers.learning import Fold
from kindred.indexer.towers.positives import Together
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Floats, Mask, Rows

ALS = "als"


def counted_rows(log: Interactions, size: int) -> Rows:
    """int64[size]: how often each row was acted on."""
    return np.bincount(log.row, minlength=size)[:size]


def crossed(given: Given, inputs: Inputs, pairs: Together, progress: Progress) -> list[Fold]:
    """Two folds: the pairs of half the visitors, with inputs made of the other half's actions."""
    # Other draws than those of the visitors that judge.
    rng = np.random.default_rng(given.settings.seed + 1)
    half = rng.random(int(given.training.subject.max(initial=0)) + 1) < 0.5
    return [
        Fold(
            pairs.of_groups(half[pairs.subjects] == side),
            _without(given, inputs, half[given.training.subject] != side, progress),
        )
        for side in (False, True)
    ]


def _without(given: Given, inputs: Inputs, kept: Mask, progress: Progress) -> Inputs:
    """The inputs with factors and counts of the `kept` actions alone."""
    log, settings = given.training.take(kept), given.settings
    model = train_als(
        log, given.size, settings.als, settings.signals, settings.seed, given.threads, progress
    )
    unit, has = model.unit(), model.present
    both = has & inputs.present[ALS]
    turned = unit @ procrustes(unit[both], inputs.vectors[ALS][both])
    # Twice the counts of half of the visitors.
    counts, counted = popularity_value(2 * counted_rows(log, given.size))
    return replace(
        inputs,
        vectors={**inputs.vectors, ALS: turned.astype(np.float32), POPULARITY: counts},
        present={**inputs.present, ALS: has, POPULARITY: counted},
    )


def procrustes(one: Floats, other: Floats) -> Floats:
    """float64[d, d]: the rotation (or reflection) R with the least |one · R − other|."""
    left, _, right = np.linalg.svd(one.T.astype(np.float64) @ other)
    rotation: Floats = left @ right
    return rotation
