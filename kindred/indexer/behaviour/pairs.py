"""Items seen together in one visit: a recall source, and the baseline to beat.

count(i, j) = Σ over visits with both of decay^(distance − 1), where the distance is the number of
steps in time between the two, at least 1: items of the same moment (a basket) are one step apart.
similarity(i, j) = count / ((n_i · n_j)^exponent + shrinkage), n being the visits that hold an item:
with exponent 0.5 the cosine of co-occurrence, corrected for popularity (eBay 2016).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kindred.indexer.behaviour.interactions import Interactions, grouped
from kindred.schemas.ranking import Doubles, Floats, Rows
from kindred.schemas.settings import PairSettings

PAIRS_AT_ONCE = 4_000_000
"""Pairs expanded at once: bounds memory to some 200 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTable:
    """Neighbours of each of N rows, best first, as a compressed sparse table."""

    indptr: Rows
    """int64[N + 1]"""
    rows: Rows
    """int64[nnz]: the neighbours"""
    scores: Floats
    """float32[nnz]: similarity, never rising within a row"""
    counts: Floats
    """float32[nnz]: the decayed count behind it"""
    support: Rows
    """int64[N]: visits that hold each item"""

    def lookup(self, rows: Rows, limit: int) -> tuple[Rows, Rows, Floats]:
        """The first `limit` neighbours of each of m rows, all in one gather.

        Returns (int64[n] position in `rows`, int64[n] neighbour, float32[n] score), in the order
        of `rows`, best first. Rows outside the table (-1, or newer than it) have no neighbours.
        """
        entry, positions = self.positions(rows, limit)
        return entry, self.rows[positions], self.scores[positions]

    def positions(self, rows: Rows, limit: int) -> tuple[Rows, Rows]:
        """As `lookup`: (int64[n] position in `rows`, int64[n] position in the table)."""
        known = (rows >= 0) & (rows < len(self.indptr) - 1)
        safe = np.where(known, rows, 0)
        starts = self.indptr[safe] if len(self.indptr) > 1 else np.zeros(len(rows), np.int64)
        ends = self.indptr[safe + 1] if len(self.indptr) > 1 else starts
        counts = np.where(known, np.minimum(ends - starts, limit), 0)
        return np.repeat(np.arange(len(rows)), counts), ranges(starts, counts)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The columns by name, to be kept."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> PairTable:
        """From its columns."""
        return cls(**{name: arrays[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class _Visits:
    """Distinct items of each visit, at most `max_session`, in order of time."""

    items: Rows
    step: Rows
    """Rank of the moment within the visit: equal for ties."""
    visit: Rows
    offsets: Rows


def count_pairs(
    interactions: Interactions, n_rows: int, settings: PairSettings, *, forward: bool = False
) -> PairTable:
    """Count, correct and keep the best neighbours of each row.

    With `forward` the neighbours of i are what came after it (ties count both ways). An item that
    occurs again in a visit counts once, where it came last. Interactions are all counted alike:
    leave out what should not count (`Interactions.counted`).
    """
    visits = _visits(interactions.look_back(settings.look_back_days), settings.max_session)
    support = np.bincount(visits.items, minlength=n_rows).astype(np.int64)
    blocks = [
        _best(counts, low, support, settings)
        for low, counts in _counted_blocks(visits, n_rows, settings, forward)
    ]
    sizes = np.concatenate([b[0] for b in blocks]) if blocks else np.zeros(n_rows, np.int64)
    return PairTable(
        indptr=np.append(0, np.cumsum(sizes)).astype(np.int64),
        rows=_joined([b[1] for b in blocks], np.int64),
        scores=_joined([b[2] for b in blocks], np.float32),
        counts=_joined([b[3] for b in blocks], np.float32),
        support=support,
    )


def _visits(interactions: Interactions, max_session: int) -> _Visits:
    """The newest `max_session` distinct items of each visit, each where it came last."""
    sessions = grouped(interactions.session)
    items = interactions.row[sessions.index]
    ts = interactions.ts[sessions.index]
    visit = np.repeat(np.arange(len(sessions)), np.diff(sessions.offsets))
    order = np.lexsort((np.arange(len(items)), items, visit))
    same = (np.diff(items[order]) == 0) & (np.diff(visit[order]) == 0)
    last = np.ones(len(items), bool)
    last[order[:-1][same]] = False
    items, ts, visit = items[last], ts[last], visit[last]
    ends = np.cumsum(np.bincount(visit, minlength=len(sessions)))
    newest = ends[visit] - np.arange(len(items)) <= max_session
    items, ts, visit = items[newest], ts[newest], visit[newest]
    offsets = np.append(0, np.cumsum(np.bincount(visit, minlength=len(sessions))))
    moved = np.ones(len(items), bool)
    moved[1:] = (np.diff(ts) > 0) | (np.diff(visit) > 0)
    return _Visits(items, np.cumsum(moved), visit, offsets.astype(np.int64))


def _counted_blocks(
    visits: _Visits, n_rows: int, settings: PairSettings, forward: bool
) -> Iterator[tuple[int, sparse.csr_matrix]]:
    """(first row, decayed counts of a block of rows × all rows), block after block.

    An item's pairs are its occurrences × the items of the same visit, so a block of items is
    complete by itself and nothing has to be added up across blocks.
    """
    order = np.argsort(visits.items, kind="stable")
    lengths = np.diff(visits.offsets)[visits.visit[order]]
    first = np.searchsorted(visits.items[order], np.arange(n_rows + 1))
    work = np.append(0, np.cumsum(lengths))[first]
    low = 0
    while low < n_rows:
        high = int(np.searchsorted(work, work[low] + PAIRS_AT_ONCE, side="right")) - 1
        high = min(max(high, low + 1), n_rows)
        block = order[first[low] : first[high]]
        counts = sparse.csr_matrix((high - low, n_rows), dtype=np.float32)
        step = max(1, PAIRS_AT_ONCE // settings.max_session)
        for start in range(0, len(block), step):
            counts = counts + _expand(visits, block[start : start + step], low, counts.shape,
                                      settings.distance_decay, forward)  # fmt: skip
        yield low, counts
        low = high


def _expand(
    visits: _Visits,
    occurrences: Rows,
    low: int,
    shape: tuple[int, int],
    decay: float,
    forward: bool,
) -> sparse.csr_matrix:
    """Decayed counts of some occurrences with everything in their visits, added up by item.

    The sum is a product of two sparse matrices (items × occurrences, occurrences × items), which
    adds in dense accumulators and so needs no sorting.
    """
    starts = visits.offsets[visits.visit[occurrences]]
    sizes = visits.offsets[visits.visit[occurrences] + 1] - starts
    other = ranges(starts, sizes)
    owner = np.repeat(np.arange(len(occurrences)), sizes)
    distance = visits.step[other] - visits.step[occurrences][owner]
    keep = other != occurrences[owner]
    if forward:
        keep &= distance >= 0
    other, owner, distance = other[keep], owner[keep], np.abs(distance[keep])
    weights = np.float32(decay) ** (np.maximum(distance, 1) - 1).astype(np.float32)
    indptr = np.append(0, np.cumsum(np.bincount(owner, minlength=len(occurrences))))
    right = sparse.csr_matrix(
        (weights, visits.items[other], indptr), shape=(len(occurrences), shape[1])
    )
    left = sparse.csr_matrix(
        (
            np.ones(len(occurrences), np.float32),
            (visits.items[occurrences] - low, np.arange(len(occurrences))),
        ),
        shape=(shape[0], len(occurrences)),
    )
    return left @ right


def _best(
    counts: sparse.csr_matrix, low: int, support: Rows, settings: PairSettings
) -> tuple[Rows, Rows, Floats, Floats]:
    """(kept per row, neighbours, scores, counts) of a block, best first, ties by row."""
    sizes = np.diff(counts.indptr).astype(np.int64)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    neighbour = counts.indices.astype(np.int64)
    popularity: Doubles = support.astype(np.float64) ** settings.popularity_exponent
    divisor = popularity[low + owner] * popularity[neighbour] + settings.shrinkage
    scores = (counts.data / divisor).astype(np.float32)
    keep = np.flatnonzero(scores >= _kth_best(scores, owner, sizes, settings.neighbours)[owner])
    order = keep[np.lexsort((neighbour[keep], -scores[keep], owner[keep]))]
    first = np.cumsum(np.append(0, np.bincount(owner[order], minlength=len(sizes))))
    order = order[np.arange(len(order)) - first[owner[order]] < settings.neighbours]
    kept = np.minimum(sizes, settings.neighbours)
    return kept, neighbour[order], scores[order], counts.data[order].astype(np.float32)


def _kth_best(scores: Floats, owner: Rows, sizes: Rows, k: int) -> Floats:
    """float32[rows]: the k-th best score of each row, -inf where a row has fewer than k.

    Owner and score go into one integer (the bits of positive floats are ordered as they are), so
    that one plain sort does it; sorting by three keys took six times as long.
    """
    key = (owner.astype(np.uint64) << np.uint64(32)) | ~scores.view(np.uint32)
    key.sort()
    full = np.flatnonzero(sizes >= k)
    at = (np.cumsum(sizes) - sizes)[full] + k - 1
    worst = np.full(len(sizes), -np.inf, np.float32)
    worst[full] = (~key[at].astype(np.uint32)).view(np.float32)
    return worst


def ranges(starts: Rows, counts: Rows) -> Rows:
    """starts[0], starts[0] + 1, … (counts[0] of them), then starts[1], …"""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    ranges: Rows = np.arange(total) + np.repeat(starts - (ends - counts), counts)
    return ranges


def _joined(parts: list[NDArray[Any]], kind: type) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, kind)
