"""The market as it is: every listing with the truth behind it, made from knobs and a seed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from kindred.experiments.marketsim.knobs import MarketKnobs
from kindred.experiments.marketsim.listings import (
    CONDITIONS,
    Brands,
    Categories,
    Codes,
    Listings,
    make_brands,
    make_categories,
    make_listings,
)
from kindred.experiments.marketsim.places import Places, make_places
from kindred.experiments.marketsim.sellers import CAMPAIGNS, Sellers, make_sellers
from kindred.experiments.marketsim.texts import Text, write_texts
from kindred.schemas.clock import DAY, HOUR
from kindred.schemas.item import Campaign, Format, FormatBits, Item, Location
from kindred.schemas.ranking import Doubles, Floats, Mask

AUCTION_DAYS = (3, 5, 7, 10)
"""How long auctions run, as is usual."""
BUSIEST_HOUR = 19
"""When most listings appear (UTC), four times as many as twelve hours before."""

PLX_FEE = 0.02
"""What an auction campaign costs, as a share of the price."""


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """N listings, the row order of `items`, by the time they appear."""

    knobs: MarketKnobs
    seed: int
    start: int
    """when the simulation starts, µs"""
    items: list[Item]
    """what the market is told: titles, attributes with gaps, errors included"""
    style: Floats
    """float32[N, S], unit rows"""
    quality: Floats
    """float32[N], about standard normal"""
    clickbait: Floats
    """float32[N], 0..1: what a listing promises beyond what it holds"""
    price: Doubles
    """float64[N], minor units"""
    category: Codes
    """int32[N], leaf: what it is, whatever it was filed under"""
    brand: Codes
    """int32[N], also where the listing does not say"""
    seller: Codes
    """int32[N]"""
    place: Codes
    """int32[N], row of `places`"""
    colour: Codes
    """int32[N], number in `taxonomy.COLOURS`"""
    material: Codes
    """int32[N], number in `taxonomy.MATERIALS`"""
    formats: NDArray[np.uint8]
    """uint8[N], FormatBits"""
    unique: Mask
    """bool[N]: one piece, gone once sold; others have a stock"""
    listed: NDArray[np.int64]
    """int64[N], µs; ascending, before `start` for what stands there already"""
    expires: NDArray[np.int64]
    """int64[N], µs; an auction's end"""
    places: Places
    sellers: Sellers
    categories: Categories
    brands: Brands

    def __len__(self) -> int:
        return len(self.items)

    def live(self, at: int) -> Mask:
        """bool[N]: listed and not expired at `at`; what was sold meanwhile is not known here."""
        return (self.listed <= at) & (at < self.expires)


def make_world(knobs: MarketKnobs, seed: int, start: int, postcodes: Path | None = None) -> World:
    """The market of a seed: the same arguments give the same world.

    `start` is the simulation's first moment in µs; `postcodes` a file of places (see `places`).
    Each part draws from its own generator, so that a knob of the texts changes no truth.
    """
    streams = [np.random.default_rng([seed, part]) for part in range(8)]
    categories = make_categories(knobs, streams[0])
    tops = int(categories.top.max()) + 1
    brands = make_brands(knobs, tops, streams[1])
    places = make_places(knobs, seed, postcodes)
    sellers = make_sellers(knobs, places, tops, streams[2])
    drawn = make_listings(knobs, categories, brands, sellers, streams[3])
    listed, expires = _times(knobs, drawn, start, streams[4])
    texts = write_texts(knobs, categories, brands, drawn, streams[5])
    items = _items(knobs, drawn, sellers, places, texts, listed, expires, streams[6])
    order = np.argsort(listed, kind="stable")
    named = [msgspec.structs.replace(items[n], item_id=f"m-{i:07d}") for i, n in enumerate(order)]
    return World(
        knobs=knobs,
        seed=seed,
        start=start,
        items=named,
        style=drawn.style[order],
        quality=drawn.quality[order],
        clickbait=drawn.clickbait[order],
        price=drawn.price[order],
        category=drawn.category[order],
        brand=drawn.brand[order],
        seller=drawn.seller[order],
        place=sellers.place[drawn.seller][order],
        colour=drawn.colour[order],
        material=drawn.material[order],
        formats=drawn.formats[order],
        unique=drawn.unique[order],
        listed=listed[order],
        expires=expires[order],
        places=places,
        sellers=sellers,
        categories=categories,
        brands=brands,
    )


