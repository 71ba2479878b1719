"""What training reads of a workspace: catalogue, content vectors, actions, what was shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from kindred.api.joined import read_joined
from kindred.events.history import all_events, fingerprint
from kindred.indexer.behaviour.interactions import Interactions, load_interactions
from kindred.indexer.build import read_content
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.columns import Columns
from kindred.indexer.content import Content
from kindred.indexer.encoders.cache import EncodingCache
from kindred.indexer.encoders.factory import encoders_fingerprint, make_encoders
from kindred.indexer.store.tables import VectorTable
from kindred.rerank.logged import JoinedLog
from kindred.schemas.errors import InputError
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What training reads."""

    content: Content
    log: Interactions
    joined: JoinedLog
    inputs: dict[str, str]
    studies: Path | None = None
    """Where trainings keep trials that they may carry on"""

    @property
    def columns(self) -> Columns:
        """Facts of the items."""
        return self.content.columns

    @property
    def tables(self) -> dict[str, VectorTable]:
        """Vectors by encoder space."""
        return self.content.tables


@contextmanager
def catalogue_of(workspace: Workspace) -> Iterator[Catalogue]:
    """The catalogue, closed afterwards."""
    catalogue = Catalogue.open(workspace.catalogue)
    try:
        yield catalogue
    finally:
        catalogue.close()


def fingerprints(
    workspace: Workspace, settings: KindredSettings, catalogue: Catalogue
) -> dict[str, str]:
    """Of everything that training reads; it costs a listing, not a reading."""
    return {
        "events": fingerprint(workspace.lake, workspace.log),
        "catalogue": str(catalogue.sequence),
        "encoders": encoders_fingerprint(make_encoders(settings.encoders)),
    }


def read_material(workspace: Workspace, settings: KindredSettings, progress: Progress) -> Material:
    """Columns, content vectors and actions of a workspace."""
    with catalogue_of(workspace) as catalogue:
        inputs = fingerprints(workspace, settings, catalogue)
        cache = EncodingCache(workspace.encodings)
        try:
            encoders = make_encoders(settings.encoders)
            content = read_content(catalogue, encoders, cache, progress)
        finally:
            cache.close()
    columns = content.columns
    if not columns.size:
        raise InputError("the catalogue is empty: `kindred import items` fills it", "$.catalogue")
    with progress.task("read events"):
        events = all_events(workspace.lake, workspace.log)
        log = load_interactions(events, row_of(columns), settings.signals)
    with progress.task("read joined impressions"):
        joined = read_joined(workspace, row_of(columns))
    return Material(
        content=content, log=log, joined=joined, inputs=inputs, studies=workspace.studies
    )


def row_of(columns: Columns) -> pl.DataFrame:
    """item_id -> row, for the items that the catalogue holds."""
    frame = pl.DataFrame({"item_id": columns.item_ids}).with_row_index("row")
    return frame.filter(pl.col("item_id") != "")
