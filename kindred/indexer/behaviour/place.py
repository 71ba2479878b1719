"""Where people look, learned instead of measured: factors of users × postcodes (SPEC F9).

Two postcodes are near if the same people look for things in both, whatever lies between: hills,
a bay, a motorway. The matrix is factorised by the convention of `als`, with an item's postcode in
place of the item. A postcode that too few people came to takes the mean of its nearest supported
ones, and so does a place that is known by its coordinates alone.

At the gate it is asked of the newest events which of two postcodes, both new to the visitor, they
were at. The other is drawn from events in the same category, by how often it occurs there: knowing
the popular postcodes is worth nothing then, and neither is knowing who sells what where, which
factors learn as readily as places. They must tell at least as well as the distance to the middle of
where the visitor was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.als import AlsModel, train_als
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.geo import on_sphere
from kindred.indexer.models import Artefact
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows
from kindred.schemas.settings import AlsSettings, PlaceSettings, SignalSettings

HELD_SHARE = 0.1
"""Newest share of the events that the gate asks about."""
OTHERS = 20
"""Postcodes that each is compared with."""

Scores = Callable[[Rows, Rows], Floats | Doubles]
"""(subjects int64[n], places int64[n]) -> float[n]: the higher the likelier."""


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
        return unit(self.vectors[rows[nearest]].mean(axis=1))


def place_vectors(
    artefact: Artefact, postcodes: Sequence[str], lat: Doubles, lon: Doubles
) -> tuple[Floats, Mask]:
    """(float32[n, d] unit, bool[n]): see `PlaceVectors`, which is worth keeping."""
    return PlaceVectors.of(artefact)(postcodes, lat, lon)


def unit(vectors: Floats) -> Floats:
    """float32[n, d]: the directions; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    out: Floats = np.zeros_like(vectors)
    np.divide(vectors, lengths, out=out, where=lengths > 0)
    return out


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


@dataclass(frozen=True, slots=True)
class Held:
    """H questions: at which place was this visitor next?"""

    subject: Rows
    """int64[H]"""
    place: Rows
    """int64[H]: new to the visitor"""
    others: Rows
    """int64[H, K]: drawn by how often they occur"""
    counts: Mask
    """bool[H, K]: whether such a place is new to the visitor, too"""

    def __len__(self) -> int:
        return len(self.subject)

    def take(self, index: Mask | Rows) -> Held:
        """The questions at `index`."""
        return Held(self.subject[index], self.place[index], self.others[index], self.counts[index])

    def aucs(self, scores: Scores) -> Doubles:
        """float64[H]: share of the others that score below the place; ties count half."""
        width = self.others.shape[1]
        own = scores(self.subject, self.place)[:, None]
        theirs = scores(np.repeat(self.subject, width), self.others.ravel()).reshape(-1, width)
        won = (own > theirs) + 0.5 * (own == theirs)
        return np.asarray((won * self.counts).sum(axis=1) / self.counts.sum(axis=1), np.float64)


