"""A small workspace with a built index, made once and copied for each test that changes it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from counting import Counting
from small_market import small_items

from kindred.indexer.build import BehaviourSpace, build_index
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.encoders.attributes import AttributesEncoder
from kindred.indexer.encoders.base import Encoder
from kindred.indexer.encoders.cache import EncodingCache
from kindred.indexer.live import Live
from kindred.indexer.store.homes import StoreHome
from kindred.indexer.store.port import Plan, Search
from kindred.indexer.versions import IndexFolder, Manifest
from kindred.schemas.query import Filters
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

ITEMS = 60
ALS_DIM = 4


@dataclass
class Market:
    """A workspace with what builds and follows its index."""

    workspace: Workspace
    settings: KindredSettings = field(default_factory=KindredSettings)
    text: Counting = field(default_factory=Counting)
    home: StoreHome | None = None

    def __post_init__(self) -> None:
        self.catalogue = Catalogue.open(self.workspace.catalogue)
        self.cache = EncodingCache(self.workspace.encodings)
        self.folder = IndexFolder(self.workspace.index)

    def close(self) -> None:
        """Release the files."""
        self.catalogue.close()
        self.cache.close()

    @property
    def encoders(self) -> dict[str, Encoder]:
        attributes = AttributesEncoder(self.settings.encoders.attributes)
        return {"text": self.text, "attributes": attributes}

    def build(self, **given: object) -> Manifest:
        return build_index(
            self.workspace, self.settings, self.catalogue, als(), {"als": "000001"},
            self.encoders, home=self.home, **given,
        )  # fmt: skip

    def live(self, replica: str = "test", **given: object) -> Live:
        return Live.open(
            self.workspace, self.settings, self.catalogue, self.cache, self.encoders,
            replica=replica, home=self.home, **given,
        )  # fmt: skip

    def encode(self, *titles: str) -> None:
        """What the builder process does for new titles."""
        from builders import item

        from kindred.indexer.encoders.run import encode_missing

        encode_missing([item(title=t) for t in titles], self.text, self.cache)


def als() -> Mapping[str, BehaviourSpace]:
    """Factors for the even rows."""
    raw = np.random.default_rng(4).normal(size=(ITEMS, ALS_DIM)).astype(np.float32)
    present = np.arange(ITEMS) % 2 == 0
    matrix = np.where(present[:, None], raw / np.linalg.norm(raw, axis=1, keepdims=True), 0)
    return {"als": BehaviourSpace(matrix.astype(np.float32), present, "000001")}


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A temporary folder in memory where there is one: flushing is what builds spend time on."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(
        prefix="kindred-", dir=memory if os.access(memory, os.W_OK) else None
    ) as folder:
        yield Path(folder)


def new_market(root: Path) -> Market:
    """A market with `ITEMS` items and no index."""
    market = Market(Workspace(root))
    market.catalogue.upsert(small_items([f"i{n}" for n in range(ITEMS)]))
    return market


def copied(market: Market, root: Path) -> Market:
    """The market as it lies on disk, elsewhere; holes stay holes."""
    subprocess.run(["cp", "-a", str(market.workspace.root), str(root)], check=True)
    return Market(Workspace(root))


def nearest(
    live: Live, row: int, space: str = "text", k: int = 5, filters: Filters | None = None
) -> list[int]:
    """Rows that the store finds for a row's own vector."""
    vectors, there = live.tables[space].gather(np.array([row]))
    assert there.all()
    search = Search(space=space, vectors=vectors, k=k, filters=filters, plan=Plan(exact=True))
    found = live.store.search([search])[0].rows[0]
    return [int(r) for r in found if r >= 0]
