"""The truth in files, so that a test or an experiment can ask whether a learner found it.

market.json            seed, start and knobs; what `extra` held that is neither array nor table
items.parquet          a row for each listing: what it is, whatever its text says
style.npy              float32[N, S]
neighbours.npy         int32[N, 20], the true neighbours by style, best first
places.parquet         postcode, coordinates, weight and region
penalty.npy            float64[R, R], extra km between regions
sellers.parquet, categories.parquet, brands.parquet
extra/NAME.npy or NAME.parquet     what a run adds: the position curve, visitors' tastes, …
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from kindred.experiments.marketsim.knobs import MarketKnobs
from kindred.experiments.marketsim.places import Places
from kindred.experiments.marketsim.sellers import CAMPAIGNS
from kindred.experiments.marketsim.taxonomy import COLOURS, MATERIALS
from kindred.experiments.marketsim.world import World
from kindred.schemas.ranking import Floats

NEIGHBOURS = 20
"""True style neighbours of each listing that are exported."""
BLOCK = 1024
"""Listings compared at once."""
NOTE = "simulated: every figure measured on this is a claim about the code"


class _Market(msgspec.Struct, frozen=True, kw_only=True):
    """market.json"""

    note: str
    seed: int
    start: int
    detour: float
    knobs: MarketKnobs
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What `export_truth` wrote."""

    seed: int
    start: int
    knobs: MarketKnobs
    items: pl.DataFrame
    """N rows: item_id, category, top, brand, colour, material, seller, place, quality, clickbait,
    price_minor, formats, unique, listed, expires"""
    style: Floats
    """float32[N, S]"""
    neighbours: NDArray[np.int32]
    """int32[N, 20], rows of `items`; -1 where there are fewer"""
    places: Places
    sellers: pl.DataFrame
    categories: pl.DataFrame
    brands: pl.DataFrame
    extra: dict[str, Any]


