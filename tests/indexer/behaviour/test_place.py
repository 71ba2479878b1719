"""Places learned from behaviour: who stands for whom, and when they may serve."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from traces import random_trace

from kindred.indexer.behaviour.als import train_als
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.behaviour.place import PlaceVectors, Postcodes, train_places
from kindred.indexer.behaviour.place_questions import by_distance, hold_out
from kindred.indexer.columns import Columns
from kindred.indexer.content import Content
from kindred.indexer.geo import haversine, on_sphere
from kindred.indexer.models import Artefact
from kindred.indexer.places import make
from kindred.indexer.representations import Given
from kindred.indexer.stages import Made
from kindred.schemas.item import Item, Location
from kindred.schemas.model import Card, Gate
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import (
    AlsSettings,
    KindredSettings,
    PlaceSettings,
    RepresentationSettings,
    SignalSettings,
)

SIGNALS = SignalSettings()
PLACES, PER_PLACE = 24, 4
ROWS = PLACES * PER_PLACE


def bank(code: np.ndarray) -> np.ndarray:
    """Which side of the river a postcode is on: they alternate along it, a stone's throw apart."""
    return code % 2


def river(seed: int, n: int = 12_000, crossing: float = 0.02) -> tuple[Content, Interactions]:
    """People keep to their bank and their stretch of it; distance knows the stretch alone."""
    code = np.arange(ROWS) % PLACES
    lat, lon = 50 + 0.01 * bank(code), 8 + 0.2 * (code // 2)
    items = [
        Item(
            item_id=f"i{row}",
            category=("things",),
            location=Location(lat=lat[row], lon=lon[row], postcode=f"p{code[row]:02d}"),
        )
        for row in range(ROWS)
    ]
    columns = Columns(ROWS)
    columns.apply(np.arange(ROWS), items)
    draw = np.random.default_rng(seed)
    x = random_trace(seed, n, rows=ROWS, subjects=2_000)
    side, home = x.subject % 2, x.subject // 2 % (PLACES // 2)
    side = np.where(draw.random(n) < crossing, 1 - side, side)
    stretch = np.clip(home + draw.integers(-3, 4, n), 0, PLACES // 2 - 1)
    row = 2 * stretch + side + PLACES * draw.integers(0, PER_PLACE, n)
    codes = [f"p{c:02d}" for c in code]
    content = Content(columns=columns, tables={}, postcodes=codes)
    return content, replace(x, row=row.astype(np.int64))


SETTINGS = KindredSettings(
    representations=RepresentationSettings(
        place=PlaceSettings(embedding_size=8, support=20, regularization=3.0)
    )
)


def made_of(content: Content, log: Interactions) -> Made:
    given = Given(content=content, log=log, until=int(log.ts[-1]) + 1, settings=SETTINGS, threads=1)
    return make(given, {}, SilentProgress())


def artefact(made: Made) -> Artefact:
    card = Card(stage="place", key="k", code=1, created=0, gate=Gate(passed=made.passed, reason=""))
    return Artefact(card=card, arrays=dict(made.arrays), texts=dict(made.texts))


@pytest.fixture(scope="module")
def made() -> Made:
    return made_of(*river(1))


def test_a_river_that_no_coordinate_tells_is_found(made: Made):
    assert made.passed, made.reason
    assert made.metrics["difference"][1] > 0.05
    unit = made.arrays["unit"]
    cosine = unit[:PLACES] @ unit[:PLACES].T
    near = [cosine[p, p + 2] for p in range(4, 18)]
    across = [cosine[p, p + 1 - 2 * (p % 2)] for p in range(4, 18)]
    assert np.mean(near) > np.mean(across) + 0.3


def test_places_that_mean_nothing_do_not_serve():
    content, log = river(2)
    rng = np.random.default_rng(0)
    made = made_of(content, replace(log, row=rng.permutation(log.row)))
    assert not made.passed, made.reason
    assert abs(made.metrics["AUC factors"][0] - 0.5) < 0.05
    few = made_of(content, log.take(slice(0, 1_500)))
    assert not few.passed


def test_factors_are_those_of_the_items_factorisation():
    content, log = river(3, n=2_000)
    codes = Postcodes.of(content.postcodes, content.columns.lat, content.columns.lon)
    at = codes.log_of(log)
    chosen = PlaceSettings(embedding_size=4, iterations=3)
    same = AlsSettings(
        embedding_size=4,
        iterations=3,
        regularization=chosen.regularization,
        alpha=chosen.alpha,
    )
    found = train_places(at, PLACES, chosen, SIGNALS, 5, 1)
    expected = train_als(replace(log, row=log.row % PLACES), PLACES, same, SIGNALS, 5, 1)
    np.testing.assert_array_equal(found.items, expected.items)


def test_an_unknown_place_is_the_mean_of_its_nearest_supported_ones(made: Made):
    held = artefact(made)
    vectors = PlaceVectors.of(held)
    names = msgspec.json.decode(held.texts["postcodes"])
    lat, lon = np.array([50.1, np.nan, 50.3, np.nan]), np.array([8.47, np.nan, 9.87, np.nan])
    found, present = vectors(["unheard", "p07", "", "unheard"], lat, lon)
    assert present.tolist() == [True, True, True, False]
    np.testing.assert_array_equal(found[1], vectors.vectors[names.index("p07")])
    code = np.array([int(n[1:]) for n in names])
    lats, lons = 50 + 0.01 * bank(code), 8 + 0.2 * (code // 2)
    for n in (0, 2):
        metres = np.where(vectors.supported, haversine(lat[n], lon[n], lats, lons), np.inf)
        mean = vectors.vectors[np.argsort(metres)[:3]].mean(axis=0)
        np.testing.assert_allclose(found[n], mean / np.linalg.norm(mean), atol=1e-6)


def test_a_postcode_with_too_few_visitors_is_not_believed():
    content, log = river(4)
    lonely = log.row % PLACES == 9
    rare = log.take(~lonely | (np.cumsum(lonely) <= 15))
    made = made_of(content, rare)
    assert not made.arrays["supported"][9]
    assert made.arrays["supported"].sum() == PLACES - 1
    neighbours = made.arrays["vectors"][[8, 7, 11, 6, 10]]
    assert (neighbours @ made.arrays["unit"][9]).max() > 0.5
    assert made.arrays["present"].all()


def test_questions_are_about_new_places_against_others_of_the_same_kind():
    x = random_trace(6, 3_000, rows=30, subjects=200)
    kind = x.row % 3
    older, held = hold_out(x, 0.2, 1, kind)
    seen = set(zip(older.subject.tolist(), older.row.tolist(), strict=True))
    newer = x.take(slice(len(older), None))
    after = set(zip(newer.subject.tolist(), newer.row.tolist(), strict=True))
    asked = set(zip(held.subject.tolist(), held.place.tolist(), strict=True))
    known = {s for s, _ in seen}
    assert asked == {(s, p) for s, p in after - seen if s in known}
    assert (held.others % 3 == held.place[:, None] % 3).all()
    scores = np.random.default_rng(0).integers(0, 4, (200, 30)).astype(float)
    aucs = held.aucs(lambda s, p: scores[s, p])
    for q in range(0, len(held), 37):
        s = held.subject[q]
        fair = [p for p in held.others[q] if (s, p) not in seen | after]
        own = scores[s, held.place[q]]
        expected = np.mean([(own > scores[s, p]) + 0.5 * (own == scores[s, p]) for p in fair])
        assert aucs[q] == pytest.approx(expected)


def test_distance_is_from_the_middle_of_where_somebody_was():
    lat, lon = np.array([50.0, 50.0, 50.0, 51.0]), np.array([8.0, 9.0, 8.5, 8.5])
    x = random_trace(1, 2, rows=1, subjects=1)
    x = replace(x, row=np.array([0, 1]), subject=np.zeros(2, np.int32))
    score = by_distance(x, on_sphere(lat, lon).T.astype(np.float64))
    found = score(np.zeros(4, np.int64), np.arange(4))
    assert np.argmax(found) == 2
    assert found[0] == pytest.approx(found[1])
    assert found[3] < found[0]


def test_a_marketplace_without_postcodes_goes_without():
    content, log = river(5, n=200)
    bare = Content(columns=content.columns, tables={})
    made = made_of(bare, log)
    assert (made.passed, made.reason) == (False, "no item has a postcode")
    assert not made_of(content, log.take(slice(0, 50))).passed
