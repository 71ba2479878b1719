"""Which sources found a candidate, how high and how sure."""

from __future__ import annotations

import numpy as np

from kindred.rerank.features.group import Context, Feature, FeatureGroup
from kindred.retrieval.sources import SOURCES
from kindred.schemas.ranking import Floats


def fill(context: Context, out: Floats) -> None:
    """Rank and score of every source, how many found it, and the merge's place."""
    candidates, n = context.candidates, len(SOURCES)
    ranks = candidates.source_ranks.astype(np.float32)
    out[:, :n] = np.where(ranks > 0, ranks, np.nan)
    out[:, n : 2 * n] = candidates.source_scores
    out[:, 2 * n] = (ranks > 0).sum(axis=1)
    out[:, 2 * n + 1] = candidates.merged


GROUP = FeatureGroup(
    "provenance",
    (
        *(Feature(f"rank_{s}", f"rank in {s}, 1 = first") for s in SOURCES),
        *(Feature(f"score_{s}", f"score in {s}, the source's own scale") for s in SOURCES),
        Feature("found_by", "number of sources"),
        Feature("merged", "reciprocal-rank merge"),
    ),
    fill,
)
