"""One process's index: the version in use, kept up with the catalogue's change sequence.

What is safe: one thread calls `apply_changes` while any number of others read `columns`, `tables`
and `store`. A change is written in parts of at most `AT_ONCE` items, each part whole (columns,
vectors, store) under the writer's side of a lock; a request that holds `reading()` sees either
none of a part or all of it. Without `reading()` single calls are sound, but two of them may see
two states. What a part needs is read and encoded before the lock is taken, so requests wait for
milliseconds at most.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from kindred.indexer.catalogue import Catalogue
from kindred.indexer.changes import StoreWriter, difference, fresh_vectors
from kindred.indexer.columns import Columns
from kindred.indexer.encoders.base import Encoder
from kindred.indexer.encoders.cache import EncodingCache
from kindred.indexer.encoders.factory import Modules, no_modules
from kindred.indexer.guard import Guard
from kindred.indexer.replica import Replica
from kindred.indexer.store.homes import StoreHome, home_of
from kindred.indexer.store.port import VectorStore
from kindred.indexer.store.tables import VectorTable
from kindred.indexer.versions import COLUMNS, VECTORS, IndexFolder, Manifest
from kindred.schemas.errors import ArtefactError, VersionMismatch
from kindred.schemas.item import Item, Status
from kindred.schemas.ranking import Rows
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

AT_ONCE = 16
"""Items written under one hold of the lock: 2 to 3 ms."""
PENDING_AT_ONCE = 1024
"""Encodings that are asked after in one call."""


class Live:
    """See the module. `open` makes one; `close` gives its files back."""

    def __init__(
        self,
        manifest: Manifest,
        columns: Columns,
        tables: dict[str, VectorTable],
        store: VectorStore,
        replica: Replica,
        writer: StoreWriter | None,
        sources: tuple[Catalogue, EncodingCache, Mapping[str, Encoder]],
    ) -> None:
        self.manifest = manifest
        self.columns = columns
        """Facts of every row, `manifest.sequence` and all changes since."""
        self.tables = tables
        """Space -> vectors by row."""
        self.store = store
        """The ANN index of the active rows."""
        self.sequence = manifest.sequence
        """Every catalogue change up to this one shows."""
        self.pending = 0
        """Items shown without some of their vectors, which are being made."""
        self._replica = replica
        self._catalogue, self._cache, encoders = sources
        self.encoders: Mapping[str, Encoder] = {
            space: encoder
            for space, encoder in encoders.items()
            if space in tables and encoder.version == manifest.spaces[space].version
        }
        """Space -> what makes its vectors, learned modules included."""
        self._writer = writer
        self._waiting: dict[str, dict[int, bytes]] = {space: {} for space in self.encoders}
        self._guard = Guard()
        self._applying = threading.Lock()
        self._closed = False

    @classmethod
    def open(
        cls,
        workspace: Workspace,
        settings: KindredSettings,
        catalogue: Catalogue,
        cache: EncodingCache,
        encoders: Mapping[str, Encoder],
        *,
        replica: str,
        writes: bool = False,
        home: StoreHome | None = None,
        modules: Modules = no_modules,
    ) -> Live:
        """Open the current version; `replica` is this process's name for its copy of the shard.

        Encoders whose version is not the manifest's are left aside: their spaces keep what they
        have until the next build. `modules` gives the encoders of the trained modules that the
        version names. `writes`: this process is the one that writes to a server's
        collection; a copied shard is always written to.

        Raises NotBuilt, ArtefactError for damaged files, VersionMismatch where the version was
        built for another kind of store, and what the store raises.
        """
        home = home or home_of(settings.store)
        folder = IndexFolder(workspace.index)
        while True:
            manifest = folder.manifest()
            if manifest.store != home.kind:
                raise VersionMismatch(
                    f"index {manifest.version} was built for store.kind = {manifest.store!r} and "
                    f"the setting is {home.kind!r}: run `kindred index`"
                )
            try:
                sources = (catalogue, cache, {**encoders, **modules(manifest.models)})
                return cls._of(folder.root, manifest, home, sources, replica, writes)
            except ArtefactError:
                if folder.current() == manifest.version:
                    raise  # else a newer version took its place, and this one may be gone

    @classmethod
    def _of(
        cls,
        root: Path,
        manifest: Manifest,
        home: StoreHome,
        sources: tuple[Catalogue, EncodingCache, Mapping[str, Encoder]],
        name: str,
        writes: bool,
    ) -> Live:
        folder = root / manifest.version
        embedded = home.kind == "embedded"
        replica = Replica.claim(folder, name, copy=embedded)
        try:
            columns = Columns.load(folder / COLUMNS)
            tables = {s: VectorTable.load(folder / VECTORS / s) for s in manifest.spaces}
            _ = columns.row_of  # made here, or else under the lock at the first change
            store = home.open(manifest.version, replica.folder)
        except BaseException:
            replica.close()
            raise
        writer = None
        if embedded or writes:
            # What an earlier writer did to a server's collection is not known.
            stored = columns.active.copy() if embedded else np.zeros(columns.size, np.bool_)
            writer = StoreWriter(store, tables, stored)
        return cls(manifest, columns, tables, store, replica, writer, sources)

    def reading(self) -> AbstractContextManager[None]:
        """Hold this while answering one request: nothing changes in between."""
        return self._guard.reading()

    @property
    def behind(self) -> int:
        """Catalogue changes that do not show yet."""
        return max(0, self._catalogue.sequence - self.sequence)

    def apply_changes(self, limit: int = 1000) -> int:
        """Apply at most `limit` catalogue changes and the encodings that have come since.

        Returns how many changes were applied; call again where it is `limit`. A failure of the
        store leaves the change for the next call. Raises CatalogueError, ArtefactError,
        StoreError.
        """
        with self._applying:
            if self._closed:
                return 0
            changes = self._catalogue.changes(self.sequence, limit)
            for start in range(0, len(changes), AT_ONCE):
                part = changes[start : start + AT_ONCE]
                rows = np.array([change.row for change in part], np.int64)
                self._apply(rows, [change.item for change in part], part[-1].sequence)
            self._retry()
            self.pending = len(set().union(*self._waiting.values()))
            return len(changes)

    def close(self) -> None:
        """Wait for the requests under way, then give back the files."""
        with self._applying, self._guard.writing():
            if self._closed:
                return
            self._closed = True
            try:
                self.store.close()
            finally:
                self._replica.close()

    def _retry(self) -> None:
        """Write the rows whose encodings have come into the cache."""
        ready: set[int] = set()
        for space, waiting in self._waiting.items():
            asked = list(waiting.items())[:PENDING_AT_ONCE]
            if not asked:
                continue
            facts = self.manifest.spaces[space]
            found = self._cache.get(space, facts.version, [key for _, key in asked], facts.dim)
            for (row, key), missing in zip(asked, found.missing.tolist(), strict=True):
                del waiting[row]
                if missing:
                    waiting[row] = key  # behind the others, which have their turn first
                else:
                    ready.add(row)
        rows = np.array(sorted(ready), np.int64)
        for start in range(0, len(rows), AT_ONCE):
            part = rows[start : start + AT_ONCE]
            self._apply(part, self._catalogue.by_rows(part), self.sequence)

    def _apply(self, rows: Rows, items: Sequence[Item], sequence: int) -> None:
        """Write items whole; the lock is held for the writing only."""
        active = np.array([item.status is Status.ACTIVE for item in items])
        fresh = {
            space: fresh_vectors(encoder, self.manifest.spaces[space], self._cache, items)
            for space, encoder in self.encoders.items()
        }
        with self._guard.writing():
            # The store first: where it fails, nothing has changed and the next call begins anew.
            if self._writer is not None:
                self._writer.write(rows, items, active, fresh)
            for space, made in fresh.items():
                table = self.tables[space]
                change = difference(table, rows, made)
                table.set(rows[change.changed], made.vectors[change.changed])
                if change.cleared.any():
                    table.clear(rows[change.cleared])
            self.columns.apply(rows, items)
            self.sequence = sequence
        for space, made in fresh.items():
            waiting = self._waiting[space]
            for position, row in enumerate(rows.tolist()):
                waiting.pop(row, None)
                if active[position] and position in made.missing:
                    waiting[row] = made.missing[position]

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