def style_neighbours(
    world: World, k: int = NEIGHBOURS, rows: NDArray[np.integer] | None = None
) -> NDArray[np.int32]:
    """int32[n, k]: for each of `rows` (all by default) the nearest others by style, best first.

    Within reach are listings of the same top category, whenever they were live. -1 where there are
    fewer than `k`.
    """
    asked = np.arange(len(world)) if rows is None else np.asarray(rows)
    found = np.full((len(asked), k), -1, np.int32)
    top = world.categories.top[world.category]
    for t in np.unique(top[asked]):
        members = np.flatnonzero(top == t)
        places = np.flatnonzero(top[asked] == t)
        kept = min(k, len(members) - 1)
        if kept < 1:
            continue
        for block in np.array_split(places, -(-len(places) // BLOCK)):
            likeness = world.style[asked[block]] @ world.style[members].T
            likeness[members[None, :] == asked[block][:, None]] = -np.inf
            best = np.argpartition(-likeness, kept - 1, axis=1)[:, :kept]
            order = np.argsort(-np.take_along_axis(likeness, best, axis=1), axis=1, kind="stable")
            found[block, :kept] = members[np.take_along_axis(best, order, axis=1)]
    return found


def export_truth(world: World, folder: Path, extra: Mapping[str, Any] | None = None) -> None:
    """Write the truth to `folder`, which is made; `extra` adds arrays, tables or JSON values.

    Names of `extra` become file names: letters, digits, `_` and `-`. Raises ValueError otherwise.
    """
    more = dict(extra or {})
    for name in more:
        if not name.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"`extra` has the name {name!r}; use letters, digits, _ and -")
    (folder / "extra").mkdir(parents=True, exist_ok=True)
    plain = {}
    for name, value in more.items():
        if isinstance(value, np.ndarray):
            np.save(folder / "extra" / f"{name}.npy", value, allow_pickle=False)
        elif isinstance(value, pl.DataFrame):
            value.write_parquet(folder / "extra" / f"{name}.parquet")
        else:
            plain[name] = value
    np.save(folder / "style.npy", world.style)
    np.save(folder / "neighbours.npy", style_neighbours(world))
    np.save(folder / "penalty.npy", world.places.penalty)
    for name, table in _tables(world).items():
        table.write_parquet(folder / f"{name}.parquet")
    market = _Market(
        note=NOTE,
        seed=world.seed,
        start=world.start,
        detour=world.places.detour,
        knobs=world.knobs,
        extra=plain,
    )
    (folder / "market.json").write_bytes(msgspec.json.format(msgspec.json.encode(market)))


def _tables(world: World) -> dict[str, pl.DataFrame]:
    colours, materials = list(COLOURS), list(MATERIALS)
    places, sellers, categories, brands = (
        world.places, world.sellers, world.categories, world.brands,
    )  # fmt: skip
    return {
        "items": pl.DataFrame(
            {
                "item_id": [item.item_id for item in world.items],
                "category": world.category,
                "top": categories.top[world.category],
                "brand": world.brand,
                "colour": [colours[n] for n in world.colour],
                "material": [materials[n] for n in world.material],
                "seller": world.seller,
                "place": world.place,
                "quality": world.quality,
                "clickbait": world.clickbait,
                "price_minor": world.price.astype(np.int64),
                "formats": world.formats,
                "unique": world.unique,
                "listed": world.listed,
                "expires": world.expires,
            }
        ),
        "places": pl.DataFrame(
            {
                "postcode": places.postcode,
                "lat": places.lat,
                "lon": places.lon,
                "weight": places.weight,
                "region": places.region,
            }
        ),
        "sellers": pl.DataFrame(
            {
                "seller_id": sellers.seller_id,
                "weight": sellers.weight,
                "dealer": sellers.dealer,
                "place": sellers.place,
                "quality": sellers.quality,
                "campaign": [CAMPAIGNS[n].value for n in sellers.campaign],
                "ad_rate_bp": sellers.ad_rate_bp,
            }
        ),
        "categories": pl.DataFrame(
            {
                "path": [list(leaf.path) for leaf in categories.leaves],
                "top": categories.top,
                "centre": categories.centre.tolist(),
                "popularity": categories.popularity,
            }
        ),
        "brands": pl.DataFrame(
            {
                "name": brands.names,
                "top": brands.top,
                "offset": brands.offset.tolist(),
                "tier": brands.tier,
                "series": [list(names) for names in brands.series],
            }
        ),
    }


def load_truth(folder: Path) -> Truth:
    """Read what `export_truth` wrote. Raises FileNotFoundError, or ValueError naming the file."""
    path = folder / "market.json"
    try:
        market = msgspec.json.decode(path.read_bytes(), type=_Market)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path}: {error}") from error
    extra = dict(market.extra)
    for file in sorted((folder / "extra").glob("*.npy")):
        extra[file.stem] = np.load(file, allow_pickle=False)
    for file in sorted((folder / "extra").glob("*.parquet")):
        extra[file.stem] = pl.read_parquet(file)
    places = pl.read_parquet(folder / "places.parquet")
    return Truth(
        seed=market.seed,
        start=market.start,
        knobs=market.knobs,
        items=pl.read_parquet(folder / "items.parquet"),
        style=np.load(folder / "style.npy"),
        neighbours=np.load(folder / "neighbours.npy"),
        places=Places(
            postcode=places["postcode"].to_list(),
            lat=places["lat"].to_numpy(),
            lon=places["lon"].to_numpy(),
            weight=places["weight"].to_numpy(),
            region=places["region"].to_numpy(),
            penalty=np.load(folder / "penalty.npy"),
            detour=market.detour,
        ),
        sellers=pl.read_parquet(folder / "sellers.parquet"),
        categories=pl.read_parquet(folder / "categories.parquet"),
        brands=pl.read_parquet(folder / "brands.parquet"),
        extra=extra,
    )
