"""What is for sale: the latent truth of each listing, in columns.

A listing's style is its category's centre, its brand's offset and something of its own. Colour,
material and series follow from the style in part, so that words and pictures tell of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.experiments.marketsim.knobs import MarketKnobs
from kindred.experiments.marketsim.sellers import Sellers
from kindred.experiments.marketsim.taxonomy import COLLECTORS, COLOURS, MATERIALS, Leaf, leaves
from kindred.experiments.marketsim.words import BRAND_ENDS, BRAND_STARTS, SERIES
from kindred.schemas.item import Condition, FormatBits
from kindred.schemas.ranking import Doubles, Floats, Mask

BRANDS_OF_TOP = 10
SERIES_OF_BRAND = 5
CONDITIONS = tuple(Condition)
"""By code: the values of `Listings.condition` index it."""
WORTH = {"new": 1.0, "refurbished": 0.7, "used": 0.5, "parts": 0.2}
"""Price of a thing in that condition as a share of the new price."""
COLLECTOR_TILT = 3.0
"""How many times more often than elsewhere collectors' categories use auctions."""
STYLE_SAYS = 4.0
"""Nats by which a colour or material is likelier for a style that points its way."""

Codes = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Categories:
    """C leaf categories in columns."""

    leaves: tuple[Leaf, ...]
    names: list[str]
    """the last level of each path"""
    top: Codes
    """int32[C], number of the top category, 0..T-1"""
    parent: Codes
    """int32[C], number of the category one level up"""
    centre: Floats
    """float32[C, S], unit rows"""
    popularity: Doubles
    """float64[C], share of listings; sums to 1"""


@dataclass(frozen=True, slots=True, eq=False)
class Brands:
    """B brands in columns, those of a top category together."""

    names: list[str]
    top: Codes
    """int32[B]"""
    offset: Floats
    """float32[B, S], unit rows"""
    tier: Doubles
    """float64[B], what the name adds to the log price"""
    series: list[tuple[str, ...]]
    series_style: Floats
    """float32[B, K, S], unit rows: what a series is like"""


@dataclass(frozen=True, slots=True, eq=False)
class Listings:
    """N listings in columns: the truth, of which items tell a part."""

    category: Codes
    unique: Mask
    seller: Codes
    brand: Codes
    series: Codes
    """int32[N], number within the brand's series"""
    style: Floats
    """float32[N, S], unit rows"""
    quality: Floats
    clickbait: Floats
    condition: NDArray[np.int8]
    formats: NDArray[np.uint8]
    price: Doubles
    """float64[N], minor units, whole numbers"""
    colour: Codes
    """int32[N], number of the name in COLOURS"""
    material: Codes
    """int32[N], number in MATERIALS"""


def units(rows: NDArray[np.floating]) -> Floats:
    """float32: each row (last axis) at length 1."""
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def make_categories(knobs: MarketKnobs, rng: np.random.Generator) -> Categories:
    """The categories of `taxonomy`, with centres that are nearer under one top category."""
    found = leaves()
    tops = list(dict.fromkeys(leaf.path[0] for leaf in found))
    parents = list(dict.fromkeys(leaf.path[:-1] for leaf in found))
    top = np.array([tops.index(leaf.path[0]) for leaf in found], np.int32)
    shared = rng.standard_normal((len(tops), knobs.style_size))
    own = rng.standard_normal((len(found), knobs.style_size))
    popularity = np.exp(0.4 * rng.standard_normal(len(found)))
    return Categories(
        leaves=found,
        names=[leaf.path[-1] for leaf in found],
        top=top,
        parent=np.array([parents.index(leaf.path[:-1]) for leaf in found], np.int32),
        centre=units(0.7 * shared[top] + own),
        popularity=popularity / popularity.sum(),
    )


def make_brands(knobs: MarketKnobs, tops: int, rng: np.random.Generator) -> Brands:
    """Ten brands for each top category, with five series each."""
    count = tops * BRANDS_OF_TOP
    coined = [start + end for start in BRAND_STARTS for end in BRAND_ENDS]
    names = [coined[n] for n in rng.permutation(len(coined))[:count]]
    chosen = np.argsort(rng.random((count, len(SERIES))), axis=1)[:, :SERIES_OF_BRAND]
    return Brands(
        names=names,
        top=np.repeat(np.arange(tops, dtype=np.int32), BRANDS_OF_TOP),
        offset=units(rng.standard_normal((count, knobs.style_size))),
        tier=0.3 * rng.standard_normal(count),
        series=[tuple(SERIES[n] for n in row) for row in chosen],
        series_style=units(rng.standard_normal((count, SERIES_OF_BRAND, knobs.style_size))),
    )


