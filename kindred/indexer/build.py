"""Catalogue -> columns, vectors, store: one index version, made aside and taken in one step.

Runs in the builder process only: the embedded engine holds the GIL while it builds its graphs.
Interrupted at any moment it leaves the version in use as it was, and nothing that was encoded is
lost; the next build sweeps what is left over.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from kindred.indexer.catalogue import Catalogue
from kindred.indexer.changes import points_of
from kindred.indexer.columns import Columns
from kindred.indexer.content import Content
from kindred.indexer.encoders.base import Encoder
from kindred.indexer.encoders.cache import EncodingCache
from kindred.indexer.encoders.run import encode_missing
from kindred.indexer.encoders.text import DESCRIPTION_CHARACTERS, item_text
from kindred.indexer.store.homes import StoreHome, home_of
from kindred.indexer.store.tables import VectorTable
from kindred.indexer.versions import COLUMNS, REJECTS, SHARD, VECTORS, IndexFolder, Manifest, Space
from kindred.schemas.base import Record
from kindred.schemas.clock import micros_now
from kindred.schemas.errors import ArtefactError, NotBuilt
from kindred.schemas.item import Item, Status
from kindred.schemas.progress import Progress, SilentProgress
from kindred.schemas.ranking import Floats, Mask, Rows
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

CHUNK = 20_000
"""Items held at once."""
WORDS: Mapping[str, Callable[[Item], str]] = {
    "titles": lambda item: item.title,
    "descriptions": lambda item: item.description[:DESCRIPTION_CHARACTERS],
    "texts": item_text,
    "images": lambda item: item.images[0] if item.images else "",
    "postcodes": lambda item: (item.location and item.location.postcode) or "",
    "materials": lambda item: item.materials[0] if item.materials else "",
    "attributes": lambda item: msgspec.json.encode(item.attributes).decode(),
}
"""What `Content` keeps of each item."""


@dataclass(frozen=True, slots=True)
class BehaviourSpace:
    """Vectors that a trained model gives by row, such as the item factors of ALS."""

    matrix: Floats
    """float32[N, d], of unit length where `present`; rows beyond it have none"""
    present: Mask
    """bool[N]"""
    version: str
    """Of the model."""


class Reject(Record, frozen=True, kw_only=True):
    """An item whose input cannot be encoded: it has no vector in that space."""

    item_id: str
    space: str
    path: str
    reason: str


@dataclass(slots=True)
class _Parts:
    """What a build has so far."""

    columns: Columns = field(default_factory=Columns)
    tables: dict[str, VectorTable] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    words: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)


def build_index(
    workspace: Workspace,
    settings: KindredSettings,
    catalogue: Catalogue,
    spaces: Mapping[str, BehaviourSpace],
    models: Mapping[str, str],
    encoders: Mapping[str, Encoder],
    progress: Progress | None = None,
    clock: Callable[[], int] = micros_now,
    home: StoreHome | None = None,
) -> Manifest:
    """Build a version of everything that the catalogue holds, make it current, return its facts.

    `spaces` are vectors by row from trained models, `models` the versions (by stage) that the
    manifest is to name. A space without a single vector is left out. The version that was current
    before is kept for `rollback`; older ones are removed unless a process reads them.

    Raises NotBuilt where there is nothing to index, ArtefactError where another process is
    building, and what catalogue, encoders and store raise.
    """
    home = home or home_of(settings.store)
    folder = IndexFolder(workspace.index)
    with folder.building():
        folder.sweep()
        before = folder.current()
        home.keep_only(folder.versions())
        now = clock()
        version, aside = folder.aside(now)
        try:
            parts, sequence = _Parts(), catalogue.sequence
            with _opened(workspace) as cache:
                _read(catalogue, encoders, cache, parts, progress or SilentProgress(), clock)
            _add_behaviour(parts, spaces)
            if not parts.tables:
                raise NotBuilt("there is nothing to index: import items first (`kindred import`)")
            _write_store(catalogue, home, version, aside, parts, progress or SilentProgress())
            _write_arrays(aside, parts)
            manifest = _manifest(version, now, sequence, parts, models, home)
            folder.publish(aside, manifest)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        home.take(version)
        retire(folder, home, {version, before or version})
    return manifest


def retire(folder: IndexFolder, home: StoreHome, keep: set[str]) -> None:
    """Remove the versions that nobody reads, but for those to keep."""
    for version in folder.versions():
        if version not in keep:
            folder.remove(version)
    home.keep_only(folder.versions())


def rollback(workspace: Workspace, settings: KindredSettings) -> Manifest:
    """Go back to the version before the current one. NotBuilt where there is none.

    Catalogue changes since then are applied to it as to any version.
    """
    manifest = IndexFolder(workspace.index).rollback()
    home_of(settings.store).take(manifest.version)
    return manifest


@contextmanager
def _opened(workspace: Workspace) -> Iterator[EncodingCache]:
    cache = EncodingCache(workspace.encodings)
    try:
        yield cache
    finally:
        cache.close()


def _read(
    catalogue: Catalogue,
    encoders: Mapping[str, Encoder],
    cache: EncodingCache,
    parts: _Parts,
    progress: Progress,
    clock: Callable[[], int],
) -> None:
    """Columns of every item, vectors of every active one."""
    total = catalogue.active
    told: dict[str, Callable[[int], None]] = {}
    with ExitStack() as open_tasks:
        for chunk in catalogue.scan(CHUNK):
            rows = np.array([change.row for change in chunk], np.int64)
            items = [change.item for change in chunk]
            with parts.timed("columns"):
                parts.columns.apply(rows, items)
                _keep_words(parts.words, rows, items)
            active = [i for i, item in enumerate(items) if item.status is Status.ACTIVE]
            chosen = [items[i] for i in active]
            for space, encoder in encoders.items():
                if space not in told:
                    if all(encoder.key(item) is None for item in chosen):
                        continue  # nobody need read of pictures where there are none
                    task = progress.task(f"encode {space}", total)
                    told[space] = open_tasks.enter_context(task)
                with parts.timed(space):
                    made = encode_missing(chosen, encoder, cache, told[space], clock)
                    _add(parts, space, encoder.version, rows[active], made.vectors, made.present)
                parts.rejects += [
                    Reject(
                        item_id=chosen[r.index].item_id, space=space, path=r.path, reason=r.reason
                    )
                    for r in made.rejects
                ]


def read_content(
    catalogue: Catalogue,
    encoders: Mapping[str, Encoder],
    cache: EncodingCache,
    progress: Progress | None = None,
    clock: Callable[[], int] = micros_now,
) -> Content:
    """What training reads of the catalogue, without building a store."""
    parts = _Parts(words={name: [] for name in WORDS})
    _read(catalogue, encoders, cache, parts, progress or SilentProgress(), clock)
    return Content(columns=parts.columns, tables=parts.tables, **parts.words)


def _keep_words(words: dict[str, list[str]], rows: Rows, items: Sequence[Item]) -> None:
    """Put what training reads of `items` at their rows."""
    end = int(rows.max(initial=-1)) + 1
    for name, kept in words.items():
        kept += [""] * (end - len(kept))
        for row, item in zip(rows.tolist(), items, strict=True):
            kept[row] = WORDS[name](item)


def _add(
    parts: _Parts, space: str, version: str, rows: Rows, vectors: Floats, present: Mask
) -> None:
    if not present.any():
        return
    if space not in parts.tables:
        parts.tables[space] = VectorTable(vectors.shape[1])
        parts.versions[space] = version
    parts.tables[space].set(rows[present], vectors[present])


def _add_behaviour(parts: _Parts, spaces: Mapping[str, BehaviourSpace]) -> None:
    """Rows that the catalogue does not hold are left out: a model may know more than it."""
    for name, space in spaces.items():
        if name in parts.tables:
            raise ArtefactError(f"space {name!r} is an encoder's and a model's at once")
        size = min(parts.columns.size, len(space.matrix))
        there = space.present[:size]
        _add(parts, name, space.version, np.arange(size), space.matrix[:size], there)


def _write_store(
    catalogue: Catalogue,
    home: StoreHome,
    version: str,
    aside: Path,
    parts: _Parts,
    progress: Progress,
) -> None:
    """The active items, as the columns have them."""
    spaces = {name: table.dim for name, table in parts.tables.items()}
    active = parts.columns.active
    store = home.create(version, aside / SHARD, spaces)
    total = int(np.count_nonzero(active))
    with parts.timed("write"), progress.task("write points", total) as advance:
        for chunk in catalogue.scan(CHUNK):
            known = [c for c in chunk if c.row < len(active) and active[c.row]]
            rows = np.array([change.row for change in known], np.int64)
            store.upsert(points_of(rows, [change.item for change in known], parts.tables))
            advance(len(known))
    with parts.timed("graphs"), progress.task("build graphs", None):
        home.finish(version, store)


def _write_arrays(aside: Path, parts: _Parts) -> None:
    with parts.timed("save"):
        parts.columns.save(aside / COLUMNS)
        for space, table in parts.tables.items():
            table.save(aside / VECTORS / space)
        lines = [msgspec.json.encode(reject) + b"\n" for reject in parts.rejects]
        (aside / REJECTS).write_bytes(b"".join(lines))


def _manifest(
    version: str,
    now: int,
    sequence: int,
    parts: _Parts,
    models: Mapping[str, str],
    home: StoreHome,
) -> Manifest:
    return Manifest(
        version=version,
        created=now,
        sequence=sequence,
        items=parts.columns.size,
        active=int(np.count_nonzero(parts.columns.active)),
        spaces={
            name: Space(
                dim=table.dim,
                version=parts.versions[name],
                count=int(np.count_nonzero(table.present)),
            )
            for name, table in parts.tables.items()
        },
        models=dict(models),
        store=home.kind,
        collection=home.collection(version),
        rejected=dict(Counter(reject.space for reject in parts.rejects)),
        seconds=parts.seconds,
    )
