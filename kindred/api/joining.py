"""The join, assembled: a workspace's decisions and events in, `lake/joined` brought up to date."""

from __future__ import annotations

from functools import partial
from typing import Any

import polars as pl

from kindred.api.times import moment_of
from kindred.events.decisions import all_decisions
from kindred.events.history import all_events
from kindred.events.joined_days import reading_joined
from kindred.events.joining import JoinReport, join_lake, joined_until
from kindred.events.shown import OUTCOMES
from kindred.events.tracing import exporting, mark
from kindred.schemas.clock import MINUTE
from kindred.schemas.errors import InputError
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace


def join_workspace(
    workspace: Workspace,
    settings: KindredSettings,
    progress: Progress,
    *,
    now: int,
    until: str | None = None,
) -> JoinReport:
    """Join what happened before `until`, a time or `now`. Times in microseconds UTC.

    Without it: until nothing can come late any more, `events.late_minutes` before `now`, or until
    the moment of a run before, if that is later; what it joined is not undone. Rows of the lake
    and of the logs' open hours are read.
    """
    if until is None:
        final = now - settings.events.late_minutes * MINUTE
        as_of = max(final, min(joined_until(workspace.lake), now))
    else:
        as_of = now if until == "now" else moment_of(until, "$.until")
        if as_of > now:
            raise InputError("the future has not happened yet: name a time until now", "$.until")
    return join_lake(
        workspace.lake,
        partial(all_decisions, workspace.lake, workspace.decisions),
        partial(all_events, workspace.lake, workspace.log),
        settings.join,
        as_of,
        progress,
    )


def trace_joined(workspace: Workspace, since: int, until: int) -> int:
    """A span in each recorded trace whose answer something came of in since <= time < until.

    Returns how many; nothing is read where no exporter is on.
    """
    if not exporting():
        return 0
    newest = pl.max_horizontal(f"{outcome}_at" for outcome in OUTCOMES)
    answers = all_decisions(workspace.lake, workspace.decisions).select(
        "decision_id", "traceparent"
    )
    sampled = answers.filter(pl.col("traceparent").str.contains("[13579bdf]$"))
    with reading_joined(workspace.lake) as joined:
        rows = joined.filter((newest >= since) & (newest < until))
        told = rows.select("decision_id", "item_id", "grade").join(sampled, on="decision_id")
        found = told.collect()
    for decision_id, item_id, grade, traceparent in found.iter_rows():
        mark("join", traceparent, decision_id=decision_id, item_id=item_id, grade=grade)
    return found.height


def rows_of(workspace: Workspace, decision_id: str) -> list[dict[str, Any]]:
    """The joined rows of a decision by position. InputError where there are none."""
    with reading_joined(workspace.lake) as joined:
        rows = joined.filter(pl.col("decision_id") == decision_id).sort("position").collect()
    if rows.is_empty():
        why = "it showed nothing, was made after the join's end, or is not known"
        raise InputError(f"no row of decision {decision_id!r} is joined: {why}", "$.decision_id")
    return rows.to_dicts()
