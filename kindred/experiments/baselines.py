"""The simplest strong baselines, made from the same events as the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.behaviour.pairs import PairTable, count_pairs, ranges
from kindred.indexer.behaviour.users import NOBODY
from kindred.retrieval.queries import Queries
from kindred.retrieval.sources import Corpus, Entries, paired
from kindred.schemas.ranking import Rows
from kindred.schemas.settings import PairSettings

Baseline = Callable[[Queries, int], Entries]
"""(queries, depth) -> at most `depth` entries a query, best first."""

RAW = PairSettings(
    neighbours=200, max_session=100, popularity_exponent=0.0, shrinkage=0.0, distance_decay=1.0
)
COSINE = PairSettings(
    neighbours=200, max_session=200, popularity_exponent=0.5, shrinkage=0.0, distance_decay=1.0
)


def make_baselines(interactions: Interactions, corpus: Corpus) -> dict[str, Baseline]:
    """Popularity, raw co-occurrence in a session, item-kNN (cosine), and a visitor's own items.

    The last is there where the log knows users: where people come back for the same, as in a
    grocery, it is hard to beat.
    """
    size = corpus.columns.size
    by_visitor = replace(interactions, session=interactions.subject)
    found = {
        "popularity": popularity(interactions, corpus),
        "co-occurrence": from_pairs(count_pairs(interactions, size, RAW), corpus),
        "item-kNN (sessions)": from_pairs(count_pairs(interactions, size, COSINE), corpus),
        "item-kNN (visitors)": from_pairs(count_pairs(by_visitor, size, COSINE), corpus),
    }
    if len(interactions.users) and (interactions.users != NOBODY).any():
        found["visitor's own items"] = own_items(interactions, corpus)
    return found


def without_seeds(entries: Entries, queries: Queries, size: int) -> Entries:
    """What may be shown: seeds that are excluded are left out."""
    barred = queries.exclude_seeds[queries.owners]
    own = (queries.owners * size + queries.seeds)[barred]
    keep = ~np.isin(entries.queries * size + entries.rows, own)
    return Entries(entries.queries[keep], entries.rows[keep], entries.scores[keep])


def popularity(interactions: Interactions, corpus: Corpus) -> Baseline:
    """The most frequent active items, for everybody."""
    size = corpus.columns.size
    counts = np.bincount(interactions.row, minlength=size)[:size] * corpus.columns.active
    order: Rows = np.argsort(-counts, kind="stable")

    def answer(queries: Queries, depth: int) -> Entries:
        top = order[: depth + int(queries.lengths.max(initial=0))]
        owners = np.repeat(np.arange(len(queries)), len(top))
        rows = np.tile(top, len(queries))
        scores = counts[rows].astype(np.float32)
        return without_seeds(Entries(owners, rows, scores), queries, size)

    return answer


def own_items(interactions: Interactions, corpus: Corpus) -> Baseline:
    """What the user who asks acted on most often before; nothing for whom the log does not know."""
    size = corpus.columns.size
    past = interactions.take(interactions.users[interactions.subject] != NOBODY)
    users, owner = np.unique(past.users[past.subject], return_inverse=True)
    pairs, counts = np.unique(owner * size + past.row, return_counts=True)
    starts = np.searchsorted(pairs, np.arange(len(users) + 1) * size)

    def answer(queries: Queries, depth: int) -> Entries:
        keys = queries.users if queries.users is not None else np.zeros(len(queries), np.uint64)
        at = np.minimum(np.searchsorted(users, keys), len(users) - 1)
        known = np.flatnonzero(users[at] == keys)
        lengths = np.diff(starts)[at[known]]
        entry = ranges(starts[at[known]], lengths)
        rows = pairs[entry] % size
        shown = corpus.columns.active[rows]
        found = Entries(
            np.repeat(known, lengths)[shown], rows[shown], counts[entry][shown].astype(np.float32)
        )
        found = without_seeds(found, queries, size)
        return Entries.best(found.queries, found.rows, found.scores, depth)

    return answer


def from_pairs(table: PairTable, corpus: Corpus) -> Baseline:
    """Σ of similarity over the session's distinct items, all counted alike."""
    size = corpus.columns.size

    def answer(queries: Queries, depth: int) -> Entries:
        plain = replace(queries, weights=np.ones(len(queries.seeds), np.float32))
        found = paired(table, plain, corpus, depth + int(queries.lengths.max(initial=0)))
        active = corpus.columns.active[found.rows]
        kept = Entries(found.queries[active], found.rows[active], found.scores[active])
        return without_seeds(kept, queries, size)

    return answer
