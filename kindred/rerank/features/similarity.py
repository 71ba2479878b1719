"""Cosine between candidate and seeds in every vector space."""

from __future__ import annotations

import numpy as np

from kindred.rerank.features.group import Context, Feature, FeatureGroup
from kindred.retrieval.sources import SPACES
from kindred.schemas.ranking import Floats, Mask, Rows


def cosine(candidates: Floats, has: Mask, queries: Floats, asks: Mask, owners: Rows) -> Floats:
    """float32[n]: dot products of unit vectors, NaN where either is missing."""
    if len(queries) == 1:
        dots = candidates @ queries[0]
    else:
        dots = np.einsum("nd,nd->n", candidates, queries[owners])
    return np.where(has & asks[owners], dots, np.nan).astype(np.float32)


def fill(context: Context, out: Floats) -> None:
    """Two columns a space: against the session's mean, against the newest seed."""
    for s, space in enumerate(SPACES):
        table = context.corpus.tables.get(space)
        if table is None:
            out[:, 2 * s : 2 * s + 2] = np.nan
            continue
        vectors, has = table.gather(context.rows)
        mean, asks_mean = context.queries.vectors(space, table)
        last, asks_last = context.queries.last_vectors(space, table)
        to_mean, to_last = out[:, 2 * s], out[:, 2 * s + 1]
        to_mean[:] = cosine(vectors, has, mean, asks_mean, context.owners)
        if len(mean) == 1 and np.array_equal(mean, last):
            to_last[:] = to_mean  # a single seed, as a widget asks
        else:
            to_last[:] = cosine(vectors, has, last, asks_last, context.owners)


GROUP = FeatureGroup(
    "similarity",
    tuple(
        Feature(f"cos_{space}_{to}", f"cosine in {space} to {what}")
        for space in SPACES
        for to, what in (("session", "the seeds' weighted mean"), ("last", "the newest seed"))
    ),
    fill,
)
