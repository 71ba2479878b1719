"""Which trained models there are, and which of them answers are made with."""

from __future__ import annotations

from collections.abc import Mapping

from kindred.indexer.behaviour.stages import NAMES as BEHAVIOUR
from kindred.indexer.encoders.base import Encoder
from kindred.indexer.encoders.cache import EncodingCache
from kindred.indexer.encoders.factory import LearnedSpaces
from kindred.indexer.models import Artefact, ModelStore
from kindred.indexer.representations import SPACES
from kindred.rerank.joined_stages import AUCTION
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

ANSWERING = (*BEHAVIOUR, "merge", "ranker", AUCTION)
"""Stages whose artefacts answers are made with."""
SERVING = (*ANSWERING, *SPACES)
"""Stages whose versions an index version names: those above, and those that give vectors."""


def current_models(workspace: Workspace) -> dict[str, str]:
    """Version by stage, of the stages that serve and have one."""
    models = ModelStore(workspace.models)
    found = {stage: models.current(stage) for stage in SERVING}
    return {stage: version for stage, version in found.items() if version is not None}


def load_models(workspace: Workspace, versions: Mapping[str, str]) -> dict[str, Artefact]:
    """The artefacts that answers are made with, of those that an index version names."""
    models = ModelStore(workspace.models)
    return {stage: models.load(stage, v) for stage, v in versions.items() if stage in ANSWERING}


def modules_of(
    workspace: Workspace,
    settings: KindredSettings,
    base: Mapping[str, Encoder],
    cache: EncodingCache,
) -> LearnedSpaces:
    """The encoders of trained modules, by the versions that an index version names."""
    models = ModelStore(workspace.models)
    return LearnedSpaces(base, cache, models.load, settings.representations.spaces)
