"""One listing told twice takes one place: the best placed stays, the others leave the list.

Two listings are one where their titles have the same words, number for number, and their price or
their seller is the same; or, where a setting asks for it, where they lie as near as that setting in
every one of the text and image spaces that both are in, and in one at least.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kindred.indexer.columns import Columns
from kindred.indexer.store.tables import VectorTable
from kindred.retrieval.segments import places_in_runs
from kindred.schemas.ranking import Candidates, Mask, Rows
from kindred.schemas.settings import DiversitySettings

SPACES = ("text", "image")
AT_ONCE = 32
"""Questions whose candidates are compared at once: 20 MB with a hundred each in 384 dimensions."""
NONE = 0
"""Entry of a title's words behind the last one."""
Tables = Mapping[str, VectorTable]


def repeated(
    candidates: Candidates,
    columns: Columns,
    tables: Tables,
    settings: DiversitySettings,
    keep: Mask | None = None,
) -> Mask:
    """bool[n]: one with a better placed candidate of its question; `keep` bool[n] never is.

    Of longer lists only the first `settings.first` of each question are looked at. That it is one
    with a candidate which is dropped itself is enough, so that a chain of near ones is one place.
    """
    out = np.zeros(len(candidates), np.bool_)
    near = settings.near_duplicates
    if not settings.same_title and not near:
        return out
    at = np.flatnonzero(candidates.ranks < settings.first)
    owners, rows = candidates.queries[at], candidates.rows[at]
    if settings.same_title:
        out[at] |= same_titles(owners, rows, columns)
    if near:
        out |= near_ones(candidates, tables, settings.first, near)
    if keep is not None:
        out &= ~keep
    return out


def same_titles(owners: Rows, rows: Rows, columns: Columns) -> Mask:
    """bool[n]: the title's words, and price or seller, are those of an earlier entry.

    A title that fills its columns may go on, so it is like no other.
    """
    words = columns.words[rows]
    told = (words[:, 0] != NONE) & (words[:, -1] == NONE)
    at = np.flatnonzero(told)
    _, title = np.unique(words[at], axis=0, return_inverse=True)
    title = title.reshape(-1).astype(np.int64)
    out = np.zeros(len(rows), np.bool_)
    seller = columns.seller[rows[at]].astype(np.int64)
    price = columns.price[rows[at]]
    for known, fact in ((seller >= 0, seller), (np.isfinite(price), price)):
        these = np.flatnonzero(known)
        if len(these):
            codes = np.unique(fact[these], return_inverse=True)[1].astype(np.int64)
            key = (owners[at[these]] * (len(at) + 1) + title[these]) * (len(at) + 1) + codes
            order = np.argsort(key, kind="stable")
            out[at[these[order]]] |= places_in_runs(key[order]) > 0
    return out


def near_ones(candidates: Candidates, tables: Tables, first: int, least: float) -> Mask:
    """bool[n]: as near as `least` to a better placed one in each space that both are in."""
    out = np.zeros(len(candidates), np.bool_)
    at = padded(candidates, first)
    for start in range(0, len(at), AT_ONCE):
        part = at[start : start + AT_ONCE]
        rows = np.where(part >= 0, candidates.rows[part], -1)
        earlier = np.tri(rows.shape[1], k=-1, dtype=np.bool_)
        shared = np.zeros((*rows.shape, rows.shape[1]), np.bool_)
        far = np.zeros_like(shared)
        for table in (tables[space] for space in SPACES if space in tables):
            vectors, present = table.gather(rows.ravel())
            cube = vectors.reshape(*rows.shape, table.dim)
            there = present.reshape(rows.shape)
            both = there[:, :, None] & there[:, None, :]
            shared |= both
            far |= both & (cube @ cube.transpose(0, 2, 1) < least)
        out[part[(shared & ~far & earlier).any(axis=2)]] = True
    return out


def padded(candidates: Candidates, first: int) -> Rows:
    """int64[Q, F]: entries of the first candidates of each question in order, -1 behind the last.

    F is at most `first`.
    """
    lengths = np.minimum(np.diff(candidates.offsets), first)
    place = np.arange(int(lengths.max(initial=0)))
    inside = place < lengths[:, None]
    return np.where(inside, candidates.offsets[:-1, None] + place, -1)
