"""Amazon Office: next purchase from text and history, without times.

A row of its two files is a visitor's purchases so far, ten at most and oldest first, and the next
one; rows are in time order of that target, `valid` before `test`, and a visitor's next row begins
with the last one. So each purchase is a target once, or stands in the history of the visitor's
first row. What that history holds was bought before any target of the files, as far as they tell:
had it been bought in between, it would be a target itself, unless it was the visitor's first.

**Simulated.** No row tells a time. Purchases come a minute apart from the start on: first the
histories, visitor by visitor, then the targets in the order of the rows. A visitor is one visit.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from kindred.schemas.clock import MINUTE

MOMENTS_SIMULATED = (
    "Amazon Office tells the order of purchases and no times: they come a minute apart."
)
TITLE, DESCRIPTION = 200, 8192
"""Longest texts, in characters."""

_TAG = re.compile(r"<[^<>]*>")
_NOT_TEXT = re.compile(r"<(script|style)\b.*?</\1\s*>", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class AmazonOffice:
    """The folder's tables as items and events."""

    folder: Path
    start: int
    """Microseconds UTC of the first purchase"""

    @property
    def files(self) -> list[Path]:
        """Items and both files of rows."""
        return [self.folder / f"{name}.parquet" for name in ("items", "valid", "test")]

    @property
    def notes(self) -> list[str]:
        """That times are simulated."""
        return [MOMENTS_SIMULATED]

    def items(self) -> pl.DataFrame:
        """Title, description and brand; the data has no categories and no prices."""
        table = pl.read_parquet(self.files[0])
        brand = pl.col("brand").str.strip_chars()
        return table.select(
            item_id=pl.col("item_id").cast(pl.String),
            title=_plain(table["title"]).str.slice(0, TITLE),
            description=_plain(table["description"]).str.slice(0, DESCRIPTION),
            brand=pl.when(brand != "").then(brand.str.slice(0, 128)),
        )

    def events(self) -> pl.DataFrame:
        """Each purchase once, oldest first."""
        rows = pl.concat([pl.read_parquet(path) for path in self.files[1:]])
        first = rows.unique("user_id", keep="first", maintain_order=True)
        histories = first.select("user_id", item="history").explode("item")
        targets = rows.select("user_id", item="target")
        bought = pl.concat([histories, targets])
        return bought.with_row_index("place").select(
            event_id=pl.format("office-{}", "place"),
            occurred_at=self.start + MINUTE * pl.col("place").cast(pl.Int64),
            action=pl.lit("purchase"),
            entity_id=pl.col("item").cast(pl.String),
            user_id="user_id",
            session_id="user_id",
            logged_in=pl.lit(True),
        )

    def relations(self) -> pl.DataFrame | None:
        """Nobody judged any."""
        return None


def read(folder: Path, start: int) -> AmazonOffice:
    """The data set in `folder`."""
    return AmazonOffice(folder, start)


def _plain(texts: pl.Series) -> pl.Series:
    """Texts without markup, entities and runs of space."""
    return pl.Series(texts.name, [plain_text(text) for text in texts.fill_null("")], pl.String)


def plain_text(text: str) -> str:
    """What a reader sees of HTML."""
    bare = _TAG.sub(" ", _NOT_TEXT.sub(" ", html.unescape(text)))
    return " ".join(html.unescape(bare).split())
