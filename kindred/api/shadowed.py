"""Logged shadow scores beside the serving ones, with what was bought."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from kindred.events.decision_tables import StoredDecision, from_columns
from kindred.events.decisions import AT_ONCE, all_decisions
from kindred.events.lake import Lake
from kindred.events.shown import JOINED
from kindred.rerank.shadow import Shadowed, compare
from kindred.schemas.workspace import Workspace


def compare_logged(workspace: Workspace, since: int | None = None) -> list[Shadowed]:
    """Every pair of a serving and a shadow version in the decisions since then."""
    bought = (
        Lake(workspace.lake, JOINED)
        .scan(since)
        .filter(pl.col("purchase_at").is_not_null())
        .group_by("decision_id")
        .agg(pl.col("item_id"))
        .collect()
    )
    items = {row["decision_id"]: frozenset(row["item_id"]) for row in bought.iter_rows(named=True)}
    return compare(_shadowed(workspace, since), items)


def _shadowed(workspace: Workspace, since: int | None) -> Iterator[StoredDecision]:
    """Decisions with shadow scores, without their features."""
    log = all_decisions(workspace.lake, workspace.decisions, since)
    scored = log.filter(pl.col("candidate_shadow").is_not_null()).with_columns(
        features=pl.lit(None, pl.Binary)
    )
    for part in scored.collect_batches(chunk_size=AT_ONCE):
        for row in part.iter_rows(named=True):
            yield from_columns(row)
