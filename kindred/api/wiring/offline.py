"""The index in use as batch jobs read it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from kindred.api import learning
from kindred.api.material import catalogue_of
from kindred.api.wiring.models import load_models
from kindred.indexer.behaviour.interactions import action_weights
from kindred.indexer.columns import Columns
from kindred.indexer.store.tables import VectorTable
from kindred.indexer.versions import COLUMNS, VECTORS, IndexFolder
from kindred.rerank.funnel import Funnel
from kindred.rerank.rule_store import RuleStore
from kindred.rerank.rules import RuleBook
from kindred.schemas.ranking import Floats
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Offline:
    """What batch jobs answer with: the index in use, searched exactly, without a copy of it."""

    funnel: Funnel
    action_weights: Floats
    versions: dict[str, str]


def open_offline(workspace: Workspace, settings: KindredSettings) -> Offline:
    """The index version in use, with the catalogue's facts of now, as batch jobs read it.

    Items newer than the index have no vectors here. Raises NotBuilt where there is no index.
    """
    manifest = IndexFolder(workspace.index).manifest()
    folder = workspace.index / manifest.version
    columns = Columns.load(folder / COLUMNS)
    with catalogue_of(workspace) as catalogue:
        sequence = manifest.sequence
        while changes := catalogue.changes(sequence, 5000):
            rows = np.array([change.row for change in changes], np.int64)
            columns.apply(rows, [change.item for change in changes])
            sequence = changes[-1].sequence
    tables = {space: VectorTable.load(folder / VECTORS / space) for space in manifest.spaces}
    artefacts = load_models(workspace, manifest.models)
    funnel = learning.offline_funnel(columns, tables, artefacts, settings)
    return Offline(
        funnel=replace(funnel, diversity=settings.diversity, rules=_rules(workspace, columns)),
        action_weights=action_weights(settings.signals),
        versions={"index": manifest.version, **manifest.models},
    )


def _rules(workspace: Workspace, columns: Columns) -> RuleBook | None:
    """The rules as they are now; None where nobody wrote any."""
    if not workspace.rules.exists():
        return None
    store = RuleStore.open(workspace.rules)
    try:
        return RuleBook(store.rules()[1], columns)
    finally:
        store.close()
