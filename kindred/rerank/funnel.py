"""The funnel: recall → features → rank → calibrate → blend, as plain composition.

HTTP, `kindred recommend` and `kindred evaluate` call `run`; nothing else orders items. `STAGES` is
all that happens behind recall, in its order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple, get_args

import numpy as np

from kindred.rerank import funnel_stages as stages
from kindred.rerank.exclude import Exclusions
from kindred.rerank.funnel_parts import NOTHING_BESIDE, Asked, Funnel, Ranked, Stage, Underway
from kindred.rerank.funnel_stages import Lost
from kindred.rerank.trail import Trail
from kindred.retrieval.queries import Queries
from kindred.retrieval.recall import recall
from kindred.schemas.ranking import Candidates, Rows

__all__ = ["NOTHING_BESIDE", "STAGES", "Asked", "Funnel", "Ranked", "Stage", "order", "run"]

REACH: tuple[Stage, ...] = get_args(Stage)


class FunnelStage(NamedTuple):
    """One stage behind recall."""

    name: str
    do: Callable[[Underway], Lost | None]
    since: Stage
    """The least `until` that has it"""
    timed: bool = False
    """Its time, with that of the stages since the last that was timed, is told as its name's"""
    noted: bool = False
    """A trail is told the list behind it; blending and arranging tell theirs in more detail"""


STAGES = (
    FunnelStage("exclude", stages.exclude, "recall", noted=True),
    FunnelStage("pin", stages.pin, "blend"),
    FunnelStage("depth", stages.cut, "rank", noted=True),
    FunnelStage("pool", stages.enter, "blend"),
    FunnelStage("features", stages.describe, "rank", timed=True),
    FunnelStage("rank", stages.rank, "rank", timed=True, noted=True),
    FunnelStage("blend", stages.blend_rates, "blend", timed=True),
    FunnelStage("arrange", stages.arrange, "blend", timed=True),
    FunnelStage("auction", stages.seat, "blend", timed=True, noted=True),
)


def run(
    funnel: Funnel,
    queries: Queries,
    *,
    k: int | Rows,
    asked: Asked = NOTHING_BESIDE,
    until: Stage = "blend",
    sources: Iterable[str] | None = None,
    deadline_ms: float | None = None,
    trail: Trail | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Ranked:
    """Ordered candidates for every query, as far as stage `until`.

    Past `deadline_ms` the remaining stages give way to the order so far, and `degraded` says
    which. The whole list comes back, or as much of it as the ranker knows to order; the caller
    takes the first k, which the blend's floor and caps look at. A `trail`, for a single query
    alone, is told what each stage left.
    """
    begin = clock()
    recalled = recall(queries, funnel.corpus, funnel.recall, sources, funnel.merge)
    at = clock()
    ms = {"recall": round((at - begin) * 1000, 4)}
    late = deadline_ms is not None and (at - begin) * 1000 > deadline_ms
    if trail is not None:
        trail.note("merge", recalled.candidates, mismatch=recalled.mismatched_rows)
    ranked = order(
        funnel, queries, recalled.candidates, k=k, asked=asked, until=until, late=late,
        trail=trail, clock=clock,
    )  # fmt: skip
    return Ranked(
        candidates=ranked.candidates,
        sponsored=ranked.sponsored,
        plans=recalled.plans,
        ms={**ms, **ranked.ms},
        fixed=ranked.fixed,
        drawn=ranked.drawn,
        left_out={**_counted({"mismatch": int(recalled.mismatched.sum())}), **ranked.left_out},
        degraded=(*recalled.degraded, *ranked.degraded),
    )


def order(
    funnel: Funnel,
    queries: Queries,
    candidates: Candidates,
    *,
    k: int | Rows,
    until: Stage,
    asked: Asked = NOTHING_BESIDE,
    late: bool = False,
    trail: Trail | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Ranked:
    """The funnel behind recall: candidates in the merge's order, ranked, blended and arranged."""
    at, ms = clock(), {}
    acting = None if funnel.rules is None else funnel.rules.acting(queries, asked.surface)
    batch = Underway(
        funnel=funnel, queries=queries, asked=asked, k=k, late=late, trail=trail, acting=acting,
        exclusions=Exclusions(funnel.corpus.columns, acting, asked.visitor, asked.leave_out),
        candidates=candidates,
    )  # fmt: skip
    reach = REACH.index(until)
    for stage in STAGES:
        lost = stage.do(batch) if reach >= REACH.index(stage.since) else None
        if lost is None:
            continue
        if stage.timed:
            now = clock()
            ms[stage.name] = round((now - at) * 1000, 4)
            at = now
        if stage.noted and trail is not None:
            trail.note(stage.name, batch.candidates, **lost)
    paid = batch.sponsored
    return Ranked(
        candidates=batch.candidates,
        sponsored=np.zeros(len(batch.candidates), np.bool_) if paid is None else paid,
        fixed=batch.fixed,
        drawn=batch.drawn,
        left_out=batch.left_out,
        plans={},
        ms=ms,
        degraded=tuple(batch.degraded),
    )


def _counted(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}
