"""Sessions cut in two: what was seen, and what came after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.behaviour.users import Keys
from kindred.retrieval.segments import offsets_of, owners_of, segment_sum
from kindred.schemas.ranking import Candidates, Mask, Rows

NEXT, LATER = 2, 1
"""Grades: at the very next moment, and afterwards in the same session."""
MAX_SEEDS = 20
"""Newest seeds kept of a longer prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Q queries with what truly followed, oldest query first."""

    offsets: Rows
    """int64[Q + 1] into `seeds`"""
    seeds: Rows
    actions: NDArray[np.int16]
    """int16[m]: action code of each seed"""
    followed_offsets: Rows
    """int64[Q + 1] into `followed`; within a query the nearest in time comes first"""
    followed: Rows
    grades: NDArray[np.int8]
    """int8: NEXT or LATER"""
    now: Rows
    """int64[Q] µs: time of the newest seed"""
    subject: NDArray[np.int32]
    """int32[Q]: who, for clustered intervals"""
    users: Keys = field(default_factory=lambda: np.zeros(0, np.uint64))
    """uint64[Q]: `users.user_key` of who asks; empty where that is not known"""

    def __len__(self) -> int:
        return len(self.now)

    def take(self, index: Rows) -> Examples:
        """The queries at `index`."""
        seeds, offsets = _ragged(self.offsets, index)
        after, followed_offsets = _ragged(self.followed_offsets, index)
        return Examples(
            offsets=offsets,
            seeds=self.seeds[seeds],
            actions=self.actions[seeds],
            followed_offsets=followed_offsets,
            followed=self.followed[after],
            grades=self.grades[after],
            now=self.now[index],
            subject=self.subject[index],
            users=self.users[index] if len(self.users) else self.users,
        )

    def grade(self, candidates: Candidates, size: int) -> NDArray[np.int8]:
        """int8[n]: the grade of each candidate of these queries; `size` is the catalogue's."""
        key = owners_of(self.followed_offsets) * size + self.followed
        order = np.argsort(key, kind="stable")
        key, grades = key[order], self.grades[order]
        if not len(key):
            return np.zeros(len(candidates), np.int8)
        asked = candidates.queries * size + candidates.rows
        at = np.minimum(np.searchsorted(key, asked), len(key) - 1)
        return np.where(key[at] == asked, grades[at], 0).astype(np.int8)


def joined(parts: Sequence[Examples]) -> Examples:
    """All queries of all parts, oldest first."""
    offsets = offsets_of(np.concatenate([np.diff(p.offsets) for p in parts]))
    followed_offsets = offsets_of(np.concatenate([np.diff(p.followed_offsets) for p in parts]))
    whole = Examples(
        offsets=offsets,
        followed_offsets=followed_offsets,
        seeds=np.concatenate([p.seeds for p in parts]),
        actions=np.concatenate([p.actions for p in parts]),
        followed=np.concatenate([p.followed for p in parts]),
        grades=np.concatenate([p.grades for p in parts]),
        now=np.concatenate([p.now for p in parts]),
        subject=np.concatenate([p.subject for p in parts]),
        users=np.concatenate([p.users for p in parts]),
    )
    return whole.take(np.argsort(whole.now, kind="stable"))


def _ragged(offsets: Rows, index: Rows) -> tuple[Rows, Rows]:
    """(positions, new offsets) of the segments at `index`."""
    lengths = np.diff(offsets)[index]
    fresh = offsets_of(lengths)
    return np.arange(fresh[-1]) + np.repeat(offsets[index] - fresh[:-1], lengths), fresh


def cut_sessions(
    interactions: Interactions,
    *,
    rng: np.random.Generator | None,
    single_seed_share: float = 0.0,
    repeats: bool = False,
) -> Examples:
    """Every session with at least two items, cut once.

    With `rng` the cut is drawn at random and all that follows counts; without, the last item is
    held out. `single_seed_share` of the queries keep only their newest seed, as a widget would.
    `repeats` lets an item that was already seen count as what follows.
    """
    sessions = interactions.sessions()
    order, offsets = sessions.index, sessions.offsets
    lengths = np.diff(offsets)
    owner = owners_of(offsets)
    place = np.arange(len(order)) - offsets[owner]
    if rng is None:
        cut = lengths - 1
    else:
        cut = 1 + (rng.random(len(lengths)) * np.maximum(lengths - 1, 1)).astype(np.int64)
    rows, ts = interactions.row[order], interactions.ts[order]
    before = place < cut[owner]
    first_seed = cut - MAX_SEEDS
    if rng is not None and single_seed_share:
        single = rng.random(len(lengths)) < single_seed_share
        first_seed = np.where(single, cut - 1, first_seed)
    seed = before & (place >= first_seed[owner])
    after = ~before
    after[after] = _first_of_key(owner[after], rows[after])
    if not repeats:
        after &= ~_seen(owner, rows, before, after)
    next_ts = ts[np.minimum(offsets[:-1] + cut, len(ts) - 1)] if len(ts) else ts
    keep = (lengths >= 2) & (segment_sum(after.astype(np.int64), offsets) > 0)
    seed &= keep[owner]
    after &= keep[owner]
    kept = np.flatnonzero(keep)
    newest = order[offsets[kept] + cut[kept] - 1]
    examples = Examples(
        offsets=offsets_of(segment_sum(seed.astype(np.int64), offsets)[kept]),
        seeds=rows[seed],
        actions=interactions.action[order][seed],
        followed_offsets=offsets_of(segment_sum(after.astype(np.int64), offsets)[kept]),
        followed=rows[after],
        grades=np.where(ts[after] == next_ts[owner[after]], NEXT, LATER).astype(np.int8),
        now=interactions.ts[newest],
        subject=interactions.subject[newest],
        users=interactions.users[interactions.subject[newest]]
        if len(interactions.users)
        else interactions.users,
    )
    return examples.take(np.argsort(examples.now, kind="stable"))


def _first_of_key(owner: Rows, rows: Rows) -> Mask:
    """bool[n]: the first time that a session names an item."""
    first = np.zeros(len(owner), np.bool_)
    key = owner * (int(rows.max(initial=0)) + 1) + rows
    first[np.unique(key, return_index=True)[1]] = True
    return first


def _seen(owner: Rows, rows: Rows, before: Mask, after: Mask) -> Mask:
    """bool[n]: entries of `after` whose item the same session named in `before`."""
    key = owner * (int(rows.max(initial=0)) + 1) + rows
    seen = np.zeros(len(owner), np.bool_)
    seen[after] = np.isin(key[after], key[before])
    return seen
