"""Amazon's groceries: purchases by day, and which items substitute or complement each other.

Items have a category number and no text. The lists of substitutes and complements are not
events: `relations` has them for an evaluation to judge by, and nothing learns from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

RELATIONS = {"complement": "r_complement", "substitute": "r_substitute"}
"""Column by relation."""


@dataclass(frozen=True)
class Grocery:
    """The folder's tables as items, events and relations."""

    folder: Path

    @property
    def files(self) -> list[Path]:
        """Events, and items with their relations."""
        return [self.folder / f"{name}.parquet" for name in ("events", "item_meta")]

    @property
    def notes(self) -> list[str]:
        """Nothing is simulated."""
        return []

    def items(self) -> pl.DataFrame:
        """Every item, with its category as a word."""
        return pl.read_parquet(self.files[1]).select(
            item_id=pl.col("item_id").cast(pl.String),
            category=pl.concat_list(pl.format("c{}", "i_category")),
        )

    def events(self) -> pl.DataFrame:
        """Purchases, at the midnight that begins their day; a visitor is one visit.

        A day holds 1.3 purchases of a visitor on average, too few to be a visit of its own.
        """
        return (
            pl.read_parquet(self.files[0])
            .with_row_index("place")
            .select(
                event_id=pl.format("grocery-{}", "place"),
                occurred_at=pl.col("time") * 1_000_000,
                action=pl.lit("purchase"),
                entity_id=pl.col("item_id").cast(pl.String),
                user_id=pl.col("user_id").cast(pl.String),
                session_id=pl.col("user_id").cast(pl.String),
                logged_in=pl.lit(True),
            )
        )

    def relations(self) -> pl.DataFrame | None:
        """item_id, relation, other: each list in its order, without items that are not there."""
        table = pl.read_parquet(self.files[1])
        known = table.select(other=pl.col("item_id").cast(pl.String))
        parts = [
            table.select(
                item_id=pl.col("item_id").cast(pl.String),
                relation=pl.lit(name),
                other=pl.col(column).str.extract_all(r"\d+"),
            )
            .explode("other")
            .drop_nulls("other")
            .filter(pl.col("other") != pl.col("item_id"))
            .unique(maintain_order=True)
            .join(known, on="other", how="semi", maintain_order="left")
            for name, column in RELATIONS.items()
        ]
        return pl.concat(parts)


def read(folder: Path, start: int) -> Grocery:  # noqa: ARG001
    """The data set in `folder`; it has times of its own."""
    return Grocery(folder)
