"""Where people look, learned instead of measured: factors of users × postcodes (SPEC F9).

Two postcodes are near if the same people look for things in both, whatever lies between: hills,
a bay, a motorway. The matrix is factorised by the convention of `als`, with an item's postcode in
place of the item. A postcode that too few people came to takes the mean of its nearest supported
ones, and so does a place that is known by its coordinates alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.als import AlsModel, directions, train_als
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.geo import on_sphere
from kindred.indexer.models import Artefact
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Doubles, Floats, Mask
from kindred.schemas.settings import AlsSettings, PlaceSettings, SignalSettings


@dataclass(frozen=True, slots=True)
class PlaceVectors:
    """Unit vectors of places, d wide."""

    row_of: Mapping[str, int]
    """Postcode -> row of the arrays"""
    vectors: Floats
    """float32[P, d]: unit; zero where not supported"""
    supported: Mask
    """bool[P]"""
    sphere: Doubles
    """float64[P, 3]: where they are, NaN unknown"""
    neighbours: int

    @classmethod
    def of(cls, artefact: Artefact) -> PlaceVectors:
        """Of a version of this stage."""
        names: list[str] = msgspec.json.decode(artefact.texts["postcodes"])
        return cls(
            row_of={name: row for row, name in enumerate(names)},
            vectors=np.asarray(artefact.arrays["vectors"]),
            supported=np.asarray(artefact.arrays["supported"]),
            sphere=np.asarray(artefact.arrays["sphere"]),
            neighbours=int(artefact.arrays["neighbours"][0]),
        )

    def __call__(self, postcodes: Sequence[str], lat: Doubles, lon: Doubles) -> tuple[Floats, Mask]:
        """(float32[n, d] unit, bool[n]) of n places.

        A postcode is "" and coordinates (degrees) are NaN where unknown. What has neither a
        supported postcode nor a position is absent.
        """
        find = self.row_of.get
        row = np.fromiter((find(name, -1) for name in postcodes), np.int64, len(postcodes))
        own = (row >= 0) & self.supported[row]
        found = np.where(own[:, None], self.vectors[row], 0).astype(np.float32)
        where = on_sphere(lat, lon).T.astype(np.float64)
        known = (row >= 0) & ~np.isfinite(where).all(axis=1)
        where[known] = self.sphere[row[known]]
        asked = np.flatnonzero(~own & np.isfinite(where).all(axis=1))
        found[asked] = self.near(where[asked])
        return found, np.any(found != 0, axis=1)

    def near(self, where: Doubles) -> Floats:
        """float32[n, d] of positions float64[n, 3] on the sphere: the nearest ones' mean."""
        from scipy.spatial import cKDTree

        rows = np.flatnonzero(self.supported & np.isfinite(self.sphere).all(axis=1))
        if not len(rows):
            return np.zeros((len(where), self.vectors.shape[1]), np.float32)
        k = np.arange(1, min(self.neighbours, len(rows)) + 1)
        nearest = cKDTree(self.sphere[rows]).query(where, k)[1]
        return directions(self.vectors[rows[nearest]].mean(axis=1))


@dataclass(frozen=True, slots=True)
class Postcodes:
    """The P postcodes of a catalogue."""

    names: list[str]
    of_row: NDArray[np.int64]
    """int64[N]: of each catalogue row, -1 none"""
    sphere: Doubles
    """float64[P, 3]: the mean position of the items there, NaN unknown"""

    @classmethod
    def of(cls, told: Sequence[str], lat: Doubles, lon: Doubles) -> Postcodes:
        """From the postcode ("" for none) and coordinates (NaN for none) of N rows."""
        names, inverse = np.unique(np.asarray(told, dtype=object).astype(str), return_inverse=True)
        inverse = inverse.astype(np.int64)
        if len(names) and names[0] == "":
            names, inverse = names[1:], inverse - 1
        where = on_sphere(lat, lon).T.astype(np.float64)
        good = (inverse >= 0) & np.isfinite(where).all(axis=1)
        sums = np.zeros((len(names), 3))
        np.add.at(sums, inverse[good], where[good])
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            sphere = sums / lengths
        return cls(names.tolist(), inverse, sphere)

    def log_of(self, log: Interactions) -> Interactions:
        """The actions on items with a postcode; `row` becomes the postcode's."""
        place = self.of_row[log.row]
        kept = log.take(place >= 0)
        return replace(kept, row=place[place >= 0])


def train_places(
    log: Interactions,
    count: int,
    settings: PlaceSettings,
    signals: SignalSettings,
    seed: int,
    threads: int = 0,
    progress: Progress | None = None,
) -> AlsModel:
    """Factors of `count` places from a log whose rows are places."""
    chosen = AlsSettings(
        embedding_size=settings.embedding_size,
        iterations=settings.iterations,
        regularization=settings.regularization,
        alpha=settings.alpha,
    )
    return train_als(log, count, chosen, signals, seed, threads, progress)


def supported(log: Interactions, count: int, support: int, present: Mask) -> Mask:
    """bool[count]: places with factors to which at least `support` visitors came."""
    pair = np.unique(log.subject.astype(np.int64) * max(count, 1) + log.row)
    return present & (np.bincount(pair % max(count, 1), minlength=count) >= support)


def vectors_of(
    log: Interactions, model: AlsModel, postcodes: Postcodes, settings: PlaceSettings
) -> PlaceVectors:
    """The trained places that enough came to."""
    enough = supported(log, len(postcodes.names), settings.support, model.present)
    return PlaceVectors(
        row_of={name: row for row, name in enumerate(postcodes.names)},
        vectors=np.where(enough[:, None], model.unit(), 0).astype(np.float32),
        supported=enough,
        sphere=postcodes.sphere,
        neighbours=settings.neighbours,
    )
