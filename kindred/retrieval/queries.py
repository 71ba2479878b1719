"""`Queries`: a batch of questions in catalogue rows, columns throughout.

HTTP asks one at a time, evaluation and batch jobs thousands; both are the same struct of arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.users import Keys
from kindred.indexer.columns import Columns
from kindred.indexer.store.tables import VectorTable
from kindred.indexer.traits import WIDTHS, Hashes, trait_columns
from kindred.retrieval.segments import last_of, lengths_of, offsets_of, owners_of, segment_sum, unit
from kindred.schemas.item import MAX_LEVELS, Condition, Item
from kindred.schemas.query import Filters, Place
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows

CONDITIONS = tuple(Condition)
DISLIKE = 0.5
"""Weight of the mean of the negative seeds against the mean of the positive ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """Facts of the item that each query is about: its newest seed, or the inline item.

    Missing facts are -1 or NaN.
    """

    row: Rows
    """int64[Q], -1 for an inline item or none"""
    category: NDArray[np.int32]
    """int32[Q, MAX_LEVELS]"""
    brand: NDArray[np.int32]
    seller: NDArray[np.int32]
    colour: NDArray[np.int32]
    condition: NDArray[np.int8]
    price: Doubles
    """float64[Q] minor units"""
    lat: Doubles
    lon: Doubles
    words: Hashes
    """uint32[Q, 16]: the title's, as `Columns.words` has them; 0 for none"""
    attributes: Hashes
    """uint32[Q, 12]"""
    materials: Hashes
    """uint32[Q, 4]"""

    @classmethod
    def of_rows(cls, columns: Columns, rows: Rows) -> Anchor:
        """Facts read from the catalogue's columns; row -1 has none."""
        known = rows >= 0
        at = np.where(known, rows, 0)
        if columns.size == 0:
            at, columns, known = np.zeros(0, np.int64), columns, known
            return cls.unknown(len(rows))

        def codes(column: NDArray[np.int32]) -> NDArray[np.int32]:
            return np.where(known, column[at], -1).astype(np.int32)

        def hashes(column: Hashes) -> Hashes:
            return np.where(known[:, None], column[at], np.uint32(0))

        return cls(
            row=rows,
            category=np.where(known[:, None], columns.category[at], -1).astype(np.int32),
            brand=codes(columns.brand),
            seller=codes(columns.seller),
            colour=codes(columns.colour),
            condition=np.where(known, columns.condition[at], -1).astype(np.int8),
            price=np.where(known, columns.price[at], np.nan),
            lat=np.where(known, columns.lat[at], np.nan),
            lon=np.where(known, columns.lon[at], np.nan),
            words=hashes(columns.words),
            attributes=hashes(columns.attributes),
            materials=hashes(columns.materials),
        )

    @classmethod
    def unknown(cls, count: int) -> Anchor:
        """No facts at all."""
        none = np.full(count, -1, np.int32)
        nan = np.full(count, np.nan)
        return cls(
            row=np.full(count, -1, np.int64),
            category=np.full((count, MAX_LEVELS), -1, np.int32),
            brand=none,
            seller=none,
            colour=none,
            condition=none.astype(np.int8),
            price=nan,
            lat=nan,
            lon=nan,
            **{name: np.zeros((count, width), np.uint32) for name, width in WIDTHS.items()},
        )

    @classmethod
    def of_item(cls, columns: Columns, item: Item) -> Anchor:
        """Facts of one inline item, in the catalogue's codes; words it never saw are unknown."""
        find = columns.vocabularies
        anchor = cls.unknown(1)
        for level in range(len(item.category)):
            prefix = "\x1f".join(item.category[: level + 1])
            anchor.category[0, level] = find["category"].find(prefix)
        for name, value in (
            ("brand", item.brand),
            ("seller", item.seller_id),
            ("colour", item.colour),
        ):
            if value is not None:
                getattr(anchor, name)[0] = find[name].find(value)
        if item.condition is not None:
            anchor.condition[0] = CONDITIONS.index(item.condition)
        if item.price_minor is not None:
            anchor.price[0] = item.price_minor
        if item.location is not None and item.location.lat is not None:
            anchor.lat[0], anchor.lon[0] = item.location.lat, item.location.lon
        for name, hashes in trait_columns([item]).items():
            getattr(anchor, name)[:] = hashes.T
        return anchor


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """Q questions; m seeds in all, each query's oldest first."""

    offsets: Rows
    """int64[Q + 1] into the seeds"""
    seeds: Rows
    """int64[m]: rows"""
    weights: Floats
    """float32[m] > 0: what a seed counts in the session vector"""
    anchor: Anchor
    now: Rows
    """int64[Q] µs"""
    filters: Sequence[Filters] = (Filters(),)
    """Distinct filters"""
    filter_ids: Rows
    """int64[Q] into `filters`"""
    exclude_seeds: Mask
    """bool[Q]: seeds may not come back as answers"""
    lat: Doubles
    """float64[Q]: where the visitor is, NaN unknown"""
    lon: Doubles
    dislike_offsets: Rows
    dislikes: Rows
    users: Keys | None = None
    """uint64[Q]: `users.user_key` of who asks, NOBODY where not logged in; None for nobody"""
    platforms: NDArray[np.int8] | None = None
    """int8[Q]: code in `impressions.PLATFORMS` of where the answers will be shown, -1 unknown"""
    inline: Mapping[str, Floats] = field(default_factory=dict)
    """space -> float32[Q, d]: vectors of inline items, for queries without seeds"""
    made: dict[str, tuple[Floats, Mask]] = field(default_factory=dict, init=False, compare=False)
    """Session vectors by space, once made: recall and features both ask"""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def owners(self) -> Rows:
        """int64[m]: the query of each seed."""
        return owners_of(self.offsets)

    @property
    def lengths(self) -> Rows:
        """int64[Q]: seeds of each query."""
        return lengths_of(self.offsets)

    def vectors(self, space: str, table: VectorTable) -> tuple[Floats, Mask]:
        """(float32[Q, d] unit, bool[Q]): the weighted mean of the seeds' vectors, less dislikes."""
        if space not in self.made:
            self.made[space] = self._vectors(space, table)
        return self.made[space]

    def _vectors(self, space: str, table: VectorTable) -> tuple[Floats, Mask]:
        seeds, present = table.gather(self.seeds)
        weights = np.where(present, self.weights, 0).astype(np.float32)
        mean = unit(segment_sum(seeds * weights[:, None], self.offsets))
        if len(self.dislikes):
            away, _ = table.gather(self.dislikes)
            mean = mean - np.float32(DISLIKE) * unit(segment_sum(away, self.dislike_offsets))
        if space in self.inline:
            mean = mean + self.inline[space]
        mean = unit(mean)
        return mean, np.any(mean != 0, axis=1)

    def last_vectors(self, space: str, table: VectorTable) -> tuple[Floats, Mask]:
        """(float32[Q, d], bool[Q]): the newest seed's vector, or the inline item's."""
        vectors, present = table.gather(self.anchor.row)
        if space in self.inline:
            vectors = np.where(present[:, None], vectors, self.inline[space])
            present = np.any(vectors != 0, axis=1)
        return vectors, present


