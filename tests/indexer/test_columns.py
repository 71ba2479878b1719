"""Columns: what is kept of an item, what a filter means, what is on disk."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from builders import item
from hypothesis import given, settings
from hypothesis import strategies as st

from kindred.indexer.columns import LEVEL_SEPARATOR, Columns, Vocabulary
from kindred.indexer.geo import EARTH_RADIUS_M, haversine
from kindred.schemas.errors import ArtefactError
from kindred.schemas.item import Campaign, Condition, Format, Item, Location, Status
from kindred.schemas.query import Filters, GeoBox, GeoPolygon, GeoRadius


def columns_of(*items: Item) -> Columns:
    columns = Columns(capacity=1)
    columns.apply(np.arange(len(items)), items)
    return columns


def metres(a: tuple[float, float], b: tuple[float, float]) -> float:
    (lat, lon), (lat2, lon2) = (tuple(map(math.radians, p)) for p in (a, b))
    chord = math.sin((lat2 - lat) / 2) ** 2
    chord += math.cos(lat) * math.cos(lat2) * math.sin((lon2 - lon) / 2) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(chord)))


def in_polygon(point: tuple[float, float], corners: tuple[tuple[float, float], ...]) -> bool:
    (y, x), odd = point, False
    for (y0, x0), (y1, x1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y0 > y) != (y1 > y) and x < (x1 - x0) * (y - y0) / (y1 - y0) + x0:
            odd = not odd
    return odd


def passes(item: Item, f: Filters) -> bool:
    """The meaning of a filter, one item at a time."""

    def under(path: tuple[str, ...]) -> bool:
        return item.category[: len(path)] == path

    place = item.location
    checks = [
        item.status in f.statuses,
        f.categories is None or any(map(under, f.categories)),
        f.not_categories is None or not any(map(under, f.not_categories)),
        f.brands is None or item.brand in f.brands,
        f.sellers is None or item.seller_id in f.sellers,
        f.not_sellers is None or item.seller_id not in f.not_sellers,
        f.countries is None or item.country in f.countries,
        f.formats is None or bool(set(item.formats) & set(f.formats)),
        f.conditions is None or item.condition in f.conditions,
        f.campaigns is None or item.campaign in f.campaigns,
    ]
    for value, low, high in (
        (item.price_minor, f.price_min_minor, f.price_max_minor),
        (item.created_at, f.created_after, f.created_before and f.created_before - 1),
        (item.auction_end, f.auction_ends_after, None),
    ):
        checks.append(low is None or (value is not None and value >= low))
        checks.append(high is None or (value is not None and value <= high))
    if f.geo is not None:
        checks.append(place is not None and place.lat is not None and within(f.geo, place))
    return all(checks)


def within(geo: GeoRadius | GeoBox | GeoPolygon, place: Location) -> bool:
    assert place.lat is not None
    assert place.lon is not None
    if isinstance(geo, GeoRadius):
        return metres((geo.lat, geo.lon), (place.lat, place.lon)) < geo.radius_m
    if isinstance(geo, GeoPolygon):
        return in_polygon((place.lat, place.lon), geo.points)
    along = geo.west < place.lon < geo.east
    if geo.west > geo.east:
        along = place.lon > geo.west or place.lon < geo.east
    return along and geo.south < place.lat < geo.north


# Off the grid of region corners, so that no point lies on an edge.
lats = st.integers(-8900, 8900).map(lambda i: i / 100 + 0.00317)
lons = st.integers(-17900, 17900).map(lambda i: i / 100 + 0.00253)
grid_lats = st.integers(-90, 90).map(float)
grid_lons = st.integers(-180, 180).map(float)
words = st.sampled_from(["a", "b", "c"])
paths = st.lists(words, max_size=6).map(tuple)
times = st.integers(1, 9)


def some(values: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | st.lists(values, min_size=1, max_size=7).map(tuple)


@st.composite
def listings(draw: st.DrawFn) -> Item:
    formats = draw(st.sets(st.sampled_from(Format), min_size=1).map(tuple))
    auction = Format.AUCTION in formats
    located = draw(st.booleans())
    return item(
        category=draw(paths),
        brand=draw(st.none() | words),
        seller_id=draw(st.none() | words),
        country=draw(st.sampled_from([None, "DE", "NO"])),
        price_minor=draw(st.none() | st.integers(0, 9)),
        formats=formats,
        auction_end=draw(st.none() | times) if auction else None,
        condition=draw(st.none() | st.sampled_from(Condition)),
        status=draw(st.sampled_from(Status)),
        campaign=draw(st.sampled_from(Campaign)),
        created_at=draw(st.none() | times),
        location=Location(lat=draw(lats), lon=draw(lons)) if located else None,
    )


@st.composite
def regions(draw: st.DrawFn) -> GeoRadius | GeoBox | GeoPolygon:
    kind = draw(st.sampled_from(["radius", "box", "polygon"]))
    if kind == "radius":
        radius = draw(st.sampled_from([500.0, 80_000.0, 2e6, 1.3e7, 2e7]))
        return GeoRadius(lat=draw(grid_lats), lon=draw(grid_lons), radius_m=radius)
    if kind == "box":
        south, north = sorted([draw(grid_lats), draw(grid_lats)])
        return GeoBox(south=south, north=north, west=draw(grid_lons), east=draw(grid_lons))
    corners = st.tuples(grid_lats, grid_lons)
    return GeoPolygon(points=tuple(draw(st.lists(corners, min_size=3, max_size=8))))


@st.composite
def filters(draw: st.DrawFn) -> Filters:
    low, high = draw(st.none() | st.integers(0, 4)), draw(st.none() | st.integers(4, 9))
    whole = some(st.lists(words, min_size=1, max_size=7).map(tuple))
    return Filters(
        categories=draw(whole),
        not_categories=draw(st.none() | whole),
        brands=draw(st.none() | some(words)),
        price_min_minor=low,
        price_max_minor=high,
        formats=draw(some(st.sampled_from(Format))),
        conditions=draw(st.none() | some(st.sampled_from(Condition))),
        sellers=draw(st.none() | some(words)),
        not_sellers=draw(some(words)),
        countries=draw(st.none() | some(st.sampled_from(["DE", "NO", "SE"]))),
        campaigns=draw(some(st.sampled_from(Campaign))),
        statuses=draw(st.lists(st.sampled_from(Status), min_size=1).map(tuple)),
        created_after=draw(st.none() | times),
        created_before=draw(st.none() | times),
        auction_ends_after=draw(st.none() | times),
        geo=draw(st.none() | regions()),
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(listings(), min_size=1, max_size=12), filters())
def test_a_mask_is_the_filter_asked_of_each_item(items: list[Item], wanted: Filters) -> None:
    assert columns_of(*items).mask(wanted).tolist() == [passes(i, wanted) for i in items]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(lats, lons), min_size=9, max_size=30), regions())
def test_regions_agree_with_one_point_at_a_time(
    points: list[tuple[float, float]], region: GeoRadius | GeoBox | GeoPolygon
) -> None:
    places = [Location(lat=lat, lon=lon) for lat, lon in points]
    columns = columns_of(*(item(location=place) for place in places))
    assert columns.mask(Filters(geo=region)).tolist() == [within(region, p) for p in places]


def test_the_edge_of_a_region_is_outside_it() -> None:
    columns = columns_of(item(location=Location(lat=10, lon=20)))
    edge = metres((10, 20), (11, 20))
    square = ((10.0, 20.0), (11.0, 20.0), (11.0, 21.0), (10.0, 21.0))
    for geo in (
        GeoRadius(lat=11, lon=20, radius_m=edge),
        GeoBox(south=10, north=11, west=19, east=21),
        GeoPolygon(points=square),
    ):
        assert not columns.mask(Filters(geo=geo)).any()


def test_distance_is_that_of_the_sphere_and_unknown_for_an_unknown_place() -> None:
    to = np.array([59.9139, np.nan]), np.array([10.7522, 10.0])
    oslo_bergen, unknown = haversine(60.3913, 5.3221, *to)
    assert oslo_bergen == pytest.approx(metres((60.3913, 5.3221), (59.9139, 10.7522)), rel=1e-9)
    assert 300_000 < oslo_bergen < 310_000
    assert np.isnan(unknown)


def test_a_category_code_stands_for_the_whole_path() -> None:
    columns = columns_of(item(category=("home", "lamps")), item(category=("garden", "lamps")))
    names = columns.vocabularies["category"]
    assert columns.category.shape == (2, 6)
    assert columns.category[0, 1] != columns.category[1, 1]
    assert names.name(int(columns.category[0, 1])) == LEVEL_SEPARATOR.join(("home", "lamps"))
    assert columns.category[0, 2:].tolist() == [-1] * 4
    assert columns.category_depth.tolist() == [2, 2]


def test_an_item_replaced_in_its_row_leaves_nothing_behind() -> None:
    columns = columns_of(item(item_id="a", brand="x", location=Location(lat=1, lon=1)))
    columns.apply(np.array([0]), [item(item_id="a", price_minor=None, category=())])
    assert columns.brand.tolist() == [-1]
    assert np.isnan(columns.lat).all()
    assert np.isnan(columns.price).all()
    assert columns.category.max() == -1
    assert columns.size == 1


def test_rows_may_come_in_any_order_and_gaps_pass_no_filter() -> None:
    columns = Columns(capacity=1)
    columns.apply(np.array([5, 1]), [item(item_id="f"), item(item_id="b")])
    assert columns.size == 6
    assert columns.rows(["b", "nobody", "f"]).tolist() == [1, -1, 5]
    assert np.flatnonzero(columns.mask(Filters(statuses=tuple(Status)))).tolist() == [1, 5]
    assert np.flatnonzero(columns.active).tolist() == [1, 5]
    columns.apply(np.array([5]), [item(item_id="f", status=Status.SOLD)])
    assert np.flatnonzero(columns.active).tolist() == [1]


def test_a_new_version_with_every_change() -> None:
    columns = columns_of(item())
    before = columns.version
    columns.apply(np.array([], np.int64), [])
    assert columns.version == before
    columns.apply(np.array([0]), [item()])
    assert columns.version > before


def test_what_was_saved_is_loaded_and_grows_without_touching_the_files(tmp_path: Path) -> None:
    first = [item(item_id=f"é-{i}", brand=f"b{i % 3}", seller_id="s") for i in range(40)]
    saved = columns_of(*first)
    saved.save(tmp_path)
    loaded = Columns.load(tmp_path)
    assert loaded.item_ids == [i.item_id for i in first]
    assert loaded.version == saved.version
    wanted = Filters(brands=("b1",))
    assert loaded.mask(wanted).tolist() == saved.mask(wanted).tolist()

    loaded.apply(np.array([0, 40]), [item(item_id="é-0", brand="b1"), item(item_id="new")])
    loaded.apply(np.arange(41, 5000), [item() for _ in range(41, 5000)])
    assert loaded.rows(["é-39", "new"]).tolist() == [39, 40]
    assert loaded.mask(wanted)[0]
    assert Columns.load(tmp_path).mask(wanted).tolist() == saved.mask(wanted).tolist()


@pytest.mark.parametrize("name", ["columns.json", "price.npy", "brand.json", "item_ids.arrow"])
def test_a_damaged_folder_is_refused(tmp_path: Path, name: str) -> None:
    columns_of(item()).save(tmp_path)
    (tmp_path / name).write_bytes(b"not that")
    with pytest.raises(ArtefactError):
        Columns.load(tmp_path)


def test_a_vocabulary_never_gives_a_code_twice(tmp_path: Path) -> None:
    words = Vocabulary(["a", "b"])
    assert words.codes(["b", None, "c", "c"]).tolist() == [1, -1, 2, 2]
    assert (words.find("nobody"), words.name(2), len(words)) == (-1, "c", 3)
    with pytest.raises(IndexError):
        words.name(-1)
    words.save(tmp_path / "words.json")
    assert Vocabulary.load(tmp_path / "words.json").names == ("a", "b", "c")
