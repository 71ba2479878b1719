"""A drawn marketplace: clustered vectors, categories that follow them, prices that half follow,
and two places for every item, one that follows the vector and one that does not. And questions
about it, with filters of a wanted selectivity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.geo import haversine
from kindred.schemas.item import Item, Location
from kindred.schemas.query import Filters, GeoRadius
from kindred.schemas.ranking import Doubles, Floats, Rows

TOPS, MIDS, LEAVES = 20, 200, 2000
CITIES = 300
CREATED = 1_700_000_000_000_000


@dataclass(frozen=True, slots=True)
class Market:
    """n items as columns."""

    vectors: Floats
    """float32[n, d], unit length"""
    leaf: NDArray[np.int32]
    """int32[n]: category, 0..LEAVES - 1; its parents are leaf // 10 and leaf // 100"""
    price: Rows
    """int64[n] minor units"""
    following: Doubles
    """float64[n, 2]: latitude and longitude, near the home town of the item's category"""
    independent: Doubles
    """float64[n, 2]: latitude and longitude, in a town drawn without regard to the vector"""

    @classmethod
    def draw(cls, points: int, dim: int, seed: int) -> Market:
        """A tree of 20 × 10 × 10 clusters of uneven sizes, with noise as long as the signal."""
        rng = np.random.default_rng(seed)
        tops = _unit(rng.normal(size=(TOPS, dim)))
        mids = _near(rng, np.repeat(tops, MIDS // TOPS, axis=0), 0.9)
        leaves = _near(rng, np.repeat(mids, LEAVES // MIDS, axis=0), 0.8)
        leaf = rng.choice(LEAVES, points, p=_zipf(rng, LEAVES, 0.7)).astype(np.int32)
        vectors = np.empty((points, dim), np.float32)
        for start in range(0, points, 100_000):
            part = slice(start, start + 100_000)
            vectors[part] = _near(rng, leaves[leaf[part]], 0.9)
        level = rng.normal(0, 1, MIDS)[leaf // 10] + rng.normal(8, 0.8, points)
        towns = np.column_stack([rng.uniform(36, 68, CITIES), rng.uniform(-8, 28, CITIES)])
        sizes = _zipf(rng, CITIES, 1.0)
        home = rng.choice(CITIES, MIDS, p=sizes)
        town = rng.choice(CITIES, points, p=sizes)
        return cls(
            vectors=vectors,
            leaf=leaf,
            price=np.exp(level).astype(np.int64),
            following=towns[home[leaf // 10]] + rng.normal(0, 1.5, (points, 2)),
            independent=towns[town] + rng.normal(0, 0.3, (points, 2)),
        )

    def items(self, start: int, end: int, places: Doubles) -> list[Item]:
        """Rows start to end, at the given ones of the two places."""
        part = slice(start, end)
        columns = (self.leaf[part].tolist(), self.price[part].tolist(), *places[part].T)
        return [
            Item(
                item_id=str(row),
                category=path(leaf),
                price_minor=price,
                currency="EUR",
                seller_id=f"s{row % 5000}",
                brand=f"b{row % 700}",
                created_at=CREATED + row,
                location=Location(lat=float(lat), lon=float(lon)),
            )
            for row, leaf, price, lat, lon in zip(range(start, end), *columns, strict=True)
        ]


class Asker:
    """Questions about items, and filters of a wanted selectivity around items."""

    def __init__(self, market: Market, questions: int, seed: int) -> None:
        self.market = market
        rng = self.rng = np.random.default_rng(seed)
        n = len(market.leaf)
        self.items = rng.choice(n, questions, replace=False)
        noise = rng.normal(size=(questions, market.vectors.shape[1]))
        noise *= 0.3 / np.linalg.norm(noise, axis=1, keepdims=True)
        near = market.vectors[self.items] + noise
        unit = near / np.linalg.norm(near, axis=1, keepdims=True)
        self.vectors: Floats = unit.astype(np.float32)
        # Every other filter is made around another item than the question's.
        self.around = np.where(np.arange(questions) % 2 == 0, self.items, rng.choice(n, questions))
        self.sorted_price = np.sort(market.price)
        self.sizes = np.bincount(market.leaf, minlength=LEAVES)

    def filters(self, kind: str, share: float) -> Iterator[Filters]:
        """One for each question."""
        if kind == "none":
            return (Filters() for _ in self.items)
        made: dict[str, Callable[[int, float], Filters]] = {
            "category": self._categories,
            "price": self._prices,
            "place follows vector": self._near_following,
            "place independent of vector": self._near_independent,
        }
        return (made[kind](int(item), share) for item in self.around)

    def _categories(self, item: int, share: float) -> Filters:
        """The item's own category at a fitting level, and others until the share is reached."""
        levels = {0.001: 3, 0.01: 2}.get(share, 1)
        width = 10 ** (3 - levels)
        own = int(self.market.leaf[item]) // width
        sizes = self.sizes.reshape(-1, width).sum(axis=1)
        others = self.rng.permutation(np.delete(np.arange(len(sizes)), own))
        order = np.concatenate([[own], others])
        enough = int(np.searchsorted(np.cumsum(sizes[order]), share * sizes.sum())) + 1
        return Filters(categories=tuple(path(int(c) * width, levels) for c in order[:enough]))

    def _prices(self, item: int, share: float) -> Filters:
        column, n = self.sorted_price, len(self.sorted_price)
        middle = int(np.searchsorted(column, self.market.price[item]))
        low = max(0, min(int(middle - share * n / 2), n - int(share * n)))
        high = min(n - 1, low + int(share * n))
        return Filters(price_min_minor=int(column[low]), price_max_minor=int(column[high]))

    def _near_following(self, item: int, share: float) -> Filters:
        return self._near(self.market.following, item, share)

    def _near_independent(self, item: int, share: float) -> Filters:
        return self._near(self.market.independent, item, share)

    def _near(self, places: Doubles, item: int, share: float) -> Filters:
        lat, lon = places[item]
        sample = places[:: max(1, len(places) // 50_000)]
        metres = haversine(lat, lon, sample[:, 0], sample[:, 1])
        radius = float(np.quantile(metres, share)) * 1.000001 if share < 1 else 2.0e7
        return Filters(geo=GeoRadius(lat=lat, lon=lon, radius_m=max(radius, 1.0)))


def path(leaf: int, levels: int = 3) -> tuple[str, ...]:
    """The category path of a leaf, or its first levels."""
    return (f"t{leaf // 100}", f"m{leaf // 10}", f"l{leaf}")[:levels]


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _near(
    rng: np.random.Generator, centres: NDArray[np.float64], noise: float
) -> NDArray[np.float64]:
    return _unit(centres + noise * _unit(rng.normal(size=centres.shape)))


def _zipf(rng: np.random.Generator, count: int, exponent: float) -> NDArray[np.float64]:
    weights = rng.permutation(1 / np.arange(1, count + 1) ** exponent)
    return np.asarray(weights / weights.sum())
