"""The catalogue as columns: what filters and features read, by row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from kindred.indexer.facts import (
    CAMPAIGN_CODE,
    CONDITION_CODE,
    FORMAT_BIT,
    LEVEL_SEPARATOR,
    SPECS,
    STATUS_CODE,
    VOCABULARIES,
    category_prefixes,
    column_values,
    empty_columns,
)
from kindred.indexer.geo import haversine
from kindred.indexer.masks import filter_mask
from kindred.indexer.traits import WIDTHS, Hashes
from kindred.indexer.vocabulary import Vocabulary
from kindred.schemas.errors import ArtefactError
from kindred.schemas.item import Item, Status
from kindred.schemas.query import Filters
from kindred.schemas.ranking import Doubles, Mask, Rows

__all__ = [
    "CAMPAIGN_CODE", "CONDITION_CODE", "FORMAT_BIT", "LEVEL_SEPARATOR", "STATUS_CODE",
    "VOCABULARIES", "Columns", "Vocabulary", "category_prefixes", "haversine",
]  # fmt: skip

_FORMAT = 3
_IDS = "item_ids.arrow"


class Columns:
    """Row-indexed numpy columns; row r of each is the item that the catalogue keeps as row r.

    Every column is a view of its first `size` rows. There is head-room behind them, and `load`
    maps the files copy-on-write, so several processes share the pages that none of them changes.
    One thread may `apply` while others read: a reader sees whole columns, though one item's
    fields may change between two reads.
    """

    def __init__(self, capacity: int = 1024) -> None:
        self.size = 0
        self.version = 0
        """Grows with every `apply`; what was computed under another version is stale."""
        self.item_ids: list[str] = []
        """Item id by row; "" where a row has not been seen yet."""
        self.vocabularies = {name: Vocabulary() for name in VOCABULARIES}
        self._row_of: dict[str, int] | None = {}
        self._arrays: dict[str, NDArray[Any]] = empty_columns(max(capacity, 1))

    def _column(self, name: str) -> NDArray[Any]:
        return self._arrays[name][: self.size]

    @property
    def status(self) -> NDArray[np.int8]:
        """int8[size], STATUS_CODE; -1: no such item."""
        return self._column("status")

    @property
    def active(self) -> Mask:
        """bool[size]: the items that may be shown."""
        return np.asarray(self.status == STATUS_CODE[Status.ACTIVE])

    @property
    def price(self) -> Doubles:
        """float64[size] in minor units; NaN unknown."""
        return self._column("price")

    @property
    def currency(self) -> NDArray[np.int16]:
        """int16[size], vocabulary `currency`; -1 unknown."""
        return self._column("currency")

    @property
    def category(self) -> NDArray[np.int32]:
        """int32[size, MAX_LEVELS], vocabulary `category`; -1 below the leaf.

        The code at level l stands for the whole path down to that level, not for its last word.
        """
        return self._arrays["category"][:, : self.size].T

    @property
    def category_depth(self) -> NDArray[np.int8]:
        """int8[size]: levels of the path."""
        return self._column("category_depth")

    @property
    def seller(self) -> NDArray[np.int32]:
        """int32[size], vocabulary `seller`; -1 unknown."""
        return self._column("seller")

    @property
    def brand(self) -> NDArray[np.int32]:
        """int32[size], vocabulary `brand`; -1 unknown."""
        return self._column("brand")

    @property
    def colour(self) -> NDArray[np.int32]:
        """int32[size], vocabulary `colour`; -1 unknown."""
        return self._column("colour")

    @property
    def country(self) -> NDArray[np.int16]:
        """int16[size], vocabulary `country`; -1 unknown."""
        return self._column("country")

    @property
    def condition(self) -> NDArray[np.int8]:
        """int8[size], CONDITION_CODE; -1 unknown."""
        return self._column("condition")

    @property
    def formats(self) -> NDArray[np.uint8]:
        """uint8[size]: FormatBits."""
        return self._column("formats")

    @property
    def campaign(self) -> NDArray[np.int8]:
        """int8[size], CAMPAIGN_CODE."""
        return self._column("campaign")

    @property
    def ad_rate_bp(self) -> NDArray[np.uint16]:
        """uint16[size] in basis points of the price."""
        return self._column("ad_rate_bp")

    @property
    def flat_fee(self) -> Doubles:
        """float64[size] in minor units, for all the views of an auction campaign; NaN unknown."""
        return self._column("flat_fee")

    @property
    def target_views(self) -> NDArray[np.int32]:
        """int32[size]: views that an auction campaign has bought; 0 unknown."""
        return self._column("target_views")

    @property
    def created(self) -> Rows:
        """int64[size] in microseconds UTC; 0 unknown."""
        return self._column("created")

    @property
    def auction_end(self) -> Rows:
        """int64[size] in microseconds UTC; 0: no auction."""
        return self._column("auction_end")

    @property
    def lat(self) -> Doubles:
        """float64[size] in degrees; NaN unknown."""
        return self._column("lat")

    @property
    def lon(self) -> Doubles:
        """float64[size] in degrees; NaN unknown."""
        return self._column("lon")

    @property
    def words(self) -> Hashes:
        """uint32[size, 16]: hashes of the title's words, then 0 (`traits.title_words`)."""
        return self._arrays["words"][:, : self.size].T

    @property
    def attributes(self) -> Hashes:
        """uint32[size, 12]: attributes by name, then 0 (`traits.attribute_hash`)."""
        return self._arrays["attributes"][:, : self.size].T

    @property
    def materials(self) -> Hashes:
        """uint32[size, 4]: hashes of the materials, then 0."""
        return self._arrays["materials"][:, : self.size].T

    @property
    def row_of(self) -> Mapping[str, int]:
        """Row by item id; made on the first use after `load`."""
        if self._row_of is None:
            self._row_of = {name: row for row, name in enumerate(self.item_ids) if name}
        return self._row_of

    def rows(self, item_ids: Iterable[str]) -> Rows:
        """int64[n]: the row of each id, -1 for unknown ones."""
        get = self.row_of.get
        return np.fromiter((get(i, -1) for i in item_ids), np.int64)

    def apply(self, rows: Rows, items: Sequence[Item]) -> None:
        """Set the columns of `rows` int64[n] (each at most once) from n items."""
        if len(rows) == 0:
            return
        _ = self.row_of
        self._reserve(int(rows.max()) + 1)
        arrays = self._arrays
        for name, values in column_values(items, self.vocabularies).items():
            arrays[name][..., rows] = values
        size = max(self.size, int(rows.max()) + 1)
        self.item_ids.extend([""] * (size - self.size))
        assert self._row_of is not None
        for row, item in zip(rows.tolist(), items, strict=True):
            self.item_ids[row] = item.item_id
            self._row_of[item.item_id] = row
        self.size = size
        self.version += 1

    def _reserve(self, size: int) -> None:
        capacity = len(self._arrays["status"])
        if size <= capacity:
            return
        grown = empty_columns(max(size, 2 * capacity))
        for name, column in self._arrays.items():
            grown[name][..., :capacity] = column
        self._arrays = grown

    def mask(self, filters: Filters) -> Mask:
        """bool[size]: the rows that pass every condition. This is what a filter means.

        Several values of one condition mean any of them. A fact that is unknown passes no
        condition on it, except the negative ones. Prices are compared in minor units whatever
        the currency, bounds included. Times are half-open: after <= t < before. A region's edge
        is outside it.
        """
        size = self.size
        columns = {name: column[..., :size] for name, column in self._arrays.items()}
        return filter_mask(columns, self.vocabularies, filters)

    def save(self, folder: Path) -> None:
        """Write everything into `folder`, made when missing; the caller makes it atomic."""
        folder.mkdir(parents=True, exist_ok=True)
        self._reserve(self.size + self.size // 8 + 1024)
        for name, column in self._arrays.items():
            np.save(folder / f"{name}.npy", column, allow_pickle=False)
        for name, vocabulary in self.vocabularies.items():
            vocabulary.save(folder / f"{name}.json")
        pl.DataFrame({"item_id": pl.Series(self.item_ids, dtype=pl.String)}).write_ipc(
            folder / _IDS
        )
        about = {"format": _FORMAT, "size": self.size, "version": self.version}
        (folder / "columns.json").write_bytes(msgspec.json.encode(about))

    @classmethod
    def load(cls, folder: Path) -> Columns:
        """Map what `save` wrote, copy-on-write; ArtefactError when it is missing or damaged."""
        columns = cls(1)
        try:
            about = msgspec.json.decode((folder / "columns.json").read_bytes())
            if about["format"] != _FORMAT:
                raise ArtefactError(
                    f"columns {folder} are of another format ({about['format']}): "
                    "run `kindred index`"
                )
            columns._arrays = {
                name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False))
                for name in ("category", "sphere", *WIDTHS, *SPECS)
            }
            columns.item_ids = pl.read_ipc(folder / _IDS)["item_id"].to_list()
        except (
            OSError,
            ValueError,
            KeyError,
            msgspec.MsgspecError,
            pl.exceptions.PolarsError,
        ) as e:
            raise ArtefactError(f"columns {folder} cannot be read: {e}") from e
        columns.vocabularies = {n: Vocabulary.load(folder / f"{n}.json") for n in VOCABULARIES}
        columns.size, columns.version = about["size"], about["version"]
        columns._row_of = None
        if len(columns.item_ids) != columns.size:
            raise ArtefactError(
                f"columns {folder} hold {len(columns.item_ids)} ids for {columns.size} rows"
            )
        return columns
