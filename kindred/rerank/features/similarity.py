"""Cosine between candidate and seeds in every vector space.

Against the session's mean in all of them; against the newest seed where a session wanders: in the
spaces that learned from behaviour, and of text.
"""

from __future__ import annotations

import numpy as np

from kindred.rerank.features.group import Context, Feature, FeatureGroup
from kindred.retrieval.sources import SPACES
from kindred.schemas.ranking import Floats, Mask, Rows

NEWEST_TOO = ("als", "text", "hybrid", "air")
WHY = {
    "als": "the same people act on both",
    "text": "both say the same",
    "image": "both look alike to a network that knows pictures",
    "attributes": "both state the same facts",
    "hybrid": "alike by everything that is known, weighed by what converts",
    "air": "clicked within the hour of one another",
    "visual": "both look alike in taxonomy, colour and material",
    "shared": "the picture of one fits the title of the other",
    "text_tuned": "both say the same, in the words of what is bought together",
}


def cosine(candidates: Floats, has: Mask, queries: Floats, asks: Mask, owners: Rows) -> Floats:
    """float32[n]: dot products of unit vectors, NaN where either is missing."""
    if len(queries) == 1:
        if not asks[0]:
            return np.full(len(candidates), np.nan, np.float32)
        dots: Floats = candidates @ queries[0]
        known = has
    else:
        dots = np.einsum("nd,nd->n", candidates, queries[owners])
        known = has & asks[owners]
    if not known.all():
        dots[~known] = np.nan
    return dots


def fill(context: Context, out: Floats) -> None:
    """A column a space for the session's mean, one more for the newest seed where it is asked."""
    column = 0
    single = is_single(context)
    for space in SPACES:
        width = 1 + (space in NEWEST_TOO)
        part = out[:, column : column + width]
        column += width
        table = context.corpus.tables.get(space)
        if table is None:
            part[:] = np.nan
            continue
        vectors, has = table.gather(context.rows)
        mean, asks_mean = context.queries.vectors(space, table)
        part[:, 0] = cosine(vectors, has, mean, asks_mean, context.owners)
        if width == 1:
            continue
        if single:
            part[:, 1] = part[:, 0]
        else:
            last, asks_last = context.queries.last_vectors(space, table)
            part[:, 1] = cosine(vectors, has, last, asks_last, context.owners)


def is_single(context: Context) -> bool:
    """Whether one query asks by one seed alone, as a widget does: its mean is its newest."""
    queries = context.queries
    seeds = queries.seeds
    same = len(queries) == 1 == len(seeds) and seeds[0] == queries.anchor.row[0]
    return bool(same and not len(queries.dislikes) and not queries.inline)


GROUP = FeatureGroup(
    "similarity",
    tuple(
        Feature(
            f"cos_{space}_{to}", f"cosine in {space} to {what}", "cosine", f"vectors {space}",
            f"{WHY[space]}, {how}",
        )
        for space in SPACES
        for to, what, how in (
            ("session", "the seeds' weighted mean", "over the session"),
            ("last", "the newest seed", "as of the last step"),
        )
        if to == "session" or space in NEWEST_TOO
    ),
    fill,
)  # fmt: skip
