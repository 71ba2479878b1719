"""Where people and goods are: real postcode centroids, and what it costs to get between them.

A place's weight stands for how many people live there. It is a proxy: postcodes are dense where
people are, so the density of postcodes around it stands for that of people (no census is read).
Distances are great circles with a detour, and some borders between regions cost extra km, which
the coordinates do not tell: whoever learns from behaviour can find them, geometry cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse.csgraph import shortest_path
from scipy.spatial import cKDTree

from kindred.experiments.marketsim.knobs import MarketKnobs
from kindred.indexer.geo import EARTH_RADIUS_M, haversine, on_sphere
from kindred.schemas.ranking import Doubles

ROUNDS = 30
"""Of k-means; regions need not be the best ones."""
_STREAM = 100
NEIGHBOURS = 4
"""Nearest regions of a region, to which it has a border."""


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """P places in columns, and the borders of R regions."""

    postcode: list[str]
    lat: Doubles
    """float64[P], degrees"""
    lon: Doubles
    """float64[P], degrees"""
    weight: Doubles
    """float64[P], sums to 1: chance that a visitor or seller lives there"""
    region: NDArray[np.int32]
    """int32[P], 0..R-1"""
    penalty: Doubles
    """float64[R, R], extra km between two regions; symmetric, 0 on the diagonal"""
    detour: float
    """road km per great-circle km"""

    def __len__(self) -> int:
        return len(self.postcode)

    def distance_km(self, a: NDArray[np.integer], b: NDArray[np.integer]) -> Doubles:
        """Great-circle km between places; rows `a` and `b` broadcast."""
        return np.asarray(haversine(self.lat[a], self.lon[a], self.lat[b], self.lon[b]) / 1000)

    def travel_km(self, a: NDArray[np.integer], b: NDArray[np.integer]) -> Doubles:
        """Km that getting from `a` to `b` costs: the detour, and the barriers between regions."""
        barrier = self.penalty[self.region[a], self.region[b]]
        return np.asarray(self.distance_km(a, b) * self.detour + barrier)


def make_places(knobs: MarketKnobs, seed: int, postcodes: Path | None = None) -> Places:
    """Places of the country: of `postcodes` if given, else of the US states in the knobs.

    The file is CSV or Parquet with columns zipcode, latitude and longitude; a postcode that comes
    several times is one place, at the mean. Raises ValueError where no place is left.
    """
    table = _us_postcodes(knobs.states) if postcodes is None else _read_postcodes(postcodes)
    lat, lon = table["latitude"].to_numpy(), table["longitude"].to_numpy()
    sphere = on_sphere(lat, lon).T.astype(np.float64)
    chord = 2 * np.sin(min(knobs.density_km * 1000 / EARTH_RADIUS_M, np.pi) / 2)
    tree = cKDTree(sphere)
    density = tree.query_ball_point(sphere, chord, return_length=True).astype(np.float64)
    weight = density**knobs.density_power
    rng = np.random.default_rng([seed, _STREAM])
    centres, region = _regions(sphere, knobs.regions, rng)
    return Places(
        postcode=table["zipcode"].to_list(),
        lat=lat,
        lon=lon,
        weight=weight / weight.sum(),
        region=region,
        penalty=_barriers(centres, knobs, rng),
        detour=knobs.detour,
    )


def _regions(
    sphere: Doubles, wanted: int, rng: np.random.Generator
) -> tuple[Doubles, NDArray[np.int32]]:
    """float64[R, 3] centres and int32[P] numbers of at most `wanted` groups, by k-means."""
    found = np.unique(sphere, axis=0)
    centres = rng.choice(found, min(wanted, len(found)), replace=False)
    for _ in range(ROUNDS):
        region = cKDTree(centres).query(sphere)[1]
        members = np.bincount(region, minlength=len(centres))
        sums = [np.bincount(region, sphere[:, axis], len(centres)) for axis in range(3)]
        centres = np.stack(sums, axis=1)[members > 0] / members[members > 0, None]
    return centres, np.asarray(cKDTree(centres).query(sphere)[1], np.int32)


def _barriers(centres: Doubles, knobs: MarketKnobs, rng: np.random.Generator) -> Doubles:
    """float64[R, R]: barriers on the way between regions, each way taken as the shortest one.

    Neighbouring regions have the barrier of their border; farther ones those along the shortest
    path over borders, barriers counted as km; nothing where no path over borders leads.
    """
    count = len(centres)
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2) * EARTH_RADIUS_M / 1000
    near = np.argsort(apart, axis=1, kind="stable")[:, 1 : NEIGHBOURS + 1]
    border = np.zeros((count, count), bool)
    border[np.arange(count)[:, None], near] = True
    border |= border.T
    rows, columns = np.nonzero(np.triu(border, 1))
    barrier = np.zeros((count, count))
    closed = rng.permutation(len(rows))[: round(knobs.barrier_share * len(rows))]
    barrier[rows[closed], columns[closed]] = knobs.barrier_km
    barrier += barrier.T
    ways, before = shortest_path(
        np.where(border, apart * knobs.detour + barrier, np.inf), return_predecessors=True
    )
    penalty = np.zeros((count, count))
    for a in range(count):
        for b in range(a + 1, count):
            if border[a, b]:
                penalty[a, b] = barrier[a, b]
            elif np.isfinite(ways[a, b]):
                step = b
                while step != a:
                    penalty[a, b] += barrier[before[a, step], step]
                    step = before[a, step]
    return penalty + penalty.T


def _us_postcodes(states: tuple[str, ...]) -> pl.DataFrame:
    """Where people live: ordinary ZIP codes, without post office boxes and single recipients."""
    import zipcodes

    table = zipcodes.list_all()  # type: ignore[no-untyped-call]
    known = {row["state"] for row in table}
    if unknown := sorted(set(states) - known):
        raise ValueError(f"`states` names {', '.join(unknown)}, of which there are no postcodes")
    wanted = set(states) or known - {"AA", "AE", "AP"}
    rows = [
        (row["zip_code"], float(row["lat"]), float(row["long"]))
        for row in table
        if row["state"] in wanted and row["zip_code_type"] == "STANDARD" and row["lat"]
    ]
    frame = pl.DataFrame(rows, ["zipcode", "latitude", "longitude"], orient="row")
    return _one_row_each(frame.filter(pl.col("latitude") != 0), f"states {sorted(wanted)}")


def _read_postcodes(path: Path) -> pl.DataFrame:
    if path.suffix == ".parquet":
        frame = pl.read_parquet(path)
    else:
        frame = pl.read_csv(path, schema_overrides={"zipcode": pl.String})
    missing = {"zipcode", "latitude", "longitude"} - set(frame.columns)
    if missing:
        raise ValueError(f"{path}: no column {', '.join(sorted(missing))}")
    return _one_row_each(
        frame.select(
            pl.col("zipcode").cast(pl.String),
            pl.col("latitude", "longitude").cast(pl.Float64, strict=False),
        ),
        str(path),
    )


def _one_row_each(frame: pl.DataFrame, source: str) -> pl.DataFrame:
    """One row a postcode, by postcode; rows without a place on earth are left out."""
    here = frame.filter(
        pl.col("zipcode").str.len_bytes().is_between(1, 16)
        & pl.col("latitude").is_between(-90, 90)
        & pl.col("longitude").is_between(-180, 180)
    )
    if here.is_empty():
        raise ValueError(f"{source}: no postcode with latitude and longitude")
    return here.group_by("zipcode").mean().sort("zipcode")
