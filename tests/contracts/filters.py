"""A small catalogue with what each filter must find in it, and strategies that draw both."""

from __future__ import annotations

from typing import Any

from builders import item
from hypothesis import strategies as st

from kindred.schemas.item import Campaign, Condition, Format, Item, Location, Status
from kindred.schemas.query import Filters, GeoBox, GeoPolygon, GeoRadius

OSLO = Location(lat=59.91, lon=10.75)
BERGEN = Location(lat=60.39, lon=5.32)
FIJI_WEST = Location(lat=-17.0, lon=179.5)
FIJI_EAST = Location(lat=-17.0, lon=-179.5)
POLE = Location(lat=90.0, lon=0.0)

CATALOGUE: list[Item] = [
    item(category=("home", "tables"), brand="oak", price_minor=100, location=OSLO, created_at=10),
    item(category=("home", "tables", "desks"), brand="elm", price_minor=200, location=BERGEN),
    item(category=("home", "lamps"), seller_id="s1", country="NO", condition=Condition.USED),
    item(category=("home",), seller_id="s2", country="SE", condition=Condition.NEW),
    item(category=("homeware", "tables"), price_minor=None, currency=None, location=FIJI_WEST),
    item(category=(), formats=(Format.AUCTION,), auction_end=500, location=FIJI_EAST),
    item(category=("x",), formats=(Format.AUCTION, Format.BUY_NOW), auction_end=900, location=POLE),
    item(category=("x",), status=Status.SOLD, campaign=Campaign.PLS, brand="oak"),
    item(category=("x",), campaign=Campaign.PLS, price_minor=300, created_at=20),
    item(category=("x",), price_minor=0, created_at=None, location=Location(postcode="0150")),
]
"""Row by row. Only row 7 is not active."""

LATER = 1_700_000_000_000_000
"""When the builder's items are created."""
ACTIVE = [0, 1, 2, 3, 4, 5, 6, 8, 9]
SQUARE = ((59.0, 10.0), (59.0, 11.0), (61.0, 11.0), (61.0, 10.0))

CASES: list[tuple[dict[str, Any], list[int]]] = [
    ({}, ACTIVE),
    ({"statuses": (Status.SOLD,)}, [7]),
    ({"statuses": tuple(Status)}, list(range(10))),
    ({"categories": (("home",),)}, [0, 1, 2, 3]),
    ({"categories": (("home", "tables"),)}, [0, 1]),
    ({"categories": (("home", "tables", "desks"), ("homeware",))}, [1, 4]),
    ({"categories": (("tables",),)}, []),
    ({"categories": (tuple("abcdefgh"),)}, []),
    ({"not_categories": (("home", "tables"), ("x",))}, [2, 3, 4, 5]),
    ({"brands": ("oak",)}, [0]),
    ({"brands": ("oak", "elm", "unheard of")}, [0, 1]),
    ({"sellers": ("s1", "s2")}, [2, 3]),
    ({"not_sellers": ("s1",)}, [0, 1, 3, 4, 5, 6, 8, 9]),
    ({"countries": ("NO",)}, [2]),
    ({"conditions": (Condition.USED, Condition.PARTS)}, [2]),
    ({"campaigns": (Campaign.PLS,)}, [8]),
    ({"formats": (Format.AUCTION,)}, [5, 6]),
    ({"formats": (Format.AUCTION, Format.BEST_OFFER)}, [5, 6]),
    ({"formats": (Format.BUY_NOW,)}, [0, 1, 2, 3, 4, 6, 8, 9]),
    ({"price_min_minor": 200, "price_max_minor": 300}, [1, 8]),
    ({"price_max_minor": 0}, [9]),
    ({"price_min_minor": 0, "price_max_minor": 100}, [0, 9]),
    ({"created_after": 10, "created_before": 20}, [0]),
    ({"created_before": 21}, [0, 8]),
    ({"created_after": 0, "created_before": LATER}, [0, 8]),
    ({"auction_ends_after": 900}, [6]),
    ({"auction_ends_after": 0}, [5, 6]),
    ({"geo": GeoRadius(lat=59.9, lon=10.7, radius_m=5_000)}, [0]),
    ({"geo": GeoRadius(lat=59.9, lon=10.7, radius_m=400_000)}, [0, 1]),
    ({"geo": GeoRadius(lat=-17.0, lon=180.0, radius_m=60_000)}, [4, 5]),
    ({"geo": GeoRadius(lat=89.5, lon=170.0, radius_m=100_000)}, [6]),
    ({"geo": GeoRadius(lat=0.0, lon=0.0, radius_m=20_037_508)}, [0, 1, 4, 5, 6]),
    ({"geo": GeoBox(north=60.0, south=59.0, west=10.0, east=11.0)}, [0]),
    ({"geo": GeoBox(north=60.0, south=59.91, west=10.0, east=11.0)}, []),
    ({"geo": GeoBox(north=0.0, south=-20.0, west=170.0, east=-170.0)}, [4, 5]),
    ({"geo": GeoBox(north=0.0, south=-20.0, west=-179.0, east=179.9)}, [4]),
    ({"geo": GeoBox(north=80.0, south=-80.0, west=-180.0, east=180.0)}, [0, 1, 4, 5]),
    ({"geo": GeoBox(north=5.0, south=5.0, west=5.0, east=5.0)}, []),
    ({"geo": GeoPolygon(points=SQUARE)}, [0]),
    ({"geo": GeoPolygon(points=SQUARE[::-1])}, [0]),
    ({"geo": GeoPolygon(points=((59.0, 10.0), (61.0, 10.0), (61.0, 3.0)))}, [1]),
    ({"categories": (("home",),), "brands": ("elm",), "price_min_minor": 150}, [1]),
    ({"categories": (("home",),), "not_categories": (("home", "lamps"),)}, [0, 1, 3]),
]
"""A filter's fields -> rows of CATALOGUE that pass."""

