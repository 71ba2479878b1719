"""Which places lie inside a circle, quickly and exactly."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kindred.indexer.geo import EARTH_RADIUS_M, haversine, inside, on_sphere
from kindred.schemas.query import GeoRadius

circles = st.builds(
    GeoRadius,
    lat=st.floats(-90, 90),
    lon=st.floats(-180, 180),
    radius_m=st.floats(0.01, 20_037_508),
)


@given(circle=circles, seed=st.integers(0, 1000))
def test_the_quick_way_agrees_with_distance_at_the_edge_and_elsewhere(
    circle: GeoRadius, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    # Places due north and south at distances about the radius, and places anywhere.
    away = circle.radius_m * (1 + rng.choice([-1, 1], 60) * 10.0 ** rng.uniform(-12, 0, 60))
    turned = circle.lat + np.degrees(away / EARTH_RADIUS_M) * rng.choice([-1, 1], 60)
    beyond = np.abs(turned) > 90
    lats = np.r_[np.where(beyond, np.sign(turned) * 180 - turned, turned), rng.uniform(-90, 90, 60)]
    lons = np.r_[np.where(beyond, circle.lon + 180, circle.lon), rng.uniform(-180, 180, 60)]
    lats, lons = np.clip(lats, -90, 90), (lons + 180) % 360 - 180
    lats[::9] = lons[::9] = np.nan
    quick = inside(circle, lats, lons, on_sphere(lats, lons))
    np.testing.assert_array_equal(
        quick, haversine(circle.lat, circle.lon, lats, lons) < circle.radius_m
    )
    assert not quick[::9].any()


def test_places_are_unit_vectors() -> None:
    rng = np.random.default_rng(3)
    lats, lons = rng.uniform(-90, 90, 100), rng.uniform(-180, 180, 100)
    sphere = on_sphere(lats, lons)
    assert sphere.shape == (3, 100)
    np.testing.assert_allclose(np.linalg.norm(sphere, axis=0), 1, atol=1e-6)
    cosines = (sphere[:, :1] * sphere).sum(axis=0)
    metres = haversine(lats[0], lons[0], lats, lons)
    np.testing.assert_allclose(cosines, np.cos(metres / EARTH_RADIUS_M), atol=5e-7)
