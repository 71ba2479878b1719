"""The index: built from catalogue, encoders and models, and kept up by the builder process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping

from kindred.api.material import catalogue_of
from kindred.api.rolling import RollingBuilder
from kindred.api.wiring.models import current_models, modules_of
from kindred.indexer.build import BehaviourSpace, build_index
from kindred.indexer.builder import Builder
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.encoders.base import Encoder
from kindred.indexer.encoders.cache import EncodingCache
from kindred.indexer.encoders.factory import make_encoders
from kindred.indexer.live import Live
from kindred.indexer.models import ModelStore
from kindred.indexer.versions import IndexFolder, Manifest
from kindred.schemas.errors import ArtefactError, NotBuilt
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace


def build(workspace: Workspace, settings: KindredSettings, progress: Progress) -> Manifest:
    """Build an index version from the catalogue, the encoders and the models in use.

    Where somebody is building already, wait: what comes of it may be the very same.
    """
    folder = IndexFolder(workspace.index)
    if folder.being_built():
        with catalogue_of(workspace) as catalogue:
            wanted = catalogue.sequence
        with progress.task("wait for the build under way"):
            while folder.being_built():
                time.sleep(0.1)
        if index_is_fresh(workspace, settings) and folder.manifest().sequence >= wanted:
            return folder.manifest()
    versions = current_models(workspace)
    spaces = {}
    if "als" in versions:
        als = ModelStore(workspace.models).load("als", versions["als"])
        spaces["als"] = BehaviourSpace(als.arrays["unit"], als.arrays["present"], als.version)
    with catalogue_of(workspace) as catalogue:
        cache = EncodingCache(workspace.encodings)
        try:
            base = make_encoders(settings.encoders)
            learned = modules_of(workspace, settings, base, cache)(versions)
            return build_index(
                workspace, settings, catalogue, spaces, versions, {**base, **learned}, progress
            )
        finally:
            cache.close()


def index_is_fresh(workspace: Workspace, settings: KindredSettings) -> bool:
    """Whether the index in use was made with the models and encoders in use.

    The catalogue may have changed since: whoever serves the index applies that.
    """
    try:
        manifest = IndexFolder(workspace.index).manifest()
    except (NotBuilt, ArtefactError):
        return False
    encoders = make_encoders(settings.encoders)
    same = all(
        manifest.spaces[space].version == encoder.version
        for space, encoder in encoders.items()
        if space in manifest.spaces
    )
    return same and manifest.models == current_models(workspace)


def open_builder(workspace: Workspace, settings: KindredSettings) -> RollingBuilder:
    """The builder process's loop; a rebuild is `kindred index` in a process of its own."""
    catalogue = Catalogue.open(workspace.catalogue)
    cache = EncodingCache(workspace.encodings)
    encoders: Mapping[str, Encoder] = make_encoders(settings.encoders)
    modules = modules_of(workspace, settings, encoders, cache)
    models = ModelStore(workspace.models)

    def start_rebuild() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "kindred", "-w", str(workspace.root), "index", "--json"]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def open_writer() -> Live:
        return Live.open(
            workspace, settings, catalogue, cache, encoders, replica="builder", writes=True,
            modules=modules,
        )  # fmt: skip

    def models_in_use() -> dict[str, str] | None:
        return None if models.being_trained() else current_models(workspace)

    server = settings.store.kind == "server"
    builder = Builder(
        workspace, settings, catalogue, cache, encoders, start_rebuild,
        open_writer=open_writer if server else None, modules=modules, models=models_in_use,
    )  # fmt: skip
    return RollingBuilder(builder, workspace, settings.events)
