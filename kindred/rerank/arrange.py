"""The stages behind the blend that move whole entries: near-duplicates, spread, burying, pins."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kindred.rerank.diversity import spread
from kindred.rerank.duplicates import repeated
from kindred.rerank.pins import Pins, placed
from kindred.rerank.rules import Acting
from kindred.rerank.trail import Trail
from kindred.retrieval.sources import Corpus
from kindred.schemas.ranking import Candidates, Mask, Rows
from kindred.schemas.rule import Effect
from kindred.schemas.settings import DiversitySettings

DUPLICATES = "duplicates"


@dataclass(frozen=True, slots=True)
class Arranged:
    """A list as it will be shown, before auction places and chance."""

    candidates: Candidates
    entries: Rows
    """int64[n]: where each entry stood before"""
    fixed: Mask
    """bool[n]: at a place that a rule gave it"""
    left_out: dict[str, int] = field(default_factory=dict)


def arranged(
    candidates: Candidates,
    corpus: Corpus,
    settings: DiversitySettings | None,
    k: int | Rows,
    *,
    acting: Acting | None = None,
    pins: Pins | None = None,
    seller_cap: int = 0,
    trail: Trail | None = None,
) -> Arranged:
    """Candidates in the order of their value, which pinned ones may lack, as rules want them.

    Without a blend the merge's order is what rules act on, and nothing is spread: there is no
    probability to pay with.
    """
    entries, left_out = np.arange(len(candidates)), {}
    if settings is not None:
        pinned = None if pins is None else pins.among(candidates)
        again = repeated(candidates, corpus.columns, corpus.tables, settings, pinned)
        if again.any():
            left_out = {DUPLICATES: int(again.sum())}
            if trail is not None:
                trail.note(DUPLICATES, candidates.take(~again), duplicates=candidates.rows[again])
            candidates, entries = candidates.take(~again), entries[~again]
        if candidates.blend is not None and (settings.category or settings.seller):
            order = spread(candidates, corpus.columns, candidates.blend, settings, k, seller_cap)
            candidates, entries = candidates.take(order), entries[order]
            if trail is not None:
                trail.note("diversity", candidates)
    fixed = np.zeros(len(entries), np.bool_)
    if acting is not None:
        before = candidates
        order, fixed = placed(before, acting, pins)
        candidates, entries = before.take(order), entries[order]
        if trail is not None:
            pinned_by = {} if pins is None else pins.by_rule(acting)
            buried_by = acting.by_rule(Effect.BURY, before.rows, before.queries)
            trail.note("rules", candidates, **pinned_by, **buried_by)
    return Arranged(candidates, entries, fixed, left_out)


def boosted(candidates: Candidates, acting: Acting | None) -> Candidates:
    """Candidates of the merge by their score there times the factors of boosts."""
    adds = None if acting is None else acting.boosts(candidates.rows, candidates.queries)
    if adds is None:
        return candidates
    return candidates.sorted_by(candidates.merged * np.exp(adds))