_words = st.sampled_from(["a", "b", "c"])
_paths = st.lists(_words, max_size=3).map(tuple)
_times = st.integers(0, 6)


# Degrees in steps of 1/1024, for which the arithmetic of polygons is exact, beside round ones:
# a place on an edge is outside everywhere, and edges, poles and the antimeridian are where
# engines err.
def _degrees(low: int, high: int) -> st.SearchStrategy[float]:
    return st.integers(1024 * low, 1024 * high - 1).map(lambda n: n / 1024)


_lats = st.sampled_from([0.0, 45.0, -90.0, 60.0]) | _degrees(-90, 90)
_lons = st.sampled_from([0.0, 10.0, -180.0, 180.0]) | _degrees(-180, 180)
_places = st.none() | st.builds(Location, lat=_lats, lon=_lons)


def _maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


@st.composite
def any_items(draw: st.DrawFn, count: int) -> list[Item]:
    """Items whose facts are few and often absent, so that filters meet them."""
    return [
        item(
            category=draw(_paths),
            brand=draw(_maybe(_words)),
            seller_id=draw(_maybe(_words)),
            condition=draw(_maybe(st.sampled_from(Condition))),
            country=draw(_maybe(st.sampled_from(["NO", "SE"]))),
            campaign=draw(st.sampled_from(Campaign)),
            status=draw(st.sampled_from(Status)),
            formats=(Format.AUCTION, *draw(st.sets(st.sampled_from(Format)))),
            price_minor=draw(_maybe(st.integers(0, 6) | st.just(2**53 - 1))),
            created_at=draw(_maybe(_times | st.just(2**53 - 1))),
            auction_end=draw(_maybe(_times)),
            location=draw(_places),
        )
        for _ in range(count)
    ]


def _some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return _maybe(st.lists(values, min_size=1, max_size=3).map(tuple))


@st.composite
def _boxes(draw: st.DrawFn) -> GeoBox:
    south, north = sorted([draw(_lats), draw(_lats)])
    return GeoBox(north=north, south=south, west=draw(_lons), east=draw(_lons))


@st.composite
def _triangles(draw: st.DrawFn) -> GeoPolygon:
    return GeoPolygon(points=tuple((draw(_lats), draw(_lons)) for _ in range(3)))


_circles = st.builds(GeoRadius, lat=_lats, lon=_lons, radius_m=st.floats(1.0, 2e7))


@st.composite
def any_filters(draw: st.DrawFn) -> Filters:
    """Filters of every kind; most have one or two conditions."""
    low, high = sorted([draw(st.integers(0, 6)), draw(st.integers(0, 6))])
    fields: dict[str, st.SearchStrategy[Any]] = {
        "categories": _some(st.lists(_words, min_size=1, max_size=3).map(tuple)),
        "not_categories": _some(st.lists(_words, min_size=1, max_size=3).map(tuple)),
        "brands": _some(_words),
        "sellers": _some(_words),
        "not_sellers": _some(_words),
        "conditions": _some(st.sampled_from(Condition)),
        "countries": _some(st.sampled_from(["NO", "SE", "FI"])),
        "campaigns": _some(st.sampled_from(Campaign)),
        "formats": _some(st.sampled_from(Format)),
        "price_min_minor": _maybe(st.just(low)),
        "price_max_minor": _maybe(st.just(high) | st.just(2**53 - 1)),
        "created_after": _maybe(_times),
        "created_before": _maybe(_times | st.just(2**53 - 1)),
        "auction_ends_after": _maybe(_times),
        "geo": _boxes() | _triangles() | _circles,
    }
    chosen = draw(st.sets(st.sampled_from(sorted(fields)), max_size=3))
    statuses = draw(st.sets(st.sampled_from(Status), min_size=1))
    return Filters(statuses=tuple(statuses), **{name: draw(fields[name]) for name in chosen})