def hold_out(
    log: Interactions, share: float, seed: int, kind: NDArray[np.integer] | None = None
) -> tuple[Interactions, Held]:
    """(older events, questions about the newest `share` of them), of a log whose rows are places.

    Asked is for each visitor of before and each place new to them, once. `kind` int[n] of each
    event is what was looked at there: the others are then drawn among events of the same kind.
    """
    cut = round((1 - share) * len(log))
    older, newer = log.take(slice(0, cut)), log.take(slice(cut, None))
    kinds = np.zeros(len(log), np.int64) if kind is None else kind.astype(np.int64)
    n_rows = int(log.row.max(initial=0)) + 1
    known = np.unique(older.subject.astype(np.int64) * n_rows + older.row)
    fresh, first = np.unique(newer.subject.astype(np.int64) * n_rows + newer.row, return_index=True)
    theirs = np.union1d(known, fresh)
    order = np.argsort(kinds[:cut], kind="stable")
    asked = kinds[cut:][first]
    low = np.searchsorted(kinds[:cut][order], asked, "left")
    width = np.searchsorted(kinds[:cut][order], asked, "right") - low
    usable = ~np.isin(fresh, known) & np.isin(fresh // n_rows, older.subject) & (width > 0)
    fresh, low, width = fresh[usable], low[usable], width[usable]
    drawn = np.random.default_rng(seed).random((len(fresh), OTHERS)) * width[:, None]
    others = older.row[order[low[:, None] + drawn.astype(np.int64)]] if cut else drawn.astype(int)
    subject = fresh // n_rows
    counts = ~np.isin(subject[:, None] * n_rows + others, theirs)
    held = Held(subject, fresh % n_rows, others, counts)
    return older, held.take(np.flatnonzero(counts.any(axis=1)))


def by_factors(model: AlsModel, vectors: Floats) -> tuple[Scores, Mask]:
    """(score = x_u · vector of the place, bool[largest subject + 1]: who has factors)."""
    size = int(model.subjects.max(initial=-1)) + 1
    users = np.zeros((size, vectors.shape[1]), np.float32)
    users[model.subjects] = model.users
    known = np.zeros(size, bool)
    known[model.subjects] = True

    def score(subject: Rows, place: Rows) -> Floats:
        found: Floats = np.einsum("nd,nd->n", users[subject], vectors[place])
        return found

    return score, known


def by_distance(log: Interactions, sphere: Doubles) -> Scores:
    """Minus the distance to the middle of the visitor's places, each event counted."""
    there = np.isfinite(sphere[log.row]).all(axis=1)
    middle = np.zeros((int(log.subject.max(initial=0)) + 1, 3))
    np.add.at(middle, log.subject[there], sphere[log.row[there]])
    middle /= np.maximum(np.linalg.norm(middle, axis=1, keepdims=True), 1e-12)

    def score(subject: Rows, place: Rows) -> Doubles:
        # The cosine of the angle between two points falls with their distance.
        cosine: Doubles = np.einsum("nd,nd->n", middle[subject], sphere[place])
        return np.where(np.isfinite(cosine), cosine, -2.0)

    return score


def interval(values: Doubles, clusters: NDArray[np.integer]) -> tuple[float, float, float]:
    """(mean, low, high): 95 % normal interval of a mean whose values hang together by cluster."""
    mean = float(values.mean()) if len(values) else 0.0
    sums = np.bincount(np.unique(clusters, return_inverse=True)[1], values - mean)
    error = float(np.sqrt((sums**2).sum())) / max(len(values), 1)
    return mean, mean - 1.96 * error, mean + 1.96 * error


@dataclass(frozen=True, slots=True)
class Answered:
    """Questions that both factors and distance can answer, with the AUC of each."""

    held: Held
    factors: Doubles
    """float64[H]"""
    distance: Doubles
    """float64[H]"""
    supported: int


def answered(
    log: Interactions,
    postcodes: Postcodes,
    settings: PlaceSettings,
    signals: SignalSettings,
    seed: int,
    threads: int = 0,
    kind: NDArray[np.integer] | None = None,
) -> Answered:
    """Train on the older events and ask about the newest (`hold_out`)."""
    older, held = hold_out(log, HELD_SHARE, seed, kind)
    model = train_places(older, len(postcodes.names), settings, signals, seed, threads)
    places = vectors_of(older, model, postcodes, settings)
    nowhere = np.full(len(postcodes.names), np.nan)
    vectors, present = places(postcodes.names, nowhere, nowhere)
    score, known = by_factors(model, vectors)
    asked = known[np.minimum(held.subject, len(known) - 1)] & (held.subject < len(known))
    asked &= present[held.place] & np.isfinite(postcodes.sphere[held.place]).all(axis=1)
    held = held.take(asked)
    distance = by_distance(older, postcodes.sphere)
    return Answered(held, held.aucs(score), held.aucs(distance), int(places.supported.sum()))


def compared(found: Answered) -> dict[str, Any]:
    """AUC of factors and of distance, and their difference, each with a 95 % interval."""
    who = found.held.subject
    return {
        "questions": len(found.held),
        "supported": found.supported,
        "AUC factors": [round(x, 5) for x in interval(found.factors, who)],
        "AUC distance": [round(x, 5) for x in interval(found.distance, who)],
        "difference": [round(x, 5) for x in interval(found.factors - found.distance, who)],
    }
