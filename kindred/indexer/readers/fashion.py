"""Fashion: 44,441 records of a clothing shop (Myntra, by way of Kaggle), 5,271 with a picture.

A folder of three files: `items.parquet` with `images.zip` (`<id>.jpg`, 60 x 80 pixels), and
`items_without_images.parquet`. Nobody bought anything in it: there are no events. Pictures are
unpacked into the workspace's folder `pictures`, where every encoder may read.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import polars as pl

from kindred.indexer.readers.records import Records, plain_records
from kindred.schemas.errors import InputError

NAME = "fashion"
PICTURED, PLAIN, ARCHIVE = "items.parquet", "items_without_images.parquet", "images.zip"
LARGEST_PICTURE = 10_000_000
"""Bytes; a larger entry of the archive is not unpacked."""


@dataclass(frozen=True)
class Fashion:
    """The folder of the data set. InputError where a file of it is missing or damaged."""

    folder: Path
    products: int | None = None
    """Of each of the two files at most this many items; None means everything."""
    all_items: bool = False
    """Also those without a picture."""

    def items(self) -> pl.DataFrame:
        """The records as fields of items; a picture's reference is `fashion/<id>.jpg`."""
        told = [self._table(PICTURED).with_columns(pictured=True)]
        if self.all_items:
            told.append(self._table(PLAIN).with_columns(pictured=False))
        columns = [c for c in told[0].columns if all(c in frame.columns for frame in told)]
        table = pl.concat(frame.select(columns) for frame in told)
        picture = pl.concat_list(pl.format(NAME + "/{}.jpg", "id"))
        return table.select(
            item_id="id",
            title=pl.col("title").str.strip_chars(),
            category=pl.concat_list("masterCategory", "subCategory", "articleType"),
            colour="baseColour",
            images=pl.when("pictured").then(picture).otherwise(pl.lit([], pl.List(pl.String))),
            **{f"attributes.{name}": name for name in ("gender", "season", "usage", "year")},
        )

    def _table(self, name: str) -> pl.DataFrame:
        path = self.folder / name
        try:
            frame = pl.read_parquet(path, n_rows=self.products)
        except (OSError, pl.exceptions.PolarsError) as e:
            raise InputError(f"{path} of the data set {NAME} cannot be read: {e}", "$.files") from e
        return frame.with_columns(pl.col("id").cast(pl.String), pl.col("year").cast(pl.Float64))

    def unpack(self, pictures: Path) -> int:
        """Put the pictures of the chosen items into `pictures`/fashion; how many were new.

        A picture is written aside and renamed, and one that is there with its size stays.
        """
        wanted = {f"{name}.jpg" for name in self._table(PICTURED)["id"]}
        target, written = pictures / NAME, 0
        target.mkdir(parents=True, exist_ok=True)
        try:
            with zipfile.ZipFile(self.folder / ARCHIVE) as archive:
                for entry in archive.infolist():
                    name = entry.filename.rpartition("/")[2]
                    if name not in wanted or "/" in name or entry.file_size > LARGEST_PICTURE:
                        continue
                    file = target / name
                    if file.is_file() and file.stat().st_size == entry.file_size:
                        continue
                    aside = target / f".{name}.{os.getpid()}"
                    aside.write_bytes(archive.read(entry))
                    aside.replace(file)
                    written += 1
        except (OSError, zipfile.BadZipFile) as e:
            raise InputError(f"the pictures of {self.folder} cannot be unpacked: {e}") from e
        return written


@dataclass(frozen=True)
class FashionRecords:
    """Its items as a source of an import."""

    data: Fashion
    pictures: Path
    """The workspace's folder of pictures."""

    @property
    def name(self) -> str:
        """What to call it in front of people."""
        return NAME

    @property
    def digest(self) -> str:
        """The files by size, and what is taken of them."""
        sizes = [f"{f.name} {f.stat().st_size}" for f in sorted(self.data.folder.glob("*.parquet"))]
        told = f"{sizes} {self.data.products} {self.data.all_items}"
        return blake2b(told.encode(), digest_size=8).hexdigest()

    @property
    def notes(self) -> list[str]:
        """Where the pictures are."""
        return [f"pictures are in {self.pictures / NAME}, which encoders may read"]

    def count(self) -> int | None:
        """Not known before the files are read."""
        return None

    def records(self, size: int) -> Iterator[Records]:
        """All records in order, at most `size` at once; the pictures are there before them."""
        self.data.unpack(self.pictures)
        frame = self.data.items()
        for start in range(0, frame.height, size):
            yield plain_records(frame.slice(start, size), start)
