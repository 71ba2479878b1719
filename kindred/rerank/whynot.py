"""The first stage that lost an item: the funnel run once more with a trail, and looked through.

What no stage tells by itself is looked up: which condition of a filter refuses the item, how far it
is from being recalled, and which features set it behind the last one shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from kindred.indexer.columns import Columns
from kindred.rerank.explain import contributions
from kindred.rerank.features import FEATURES
from kindred.rerank.funnel import Asked, Funnel, run
from kindred.rerank.phrases import group_of
from kindred.rerank.trail import Step, Trail
from kindred.retrieval.queries import Queries
from kindred.retrieval.recall import recall
from kindred.retrieval.sources import SOURCES, Corpus
from kindred.schemas.item import Status
from kindred.schemas.query import Filters
from kindred.schemas.ranking import Candidates, Doubles
from kindred.schemas.why import Cost, LostAt, SpaceDistance, Standing

MOST_COSTS = 5
ROWS_AT_ONCE = 100_000
"""Vectors compared at once."""


@dataclass(slots=True, kw_only=True)
class Lost:
    """Where and how an item was lost."""

    stage: LostAt
    place: int | None = None
    places: dict[str, int] = field(default_factory=dict)
    conditions: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    candidates: int = 0
    spaces: list[SpaceDistance] = field(default_factory=list)
    together: float | None = None
    standing: Standing | None = None
    degraded: tuple[str, ...] = ()


def why_not(funnel: Funnel, queries: Queries, row: int, *, k: int, asked: Asked) -> Lost:
    """The first stage that lost catalogue row `row` from a single query's k best."""
    columns, filters = funnel.corpus.columns, queries.filters[0]
    if np.any(queries.seeds == row) or np.any(queries.anchor.row == row):
        return Lost(stage=LostAt.SEED)
    if np.any(queries.dislikes == row):
        return Lost(stage=LostAt.DISLIKED)
    failed = failed_conditions(columns, filters, row)
    if failed:
        gone = failed == ["statuses"] and filters.statuses == (Status.ACTIVE,)
        return Lost(stage=LostAt.WITHDRAWN if gone else LostAt.FILTER, conditions=failed)
    trail = Trail()
    ranked = run(funnel, queries, k=k, asked=asked, trail=trail)
    lost = found_lost(trail, funnel, queries, row, k)
    lost.degraded = ranked.degraded
    return lost


def failed_conditions(columns: Columns, filters: Filters, row: int) -> list[str]:
    """Names of the conditions that `row` fails when each is asked alone; `statuses` first."""
    nothing = {f.name: f.default for f in msgspec.structs.fields(Filters)}
    told = {name: getattr(filters, name) for name in Filters.__struct_fields__}
    asked: dict[str, Any] = {n: v for n, v in told.items() if n == "statuses" or v != nothing[n]}
    alone = {n: Filters(**{"statuses": tuple(Status), n: value}) for n, value in asked.items()}
    failed = [name for name, condition in alone.items() if not columns.mask(condition)[row]]
    return sorted(failed, key=lambda name: name != "statuses")


def found_lost(trail: Trail, funnel: Funnel, queries: Queries, row: int, k: int) -> Lost:
    """Where a trail lost `row`, which passes the filter."""
    places, last = trail.places(row), trail.steps[-1]
    touched = [n for step in trail.steps if (n := step.lost_to(row)) is not None]
    lost = Lost(stage=LostAt.SHOWN, places=places, rules=touched)
    lost.candidates = len(trail.steps[0].candidates)
    final = last.place(row)
    first = next((step for step in trail.steps if step.place(row) is not None), None)
    if first is not None:
        lost.sources = sources_of(first.candidates, int(np.flatnonzero(first.rows == row)[0]))
    if final is None:
        _dropped(lost, trail, funnel, queries, row)
    else:
        lost.place = final
        lost.stage = LostAt.SHOWN if final <= k else behind(trail, row, k)
    if lost.stage in (LostAt.RANKED, LostAt.PASSED, LostAt.CAPPED):
        lost.standing = standing(trail, funnel, row, k)
    return lost


def _dropped(lost: Lost, trail: Trail, funnel: Funnel, queries: Queries, row: int) -> None:
    """Fill in where the candidates lost a row that does not reach the end."""
    before: int | None = None
    for step in trail.steps:
        place = step.place(row)
        if place is None and before is not None:
            lost.place = before
            if step.stage == "depth":
                lost.stage = LostAt.DEPTH
            else:
                lost.stage = LostAt.EXCLUDED if step.stage == "exclude" else LostAt.CAPPED
            return
        before = place
    if "mismatch" in lost.rules:
        lost.stage = LostAt.MISMATCH
        return
    wide = msgspec.structs.replace(funnel.recall, candidates=max(funnel.corpus.columns.size, 1))
    found = recall(queries, funnel.corpus, wide, learned=funnel.merge).candidates
    at = np.flatnonzero(found.rows == row)
    if len(at):
        lost.stage, lost.place = LostAt.LIMIT, int(at[0]) + 1
        lost.sources = sources_of(found, int(at[0]))
        return
    lost.stage = LostAt.NOT_RECALLED
    lost.spaces = distances(trail.steps[0].candidates, funnel, queries, row)
    lost.together = together(funnel.corpus, queries, row)


