"""Recall: every source asked once, filters applied, lists merged (SPEC §3.6)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.store.port import Plan, Search
from kindred.retrieval.guard import mismatched
from kindred.retrieval.merge import Finds, Weights, merge
from kindred.retrieval.personal import personal
from kindred.retrieval.plan import search_as_planned
from kindred.retrieval.queries import Queries
from kindred.retrieval.segments import owners_of
from kindred.retrieval.sources import MEMORY, SOURCES, SPACES, Corpus, Entries
from kindred.schemas.errors import StoreError
from kindred.schemas.ranking import Candidates, Mask, Rows
from kindred.schemas.settings import RecallSettings

REVISIT = SOURCES.index("revisit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """Candidates, best merged first, with how they came about."""

    candidates: Candidates
    plans: dict[str, Plan]
    """How the vectors of each space were searched (under the last filter of a batch)."""
    mismatched: Rows
    """int64[Q]: candidates that the guard dropped (`guard`)"""
    mismatched_rows: Rows
    """int64[n]: their catalogue rows"""
    degraded: tuple[str, ...] = field(default=())


def recall(
    queries: Queries,
    corpus: Corpus,
    settings: RecallSettings,
    only: Iterable[str] | None = None,
    learned: Weights | None = None,
) -> Recalled:
    """Candidates of every query from all sources, or from those named in `only`.

    The merge is made with the weights `learned`, if any (`merge`).
    A store that fails costs its sources, not the answer: `degraded` says so.
    """
    wanted = set(SOURCES if only is None else only)
    quotas = {n: s.quota for n, s in settings.sources.items() if s.quota and n in wanted}
    spare = int(queries.lengths.max(initial=0))
    found: dict[str, Entries] = {}
    degraded: tuple[str, ...] = ()
    allowed = [corpus.planner.allowed(f) for f in queries.filters]
    plans: dict[str, Plan] = {}
    try:
        by_space = {n: quotas[n] for n in SPACES if n in quotas}
        nearby, plans = nearest(queries, corpus, by_space, spare)
        found |= nearby
        if "user" in quotas:
            found["user"] = personal(queries, corpus, quotas["user"] + spare)
    except StoreError as error:
        degraded = (f"recall: vector sources left out ({error})",)
    for name, source in MEMORY.items():
        if name in quotas:
            found[name] = source(queries, corpus, quotas[name] + spare, settings)
    masks = [a.mask for a in allowed]
    finds = screened(Finds.of(found), queries, masks, corpus.columns.size)
    dropped = np.zeros(len(queries), np.int64)
    gone: list[Rows] = []

    def fits(owners: Rows, rows: Rows, sources: NDArray[np.uint32]) -> Mask:
        wrong = mismatched(queries, corpus, owners, rows, sources)
        dropped[:] = np.bincount(owners[wrong], minlength=len(queries))
        gone.append(rows[wrong])
        return ~wrong

    guard = fits if settings.mismatch_guard else None
    return Recalled(
        candidates=merge(finds, len(queries), corpus.columns.size, settings, guard, learned),
        plans=plans,
        mismatched=dropped,
        mismatched_rows=np.concatenate([np.zeros(0, np.int64), *gone]),
        degraded=degraded,
    )


def nearest(
    queries: Queries, corpus: Corpus, quotas: dict[str, int], spare: int
) -> tuple[dict[str, Entries], dict[str, Plan]]:
    """Nearest neighbours of the query vectors in every space: one call of the store.

    Queries are grouped by filter; a filter that few rows pass is scanned exactly instead
    (`FilterPlanner`).
    """
    searches: list[tuple[str, Rows, Search]] = []
    for f, filters in enumerate(queries.filters):
        group = np.flatnonzero(queries.filter_ids == f)
        allowed = corpus.planner.allowed(filters)
        for space, quota in quotas.items():
            table = corpus.tables.get(space)
            if table is None or not len(group):
                continue
            vectors, present = queries.vectors(space, table)
            ask = group[present[group]]
            if len(ask):
                plan = corpus.planner.plan(allowed, quota + spare, table, len(ask))
                search = Search(
                    space=space,
                    vectors=vectors[ask],
                    k=quota + spare,
                    filters=filters,
                    allowed=allowed,
                    plan=plan,
                )
                searches.append((space, ask, search))
    answers = search_as_planned(corpus.store, corpus.exact, [s for _, _, s in searches])
    parts: dict[str, list[Entries]] = {}
    for (space, ask, _), hits in zip(searches, answers, strict=True):
        there = hits.rows >= 0
        owners = np.repeat(ask, there.sum(axis=1))
        parts.setdefault(space, []).append(Entries(owners, hits.rows[there], hits.scores[there]))
    plans = {space: search.plan for space, _, search in searches}
    return {space: joined(entries) for space, entries in parts.items()}, plans


def joined(parts: list[Entries]) -> Entries:
    """Several groups' entries with queries in order."""
    if len(parts) == 1:
        return parts[0]
    queries = np.concatenate([p.queries for p in parts])
    order = np.argsort(queries, kind="stable")
    return Entries(
        queries[order],
        np.concatenate([p.rows for p in parts])[order],
        np.concatenate([p.scores for p in parts])[order],
    )


def screened(finds: Finds, queries: Queries, masks: list[Mask], size: int) -> Finds:
    """Without what the filter refuses, without what is disliked, and without the seeds.

    `revisit` alone brings a session's own items back; elsewhere they only take up places.
    """
    if len(masks) == 1:
        keep = masks[0][finds.rows]
    else:
        keep = np.zeros(len(finds.rows), np.bool_)
        which = queries.filter_ids[finds.queries]
        for f, mask in enumerate(masks):
            mine = which == f
            keep[mine] = mask[finds.rows[mine]]
    if len(queries.dislikes):
        owners = owners_of(queries.dislike_offsets)
        keys = finds.queries * size + finds.rows
        keep &= ~np.isin(keys, owners * size + queries.dislikes)
    if len(queries.seeds):
        own = among(finds.queries * size + finds.rows, queries.owners * size + queries.seeds)
        keep &= ~own | (finds.sources == REVISIT)
    return finds.take(keep)


def among(keys: Rows, few: Rows) -> Mask:
    """bool[n]: which keys are one of `few`. For a handful, comparing beats sorting by far."""
    if len(few) > 8:
        return np.isin(keys, few)
    found: Mask = keys == few[0]
    for key in few[1:]:
        found |= keys == key
    return found
