"""Features: one file per group, the same code for training and for serving."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from kindred.rerank.features import (
    affinity,
    attributes,
    context,
    exposure,
    history,
    provenance,
    relation,
    similarity,
    title,
)
from kindred.rerank.features.group import Context, Feature, FeatureGroup
from kindred.schemas.ranking import Floats

__all__ = ["FEATURES", "GROUPS", "SPECIFICATION", "Context", "Feature", "FeatureGroup", "assemble"]

GROUPS: tuple[FeatureGroup, ...] = (
    history.GROUP,
    similarity.GROUP,
    relation.GROUP,
    attributes.GROUP,
    title.GROUP,
    affinity.GROUP,
    provenance.GROUP,
    context.GROUP,
    exposure.GROUP,
)
FEATURES: tuple[str, ...] = tuple(f.name for g in GROUPS for f in g.features)
SPECIFICATION = blake2b("\n".join(FEATURES).encode(), digest_size=8).hexdigest()
"""Hash of names and order: a ranker and a feature row belong together only if it agrees."""


def assemble(asked: Context) -> Floats:
    """float32[n, F]: every group's columns for every candidate; NaN is unknown."""
    out = np.empty((len(asked.rows), len(FEATURES)), np.float32)
    start = 0
    for group in GROUPS:
        group.fill(asked, out[:, start : start + len(group.features)])
        start += len(group.features)
    return out
