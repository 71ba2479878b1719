"""The stage that learns places (SPEC F9): `behaviour.place`, for a catalogue, with its gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.place import Postcodes, train_places, vectors_of
from kindred.indexer.behaviour.place_questions import answered, compared
from kindred.indexer.columns import Columns
from kindred.indexer.models import Artefact
from kindred.indexer.representations import Given
from kindred.indexer.stages import Made
from kindred.schemas.progress import Progress

CODE = 1
"""Revision of what the stage does."""
FEW = 100
"""With fewer questions than this the gate stays shut."""


def make(given: Given, artefacts: Mapping[str, Artefact], progress: Progress) -> Made:  # noqa: ARG001
    """Vectors of all rows with a postcode or a position, and of the postcodes themselves."""
    content, chosen = given.content, given.settings.representations.place
    columns, told = content.columns, content.postcodes or [""] * given.size
    postcodes = Postcodes.of(told, columns.lat, columns.lon)
    if not postcodes.names:
        return Made.refused("no item has a postcode")
    log = postcodes.log_of(given.training)
    if not len(log):
        return Made.refused("nothing was done to an item with a postcode")
    signals, seed = given.settings.signals, given.settings.seed
    model = train_places(log, len(postcodes.names), chosen, signals, seed, given.threads, progress)
    places = vectors_of(log, model, postcodes, chosen)
    located = places.supported & np.isfinite(postcodes.sphere).all(axis=1)
    if located.sum() < chosen.neighbours:
        return Made.refused(
            f"{int(located.sum())} postcodes with a position had {chosen.support} visitors; "
            f"it takes {chosen.neighbours}"
        )
    vectors, present = places(told, columns.lat, columns.lon)
    kind = leaves(columns)[given.training.row[postcodes.of_row[given.training.row] >= 0]]
    worth = compared(answered(log, postcodes, chosen, signals, seed, given.threads, kind))
    passed, reason = judged(worth)
    return Made(
        arrays={
            "unit": vectors,
            "present": present,
            "vectors": places.vectors,
            "supported": places.supported,
            "sphere": places.sphere,
            "neighbours": np.array([chosen.neighbours]),
        },
        texts={"postcodes": msgspec.json.encode(postcodes.names).decode()},
        metrics=worth,
        passed=passed,
        reason=reason,
        summary=f"{int(places.supported.sum()):,} of {len(postcodes.names):,} postcodes have "
        f"{chosen.support} visitors; {reason}",
    )


def judged(worth: Mapping[str, Any]) -> tuple[bool, str]:
    """(passed, why): better than chance and no worse than distance, on enough questions."""
    mean, low, high = worth["difference"]
    said = (
        f"AUC {worth['AUC factors'][0]:.4f}, distance {worth['AUC distance'][0]:.4f}: "
        f"{mean:+.4f} [{low:+.4f}, {high:+.4f}] on {worth['questions']} events"
    )
    if worth["questions"] < FEW:
        return False, f"{said}: too few to judge"
    return mean >= 0 and worth["AUC factors"][1] > 0.5, said


def leaves(columns: Columns) -> NDArray[np.int64]:
    """int64[N]: code of each row's deepest category, -1 none."""
    depth = columns.category_depth.astype(np.int64)
    deepest = columns.category[np.arange(columns.size), np.maximum(depth - 1, 0)]
    return np.where(depth > 0, deepest, -1).astype(np.int64)
