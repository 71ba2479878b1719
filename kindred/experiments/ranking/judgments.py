"""Chorus: graded judgments of queries on an electronics catalogue, read as columns.

Grades are 0 to 3. A document that nobody judged for a query has no grade: the report says what is
made of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from kindred.retrieval.segments import offsets_of
from kindred.schemas.errors import InputError
from kindred.schemas.item import Item
from kindred.schemas.ranking import Doubles, Rows

CHORUS = "chorus"
"""Folder of the data set among the public ones."""
ITEM_COLUMNS = ("item_id", "title", "name", "description", "supplier", "price", "date_released",
                "attributes")  # fmt: skip
JUDGMENT_COLUMNS = ("query", "docid", "rating")
HIGHEST = 3
LONGEST_VALUE = 256
"""Characters of an attribute's value that an item takes."""


@dataclass(frozen=True, slots=True, eq=False)
class Documents:
    """N documents, column by column."""

    item_id: NDArray[np.int64]
    title: Sequence[str]
    description: Sequence[str]
    supplier: Sequence[str]
    attributes: Sequence[dict[str, str | float]]
    price: Doubles
    """float64[N]: in cents, NaN where unknown"""
    released: Doubles
    """float64[N]: years, NaN where unknown"""

    def __len__(self) -> int:
        return len(self.item_id)

    def items(self) -> list[Item]:
        """As listings of a catalogue, which encoders read."""
        return [
            Item(
                item_id=str(number),
                title=title,
                description=description[:8192],
                brand=supplier or None,
            )
            for number, title, description, supplier in zip(
                self.item_id.tolist(), self.title, self.description, self.supplier, strict=True
            )
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Judgments:
    """n judged documents of Q queries, by query."""

    queries: list[str]
    row: Rows
    """int64[n]: document"""
    grades: NDArray[np.int8]
    offsets: Rows
    """int64[Q + 1]"""


def read_chorus(
    folder: Path, *, documents: int | None = None, seed: int = 0
) -> tuple[Documents, Judgments]:
    """The catalogue and its judgments; of the documents, at most so many.

    Those judged always stay; the others are drawn. Raises InputError where files are missing or of
    another shape.
    """
    items = _read(folder / "items.parquet", ITEM_COLUMNS)
    judged = _read(folder / "judgments.parquet", JUDGMENT_COLUMNS)
    if judged["rating"].is_between(0, HIGHEST).not_().any():
        raise InputError(f"{folder}: ratings go from 0 to {HIGHEST}", "$.rating")
    if documents is not None and documents < len(items):
        needed = items["item_id"].is_in(judged["docid"].unique().to_list()).to_numpy()
        others = np.flatnonzero(~needed)
        wanted = max(documents - int(needed.sum()), 0)
        drawn = np.random.default_rng(seed).choice(others, wanted, replace=False)
        items = items[np.sort(np.concatenate([np.flatnonzero(needed), drawn])).tolist()]
    rows = items.select(docid="item_id").with_row_index("row")
    told = judged.join(rows, on="docid", how="left", maintain_order="left")
    if told["row"].null_count():
        raise InputError(f"{folder}: judgments name documents that are not there", "$.docid")
    queries = told["query"].unique(maintain_order=True).to_list()
    place = {query: at for at, query in enumerate(queries)}
    told = told.with_columns(at=pl.col("query").replace_strict(place, return_dtype=pl.Int64)).sort(
        "at", maintain_order=True
    )
    lengths = np.bincount(told["at"].to_numpy(), minlength=len(queries))
    return _documents(items), Judgments(
        queries,
        told["row"].to_numpy().astype(np.int64),
        told["rating"].to_numpy().astype(np.int8),
        offsets_of(lengths),
    )


def _read(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    if not path.is_file():
        raise InputError(f"{path} is missing: `--data` names the folder that holds it", "$.data")
    frame = pl.read_parquet(path)
    lacking = [name for name in columns if name not in frame.columns]
    if lacking:
        raise InputError(f"{path} lacks {', '.join(lacking)}", "$.data")
    return frame.select(columns)


def _documents(items: pl.DataFrame) -> Documents:
    text = {
        name: items[name].fill_null("").to_list() for name in ("title", "description", "supplier")
    }
    released = items["date_released"].str.slice(0, 10).str.to_date(strict=False)
    days = released.dt.epoch("d").cast(pl.Float64).fill_null(np.nan).to_numpy()
    attributes = [
        msgspec.json.decode(told or "{}", type=dict[str, str | float | bool | None])
        for told in items["attributes"].to_list()
    ]
    return Documents(
        item_id=items["item_id"].to_numpy().astype(np.int64),
        attributes=[
            {
                name: value if isinstance(value, float) else str(value)[:LONGEST_VALUE]
                for name, value in told.items()
                if value is not None
            }
            for told in attributes
        ],
        price=items["price"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
        released=days / 365.25 + 1970,
        **text,
    )
