"""Which sources found a candidate, how high and how sure.

A space's score is the cosine to the session, which `similarity` has of every candidate: here are
the scores that no other column says.
"""

from __future__ import annotations

import numpy as np

from kindred.rerank.features.attributes import counts
from kindred.rerank.features.group import Context, Feature, FeatureGroup
from kindred.retrieval.sources import SOURCES
from kindred.schemas.ranking import Floats

RANKED = (
    "pairs", "forward", "ease", "als", "text", "attributes", "popular", "hybrid", "air", "user",
    "again",
)  # fmt: skip
SCORED = ("pairs", "forward", "ease", "revisit")
RANK_AT = np.array([SOURCES.index(name) for name in RANKED])
SCORE_AT = np.array([SOURCES.index(name) for name in SCORED])


def fill(context: Context, out: Floats) -> None:
    """See `GROUP`."""
    candidates, n = context.candidates, len(RANKED)
    ranks = candidates.source_ranks[:, RANK_AT].astype(np.float32)
    ranks[ranks == 0] = np.nan
    out[:, :n] = ranks
    out[:, n : n + len(SCORED)] = candidates.source_scores[:, SCORE_AT]
    out[:, -2] = counts(candidates.source_ranks != 0)
    out[:, -1] = candidates.merged


SCORES = {
    "pairs": ("bought or seen together with the seeds, in either order", "similarity"),
    "forward": ("came after the seeds in other visits", "similarity"),
    "ease": ("what the seeds say for it beyond its popularity", "weight"),
    "revisit": ("the visitor has looked at this very item in the session", "weight"),
}
GROUP = FeatureGroup(
    "provenance",
    (
        *(
            Feature(
                f"rank_{s}", f"rank in {s}, 1 = first", "rank", "recall",
                "how it compares within what this question found, which no score says",
            )
            for s in RANKED
        ),
        *(
            Feature(f"score_{s}", f"score in {s}, the source's own scale", unit, "recall", why)
            for s, (why, unit) in SCORES.items()
        ),
        Feature(
            "found_by", "number of sources", "count", "recall",
            "what several kinds of evidence agree on is seldom wrong",
        ),
        Feature(
            "merged", "reciprocal-rank merge", "points", "recall",
            "the order that serves without a ranker, to depart from",
        ),
    ),
    fill,
)  # fmt: skip