def behind(trail: Trail, row: int, k: int) -> LostAt:
    """Why a row that reaches the end stands past the k-th place."""
    within = False
    for step in trail.steps:
        place = step.place(row)
        if place is None:
            continue
        if within and place > k:
            return LostAt.CAPPED if step.lost_to(row) is not None else LostAt.PASSED
        within = step.stage in _ordered(trail) and place <= k
    return LostAt.RANKED


def _ordered(trail: Trail) -> set[str]:
    """Stages from the ranker on, or all where none ranked."""
    names = [step.stage for step in trail.steps]
    return set(names[names.index("rank") :] if "rank" in names else names)


def sources_of(candidates: Candidates, at: int) -> list[str]:
    """Names of the recall sources that found an entry."""
    return [SOURCES[s] for s in np.flatnonzero(candidates.source_ranks[at]).tolist()]


def distances(found: Candidates, funnel: Funnel, queries: Queries, row: int) -> list[SpaceDistance]:
    """How near `row` is in each space that it and the question are in, what is nearest first."""
    corpus = funnel.corpus
    others = np.concatenate([queries.seeds, queries.dislikes, [row]])
    allowed = np.setdiff1d(corpus.planner.allowed(queries.filters[0]).rows, others)
    told = []
    for space, table in corpus.tables.items():
        asked, asks = queries.vectors(space, table)
        vector, has = table.gather(np.array([row]))
        if not (asks[0] and has[0]):
            continue
        own = float(vector[0] @ asked[0])
        source = funnel.recall.sources.get(space)
        weakest = None
        if space in SOURCES:
            scores = found.source_scores[:, SOURCES.index(space)]
            weakest = float(np.nanmin(scores)) if np.isfinite(scores).any() else None
        nearer = 0
        for begin in range(0, len(allowed), ROWS_AT_ONCE):
            vectors, there = table.gather(allowed[begin : begin + ROWS_AT_ONCE])
            nearer += int(np.count_nonzero(there & (vectors @ asked[0] > own)))
        told.append(
            SpaceDistance(
                space=space,
                similarity=own,
                weakest=weakest,
                rank=nearer + 1,
                quota=0 if source is None else source.quota,
            )
        )
    return sorted(told, key=lambda d: d.rank)


def together(corpus: Corpus, queries: Queries, row: int) -> float | None:
    """Decayed count of the visits that hold `row` beside a seed; None where none are counted."""
    pairs = corpus.pairs
    if pairs is None:
        return None
    _, at = pairs.positions(queries.seeds, len(pairs.rows))
    return float(pairs.counts[at[pairs.rows[at] == row]].sum())


def standing(trail: Trail, funnel: Funnel, row: int, k: int) -> Standing:
    """What `row` was ordered by, beside the k-th of the ranker and of the answer."""
    final = trail.steps[-1]
    ranks = trail.step("rank") or trail.step("merge") or final
    own, shown = _entry(final, row), ranks.candidates
    if own is None or not len(shown):
        return Standing()
    kth, last = min(k, len(shown)) - 1, min(k, len(final.candidates)) - 1
    held = final.candidates
    told = Standing(
        score=_of(held.score, own),
        score_shown=_of(shown.score, kth),
        probability=_of(held.probability, own),
        probability_shown=_of(held.probability, _entry(final, int(shown.rows[kth]))),
        blend=_of(held.blend, own),
        blend_shown=_of(held.blend, last),
    )
    if funnel.ranker is None or shown.features is None or held.features is None:
        return told
    pair = np.stack([held.features[own], shown.features[kth]])
    adds = contributions(funnel.ranker, pair).adds
    costs = adds[1] - adds[0]
    order = np.argsort(-costs, kind="stable")[:MOST_COSTS]
    return msgspec.structs.replace(
        told,
        costs=[
            Cost(
                feature=FEATURES[f],
                group=group_of(FEATURES[f]),
                value=_known(float(pair[0, f])),
                value_shown=_known(float(pair[1, f])),
                costs=float(costs[f]),
            )
            for f in order.tolist()
            if costs[f] > 0
        ],
    )


def _entry(step: Step, row: int) -> int | None:
    place = step.place(row)
    return None if place is None else place - 1


def _of(column: Doubles | None, at: int | None) -> float | None:
    return None if column is None or at is None else float(column[at])


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
