"""`kindred features`: what each feature is, how often it is known, and what the ranker makes of it.

Coverage is counted over the newest logged answers of today's specification. Where there are none,
over what recall finds for widgets on the most popular items.
"""

from __future__ import annotations

import msgspec
import numpy as np
import polars as pl

from kindred.api.wiring import open_offline
from kindred.events.decisions import all_decisions
from kindred.indexer.models import ModelStore
from kindred.rerank.features import FEATURES, GROUPS, SPECIFICATION, Context, assemble
from kindred.rerank.funnel import run
from kindred.rerank.lambdamart import Ranker
from kindred.retrieval.queries import make_queries
from kindred.schemas.base import Record
from kindred.schemas.clock import DAY
from kindred.schemas.errors import ArtefactError, NotBuilt
from kindred.schemas.ranking import Doubles, Floats
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

LOGGED, WIDGETS = "logged answers", "widgets on the most popular items"


class ToldFeature(Record, frozen=True, kw_only=True, omit_defaults=False):
    """One column."""

    name: str
    group: str
    meaning: str
    unit: str
    reads: str
    why: str
    coverage: float | None = None
    """Share of the candidates of which it is known."""
    importance: float | None = None
    """Share of the gain of the serving ranker's trees."""


class FeatureReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole table."""

    specification: str
    features: tuple[ToldFeature, ...]
    covered: str | None
    """Of what coverage is counted; None where there is nothing to count."""
    candidates: int
    ranker: str | None
    """Version of the serving ranker."""
    foreign: tuple[str, ...]
    """Features of the serving ranker that are none of today's: it waits to be trained anew."""


def feature_report(
    workspace: Workspace, settings: KindredSettings, *, answers: int, now: int
) -> FeatureReport:
    """The table over at most so many `answers`, as of `now` (µs)."""
    rows, covered = logged_features(workspace, answers), LOGGED
    if not len(rows):
        rows, covered = widget_features(workspace, settings, answers, now), WIDGETS
    coverage: Doubles | None = (~np.isnan(rows)).mean(axis=0) if len(rows) else None
    version, importance = serving_importance(workspace)
    return FeatureReport(
        specification=SPECIFICATION,
        features=tuple(
            ToldFeature(
                name=f.name, group=g.name, meaning=f.meaning, unit=f.unit, reads=f.reads, why=f.why,
                coverage=None if coverage is None else round(float(coverage[at[f.name]]), 4),
                importance=importance.get(f.name),
            )
            for at in [{name: i for i, name in enumerate(FEATURES)}]
            for g in GROUPS
            for f in g.features
        ),
        covered=covered if len(rows) else None,
        candidates=len(rows),
        ranker=version,
        foreign=tuple(name for name in importance if name not in FEATURES),
    )  # fmt: skip


def logged_features(workspace: Workspace, answers: int) -> Floats:
    """float32[n, F]: rows of the newest answers that logged today's features, of one day."""
    mine = all_decisions(workspace.lake, workspace.decisions).filter(
        pl.col("feature_spec") == SPECIFICATION
    )
    newest = mine.select(pl.col("occurred_at").max()).collect(engine="streaming").item()
    if newest is None:
        return np.zeros((0, len(FEATURES)), np.float32)
    day = all_decisions(workspace.lake, workspace.decisions, newest - DAY, newest + 1)
    held = (
        day.filter(pl.col("feature_spec") == SPECIFICATION)
        .select("occurred_at", "features")
        .drop_nulls()
        .collect(engine="streaming")
        .sort("occurred_at")
        .tail(answers)
    )
    return np.frombuffer(b"".join(held["features"].to_list()), "<f4").reshape(-1, len(FEATURES))


def widget_features(
    workspace: Workspace, settings: KindredSettings, answers: int, now: int
) -> Floats:
    """float32[n, F]: of what recall finds for the most popular active items; none unindexed."""
    nothing = np.zeros((0, len(FEATURES)), np.float32)
    try:
        funnel = open_offline(workspace, settings).funnel
    except NotBuilt:
        return nothing
    columns, history = funnel.corpus.columns, funnel.corpus.history
    seeds = np.flatnonzero(columns.active)
    if history is not None:
        popular = history.by_popularity
        seeds = popular[columns.active[popular]]
    seeds = seeds[:answers]
    if not len(seeds):
        return nothing
    queries = make_queries(
        columns, np.arange(len(seeds) + 1), seeds, now=now,
        half_life=funnel.recall.session_half_life,
    )  # fmt: skip
    found = run(funnel, queries, k=10, until="recall").candidates
    return assemble(Context(queries, found, funnel.corpus))


def serving_importance(workspace: Workspace) -> tuple[str | None, dict[str, float]]:
    """(version, share of the gain by feature) of the ranker in use; (None, nothing) without one."""
    models = ModelStore(workspace.models)
    version = models.current("ranker")
    if version is None:
        return None, {}
    try:
        artefact = models.load("ranker", version)
        return version, Ranker.from_artefact(artefact.arrays, artefact.texts).importance()
    except (ArtefactError, KeyError) as error:
        raise ArtefactError(f"ranker {version} cannot be read: {error}") from error