def make_listings(
    knobs: MarketKnobs,
    categories: Categories,
    brands: Brands,
    sellers: Sellers,
    rng: np.random.Generator,
) -> Listings:
    """Draw every listing's latents."""
    n = knobs.items
    category = rng.choice(len(categories.leaves), n, p=categories.popularity).astype(np.int32)
    share = np.array([leaf.unique for leaf in categories.leaves]) * knobs.unique_bias
    unique = rng.random(n) < share[category]
    seller = _sellers(categories.top[category], unique, sellers, rng)
    rank = rng.choice(BRANDS_OF_TOP, n, p=_zipf(BRANDS_OF_TOP, 0.7))
    brand = (categories.top[category] * BRANDS_OF_TOP + rank).astype(np.int32)
    own = rng.standard_normal((n, knobs.style_size)) / np.sqrt(knobs.style_size)
    style = units(
        knobs.leaf_weight * categories.centre[category]
        + knobs.brand_weight * brands.offset[brand]
        + knobs.own_weight * own
    )
    quality = 0.6 * sellers.quality[seller] + 0.8 * rng.standard_normal(n)
    bait = rng.random(n) < knobs.clickbait_share
    condition = _conditions(unique, rng)
    noise = rng.standard_normal(n)
    worth = np.array([WORTH[c.value] for c in CONDITIONS])[condition]
    apart = style - 0.5 * categories.centre[category]
    new_price = 100 * np.array([leaf.price for leaf in categories.leaves])[category]
    raw = new_price * worth * np.exp(
        knobs.price_sigma * noise + knobs.quality_price * quality + brands.tier[brand]
    )  # fmt: skip
    return Listings(
        category=category,
        unique=unique,
        seller=seller,
        brand=brand,
        series=_series(apart, brand, brands, rng),
        style=style,
        quality=quality.astype(np.float32),
        clickbait=np.where(bait, rng.uniform(0.5, 1, n), rng.beta(1, 15, n)).astype(np.float32),
        condition=condition,
        formats=_formats(knobs, categories, category, unique, rng),
        price=_round_price(raw, unique),
        colour=_choose(
            apart, category, [leaf.colours for leaf in categories.leaves], tuple(COLOURS), rng
        ),
        material=_choose(
            apart, category, [leaf.materials for leaf in categories.leaves], MATERIALS, rng
        ),
    )


def _zipf(count: int, power: float) -> Doubles:
    weight = np.arange(1, count + 1) ** -power
    return np.asarray(weight / weight.sum())


def _sellers(top: Codes, unique: Mask, sellers: Sellers, rng: np.random.Generator) -> Codes:
    """New goods come from dealers; second-hand ones from all, the private ones before all."""
    chosen = np.zeros(len(top), np.int32)
    for t in np.unique(top):
        for used in (False, True):
            rows = np.flatnonzero((top == t) & (unique == used))
            weight = sellers.weight * sellers.affinity[:, t]
            weight = weight * np.where(sellers.dealer, 0.3 if used else 1.0, float(used))
            chosen[rows] = rng.choice(len(sellers), len(rows), p=weight / weight.sum())
    return chosen


def _conditions(unique: Mask, rng: np.random.Generator) -> NDArray[np.int8]:
    """int8[N], index of CONDITIONS: new, refurbished, used, parts."""
    draw = rng.random(len(unique))
    used = np.searchsorted(np.cumsum([0.07, 0.03, 0.85]), draw)
    new = np.searchsorted(np.cumsum([0.97]), draw)
    return np.where(unique, used, new).astype(np.int8)


def _series(distinct: Floats, brand: Codes, brands: Brands, rng: np.random.Generator) -> Codes:
    """int32[N]: the series whose style is nearest to what sets the listing apart."""
    chosen = np.zeros(len(brand), np.int32)
    noise = 0.1 * rng.standard_normal((len(brand), SERIES_OF_BRAND))
    for b in np.unique(brand):
        rows = np.flatnonzero(brand == b)
        likeness = distinct[rows] @ brands.series_style[b].T
        chosen[rows] = np.argmax(likeness + noise[rows], axis=1)
    return chosen


def _formats(
    knobs: MarketKnobs,
    categories: Categories,
    category: Codes,
    unique: Mask,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """uint8[N] of FormatBits: auctions for unique goods, a quarter of them with a buy-now price."""
    tilt = np.array(
        [COLLECTOR_TILT if leaf.path[0] in COLLECTORS else 1.0 for leaf in categories.leaves]
    )[category]
    usual = tilt[unique].mean() if unique.any() else 1.0
    n = len(category)
    auction = unique & (rng.random(n) < np.minimum(knobs.auction_share * tilt / usual, 1))
    offers = rng.random(n) < np.where(unique, knobs.offer_share, knobs.stock_offer_share)
    fixed = np.where(offers, FormatBits.BUY_NOW | FormatBits.BEST_OFFER, FormatBits.BUY_NOW)
    bids = np.where(
        rng.random(n) < 0.25, FormatBits.AUCTION | FormatBits.BUY_NOW, FormatBits.AUCTION
    )
    return np.where(auction, bids, fixed).astype(np.uint8)


def _round_price(raw: Doubles, unique: Mask) -> Doubles:
    """As people price: whole 1, 5 or 10 second-hand, just below the next whole for new goods."""
    major = np.maximum(raw / 100, 1)
    step = np.where(major < 20, 1, np.where(major < 100, 5, 10))
    used = np.round(major / step) * step * 100
    new = np.ceil(major) * 100 - 1
    return np.asarray(np.where(unique, used, new))


def _choose(
    apart: Floats,
    category: Codes,
    usual: list[tuple[str, ...]],
    names: tuple[str, ...],
    rng: np.random.Generator,
) -> Codes:
    """int32[N], number in `names`: one of those usual there, inclined by what sets it apart."""
    prior = np.full((len(usual), len(names)), -np.inf)
    for row, some in enumerate(usual):
        prior[row, [names.index(name) for name in some]] = -0.15 * np.arange(len(some))
    direction = units(rng.standard_normal((len(names), apart.shape[1])))
    score = prior[category] + STYLE_SAYS * (apart @ direction.T)
    return np.asarray(np.argmax(score + rng.gumbel(size=score.shape), axis=1), np.int32)
