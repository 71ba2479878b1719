"""What a filter means, in columns (the store adapters compile the same to their engines)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.facts import (
    CAMPAIGN_CODE,
    CONDITION_CODE,
    FORMAT_BIT,
    LEVEL_SEPARATOR,
    STATUS_CODE,
)
from kindred.indexer.geo import inside
from kindred.indexer.vocabulary import Vocabulary
from kindred.schemas.item import MAX_LEVELS
from kindred.schemas.query import Filters, Geo
from kindred.schemas.ranking import Mask


def filter_mask(
    columns: Mapping[str, NDArray[Any]], vocabularies: Mapping[str, Vocabulary], filters: Filters
) -> Mask:
    """bool[n]: the rows that pass every condition; see `Columns.mask` for the meaning.

    `columns` are [n] each, `category` [MAX_LEVELS, n], `sphere` [3, n].
    """
    passed = _among(columns["status"], [STATUS_CODE[s] for s in filters.statuses])
    for conditions in (_words, _choices, _amounts):
        for kept in conditions(columns, vocabularies, filters):
            passed &= kept
    if filters.geo is not None:
        _keep_inside(passed, filters.geo, columns)
    return passed


def _keep_inside(passed: Mask, geo: Geo, columns: Mapping[str, NDArray[Any]]) -> None:
    """The dearest condition, asked only of the rows that are left, when these are few."""
    lats, lons = columns["lat"], columns["lon"]
    if np.count_nonzero(passed) > len(passed) // 8:
        passed &= inside(geo, lats, lons, columns["sphere"])
    else:
        rows = np.flatnonzero(passed)
        sphere = np.take(columns["sphere"], rows, axis=1)
        passed[rows] = inside(geo, lats[rows], lons[rows], sphere)


def _words(
    columns: Mapping[str, NDArray[Any]], vocabularies: Mapping[str, Vocabulary], f: Filters
) -> Iterable[Mask]:
    def named(name: str, values: Iterable[str]) -> Mask:
        find = vocabularies[name].find
        return _among(columns[name], [find(v) for v in values])

    def under(paths: Iterable[Sequence[str]]) -> Mask:
        return _in_categories(columns["category"], vocabularies["category"], paths)

    if f.categories is not None:
        yield under(f.categories)
    if f.not_categories is not None:
        yield ~under(f.not_categories)
    if f.brands is not None:
        yield named("brand", f.brands)
    if f.sellers is not None:
        yield named("seller", f.sellers)
    if f.not_sellers is not None:
        yield ~named("seller", f.not_sellers)
    if f.countries is not None:
        yield named("country", f.countries)


def _choices(
    columns: Mapping[str, NDArray[Any]], _: Mapping[str, Vocabulary], f: Filters
) -> Iterable[Mask]:
    if f.formats is not None:
        wanted = np.uint8(sum({FORMAT_BIT[x] for x in f.formats}))
        yield (columns["formats"] & wanted) != 0
    if f.conditions is not None:
        yield _among(columns["condition"], [CONDITION_CODE[c] for c in f.conditions])
    if f.campaigns is not None:
        yield _among(columns["campaign"], [CAMPAIGN_CODE[c] for c in f.campaigns])


def _amounts(
    columns: Mapping[str, NDArray[Any]], _: Mapping[str, Vocabulary], f: Filters
) -> Iterable[Mask]:
    price, created, end = columns["price"], columns["created"], columns["auction_end"]
    if f.price_min_minor is not None:
        yield price >= f.price_min_minor
    if f.price_max_minor is not None:
        yield price <= f.price_max_minor
    if f.created_after is not None:
        yield created >= max(f.created_after, 1)  # 0 is unknown
    if f.created_before is not None:
        yield (created < f.created_before) & (created > 0)
    if f.auction_ends_after is not None:
        yield end >= max(f.auction_ends_after, 1)


def _in_categories(
    category: NDArray[np.int32], words: Vocabulary, paths: Iterable[Sequence[str]]
) -> Mask:
    levels: dict[int, list[int]] = {}
    for path in paths:
        if len(path) <= MAX_LEVELS:
            levels.setdefault(len(path) - 1, []).append(words.find(LEVEL_SEPARATOR.join(path)))
    passed = np.zeros(category.shape[1], np.bool_)
    for level, codes in levels.items():
        passed |= _among(category[level], codes)
    return passed


def _among(column: NDArray[Any], codes: Sequence[int]) -> Mask:
    """bool[n]: which entries of an integer column are one of `codes`; a negative code is none."""
    wanted = [c for c in codes if c >= 0]
    if len(wanted) <= 4:
        passed = np.zeros(len(column), np.bool_)
        for code in wanted:
            passed |= column == code
        return passed
    # A table by code, and one entry more, which the -1 of an unknown fact finds from the end.
    table = np.zeros(max(int(column.max(initial=-1)), *wanted) + 2, np.bool_)
    table[wanted] = True
    return np.asarray(table[column])
