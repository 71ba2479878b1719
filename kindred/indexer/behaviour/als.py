"""Matrix factorisation on users × items with confidence (SPEC F3–F5, §2.1; Hu, Koren, Volinsky).

Minimises Σ_ui c_ui (p_ui − x_u · y_i)² + λ (Σ_u |x_u|² + Σ_i |y_i|²) over all cells, where
r_ui = Σ_a w_a · ln(1 + count_uia), c_ui = 1 + alpha · r_ui / r̄, and p_ui = 1 where r_ui > 0, else
0. r̄ is the mean of r over the cells that have one, so that alpha means the same to a shop of views
and to a shop of purchases, whatever the scale of the weights.

`implicit` takes a cell's value times its own alpha AS the confidence c, without adding 1, counts an
empty cell as c = 1, p = 0, and does not scale λ by the number of ratings. So it is given the values
1 + alpha · r / r̄ and its alpha stays 1. With its exact solver one sweep solves the users from the
items and then the items from the users by the normal equations; by default each solve is three
steps of conjugate gradients from the last sweep's factors.

A popular item has a longer vector: |y_i| grows with the number of its users, proportionally at
first, and saturates where their confidence outweighs YᵀY (on Complete Journey from 0.04 at two
purchases to 0.25 at 250, and no further). The index holds unit vectors, so its cosine leaves
popularity out, and the ranker has it back as a feature of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kindred.indexer.behaviour.interactions import Codes, Interactions, action_weights
from kindred.schemas.event import ACTIONS
from kindred.schemas.progress import Progress, SilentProgress
from kindred.schemas.ranking import Floats, Mask, Rows
from kindred.schemas.settings import AlsSettings, SignalSettings

QUERIES_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Dropped:
    """What the filter of rare users and items took away (F5)."""

    users: int
    items: int
    events: int
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AlsModel:
    """Factors of N rows and U subjects, d wide."""

    items: Floats
    """float32[N, d]: as trained; zero where `present` is False"""
    present: Mask
    """bool[N]"""
    slope: float
    """alpha / r̄: what a unit of signal adds to the confidence."""
    regularization: float
    users: Floats
    """float32[U, d]: empty where only the items were kept"""
    subjects: Codes
    """int32[U]: codes in the interactions' `subjects`"""
    dropped: Dropped = Dropped(0, 0, 0, 0)

    def unit(self) -> Floats:
        """float32[N, d]: the items' directions, for the index; zero where absent."""
        return directions(self.items)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What serving needs, by name, to be kept."""
        parameters = np.array([self.slope, self.regularization])
        return {"items": self.items, "present": self.present, "parameters": parameters}

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> AlsModel:
        """The model from its arrays, without users."""
        slope, regularization = arrays["parameters"].tolist()
        return cls(
            items=arrays["items"],
            present=arrays["present"],
            slope=slope,
            regularization=regularization,
            users=np.zeros((0, arrays["items"].shape[1]), np.float32),
            subjects=np.zeros(0, np.int32),
        )


def directions(vectors: Floats) -> Floats:
    """float32[n, d]: of unit length; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = np.zeros_like(vectors)
    np.divide(vectors, lengths, out=unit, where=lengths > 0)
    return unit


class FoldIn:
    """Vectors of sessions in the users' space, in closed form, without training.

    x = (YᵀY + λI + Y_sᵀ D Y_s)⁻¹ Y_sᵀ c with D = diag(c − 1), solved as
    G Y_sᵀ (I + D Y_s G Y_sᵀ)⁻¹ c with G = (YᵀY + λI)⁻¹: a system as small as the session.
    """

    def __init__(self, model: AlsModel) -> None:
        self._model = model
        items = np.asarray(model.items)
        gram = items.T.astype(np.float64) @ items + model.regularization * np.eye(items.shape[1])
        self._inverse: Floats = np.linalg.pinv(gram, hermitian=True).astype(np.float32)

    def __call__(self, rows: Rows, weights: Floats) -> Floats:
        """float32[d]: the vector of one session of L rows with signals r float32[L]."""
        vector: Floats = self.many(np.array([0, len(rows)]), rows, weights)[0]
        return vector

    def many(self, offsets: Rows, rows: Rows, weights: Floats) -> Floats:
        """float32[Q, d]: session q is `offsets[q]:offsets[q + 1]` of rows and signals r.

        A row that the model lacks says nothing; a session of nothing else is the zero vector.
        """
        found = np.zeros((len(offsets) - 1, self._model.items.shape[1]), np.float32)
        known = (rows >= 0) & (rows < len(self._model.items))
        for low in range(0, len(found), QUERIES_AT_ONCE):
            part = offsets[low : low + QUERIES_AT_ONCE + 1]
            lengths = np.diff(part)
            slot = np.arange(int(lengths.max(initial=0)))[None, :] < lengths[:, None]
            span = slice(int(part[0]), int(part[-1]))
            vectors = np.zeros((*slot.shape, found.shape[1]), np.float32)
            vectors[slot] = self._model.items[np.where(known[span], rows[span], 0)]
            vectors[slot] *= known[span, None]
            excess = np.zeros((*slot.shape, 1), np.float32)
            excess[slot] = self._model.slope * weights[span, None]
            spread = vectors @ self._inverse
            system = np.eye(slot.shape[1], dtype=np.float32) + excess * (
                spread @ vectors.transpose(0, 2, 1)
            )
            solved = np.linalg.solve(system, slot[:, :, None] + excess)
            found[low : low + len(part) - 1] = (spread * solved).sum(axis=1)
        return found


