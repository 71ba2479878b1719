"""Places in columns: distance, and which rows lie inside a region.

A region's edge is outside, as in Qdrant's engine, and so is a row without a place (NaN).
"""

from __future__ import annotations

import numpy as np

from kindred.schemas.query import Geo, GeoBox, GeoPolygon, GeoRadius
from kindred.schemas.ranking import Doubles, Mask

EARTH_RADIUS_M = 6_371_008.8
"""Mean radius (IUGG), the one that Qdrant's engine uses."""

_DEGREE_M = EARTH_RADIUS_M * np.pi / 180
_SLACK = 1 + 1e-9


def haversine(lat: float | Doubles, lon: float | Doubles, lats: Doubles, lons: Doubles) -> Doubles:
    """Metres from (lat, lon) to each of (lats, lons), all in degrees; NaN where a place is NaN.

    The arguments broadcast. Great circles on a sphere: off the ellipsoid by up to 0.5 %.
    """
    phi, phis = np.radians(lat), np.radians(lats)
    half_phi = np.sin((phis - phi) / 2) ** 2
    half_lambda = np.sin(np.radians(lons - lon) / 2) ** 2
    chord = half_phi + np.cos(phi) * np.cos(phis) * half_lambda
    return np.asarray(2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.clip(chord, 0.0, 1.0))))


def inside(geo: Geo, lats: Doubles, lons: Doubles) -> Mask:
    """bool[n]: which of (lats, lons), in degrees, lie inside `geo`."""
    if isinstance(geo, GeoBox):
        return _inside_box(geo, lats, lons)
    if isinstance(geo, GeoRadius):
        return _inside_radius(geo, lats, lons)
    return _inside_polygon(geo, lats, lons)


def _inside_box(box: GeoBox, lats: Doubles, lons: Doubles) -> Mask:
    across = (lons > box.west) | (lons < box.east)
    along = across if box.west > box.east else (lons > box.west) & (lons < box.east)
    return np.asarray(along & (lats > box.south) & (lats < box.north))


def _inside_radius(circle: GeoRadius, lats: Doubles, lons: Doubles) -> Mask:
    # Comparisons rule most rows out; only what lies in a square around pays for trigonometry.
    high, wide = circle.radius_m / _DEGREE_M * _SLACK + 1e-9, _longitude_reach(circle)
    near_enough = (lats >= circle.lat - high) & (lats <= circle.lat + high)
    if wide < 360:
        west, east = circle.lon - wide, circle.lon + wide
        along = (lons >= west) & (lons <= east)
        if west < -180 or east > 180:
            along |= (lons >= west + 360) | (lons <= east - 360)
        near_enough &= along
    near = np.flatnonzero(near_enough)
    passed = np.zeros(len(lats), np.bool_)
    passed[near] = haversine(circle.lat, circle.lon, lats[near], lons[near]) < circle.radius_m
    return passed


def _longitude_reach(circle: GeoRadius) -> float:
    """Degrees of longitude that the circle spans to each side; 360 where it holds a pole."""
    ratio = np.sin(min(circle.radius_m / EARTH_RADIUS_M, np.pi / 2)) / np.cos(
        np.radians(circle.lat)
    )
    return 360.0 if ratio >= 1 else float(np.degrees(np.arcsin(ratio))) * _SLACK + 1e-9


def _inside_polygon(polygon: GeoPolygon, lats: Doubles, lons: Doubles) -> Mask:
    """Even-odd rule, one edge at a time over the rows inside the polygon's own box."""
    corners = np.array(polygon.points, np.float64)
    (south, west), (north, east) = corners.min(axis=0), corners.max(axis=0)
    near = np.flatnonzero((lats >= south) & (lats <= north) & (lons >= west) & (lons <= east))
    y, x = lats[near], lons[near]
    odd = np.zeros(len(near), np.bool_)
    edge = np.zeros(len(near), np.bool_)
    for (y0, x0), (y1, x1) in zip(np.roll(corners, 1, axis=0), corners, strict=True):
        cross = (x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)
        within = (y >= min(y0, y1)) & (y <= max(y0, y1)) & (x >= min(x0, x1)) & (x <= max(x0, x1))
        edge |= (cross == 0) & within
        spans = (y0 > y) != (y1 > y)
        odd ^= spans & ((cross < 0) == (y1 > y0))
    passed = np.zeros(len(lats), np.bool_)
    passed[near] = odd & ~edge
    return passed
