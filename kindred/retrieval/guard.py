"""The guard against hard mismatches (FINN's piano and elevator, SPEC F21).

A cold item has nothing but its words and its picture, and these may agree by accident: a maker's
name that is also that of another trade. What only content found is therefore dropped where its top
category is another one than the question's and its brand is not the question's either. What people
did never counts as an accident.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kindred.retrieval.queries import Queries
from kindred.retrieval.sources import SOURCES, Corpus
from kindred.schemas.ranking import Mask, Rows

CONTENT = ("text", "image", "attributes", "air", "visual", "shared", "text_tuned")
"""Sources that know nothing of what people did."""
MIXED = "hybrid"
"""The source that does where both sides have a past, and else goes by content."""
BEHAVIOUR = "als"
"""The space that tells whether an item has one."""


def _bits(*names: str) -> int:
    return sum(1 << SOURCES.index(name) for name in names)


def mismatched(
    queries: Queries, corpus: Corpus, owners: Rows, rows: Rows, sources: NDArray[np.uint32]
) -> Mask:
    """bool[n]: which candidates to drop, of int64[n] queries and rows, uint32[n] sources.

    A top category that is unknown on either side drops nothing. A brand that is unknown on either
    side is another brand: crossing categories takes a reason. Any seed's category or brand will do.
    Nothing is dropped for a query whose filter names categories or brands: that is a reason.
    """
    content = np.where(
        _both_have_a_past(queries, corpus, owners, rows),
        np.uint32(_bits(*CONTENT)),
        np.uint32(_bits(*CONTENT, MIXED)),
    )
    columns, anchor = corpus.columns, queries.anchor
    top = columns.category[rows, 0]
    asked = anchor.category[owners, 0]
    named = np.array([f.categories is not None or f.brands is not None for f in queries.filters])
    suspect: Mask = ((sources & ~content) == 0) & (top >= 0) & (asked >= 0) & (top != asked)
    suspect &= ~named[queries.filter_ids[owners]]
    at = np.flatnonzero(suspect)
    if not len(at):
        return suspect
    brand = columns.brand[rows[at]]
    suspect[at] = ~(
        _one_of(owners[at], top[at], queries.owners, columns.category[queries.seeds, 0])
        | _one_of(owners[at], brand, np.arange(len(queries)), anchor.brand)
        | _one_of(owners[at], brand, queries.owners, columns.brand[queries.seeds])
    )
    return suspect


def _both_have_a_past(queries: Queries, corpus: Corpus, owners: Rows, rows: Rows) -> Mask:
    table = corpus.tables.get(BEHAVIOUR)
    if table is None:
        return np.zeros(len(rows), np.bool_)
    asks = np.zeros(len(queries), np.bool_)
    asks[queries.owners[table.has(queries.seeds)]] = True
    both: Mask = asks[owners] & table.has(rows)
    return both


def _one_of(
    owners: Rows, codes: NDArray[np.int32], known_owners: Rows, known: NDArray[np.int32]
) -> Mask:
    """bool[n]: which codes are among those known of the same query; -1 is nobody's."""
    span = max(int(codes.max(initial=0)), int(known.max(initial=0))) + 1
    there = known >= 0
    keys = known_owners[there] * span + known[there]
    found: Mask = (codes >= 0) & np.isin(owners * span + codes, keys)
    return found
