"""Recall for a known user: items by x_u · y_i, the factorisation's own answer (SPEC F23).

The store holds the items' directions, so it gives the nearest by cosine, more than are wanted; the
best of these by the raw product are kept. The product also weighs how popular an item is.
"""

from __future__ import annotations

import numpy as np

from kindred.indexer.store.port import Search
from kindred.retrieval.plan import search_as_planned
from kindred.retrieval.queries import Queries
from kindred.retrieval.segments import unit
from kindred.retrieval.sources import Corpus, Entries

SPACE = "als"
OVERFETCH = 4
"""Items asked of the store for each that is kept."""


def personal(queries: Queries, corpus: Corpus, quota: int) -> Entries:
    """At most `quota` items for each query whose user is known, best first.

    Raises StoreError as the store does.
    """
    factors, table = corpus.users, corpus.tables.get(SPACE)
    if factors is None or table is None or queries.users is None:
        return Entries.none()
    vectors, known = factors.vectors(queries.users)
    owners, rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for f, filters in enumerate(queries.filters):
        ask = np.flatnonzero(known & (queries.filter_ids == f))
        if not len(ask):
            continue
        allowed = corpus.planner.allowed(filters)
        k = OVERFETCH * quota
        search = Search(
            space=SPACE,
            vectors=unit(vectors[ask]),
            k=k,
            filters=filters,
            allowed=allowed,
            plan=corpus.planner.plan(allowed, k, table, len(ask)),
        )
        hits = search_as_planned(corpus.store, corpus.exact, [search])[0]
        there = hits.rows >= 0
        owners.append(np.repeat(ask, there.sum(axis=1)))
        rows.append(hits.rows[there])
    asked, found = np.concatenate(owners), np.concatenate(rows)
    return Entries.best(asked, found, factors.scores(vectors[asked], found), quota)
