"""The question itself: how long the session is, when it is asked."""

from __future__ import annotations

import numpy as np

from kindred.rerank.features.group import Context, FeatureGroup, gather, table
from kindred.schemas.clock import DAY, HOUR
from kindred.schemas.ranking import Floats


def fill(context: Context, out: Floats) -> None:
    """See `GROUP`."""
    queries, owners = context.queries, context.owners
    out[:, 0] = queries.lengths[owners]
    out[:, 1] = ((queries.now % DAY) // HOUR)[owners]
    out[:, 2] = ((queries.now // DAY + 4) % 7)[owners]
    history = context.corpus.history
    if history is None:
        out[:, 3] = np.nan
        return
    seed = queries.anchor.row
    popularity = gather(history.popularity, np.maximum(seed, 0))
    out[:, 3] = np.where(seed >= 0, np.log1p(popularity), np.nan)[owners]


GROUP = FeatureGroup(
    "context",
    table(
        seeds="number of seeds",
        hour="hour of the day, UTC",
        weekday="day of the week, 0 = Sunday",
        seed_popularity="ln(1 + decayed popularity) of the newest seed",
    ),
    fill,
)
