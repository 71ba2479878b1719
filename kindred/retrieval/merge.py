"""Reciprocal-rank merge of what the sources found (Cormack, Clarke and Büttcher 2009)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kindred.retrieval.segments import offsets_of
from kindred.retrieval.sources import SOURCES, Entries
from kindred.schemas.ranking import Candidates
from kindred.schemas.settings import RecallSettings


def ranks_of(entries: Entries) -> NDArray[np.int64]:
    """int64[n]: 1 = first of its query; entries come best first within a query."""
    owners = entries.queries
    if not len(owners):
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(np.r_[True, owners[1:] != owners[:-1]])
    lengths = np.diff(np.r_[starts, len(owners)])
    return np.arange(len(owners)) - np.repeat(starts, lengths) + 1


def merge(
    found: Mapping[str, Entries], queries: int, size: int, settings: RecallSettings
) -> Candidates:
    """One list a query: merged = Σ over sources of weight / (rrf_k + rank), best first.

    An item that several sources found stands once, with each source's rank and score kept.
    `size` is the number of catalogue rows. At most `settings.candidates` stay for each query.
    """
    names = [name for name in found if len(found[name].rows)]
    owners = np.concatenate([found[n].queries for n in names] or [np.zeros(0, np.int64)])
    rows = np.concatenate([found[n].rows for n in names] or [np.zeros(0, np.int64)])
    key, entry = np.unique(owners * max(size, 1) + rows, return_inverse=True)
    ranks = np.zeros((len(key), len(SOURCES)), np.uint16)
    scores = np.full((len(key), len(SOURCES)), np.nan, np.float32)
    bits = np.zeros(len(key), np.uint32)
    merged = np.zeros(len(key), np.float32)
    start = 0
    for name in names:
        entries = found[name]
        source, part = SOURCES.index(name), entry[start : start + len(entries.rows)]
        start += len(entries.rows)
        rank = ranks_of(entries)
        ranks[part, source] = np.minimum(rank, 65_535)
        scores[part, source] = entries.scores
        bits[part] |= np.uint32(1 << source)
        merged[part] += settings.sources[name].weight / (settings.rrf_k + rank)
    owner, row = key // max(size, 1), key % max(size, 1)
    candidates = Candidates(
        offsets=offsets_of(np.bincount(owner, minlength=queries)),
        rows=row,
        sources=bits,
        source_ranks=ranks,
        source_scores=scores,
        merged=merged,
    )
    return candidates.sorted_by(merged).head(settings.candidates)
