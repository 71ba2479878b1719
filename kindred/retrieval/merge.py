"""Reciprocal-rank merge of what the sources found (Cormack, Clarke and Büttcher 2009)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kindred.retrieval.segments import offsets_of, places_in_runs
from kindred.retrieval.sources import SOURCES, Entries
from kindred.schemas.ranking import Candidates, Doubles, Floats, Mask, Rows
from kindred.schemas.settings import RecallSettings

WITH_A_PAST = tuple(SOURCES.index(name) for name in ("pairs", "forward", "ease", "als"))
"""Sources that answer to seeds that people have acted on."""


@dataclass(frozen=True, slots=True)
class Finds:
    """What all sources found, flat: grouped by source, then by query, best first within both."""

    sources: Rows
    queries: Rows
    rows: Rows
    scores: Floats

    @classmethod
    def of(cls, found: Mapping[str, Entries]) -> Self:
        """One column set from each source's entries."""
        names = sorted(found, key=SOURCES.index)
        lengths = [len(found[n].rows) for n in names]
        bits = np.array([SOURCES.index(n) for n in names], np.int64)
        return cls(
            np.repeat(bits, lengths),
            np.concatenate([found[n].queries for n in names] or [np.zeros(0, np.int64)]),
            np.concatenate([found[n].rows for n in names] or [np.zeros(0, np.int64)]),
            np.concatenate([found[n].scores for n in names] or [np.zeros(0, np.float32)]),
        )

    def take(self, keep: Mask) -> Self:
        """Those where the mask holds."""
        return type(self)(
            self.sources[keep], self.queries[keep], self.rows[keep], self.scores[keep]
        )

    def ranks(self, queries: int) -> Rows:
        """int64[n]: 1 = first of its source and query."""
        return places_in_runs(self.sources * queries + self.queries) + 1


@dataclass(frozen=True, slots=True)
class Weights:
    """What the merge is made with."""

    by_source: Doubles
    """float64[S]"""
    k: float

    @classmethod
    def of(cls, settings: RecallSettings) -> Weights:
        """Those of the settings; 0 for sources that are not asked."""
        known = [settings.sources.get(name) for name in SOURCES]
        worth = [0.0 if s is None or not s.quota else s.weight for s in known]
        return cls(np.array(worth), settings.rrf_k)

    def scaled_as(self, other: Weights) -> Weights:
        """The same order of candidates, with an item that is first everywhere as high as there.

        The ranker reads the merged score, so it must mean about the same with every k.
        """
        total = self.by_source.sum()
        if not total:
            return self
        factor = other.by_source.sum() / (other.k + 1) * (self.k + 1) / total
        return Weights(self.by_source * factor, self.k)

    def named(self) -> dict[str, float]:
        """By source, of those that have any."""
        found = zip(SOURCES, self.by_source.tolist(), strict=True)
        return {name: round(w, 5) for name, w in found if w}


Fits = Callable[[Rows, Rows, NDArray[np.uint32]], Mask]
"""(queries int64[n], rows int64[n], sources uint32[n]) -> bool[n]: which candidates may stay."""


def merge(
    finds: Finds,
    queries: int,
    size: int,
    settings: RecallSettings,
    fits: Fits | None = None,
    learned: Weights | None = None,
) -> Candidates:
    """One list a query: merged = Σ over sources of weight / (rrf_k + rank), best first.

    Weights and rrf_k are the `learned` ones for queries with a find by what went with their seeds,
    else those of the settings: they were learned from seeds with a past, and would have little to
    say for what answers the others.

    Of each source the first `quota` of a query count. An item that several sources found stands
    once, with each source's rank and score kept. `size` is the number of catalogue rows. At most
    `settings.candidates` of those that `fits` lets through stay for each query.
    """
    known = [settings.sources.get(name) for name in SOURCES]
    quotas = np.array([0 if s is None else s.quota for s in known])
    rank = finds.ranks(queries)
    inside = rank <= quotas[finds.sources]
    finds, rank = finds.take(inside), rank[inside]
    key, entry = np.unique(finds.queries * max(size, 1) + finds.rows, return_inverse=True)
    n, source = len(key), finds.sources
    ranks = np.zeros((n, len(SOURCES)), np.uint16)
    ranks[entry, source] = np.minimum(rank, 65_535)
    scores = np.full((n, len(SOURCES)), np.nan, np.float32)
    scores[entry, source] = finds.scores
    plain = Weights.of(settings)
    worth = plain.by_source[source] / (plain.k + rank)
    if learned is not None:
        past = np.zeros(queries, np.bool_)
        past[finds.queries[np.isin(source, WITH_A_PAST)]] = True
        better = learned.by_source[source] / (learned.k + rank)
        worth = np.where(past[finds.queries], better, worth)
    merged = np.bincount(entry, worth, n).astype(np.float32)
    owner = key // max(size, 1)
    row = key - owner * max(size, 1)
    bits = np.bincount(entry, 1 << source, n).astype(np.uint32)
    # Sorted and cut before the wide columns are gathered.
    order = np.lexsort((-merged, owner))
    if fits is not None:
        order = order[fits(owner, row, bits)[order]]
    order = order[places_in_runs(owner[order]) < settings.candidates]
    return Candidates(
        offsets=offsets_of(np.bincount(owner[order], minlength=queries)),
        rows=row[order],
        sources=bits[order],
        source_ranks=ranks[order],
        source_scores=scores[order],
        merged=merged[order],
    )