def recency_weights(offsets: Rows, half_life: float) -> Floats:
    """float32[m]: 1 for each query's newest seed, half of it `half_life` steps back."""
    ends = np.repeat(offsets[1:], lengths_of(offsets))
    back = ends - 1 - np.arange(offsets[-1])
    return np.power(0.5, back / half_life).astype(np.float32)


def seed_weights(action_weights: Floats, actions: NDArray[np.integer]) -> Floats:
    """float32[m] > 0: what a seed's action counts, from float32[actions] by action code.

    The square root, because a session's vector must not be its one purchase.
    """
    weights: Floats = np.sqrt(np.maximum(action_weights[actions], 1e-3))
    return weights


def make_queries(
    columns: Columns,
    offsets: Rows,
    seeds: Rows,
    *,
    now: int | Rows,
    half_life: float,
    action_weights: Floats | None = None,
    filters: Sequence[Filters] = (Filters(),),
    filter_ids: Rows | None = None,
    exclude_seeds: bool | Mask = True,
    places: Sequence[Place | None] | None = None,
    dislikes: tuple[Rows, Rows] | None = None,
    users: Keys | None = None,
) -> Queries:
    """A batch from ragged seed rows; unknown seeds (row -1) are dropped.

    `action_weights` float32[m] > 0 multiplies the recency weight of a seed; the largest weight of
    a query is then 1.
    """
    count = len(offsets) - 1
    known = seeds >= 0
    if not known.all():
        kept = segment_sum(known.astype(np.int64), offsets)
        offsets, seeds = offsets_of(kept), seeds[known]
        action_weights = None if action_weights is None else action_weights[known]
    weights = recency_weights(offsets, half_life)
    if action_weights is not None:
        # Relative to the query's heaviest: a purchase among purchases is a view among views, so
        # that scores mean the same however the caller names the actions.
        weights = weights * action_weights
        heaviest = np.maximum.reduceat(np.append(weights, 0), offsets[:-1]) if count else weights
        weights = weights / np.repeat(heaviest, lengths_of(offsets))
    place = np.array(
        [(np.nan, np.nan) if p is None else (p.lat, p.lon) for p in places or [None] * count],
        np.float64,
    ).reshape(count, 2)
    dislike_offsets, disliked = dislikes or (np.zeros(count + 1, np.int64), np.zeros(0, np.int64))
    return Queries(
        offsets=offsets,
        seeds=seeds,
        weights=weights,
        anchor=Anchor.of_rows(columns, last_of(seeds, offsets, -1)),
        now=np.broadcast_to(np.asarray(now, np.int64), (count,)),
        filters=filters,
        filter_ids=np.zeros(count, np.int64) if filter_ids is None else filter_ids,
        exclude_seeds=np.broadcast_to(np.asarray(exclude_seeds, np.bool_), (count,)),
        lat=place[:, 0],
        lon=place[:, 1],
        dislike_offsets=dislike_offsets,
        dislikes=disliked,
        users=users,
    )
