"""Recall sources that answer from memory: pairs, ease, popular, fresh, revisit, again.

Each gives entries (query, row, score), at most `quota` a query, best first within a query. The
vector sources are asked together, in one call of the store: see `recall`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from kindred.indexer.behaviour.ease import EaseTable
from kindred.indexer.behaviour.exposure import Exposure
from kindred.indexer.behaviour.history import Bestsellers, History
from kindred.indexer.behaviour.pair_exposure import PairExposure
from kindred.indexer.behaviour.pairs import PairTable
from kindred.indexer.behaviour.tastes import Tastes
from kindred.indexer.behaviour.users import UserFactors
from kindred.indexer.columns import Columns, haversine
from kindred.indexer.store.port import VectorSearch
from kindred.indexer.store.tables import VectorTable
from kindred.indexer.traits import WordWeights
from kindred.retrieval.plan import FilterPlanner
from kindred.retrieval.queries import Queries
from kindred.retrieval.segments import ranks_within
from kindred.schemas.clock import HOUR
from kindred.schemas.query import Filters
from kindred.schemas.ranking import Doubles, Floats, Rows
from kindred.schemas.settings import RecallSettings

LEARNED = ("hybrid", "air", "visual", "shared", "text_tuned")
"""Spaces of modules that are trained here."""
SPACES = ("als", "text", "image", "attributes", *LEARNED)
"""Vector spaces that recall asks, where the index has them."""
SOURCES = (
    "pairs", "forward", "als", "text", "image", "attributes", "popular", "fresh", "revisit",
    *LEARNED, "user", "ease", "again",
)  # fmt: skip
"""Every source; its place here is its bit and its column, so new ones go at the end."""
FRESH_POOL = 2000
"""Newest listings that `fresh` looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """What recall reads: one index version and the behaviour tables made for it."""

    columns: Columns
    tables: Mapping[str, VectorTable]
    store: VectorSearch
    exact: VectorSearch
    planner: FilterPlanner
    pairs: PairTable | None = None
    forward: PairTable | None = None
    ease: EaseTable | None = None
    history: History | None = None
    bestsellers: Bestsellers | None = None
    exposure: Exposure | None = None
    pair_exposure: PairExposure | None = None
    tastes: Tastes | None = None
    word_weights: WordWeights | None = None
    users: UserFactors | None = None


@dataclass(frozen=True, slots=True)
class Entries:
    """What one source found: parallel columns, best first within a query."""

    queries: Rows
    rows: Rows
    scores: Floats

    @classmethod
    def none(cls) -> Entries:
        """Nothing found."""
        empty = np.zeros(0, np.int64)
        return cls(empty, empty, np.zeros(0, np.float32))

    @classmethod
    def best(cls, queries: Rows, rows: Rows, scores: Floats, quota: int) -> Entries:
        """The `quota` best of each query."""
        order, ranks = ranks_within(queries, scores)
        order = order[ranks < quota]
        return cls(queries[order], rows[order], scores[order])


