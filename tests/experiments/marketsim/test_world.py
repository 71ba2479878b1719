"""The simulated market: the same for a seed, valid to the schemas, and its truth can be found."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.feature_extraction.text import TfidfVectorizer

from kindred.experiments.marketsim.knob_table import knob_table
from kindred.experiments.marketsim.knobs import MarketKnobs
from kindred.experiments.marketsim.pictures import draw_pictures
from kindred.experiments.marketsim.places import Places, make_places
from kindred.experiments.marketsim.shapes import SHAPES
from kindred.experiments.marketsim.taxonomy import COLOURS, MATERIALS, leaves
from kindred.experiments.marketsim.truth import export_truth, load_truth, style_neighbours
from kindred.experiments.marketsim.words import SIZES, STYLE_WORDS
from kindred.experiments.marketsim.world import World, make_world, write_catalogue
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.importing import import_items
from kindred.indexer.readers.fields import ITEM_FIELDS
from kindred.indexer.readers.files import open_table
from kindred.indexer.readers.mapping import ColumnMap
from kindred.indexer.readers.records import read_table
from kindred.schemas.clock import DAY
from kindred.schemas.item import Campaign, Condition, FormatBits, Item
from kindred.schemas.settings import ImportSettings

START = 1_767_225_600_000_000
PATTERNED = next(n for n, ends in enumerate(STYLE_WORDS) if "patterned" in ends[0])
KNOBS = MarketKnobs(items=6000, states=("MA", "RI"))


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(KNOBS, 11, START)


def columns(world: World) -> dict[str, NDArray[np.generic]]:
    every = {f.name: getattr(world, f.name) for f in fields(world)}
    return {name: value for name, value in every.items() if isinstance(value, np.ndarray)}


def test_a_seed_makes_the_same_world_and_another_seed_another() -> None:
    small = msgspec.structs.replace(KNOBS, items=400)
    first, again, other = (make_world(small, seed, START) for seed in (3, 3, 4))
    assert first.items == again.items
    for name, column in columns(first).items():
        np.testing.assert_array_equal(column, columns(again)[name], name)
    np.testing.assert_array_equal(first.places.penalty, again.places.penalty)
    assert [i.title for i in first.items] != [i.title for i in other.items]


def test_how_texts_are_written_changes_no_truth() -> None:
    tidy = msgspec.structs.replace(KNOBS, items=400, typo_share=0, caps_share=0, terse_share=0)
    sloppy = msgspec.structs.replace(tidy, typo_share=1, caps_share=0.5, terse_share=0.9)
    one, two = make_world(tidy, 3, START), make_world(sloppy, 3, START)
    for name, column in columns(one).items():
        np.testing.assert_array_equal(column, columns(two)[name], name)
    assert [i.title for i in one.items] != [i.title for i in two.items]


def test_the_catalogue_goes_in_as_it_was_made(world: World, tmp_path: Path) -> None:
    assert write_catalogue(world, tmp_path / "items.jsonl") == len(world)
    told = (tmp_path / "items.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=Item) for line in told] == world.items
    live = tmp_path / "live.jsonl"
    assert write_catalogue(world, live, at=START) == int(world.live(START).sum())
    catalogue = Catalogue.open(tmp_path / "catalogue.sqlite", clock=lambda: START)
    source = read_table(open_table(live), ColumnMap(), ITEM_FIELDS)
    report = import_items([source], catalogue, tmp_path / "rejects", ImportSettings())
    assert (report.accepted, report.rejected) == (int(world.live(START).sum()), 0)


def test_items_tell_of_their_row(world: World) -> None:
    for row, item in enumerate(world.items):
        assert item.price_minor == world.price[row]
        assert item.format_bits == world.formats[row]
        assert item.created_at == world.listed[row]
        assert item.seller_id == world.sellers.seller_id[world.seller[row]]
        assert item.location is not None
        assert item.location.postcode == world.places.postcode[world.place[row]]
        assert (item.quantity == 1) or not world.unique[row]
        assert (item.auction_end == world.expires[row]) or item.auction_end is None


def test_shares_are_those_of_the_knobs(world: World) -> None:
    items, unique = world.items, world.unique
    auction = world.formats & FormatBits.AUCTION > 0
    offers = world.formats & FormatBits.BEST_OFFER > 0
    paths = [leaf.path for leaf in world.categories.leaves]
    misfiled = [i.category != paths[c] for i, c in zip(items, world.category, strict=True)]
    stated = np.array([i.brand is not None for i in items])
    new = np.array([i.condition is Condition.NEW for i in items])
    found = {
        "auctions": (auction[unique].mean(), KNOBS.auction_share),
        "offers": (offers[unique & ~auction].mean(), KNOBS.offer_share),
        "stock": ((world.listed < START).mean(), KNOBS.stock_share),
        "misfiled": (np.mean(misfiled), KNOBS.misfiled_share),
        "no brand": (1 - stated[unique].mean(), KNOBS.brand_gap),
        "no place": (np.mean([i.location.lat is None for i in items]), KNOBS.location_gap),
        "bait": ((world.clickbait >= 0.5).mean(), KNOBS.clickbait_share),
        "new": (new[~unique].mean(), 0.97),
    }
    for name, (share, wanted) in found.items():
        assert abs(share - wanted) < 0.03, f"{name}: {share:.3f} instead of {wanted}"
    assert not auction[~unique].any()


def test_prices_follow_category_and_spread(world: World) -> None:
    new = np.array([i.condition is Condition.NEW for i in world.items]) & ~world.unique
    usual = 100 * np.array([leaf.price for leaf in world.categories.leaves])[world.category]
    tier = world.brands.tier[world.brand] + KNOBS.quality_price * world.quality
    off = np.log(world.price / usual) - tier
    assert abs(np.median(off[new])) < 0.05
    assert abs(off[new].std() - KNOBS.price_sigma) < 0.05


def test_sellers_are_many_small_ones_and_few_large_ones_who_advertise(world: World) -> None:
    sizes = np.bincount(world.seller, minlength=len(world.sellers))
    assert np.sort(sizes)[::-1][: len(sizes) // 10].sum() > 0.4 * len(world)
    assert np.median(sizes) <= 5
    assert world.sellers.dealer[world.seller[~world.unique]].all()
    for item in world.items:
        assert (item.ad_rate_bp > 0) == (item.campaign is Campaign.PLS)
        assert (item.target_views is not None) == (item.campaign is Campaign.PLX)
    campaigns = [item.campaign for item in world.items]
    assert min(campaigns.count(c) for c in Campaign) > 0.02 * len(world)


def test_listings_stand_there_arrive_by_day_and_expire(world: World) -> None:
    assert (np.diff(world.listed) >= 0).all()
    assert world.listed.max() <= START + KNOBS.days * DAY
    assert world.expires[world.listed < START].min() >= START
    by_day = np.bincount((world.listed[world.listed >= START] - START) // DAY, minlength=14)
    assert by_day.min() > 0.7 * by_day.mean()
    evening = (world.listed // (DAY // 24)) % 24 == 19
    night = (world.listed // (DAY // 24)) % 24 == 7
    later = world.listed >= START
    assert evening[later].sum() > 2 * night[later].sum()


def test_words_tell_of_style_more_than_the_category_does(world: World) -> None:
    """Neighbours by words within a category are nearer in style than others of it."""
    texts = [f"{item.title} {item.description}" for item in world.items]
    words = TfidfVectorizer(min_df=2).fit_transform(texts)
    gains = []
    for row in range(0, len(world), 20):
        kin = np.flatnonzero(world.category == world.category[row])
        kin = kin[kin != row]
        likeness = (words[row] @ words[kin].T).toarray()[0]
        cosine = world.style[kin] @ world.style[row]
        gains.append(cosine[np.argsort(-likeness)[:5]].mean() - cosine.mean())
    mean, error = np.mean(gains), np.std(gains) / np.sqrt(len(gains))
    assert mean - 2 * error > 0.03, f"{mean:.3f} ± {error:.3f}"


def test_true_neighbours_are_the_nearest_under_the_top_category(world: World) -> None:
    rows = np.array([5, 777, 5999])
    found = style_neighbours(world, 20, rows)
    top = world.categories.top[world.category]
    for row, nearest in zip(rows, found, strict=True):
        cosine = np.where(top == top[row], world.style @ world.style[row], -2.0)
        cosine[row] = -2
        np.testing.assert_array_equal(np.sort(nearest), np.sort(np.argsort(-cosine)[:20]))
        assert (np.diff(cosine[nearest]) <= 0).all()


def test_pictures_show_the_colour_the_kind_and_some_of_the_style(
    world: World, tmp_path: Path
) -> None:
    mine = make_world(msgspec.structs.replace(KNOBS, items=500), 5, START)
    drawn = draw_pictures(mine, tmp_path)
    assert abs(drawn / 500 - KNOBS.picture_share) < 0.05
    rgb = np.array(list(COLOURS.values()), float)
    right, pixels, kinds, busy, printed = [], [], [], [], []
    for row, item in enumerate(mine.items):
        if not item.images:
            continue
        with Image.open(item.images[0]) as picture:
            seen = np.asarray(picture.convert("RGB"), float)
        assert seen.shape == (96, 96, 3)
        middle = seen[32:64, 32:64].reshape(-1, 3).mean(0)
        own, others = rgb[mine.colour[row]], np.delete(rgb, mine.colour[row], 0)
        farther = np.linalg.norm(middle - others, axis=1) > np.linalg.norm(middle - own)
        right.append(farther.mean())
        kinds.append(mine.category[row])
        busy.append(np.abs(np.diff(seen[32:64, 32:64].mean(2))).mean())
        printed.append(mine.style[row, PATTERNED] * np.sqrt(KNOBS.style_size))
        pixels.append(np.asarray(picture.convert("L").resize((16, 16)), float).ravel())
    assert np.mean(right) > 0.75, "its colour is nearer than most others; by chance than half"
    rough, looks = np.array(busy), np.array(printed)
    assert rough[looks > 1].mean() > 1.2 * rough[looks < 0].mean(), "a patterned style is seen"
    edges = np.array(pixels) - np.mean(pixels, axis=1, keepdims=True)
    edges = np.abs(edges) / np.linalg.norm(edges, axis=1, keepdims=True)
    likeness = edges @ edges.T - 2 * np.eye(len(edges))
    same = np.array(kinds)[likeness.argmax(1)] == np.array(kinds)
    assert same.mean() > 5 / len(leaves()), "the nearest picture is often one of the same kind"


def test_pictures_depend_on_seed_and_row_alone(tmp_path: Path) -> None:
    few = msgspec.structs.replace(KNOBS, items=40, picture_share=1.0)
    one, two = make_world(few, 5, START), make_world(few, 5, START)
    assert draw_pictures(one, tmp_path / "a") == 40
    assert draw_pictures(two, tmp_path / "b", np.array([7, 9])) == 2
    assert Path(one.items[9].images[0]).read_bytes() == Path(two.items[9].images[0]).read_bytes()
    assert not two.items[8].images


def test_every_category_has_its_words_shape_and_sizes() -> None:
    assert len({leaf.path for leaf in leaves()}) == len(leaves()) >= 60
    for leaf in leaves():
        assert leaf.shape in SHAPES
        assert set(leaf.materials) <= set(MATERIALS)
        assert leaf.size in {"", *SIZES} or leaf.median_size > 0, leaf.path
    words = [word for pair in STYLE_WORDS for end in pair for word in end]
    assert len(words) == len(set(words)), "a style word has one meaning"


def test_travel_costs_the_detour_and_barriers_more(world: World) -> None:
    places = world.places
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, len(places), (2, 3000))
    km, travel = places.distance_km(a, b), places.travel_km(a, b)
    np.testing.assert_allclose(travel, places.travel_km(b, a))
    inside = places.region[a] == places.region[b]
    np.testing.assert_allclose(travel[inside], km[inside] * KNOBS.detour)
    extra = travel - km * KNOBS.detour
    assert (extra > -1e-9).all()
    crossing = extra > 1e-6
    assert 0.1 < crossing[~inside].mean() < 0.95
    assert extra[crossing].min() >= KNOBS.barrier_km - 1e-6
    np.testing.assert_allclose(places.travel_km(a[:3, None], b[None, :4]).diagonal(), travel[:3])
    free = make_places(msgspec.structs.replace(KNOBS, barrier_share=0.0), 11)
    assert free.penalty.max() == 0


def test_people_live_where_postcodes_are_dense(world: World) -> None:
    places = world.places
    boston = np.flatnonzero(np.array(places.postcode) == "02108")[0]
    provincetown = np.flatnonzero(np.array(places.postcode) == "02657")[0]
    assert places.weight[boston] > 3 * places.weight[provincetown]
    assert places.weight.sum() == pytest.approx(1)


def test_places_can_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "codes.csv"
    file.write_text(
        "zipcode,latitude,longitude\n0150,59.9,10.7\n0150,59.9,10.7\n5003,60.4,5.3\n9000,x,1\n"
    )
    places = make_places(KNOBS, 1, file)
    assert places.postcode == ["0150", "5003"]
    assert isinstance(places, Places)
    file.write_text("zip,latitude\n1,2\n")
    with pytest.raises(ValueError, match=r"codes\.csv: no column longitude, zipcode"):
        make_places(KNOBS, 1, file)
    with pytest.raises(ValueError, match="`states` names XX"):
        make_places(msgspec.structs.replace(KNOBS, states=("XX",)), 1)


def test_the_truth_comes_back_from_its_folder(world: World, tmp_path: Path) -> None:
    curve = np.array([1.0, 0.6, 0.4])
    export_truth(world, tmp_path / "truth", {"position_curve": curve, "visitors": 12})
    truth = load_truth(tmp_path / "truth")
    assert (truth.seed, truth.start, truth.knobs) == (11, START, KNOBS)
    np.testing.assert_array_equal(truth.style, world.style)
    np.testing.assert_array_equal(truth.extra["position_curve"], curve)
    assert truth.extra["visitors"] == 12
    assert truth.items["item_id"].to_list() == [item.item_id for item in world.items]
    a, b = np.arange(50), np.arange(50, 100)
    np.testing.assert_array_equal(truth.places.travel_km(a, b), world.places.travel_km(a, b))
    np.testing.assert_array_equal(truth.neighbours[:9], style_neighbours(world, 20, np.arange(9)))
    with pytest.raises(ValueError, match="`extra` has the name"):
        export_truth(world, tmp_path / "truth", {"../x": 1})


def test_every_knob_is_documented_with_its_reason() -> None:
    """`python -m kindred.experiments.marketsim.knob_table` prints the table."""
    page = Path(__file__).resolve().parents[3] / "docs" / "marketsim.md"
    assert knob_table(MarketKnobs) in page.read_text()
