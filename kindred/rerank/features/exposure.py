"""How a candidate did where it was shown: counts, smoothed rates, clicks over expected clicks."""

from __future__ import annotations

import numpy as np

from kindred.indexer.behaviour.exposure import MEANINGS, NAMES
from kindred.rerank.features.group import Context, FeatureGroup, table
from kindred.schemas.ranking import Floats


def fill(context: Context, out: Floats) -> None:
    """The exposure's own columns."""
    exposure = context.corpus.exposure
    out[:] = np.nan if exposure is None else exposure.gather(context.rows)


GROUP = FeatureGroup("exposure", table(**{name: MEANINGS[name] for name in NAMES}), fill)
