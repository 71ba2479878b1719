"""The join, assembled: a workspace's decisions and events in, `lake/joined` brought up to date."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import polars as pl

from kindred.events.decisions import all_decisions
from kindred.events.history import all_events
from kindred.events.impressions import MINUTE
from kindred.events.joining import JoinReport, join_lake, joined_until
from kindred.events.lake import Lake
from kindred.events.shown import JOINED
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
        as_of = _moment(until, now)
    return join_lake(
        workspace.lake,
        partial(all_decisions, workspace.lake, workspace.decisions),
        partial(all_events, workspace.lake, workspace.log),
        settings.join,
        as_of,
        progress,
    )


def rows_of(workspace: Workspace, decision_id: str) -> list[dict[str, Any]]:
    """The joined rows of a decision by position. InputError where there are none."""
    joined = Lake(workspace.lake, JOINED).scan()
    rows = joined.filter(pl.col("decision_id") == decision_id).sort("position").collect()
    if rows.is_empty():
        why = "it showed nothing, was made after the join's end, or is not known"
        raise InputError(f"no row of decision {decision_id!r} is joined: {why}", "$.decision_id")
    return rows.to_dicts()


def _moment(text: str, now: int) -> int:
    if text == "now":
        return now
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{text!r} is neither a time nor `now`", "$.until") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1e6)
