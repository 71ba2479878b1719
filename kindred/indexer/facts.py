"""Items as column values: which facts are columns, their types and their codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.geo import on_sphere
from kindred.indexer.traits import empty_traits, trait_columns
from kindred.indexer.vocabulary import Vocabulary
from kindred.schemas.item import MAX_LEVELS, Campaign, Condition, Format, FormatBits, Item, Status

LEVEL_SEPARATOR = "\x1f"
"""Joins the levels of a category path where one string stands for the whole path."""

STATUS_CODE: dict[Status, int] = {s: i for i, s in enumerate(Status)}
CONDITION_CODE: dict[Condition, int] = {c: i for i, c in enumerate(Condition)}
CAMPAIGN_CODE: dict[Campaign, int] = {c: i for i, c in enumerate(Campaign)}
FORMAT_BIT: dict[Format, int] = {f: FormatBits[f.name].value for f in Format}

VOCABULARIES = ("category", "seller", "brand", "colour", "country", "currency")

SPECS: dict[str, tuple[Any, float]] = {
    "status": (np.int8, -1),
    "price": (np.float64, np.nan),
    "currency": (np.int16, -1),
    "category_depth": (np.int8, 0),
    "seller": (np.int32, -1),
    "brand": (np.int32, -1),
    "colour": (np.int32, -1),
    "country": (np.int16, -1),
    "condition": (np.int8, -1),
    "formats": (np.uint8, 0),
    "campaign": (np.int8, -1),
    "ad_rate_bp": (np.uint16, 0),
    "flat_fee": (np.float64, np.nan),
    "target_views": (np.int32, 0),
    "created": (np.int64, 0),
    "auction_end": (np.int64, 0),
    "lat": (np.float64, np.nan),
    "lon": (np.float64, np.nan),
}
"""Column -> (dtype, value of a row that nothing is known of).

Beside them stand `category`, `sphere` and those of `traits.WIDTHS`, which have a dimension
more."""


def category_prefixes(path: Sequence[str]) -> list[str]:
    """One string for each level of a path: the levels from the root down to it, joined."""
    return [LEVEL_SEPARATOR.join(path[: level + 1]) for level in range(len(path))]


def empty_columns(capacity: int) -> dict[str, NDArray[Any]]:
    """Columns of `capacity` rows that nothing is known of.

    `category` is [MAX_LEVELS, capacity]: the path lies level by level in memory, because a filter
    reads one level of every row. `sphere` is [3, capacity], see `geo.on_sphere`.
    """
    arrays: dict[str, NDArray[Any]] = {
        name: np.full(capacity, missing, dtype) for name, (dtype, missing) in SPECS.items()
    }
    return {
        **arrays,
        "category": np.full((MAX_LEVELS, capacity), -1, np.int32),
        "sphere": np.full((3, capacity), np.nan, np.float32),
        **empty_traits(capacity),
    }


def column_values(
    items: Sequence[Item], vocabularies: Mapping[str, Vocabulary]
) -> dict[str, NDArray[Any]]:
    """Each column's values for n items; new words enter the vocabularies.

    `category` is int32[MAX_LEVELS, n], `sphere` float32[3, n], see `traits` for words, attributes
    and materials; the others are [n].
    """
    n = len(items)

    def column(name: str, pick: Callable[[Item], float | None]) -> NDArray[Any]:
        dtype, missing = SPECS[name]
        return np.fromiter((missing if v is None else v for v in map(pick, items)), dtype, n)

    def coded(name: str, pick: Callable[[Item], str | None]) -> NDArray[Any]:
        return vocabularies[name].codes(map(pick, items)).astype(SPECS[name][0], copy=False)

    def condition(item: Item) -> int | None:
        return None if item.condition is None else CONDITION_CODE[item.condition]

    lat = column("lat", lambda i: None if i.location is None else i.location.lat)
    lon = column("lon", lambda i: None if i.location is None else i.location.lon)
    return {
        "status": column("status", lambda i: STATUS_CODE[i.status]),
        "price": column("price", lambda i: i.price_minor),
        "currency": coded("currency", lambda i: i.currency),
        "category": _category_codes(items, vocabularies["category"]),
        "category_depth": column("category_depth", lambda i: len(i.category)),
        "seller": coded("seller", lambda i: i.seller_id),
        "brand": coded("brand", lambda i: i.brand),
        "colour": coded("colour", lambda i: i.colour),
        "country": coded("country", lambda i: i.country),
        "condition": column("condition", condition),
        "formats": column("formats", lambda i: sum({FORMAT_BIT[f] for f in i.formats})),
        "campaign": column("campaign", lambda i: CAMPAIGN_CODE[i.campaign]),
        "ad_rate_bp": column("ad_rate_bp", lambda i: i.ad_rate_bp),
        "flat_fee": column("flat_fee", lambda i: i.flat_fee_minor),
        "target_views": column("target_views", lambda i: i.target_views),
        "created": column("created", lambda i: i.created_at),
        "auction_end": column("auction_end", lambda i: i.auction_end),
        "lat": lat,
        "lon": lon,
        "sphere": on_sphere(lat, lon),
        **trait_columns(items),
    }


def _category_codes(items: Sequence[Item], words: Vocabulary) -> NDArray[np.int32]:
    codes = np.full((MAX_LEVELS, len(items)), -1, np.int32)
    paths: dict[tuple[str, ...], list[int]] = {}
    for position, item in enumerate(items):
        known = paths.get(item.category)
        if known is None:
            known = paths[item.category] = [words.code(p) for p in category_prefixes(item.category)]
        for level, code in enumerate(known):
            codes[level, position] = code
    return codes
