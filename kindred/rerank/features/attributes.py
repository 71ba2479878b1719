"""Facts that a listing states beside its columns: attributes and materials, against the seed's.

The cosine of the attribute space mixes all facts; here is which of them agree, and how many could.
"""

from __future__ import annotations

import numpy as np

from kindred.indexer.traits import VALUE_BITS, Hashes
from kindred.rerank.features.group import Context, Feature, FeatureGroup
from kindred.schemas.ranking import Floats, Mask, Rows

UPPER = np.uint32(VALUE_BITS)


def met(theirs: Hashes, mine: Hashes, owners: Rows) -> Mask:
    """bool[n, w]: which entries uint32[n, w] are among their query's, uint32[Q, w']; 0 never is."""
    found = np.zeros(theirs.shape, np.bool_)
    if len(mine) == 1:
        for entry in mine[0][mine[0] != 0]:
            found |= theirs == entry
        return found
    for column in mine.T:
        entry = column[owners]
        found |= (theirs == entry[:, None]) & (entry != 0)[:, None]
    return found


def jaccard(theirs: Hashes, mine: Hashes, both: Floats, owners: Rows) -> Floats:
    """float32[n]: what both state over what either does; NaN where one states nothing."""
    own = np.count_nonzero(theirs, axis=1)
    asked = np.count_nonzero(mine, axis=1)[owners]
    share: Floats = (both / np.maximum(own + asked - both, 1)).astype(np.float32)
    share[(own == 0) | (asked == 0)] = np.nan
    return share


def fill(context: Context, out: Floats) -> None:
    """See `GROUP`."""
    columns, rows, owners = context.corpus.columns, context.rows, context.owners
    anchor = context.queries.anchor
    if anchor.attributes.any():
        theirs, mine = columns.attributes[rows], anchor.attributes
        both = np.count_nonzero(met(theirs, mine, owners), axis=1).astype(np.float32)
        names = met(theirs >> UPPER, mine >> UPPER, owners)
        shared = np.count_nonzero(names, axis=1).astype(np.float32)
        out[:, 0] = jaccard(theirs, mine, both, owners)
        shared[np.isnan(out[:, 0])] = np.nan
        out[:, 1] = shared
        out[:, 2] = np.where(shared > 0, both / np.maximum(shared, 1), np.nan)
    else:
        out[:, :3] = np.nan
    if anchor.materials.any():
        made_of, mine = columns.materials[rows], anchor.materials
        both = np.count_nonzero(met(made_of, mine, owners), axis=1).astype(np.float32)
        out[:, 3] = jaccard(made_of, mine, both, owners)
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
