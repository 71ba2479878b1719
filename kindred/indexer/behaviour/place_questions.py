"""Whether factors of places know more than a distance does: questions of held-out events.

Asked is of the newest events which of two postcodes, both new to the visitor, they were at. The
other is drawn from events in the same category, by how often it occurs there: knowing the popular
postcodes is worth nothing then, and neither is knowing who sells what where, which factors learn
as readily as places. They must tell at least as well as the distance to the middle of where the
visitor was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.als import AlsModel
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.behaviour.place import Postcodes, train_places, vectors_of
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows
from kindred.schemas.settings import PlaceSettings, SignalSettings

HELD_SHARE = 0.1
"""Newest share of the events that the gate asks about."""
OTHERS = 20
"""Postcodes that each is compared with."""

Scores = Callable[[Rows, Rows], Floats | Doubles]
"""(subjects int64[n], places int64[n]) -> float[n]: the higher the likelier."""


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
