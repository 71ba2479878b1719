"""What known users cared about: the items that they acted on.

They are their user's side of affinity features, and where people come back for the same, as in a
grocery, a source of recall: the newest visits tell whether they do (`own_and_popular`).

Kept are rows, not brands and categories: those are read from the catalogue of the moment, whose
codes and prices may be others than when this was made. Ids are kept as `users.user_key` has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.holdout import NextItem
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.behaviour.pairs import ranges
from kindred.indexer.behaviour.users import NOBODY, Keys
from kindred.schemas.clock import DAY
from kindred.schemas.ranking import Floats, Mask, Rows
from kindred.schemas.settings import SignalSettings

MOST = 80
"""Items kept of a user: those with the largest weight."""
HALF_LIFE_DAYS = 60.0
"""An action counts half for so many days of age: tastes outlast a listing's popularity. On an early
part of the Complete Journey, a user's ten heaviest items have the next one most often with 60 to 90
(HR@10 .160; .150 where age does not count, .133 with 14 days)."""
DEPTH = 10
"""Items of a user among which the next one is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tastes:
    """K users and the items that each acted on, heaviest first."""

    keys: Keys
    """uint64[K], rising"""
    indptr: Rows
    """int64[K + 1]"""
    rows: NDArray[np.int32]
    """int32[nnz]: catalogue rows, each once a user"""
    weights: Floats
    """float32[nnz] > 0: decayed sums of what the actions are worth"""
    recalled: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((), np.bool_))
    """bool[]: people come back for the same, so that recall may start from these items"""

    def lookup(self, keys: Keys) -> tuple[Rows, Rows, Floats]:
        """(int64[m] position in `keys`, int64[m] row, float32[m] weight) of all that is known."""
        if not len(self.keys):
            none = np.zeros(0, np.int64)
            return none, none, np.zeros(0, np.float32)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        known = ((self.keys[at] == keys) & (keys != NOBODY)).nonzero()[0]
        if len(known) == 1:
            one = slice(*self.indptr[at[known[0]] : at[known[0]] + 2])
            rows = self.rows[one].astype(np.int64)
            return np.full(len(rows), known[0]), rows, self.weights[one]
        starts = self.indptr[at[known]]
        counts = self.indptr[at[known] + 1] - starts
        found = ranges(starts, counts)
        return np.repeat(known, counts), self.rows[found].astype(np.int64), self.weights[found]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The columns by name, to be kept."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Tastes:
        """From its arrays; of early versions, which do not say, nothing is recalled."""
        return cls(**{name: arrays[name] for name in cls.__slots__ if name in arrays})


def user_tastes(interactions: Interactions, now: int, signals: SignalSettings) -> Tastes:
    """Of everybody who was logged in before `now`; what happened from then on is left out."""
    past = interactions.before(now).counted(signals)
    if not len(past.users):
        none = np.zeros(0, np.int64)
        return Tastes(keys=none.astype(np.uint64), indptr=np.zeros(1, np.int64),
                      rows=none.astype(np.int32), weights=none.astype(np.float32))  # fmt: skip
    past = past.take(past.users[past.subject] != NOBODY)
    age = (now - past.ts) / DAY
    worth = past.signal_weights(signals) * 0.5 ** (age / HALF_LIFE_DAYS)
    users, owner = np.unique(past.users[past.subject], return_inverse=True)
    span = int(past.row.max(initial=0)) + 1
    pairs, inverse = np.unique(owner * span + past.row, return_inverse=True)
    weights = np.bincount(inverse, worth, len(pairs)).astype(np.float32)
    owner, rows = pairs // span, pairs % span
    order = np.lexsort((rows, -weights, owner))
    owner, rows, weights = owner[order], rows[order], weights[order]
    sizes = np.bincount(owner, minlength=len(users))
    place = np.arange(len(owner)) - (np.cumsum(sizes) - sizes)[owner]
    kept = (place < MOST) & (weights > 0)
    indptr = np.append(0, np.cumsum(np.bincount(owner[kept], minlength=len(users))))
    return Tastes(
        keys=users.astype(np.uint64),
        indptr=indptr.astype(np.int64),
        rows=rows[kept].astype(np.int32),
        weights=weights[kept],
    )


def own_and_popular(
    rest: Interactions, questions: NextItem, users: Keys, tastes: Tastes
) -> tuple[Mask, Mask]:
    """(bool[Q], bool[Q]): the next item is among the user's ten heaviest, among ten bestsellers.

    Neither counts items of the visit itself. `rest` and `tastes` must not know the answers; users
    uint64[Q] are who was asked.
    """
    size = int(max(rest.row.max(initial=0), questions.targets.max(initial=0))) + 1
    held = np.unique(questions.owners * size + questions.seeds)
    owners, rows, _ = tastes.lookup(users)
    keep = (rows < size) & ~np.isin(owners * size + rows, held)
    owners, rows = owners[keep], rows[keep]
    counts = np.bincount(owners, minlength=len(questions))
    places = np.arange(len(owners)) - (np.cumsum(counts) - counts)[owners]
    found = (rows == questions.targets[owners]) & (places < DEPTH)
    own = np.bincount(owners[found], minlength=len(questions)) > 0
    best = np.argsort(-np.bincount(rest.row, minlength=size), kind="stable")
    at = np.empty(size, np.int64)
    at[best] = np.arange(size)
    asked, seeds = held // size, held % size
    above = at[seeds] < at[questions.targets[asked]]
    skipped = np.bincount(asked[above], minlength=len(questions))
    return own, at[questions.targets] - skipped < DEPTH
