"""Facts that a listing states beside its columns: attributes and materials, against the seed's.

The cosine of the attribute space mixes all facts; here is which of them agree, and how many could.
"""

from __future__ import annotations

import numpy as np

from kindred.indexer.traits import VALUE_BITS, WIDTHS, Hashes
from kindred.rerank.features.group import Context, Feature, FeatureGroup
from kindred.retrieval.sources import SOURCES
from kindred.schemas.ranking import Floats, Mask, Rows

UPPER = np.uint32(VALUE_BITS)
ONES = np.ones(max(*WIDTHS.values(), len(SOURCES)), np.float32)


def met(theirs: Hashes, mine: Hashes, owners: Rows) -> Mask:
    """bool[n, w]: which entries uint32[n, w] are among their query's, uint32[Q, w']; 0 never is."""
    if len(mine) == 1:
        entries = mine[0][mine[0] != 0]
        either: Mask = (theirs[None] == entries[:, None, None]).any(axis=0)
        return either
    found = np.zeros(theirs.shape, np.bool_)
    for column in mine.T:
        entry = column[owners]
        found |= (theirs == entry[:, None]) & (entry != 0)[:, None]
    return found


def counts(entries: Mask) -> Floats:
    """float32[n]: how many of bool[n, w] hold in each row."""
    return entries @ ONES[: entries.shape[1]]


def jaccard(own: Floats, asked: Floats, both: Floats) -> Floats:
    """float32[n]: what both state over what either does; NaN where one states nothing.

    `own` float32[n] counts what a candidate states, `asked` float32[n] or [1] what its query does.
    """
    share: Floats = both / np.maximum(own + asked - both, 1)
    share[(own == 0) | (asked == 0)] = np.nan
    return share


def fill(context: Context, out: Floats) -> None:
    """See `GROUP`."""
    columns, rows, owners = context.corpus.columns, context.rows, context.owners
    anchor, of_query = context.queries.anchor, context.of_query
    if anchor.attributes.any():
        theirs, mine = columns.attributes.take(rows, axis=0), anchor.attributes
        both = counts(met(theirs, mine, owners))
        shared = counts(met(theirs >> UPPER, mine >> UPPER, owners))
        share = jaccard(counts(theirs != 0), of_query(counts(mine != 0)), both)
        shared[np.isnan(share)] = np.nan
        agreeing = both / np.maximum(shared, 1)
        agreeing[shared == 0] = np.nan
        out[:, 0], out[:, 1], out[:, 2] = share, shared, agreeing
    else:
        out[:, :3] = np.nan
    if anchor.materials.any():
        made_of, mine = columns.materials.take(rows, axis=0), anchor.materials
        both = counts(met(made_of, mine, owners))
        out[:, 3] = jaccard(counts(made_of != 0), of_query(counts(mine != 0)), both)
    else:
        out[:, 3] = np.nan


GROUP = FeatureGroup(
    "attributes",
    (
        Feature(
            "attributes_jaccard", "attributes that agree with the newest seed's, of all of either",
            "share", "catalogue, seed", "the same size, voltage, author: a substitute",
        ),
        Feature(
            "attributes_shared", "attributes that both state, whatever their values", "count",
            "catalogue, seed", "the same kind of thing, even where nothing agrees",
        ),
        Feature(
            "attributes_agreeing", "of the attributes that both state, those of one value",
            "share", "catalogue, seed", "it differs in what can be compared: the wrong size",
        ),
        Feature(
            "materials_jaccard", "materials in common with the newest seed, of all of either",
            "share", "catalogue, seed", "things that go together are of one material",
        ),
    ),
    fill,
)  # fmt: skip