def train_als(
    interactions: Interactions,
    n_rows: int,
    settings: AlsSettings,
    signals: SignalSettings,
    seed: int,
    threads: int = 0,
    progress: Progress | None = None,
    *,
    exact: bool = False,
) -> AlsModel:
    """Train on the look-back window without rare users and items.

    `threads` 0 takes every core; the result does not depend on it. `exact` solves the normal
    equations instead of three steps of conjugate gradients.
    """
    window = interactions.counted(signals).look_back(settings.look_back_days)
    kept, dropped = drop_rare(window, settings.min_events)
    subjects, rows, signal = cells(kept, signals)
    users, user = np.unique(subjects, return_inverse=True)
    present_rows, item = np.unique(rows, return_inverse=True)
    slope = settings.alpha / float(signal.mean()) if len(signal) else 0.0
    confidence = sparse.csr_matrix(
        ((1 + slope * signal).astype(np.float32), (user, item)),
        shape=(len(users), len(present_rows)),
    )
    size = settings.embedding_size
    draw = np.random.default_rng(seed)
    start = draw.random((len(present_rows), size), np.float32) * np.float32(0.01)
    user_factors, item_factors = _factorise(
        confidence, start, settings, threads, progress or SilentProgress(), exact
    )
    items = np.zeros((n_rows, size), np.float32)
    items[present_rows] = item_factors
    present = np.zeros(n_rows, bool)
    present[present_rows] = True
    return AlsModel(
        items=items,
        present=present,
        slope=slope,
        regularization=settings.regularization,
        users=user_factors,
        subjects=users.astype(np.int32),
        dropped=dropped,
    )


def drop_rare(interactions: Interactions, min_events: int) -> tuple[Interactions, Dropped]:
    """Drop users and items with fewer events, again and again until none is left (F5)."""
    kept, rounds = interactions, 0
    while len(kept):
        keep = np.bincount(kept.subject)[kept.subject] >= min_events
        keep &= np.bincount(kept.row)[kept.row] >= min_events
        if keep.all():
            break
        kept, rounds = kept.take(keep), rounds + 1
    return kept, Dropped(
        users=_distinct(interactions.subject) - _distinct(kept.subject),
        items=_distinct(interactions.row) - _distinct(kept.row),
        events=len(interactions) - len(kept),
        rounds=rounds,
    )


def _distinct(codes: NDArray[Any]) -> int:
    return int(np.count_nonzero(np.bincount(codes)))


def cells(interactions: Interactions, signals: SignalSettings) -> tuple[Rows, Rows, Floats]:
    """(subjects, rows, r): r = Σ_a w_a · ln(1 + count_a), one entry for each subject and row."""
    n_rows = int(interactions.row.max(initial=-1)) + 1
    pair = interactions.subject.astype(np.int64) * n_rows + interactions.row
    typed, counts = np.unique(pair * len(ACTIONS) + interactions.action, return_counts=True)
    weighted = action_weights(signals)[typed % len(ACTIONS)] * np.log1p(counts)
    pairs, inverse = np.unique(typed // len(ACTIONS), return_inverse=True)
    signal = np.bincount(inverse, weighted, len(pairs)).astype(np.float32)
    return pairs // max(n_rows, 1), pairs % max(n_rows, 1), signal


def _factorise(
    confidence: sparse.csr_matrix,
    items: Floats,
    settings: AlsSettings,
    threads: int,
    progress: Progress,
    exact: bool,
) -> tuple[Floats, Floats]:
    """(users, items) after the sweeps that start from `items` and users of zero."""
    users = np.zeros((confidence.shape[0], items.shape[1]), np.float32)
    if confidence.nnz == 0:
        return users, items
    import threadpoolctl
    from implicit.cpu.als import AlternatingLeastSquares

    # A BLAS pool inside the solver's own threads makes it many times slower.
    with (
        threadpoolctl.threadpool_limits(1, "blas"),
        progress.task("als", settings.iterations) as done,
    ):
        solver = AlternatingLeastSquares(
            factors=items.shape[1],
            regularization=settings.regularization,
            alpha=1.0,
            use_cg=not exact,
            iterations=settings.iterations,
            num_threads=threads,
        )
        solver.user_factors, solver.item_factors = users, items
        solver.fit(confidence, show_progress=False, callback=lambda *_: done(1))
    return solver.user_factors, solver.item_factors
