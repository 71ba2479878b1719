"""The pool of an answer's auction places: items whose campaigns have views left, near the question.

Auction campaigns (PLX) have bought views until a moment, not sales, so they have a pool of their
own: among the thousands of items of which the ranker sees the best few hundred, most would never
be shown. SPEC §3.6, source 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.columns import CAMPAIGN_CODE, Columns
from kindred.retrieval.queries import Queries
from kindred.retrieval.recall import among
from kindred.retrieval.segments import owners_of
from kindred.retrieval.sources import Corpus
from kindred.schemas.clock import DAY
from kindred.schemas.item import Campaign
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows
from kindred.schemas.settings import AuctionSettings

SPACES = ("air", "hybrid", "text_tuned", "text", "visual", "attributes", "image")
"""Spaces that tell how near an item is, the first of the index: auctions are new, so spaces that
are known from content go first."""
NEEDIEST = 4096
"""Items that are compared with the questions, at most: those furthest behind."""
SECOND = 1_000_000


class Deliveries:
    """Views that auction items have had at places of theirs, as one process knows it.

    One thread tells, any number ask: the array is replaced whole.
    """

    def __init__(self) -> None:
        self._views: Rows = np.zeros(0, np.int64)
        self._auctioned: tuple[Columns | None, int, Rows] = (None, -1, self._views)

    def tell(self, columns: Columns, views: Mapping[str, int]) -> None:
        """Take the counts by item id; what the catalogue does not hold is left out."""
        rows = columns.rows(views)
        counts = np.fromiter(views.values(), np.int64, len(views))
        known = np.zeros(int(rows.max(initial=-1)) + 1, np.int64)
        known[rows[rows >= 0]] = counts[rows >= 0]
        self._views = known

    def add(self, rows: Rows) -> None:
        """Count one view more of each row; a row may come several times."""
        size = max(len(self._views), int(rows.max(initial=-1)) + 1)
        added = np.bincount(rows, minlength=size)
        added[: len(self._views)] += self._views
        self._views = added

    def of(self, rows: Rows) -> Rows:
        """int64[n]: views so far."""
        views = self._views
        inside = rows < len(views)
        return np.where(inside, np.append(views, 0)[np.where(inside, rows, -1)], 0)

    def auctioned(self, columns: Columns) -> Rows:
        """int64[m]: rows in an auction campaign, sought once for each state of the catalogue."""
        version = columns.version
        known, of, rows = self._auctioned
        if known is not columns or of != version:
            rows = np.flatnonzero(
                (columns.campaign == CAMPAIGN_CODE[Campaign.PLX]) & (columns.target_views > 0)
            )
            self._auctioned = (columns, version, rows)
        return rows


@dataclass(frozen=True, slots=True)
class Pool:
    """n auction items for Q queries, grouped by query."""

    queries: Rows
    """int64[n], rising"""
    rows: Rows
    """int64[n]"""
    need: Doubles
    """float64[n] > 0: views still owed for each second left"""
    bid: Doubles
    """float64[n]: flat fee for each view bought, minor units; NaN unknown"""
    similarity: Floats
    """float32[n]: cosine to the question, NaN unknown"""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, wanted: Mask | Rows) -> Pool:
        """The entries at `wanted`, in its order."""
        return Pool(
            self.queries[wanted], self.rows[wanted], self.need[wanted], self.bid[wanted],
            self.similarity[wanted],
        )  # fmt: skip


def needs(columns: Columns, rows: Rows, views: Rows, now: Rows, days: float) -> Doubles:
    """float64[n]: (target views - views so far) / seconds left; 0 where either is used up.

    `now` int64[n] µs. A campaign without an end has `days` left, always.
    """
    end = columns.auction_end[rows]
    left = np.where(end > 0, end - now, days * DAY) / SECOND
    owed = columns.target_views[rows] - views
    return np.where((owed > 0) & (left > 0), owed / np.maximum(left, 1.0), 0.0)


def pooled(
    queries: Queries, corpus: Corpus, deliveries: Deliveries, settings: AuctionSettings
) -> Pool:
    """At most `pool` items for each query: on sale, owed views, let through by its filters.

    Of these the nearest, in the seed's top category where it has one. None of the query's own
    seeds, and nothing disliked.
    """
    columns, asked = corpus.columns, len(queries)
    rows = deliveries.auctioned(columns)
    rows = rows[columns.active[rows]]
    if not len(rows) or not asked:
        return _nothing()
    views = deliveries.of(rows)
    if len(rows) > NEEDIEST:
        soonest = int(queries.now.min())
        need = needs(columns, rows, views, np.full(len(rows), soonest), settings.days)
        few = np.sort(np.argpartition(-need, NEEDIEST)[:NEEDIEST])
        rows, views = rows[few], views[few]
    masks = np.stack([corpus.planner.allowed(f).mask[rows] for f in queries.filters])
    fits = masks[queries.filter_ids]
    top = queries.anchor.category[:, :1]
    fits = fits & ((top < 0) | (columns.category[rows, 0][None, :] == top))
    near = similarity(queries, corpus, rows)
    key = np.where(fits, np.nan_to_num(near, nan=-1.0), -np.inf)
    kept = min(settings.pool, len(rows))
    best = np.argpartition(-key, kept - 1, axis=1)[:, :kept]
    owners = np.repeat(np.arange(asked), kept)
    at = best.ravel()
    found = rows[at]
    need = needs(columns, found, views[at], queries.now[owners], settings.days)
    stays = (need > 0) & fits[owners, at] & ~_own(queries, owners, found, columns.size)
    owners, at, found, need = owners[stays], at[stays], found[stays], need[stays]
    bid = columns.flat_fee[found] / columns.target_views[found]
    return Pool(owners, found, need, bid, near[owners, at])


def similarity(queries: Queries, corpus: Corpus, rows: Rows) -> Floats:
    """float32[Q, m]: cosine of each query to each row in the first space of `SPACES` that there is.

    NaN where the query or the row has no vector there.
    """
    space = next((s for s in SPACES if s in corpus.tables), None)
    if space is None:
        return np.full((len(queries), len(rows)), np.nan, np.float32)
    table = corpus.tables[space]
    asked, known = queries.vectors(space, table)
    vectors, present = table.gather(rows)
    cosine: Floats = asked @ vectors.T
    return np.where(known[:, None] & present[None, :], cosine, np.float32(np.nan))


def _own(queries: Queries, owners: Rows, rows: Rows, size: int) -> Mask:
    """bool[n]: rows that the query started from, or moves away from."""
    key = owners * size + rows
    own = np.zeros(len(key), np.bool_)
    if len(queries.seeds):
        own |= among(key, queries.owners * size + queries.seeds)
    if len(queries.dislikes):
        own |= among(key, owners_of(queries.dislike_offsets) * size + queries.dislikes)
    return own


def _nothing() -> Pool:
    none: NDArray[np.int64] = np.zeros(0, np.int64)
    return Pool(none, none, np.zeros(0), np.zeros(0), np.zeros(0, np.float32))