def paired(table: PairTable, queries: Queries, corpus: Corpus, quota: int) -> Entries:
    """Items that went with the seeds: the weighted sum of their similarities."""
    if not len(queries.seeds):
        return Entries.none()
    at, rows, scores = table.lookup(queries.seeds, 2 * quota)
    owners = queries.owners[at]
    key, inverse = np.unique(owners * corpus.columns.size + rows, return_inverse=True)
    sums = np.bincount(inverse, scores * queries.weights[at]).astype(np.float32)
    return Entries.best(key // corpus.columns.size, key % corpus.columns.size, sums, quota)


def pairs(queries: Queries, corpus: Corpus, quota: int, settings: RecallSettings) -> Entries:  # noqa: ARG001
    """Co-occurrence in both directions."""
    return Entries.none() if corpus.pairs is None else paired(corpus.pairs, queries, corpus, quota)


def forward(queries: Queries, corpus: Corpus, quota: int, settings: RecallSettings) -> Entries:  # noqa: ARG001
    """What came after the seeds."""
    if corpus.forward is None:
        return Entries.none()
    return paired(corpus.forward, queries, corpus, quota)


def ease(queries: Queries, corpus: Corpus, quota: int, settings: RecallSettings) -> Entries:  # noqa: ARG001
    """What the seeds say for other items by linear weights."""
    if corpus.ease is None:
        return Entries.none()
    if not corpus.ease.recent:
        queries = replace(queries, weights=np.ones_like(queries.weights))
    return paired(corpus.ease.table, queries, corpus, quota)


def nearness(queries: Queries, corpus: Corpus, owners: Rows, rows: Rows, near_km: float) -> Doubles:
    """float64[n]: halves with every `near_km`; 1 where either place is unknown."""
    if not np.isfinite(queries.lat).any():
        return np.ones(len(rows))
    columns = corpus.columns
    metres = haversine(
        queries.lat[owners], queries.lon[owners], columns.lat[rows], columns.lon[rows]
    )
    return np.where(np.isfinite(metres), np.power(0.5, metres / (1000 * near_km)), 1.0)


def top_allowed(corpus: Corpus, filters: Filters, quota: int) -> Rows:
    """The most popular rows that pass, best first."""
    assert corpus.history is not None
    popularity, order = corpus.history.popularity, corpus.history.by_popularity
    allowed = corpus.planner.allowed(filters)
    head = order[: 20 * quota]
    rows: Rows = head[allowed.mask[head]][:quota]
    if len(rows) == quota or len(head) == len(order):
        return rows
    # The filter is narrow: fewer rows pass than the whole order holds.
    rows = allowed.rows[allowed.rows < len(popularity)]
    rows = rows[popularity[rows] > 0]
    best: Rows = rows[np.argsort(-popularity[rows], kind="stable")[:quota]]
    return best


def popular(queries: Queries, corpus: Corpus, quota: int, settings: RecallSettings) -> Entries:
    """Bestsellers of the anchor's category and of the whole catalogue, near the visitor first."""
    if corpus.history is None or corpus.bestsellers is None:
        return Entries.none()
    category = queries.anchor.category
    depth = (category >= 0).sum(axis=1)
    leaf = np.where(depth > 0, category[np.arange(len(category)), np.maximum(depth - 1, 0)], -1)
    at, own = corpus.bestsellers.lookup(leaf, quota)
    lists = [top_allowed(corpus, f, quota) for f in queries.filters]
    lengths = np.array([len(x) for x in lists])[queries.filter_ids]
    owners = np.concatenate([at, np.repeat(np.arange(len(queries)), lengths)])
    rows = np.concatenate([own, *(lists[f] for f in queries.filter_ids)])
    key = np.unique(owners * corpus.columns.size + rows)
    owners, rows = key // corpus.columns.size, key % corpus.columns.size
    scores = corpus.history.popularity[rows] * nearness(
        queries, corpus, owners, rows, settings.near_km
    )
    return Entries.best(owners, rows, scores.astype(np.float32), quota)


def fresh(queries: Queries, corpus: Corpus, quota: int, settings: RecallSettings) -> Entries:
    """Listings of the last hours in the anchor's top category, near and new first."""
    columns = corpus.columns
    window = settings.fresh_hours * HOUR
    newest = int(queries.now.max()) if len(queries) else 0
    oldest = int(queries.now.min()) - window if len(queries) else 0
    created = columns.created[: columns.size]
    rows = np.flatnonzero(created >= oldest)
    rows = rows[(created[rows] <= newest) & columns.active[rows]]
    if not len(rows):
        return Entries.none()
    if len(rows) > FRESH_POOL:
        rows = rows[np.argpartition(-created[rows], FRESH_POOL)[:FRESH_POOL]]
    age = queries.now[:, None] - columns.created[rows][None, :]
    top = queries.anchor.category[:, :1]
    fits = (age >= 0) & (age <= window) & ((top < 0) | (columns.category[rows, 0][None, :] == top))
    owners, at = np.nonzero(fits)
    found = rows[at]
    scores = nearness(queries, corpus, owners, found, settings.near_km) * np.power(
        0.5, age[owners, at] / window
    )
    return Entries.best(owners, found, scores.astype(np.float32), quota)


def revisit(queries: Queries, corpus: Corpus, quota: int, settings: RecallSettings) -> Entries:  # noqa: ARG001
    """The session's own items, newest first, where they may come back."""
    may = ~queries.exclude_seeds[queries.owners]
    if not may.any():
        return Entries.none()
    owners, rows = queries.owners[may], queries.seeds[may]
    key, inverse = np.unique(owners * corpus.columns.size + rows, return_inverse=True)
    sums = np.bincount(inverse, queries.weights[may], len(key)).astype(np.float32)
    return Entries.best(key // corpus.columns.size, key % corpus.columns.size, sums, quota)


def again(queries: Queries, corpus: Corpus, quota: int, settings: RecallSettings) -> Entries:  # noqa: ARG001
    """What the user acted on in earlier visits, heaviest first, where people come back for it."""
    if corpus.tastes is None or not corpus.tastes.recalled or queries.users is None:
        return Entries.none()
    owners, rows, weights = corpus.tastes.lookup(queries.users)
    there = rows < corpus.columns.size
    return Entries.best(owners[there], rows[there], weights[there], quota)


Source = Callable[[Queries, Corpus, int, RecallSettings], Entries]
MEMORY: Mapping[str, Source] = {
    "pairs": pairs,
    "forward": forward,
    "popular": popular,
    "fresh": fresh,
    "revisit": revisit,
    "ease": ease,
    "again": again,
}
"""Sources that answer from memory."""
