"""An item as a store's payload, and a filter as conditions on it: the one place that knows both.

`Columns.mask` says what a filter means; the conditions here mean the same in an engine's words,
and each adapter translates them to its driver's objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from kindred.indexer.facts import LEVEL_SEPARATOR, category_prefixes
from kindred.schemas.item import Item
from kindred.schemas.query import Filters, Geo, GeoBox, GeoPolygon, GeoRadius

Kind = Literal["keyword", "integer", "float", "geo"]

_NORTHMOST = 90 - 1e-9
"""Qdrant's geo index loses points at latitude 90 exactly (0.9.0); this is 0.1 mm beside it."""


@dataclass(frozen=True, slots=True)
class PayloadIndex:
    """One field that an engine indexes."""

    kind: Kind
    links: bool
    """Whether the graph gets links of its own among the points that share a value."""


INDEXES: dict[str, PayloadIndex] = {
    "status": PayloadIndex("keyword", links=False),
    "category": PayloadIndex("keyword", links=True),
    "brand": PayloadIndex("keyword", links=True),
    "seller": PayloadIndex("keyword", links=True),
    "condition": PayloadIndex("keyword", links=False),
    "country": PayloadIndex("keyword", links=False),
    "campaign": PayloadIndex("keyword", links=False),
    "formats": PayloadIndex("keyword", links=False),
    "price": PayloadIndex("integer", links=False),
    "created": PayloadIndex("integer", links=False),
    "auction_end": PayloadIndex("integer", links=False),
    "place": PayloadIndex("geo", links=False),
    "place.lat": PayloadIndex("float", links=False),
    "place.lon": PayloadIndex("float", links=False),
}
"""Payload key -> its index. Links cost part of the build and serve whoever lets the engine itself
search under a filter, as a plan of `filtered` does; the planner finds scans and drops better."""


def payload(item: Item) -> dict[str, Any]:
    """What a store keeps of an item beside its vectors: every fact that a filter reads.

    Category holds one string for each level of the path, so that a prefix is a keyword. A fact
    that is unknown has no key. Money is in minor units, times are microseconds, and 0 is no time.
    """
    facts: dict[str, Any] = {
        "status": item.status.value,
        "category": category_prefixes(item.category) or None,
        "brand": item.brand,
        "seller": item.seller_id,
        "condition": None if item.condition is None else item.condition.value,
        "country": item.country,
        "campaign": item.campaign.value,
        "formats": [f.value for f in item.formats],
        "colour": item.colour,
        "price": item.price_minor,
        "currency": item.currency,
        "created": item.created_at or None,
        "auction_end": item.auction_end or None,
    }
    place = item.location
    if place is not None and place.lat is not None:
        facts["place"] = {"lat": min(place.lat, _NORTHMOST), "lon": place.lon}
    return {key: value for key, value in facts.items() if value is not None}


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A keyword field holds at least one of the values."""

    key: str
    values: list[str]


@dataclass(frozen=True, slots=True)
class Between:
    """A number within bounds, those that are given."""

    key: str
    gte: float | None = None
    gt: float | None = None
    lte: float | None = None
    lt: float | None = None


@dataclass(frozen=True, slots=True)
class Inside:
    """A place lies inside a circle or a polygon; the edge is outside."""

    key: str
    region: GeoRadius | GeoPolygon


Condition = AnyOf | Between | Inside


@dataclass(frozen=True, slots=True)
class Conditions:
    """All of `must` hold and none of `must_not`. A point without the field fails a condition."""

    must: list[Condition]
    must_not: list[Condition]


def conditions(filters: Filters) -> Conditions:
    """A filter as conditions on the payload (see `Columns.mask` for the meaning)."""
    f = filters
    words = (
        AnyOf("status", _values(f.statuses)),
        _any("category", _paths(f.categories)),
        _any("brand", f.brands),
        _any("seller", f.sellers),
        _any("condition", f.conditions),
        _any("country", f.countries),
        _any("campaign", f.campaigns),
        _any("formats", f.formats),
    )
    bounds = (
        _between("price", gte=f.price_min_minor, lte=f.price_max_minor),
        _between("created", gte=f.created_after, lt=f.created_before),
        _between("auction_end", gte=f.auction_ends_after),
    )
    against = (_any("category", _paths(f.not_categories)), _any("seller", f.not_sellers))
    where = _region(f.geo)
    return Conditions(
        must=[c for c in (*words, *bounds) if c is not None] + where.must,
        must_not=[c for c in against if c is not None] + where.must_not,
    )


def closed_ring(region_points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A polygon's corners with the first one again at the end, as engines want them."""
    return [*region_points, region_points[0]]


def _region(geo: Geo | None) -> Conditions:
    """A box as bounds on its two numbers: the geo index of Qdrant 1.18 errs at longitude 180."""
    if geo is None:
        return Conditions([], [])
    if not isinstance(geo, GeoBox):
        return Conditions([Inside("place", geo)], [])
    along: list[Condition] = [Between("place.lat", gt=geo.south, lt=geo.north)]
    if geo.west <= geo.east:
        return Conditions([*along, Between("place.lon", gt=geo.west, lt=geo.east)], [])
    # Across the antimeridian: what is not between east and west.
    return Conditions(along, [Between("place.lon", gte=geo.east, lte=geo.west)])


def _paths(paths: Sequence[Sequence[str]] | None) -> list[str] | None:
    return None if paths is None else [LEVEL_SEPARATOR.join(path) for path in paths]


def _values(values: Sequence[Any]) -> list[str]:
    return [v.value if isinstance(v, Enum) else v for v in values]


def _any(key: str, values: Sequence[Any] | None) -> Condition | None:
    return None if values is None else AnyOf(key, _values(values))


def _between(key: str, **bounds: int | None) -> Condition | None:
    return Between(key, **bounds) if any(b is not None for b in bounds.values()) else None