def _times(
    knobs: MarketKnobs, drawn: Listings, start: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """When listings appear and expire, µs.

    What stands there at the start is at a moment of its life that is uniform, as in a market that
    has run for long; the longer a kind of listing stays, the more of it stands there. Others
    arrive as a Poisson stream (uniform days, given their number) with a daily rhythm.
    """
    n = len(drawn.category)
    auction = drawn.formats & int(FormatBits.AUCTION) > 0
    days = np.where(drawn.unique, knobs.unique_days, knobs.stock_days)
    life = np.where(auction, np.array(AUCTION_DAYS)[rng.integers(0, len(AUCTION_DAYS), n)], days)
    stays = life / (life + knobs.days)
    stock = rng.random(n) < np.minimum(stays * knobs.stock_share / stays.mean(), 1)
    age = rng.random(n) * life
    when = knobs.days * rng.random(n)
    hours = np.arange(25)
    rate = 1 + 0.6 * np.cos(2 * np.pi * (hours[:-1] + 0.5 - BUSIEST_HOUR) / 24)
    by_hour = np.concatenate([[0.0], np.cumsum(rate) / rate.sum()])
    hour = np.interp(rng.random(n), by_hour, hours)
    arrival = np.minimum(np.floor(when) + hour / 24, knobs.days)
    listed = start + np.where(stock, -age * DAY, arrival * DAY).astype(np.int64)
    return listed, listed + np.maximum(life * DAY, HOUR).astype(np.int64)


def _items(
    knobs: MarketKnobs,
    drawn: Listings,
    sellers: Sellers,
    places: Places,
    texts: list[Text],
    listed: NDArray[np.int64],
    expires: NDArray[np.int64],
    rng: np.random.Generator,
) -> list[Item]:
    """The listings as the market is told of them."""
    n = len(texts)
    stock = np.ceil(np.exp(2.5 + rng.standard_normal(n))).astype(np.int64)
    quantity = np.where(drawn.unique, 1, stock).tolist()
    shipping = np.round(np.sqrt(drawn.price / 100) * 0.6 + 2) * 100 - 1
    ships = rng.random(n) < np.where(drawn.unique, 0.6, 1.0)
    plx = np.array([c is Campaign.PLX for c in CAMPAIGNS])[sellers.campaign][drawn.seller]
    fee = np.where(plx, np.maximum(np.round(drawn.price * PLX_FEE), 50), -1).astype(np.int64)
    views = np.round(np.exp(6 + 0.7 * rng.standard_normal(n))).astype(np.int64).tolist()
    unplaced = rng.random(n) < knobs.location_gap
    told = [tuple(f for f in Format if FormatBits[f.name] & bits) for bits in range(8)]
    where = [
        Location(lat=lat, lon=lon, postcode=code)
        for lat, lon, code in zip(
            places.lat.tolist(), places.lon.tolist(), places.postcode, strict=True
        )
    ]
    codes = [Location(postcode=code) for code in places.postcode]
    columns = zip(
        texts, drawn.seller.tolist(), drawn.price.astype(np.int64).tolist(), drawn.formats.tolist(),
        drawn.condition.tolist(), quantity, listed.tolist(), expires.tolist(),
        shipping.astype(np.int64).tolist(), ships.tolist(), unplaced.tolist(),
        fee.tolist(), views, strict=True,
    )  # fmt: skip
    items = []
    for (
        text, seller, price, bits, condition, pieces, at, end, postage, posted, hidden, flat, bought
    ) in columns:  # fmt: skip
        place = int(sellers.place[seller])
        campaign = CAMPAIGNS[sellers.campaign[seller]]
        items.append(
            Item(
                item_id="unnamed",
                title=text.title,
                description=text.description,
                seller_id=sellers.seller_id[seller],
                brand=text.brand,
                category=text.category,
                attributes=text.attributes,
                colour=text.colour,
                materials=text.materials,
                price_minor=price,
                shipping_minor=postage if posted else None,
                currency=knobs.currency,
                condition=CONDITIONS[condition],
                formats=told[bits],
                auction_end=end if bits & FormatBits.AUCTION else None,
                quantity=pieces,
                country=knobs.country,
                location=codes[place] if hidden else where[place],
                created_at=at,
                campaign=campaign,
                ad_rate_bp=int(sellers.ad_rate_bp[seller]),
                flat_fee_minor=flat if flat >= 0 else None,
                target_views=bought if flat >= 0 else None,
            )
        )
    return items


def write_catalogue(world: World, path: Path, at: int | None = None) -> int:
    """Write listings as JSON lines, which `kindred import items` reads; returns how many.

    `at` (µs) writes those that are live then, None all of them.
    """
    rows = np.arange(len(world)) if at is None else np.flatnonzero(world.live(at))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    encoder = msgspec.json.Encoder()
    with aside.open("wb") as out:
        for row in rows:
            out.write(encoder.encode(world.items[row]) + b"\n")
        out.flush()
        os.fsync(out.fileno())
    aside.replace(path)
    return len(rows)
