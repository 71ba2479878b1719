"""A market learns from its own visitors: join, train and index, then compare with and without."""

from __future__ import annotations

from dataclasses import dataclass

from kindred.api.joining import join_workspace
from kindred.api.market_report import Learned
from kindred.api.times import readable
from kindred.api.wiring import Offline, build, open_offline, train
from kindred.events.lake import Lake
from kindred.events.shown import DECISIONS, JOINED
from kindred.experiments.marketsim.arms import compare_arms
from kindred.schemas.clock import DAY
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What was learned from the shown lists, ready to answer."""

    offline: Offline
    reason: str
    """The words of the ranker's gate"""
    at: int
    """µs"""


def learn_again(
    workspace: Workspace, settings: KindredSettings, progress: Progress, *, now: int
) -> Lesson:
    """What `kindred join`, `kindred train` and `kindred index` do, at `now` (µs of the market)."""
    join_workspace(workspace, settings, progress, now=now, until="now")
    rows = train(workspace, settings, progress, until=readable(now))
    build(workspace, settings, progress)
    [reason] = [row.summary for row in rows if row.stage == "ranker"]
    return Lesson(offline=open_offline(workspace, settings), reason=reason, at=now)


def compared(
    workspace: Workspace, settings: KindredSettings, lesson: Lesson, ended: int, progress: Progress
) -> Learned:
    """Join again, once nothing can come late of what was shown before `ended`; both arms."""
    final = ended + (settings.join.purchase_days + 1) * DAY
    join_workspace(workspace, settings, progress, now=final, until="now")
    serves = lesson.offline.funnel.ranker is not None
    arms = None
    if serves:
        with progress.task("compare both arms"):
            decisions = Lake(workspace.lake, DECISIONS).scan(lesson.at)
            joined = Lake(workspace.lake, JOINED).scan(lesson.at)
            arms = compare_arms(decisions, joined, settings.seed)
    return Learned(
        ranker_serves=serves,
        reason=lesson.reason,
        version=lesson.offline.versions["ranker"] if serves else None,
        since=readable(lesson.at),
        arms=arms,
    )
