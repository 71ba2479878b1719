"""The question itself: how long the session is, when it is asked.

The same for all candidates of a query, so it orders nothing alone; trees meet it with others.
"""

from __future__ import annotations

import numpy as np

from kindred.rerank.features.group import Context, Feature, FeatureGroup, gather
from kindred.schemas.clock import DAY, HOUR
from kindred.schemas.ranking import Floats


def fill(context: Context, out: Floats) -> None:
    """See `GROUP`."""
    queries, of_query = context.queries, context.of_query
    out[:, 0] = of_query(queries.lengths)
    out[:, 1] = of_query((queries.now % DAY) // HOUR)
    out[:, 2] = of_query((queries.now // DAY + 4) % 7)
    history = context.corpus.history
    if history is None:
        out[:, 3] = np.nan
        return
    seed = queries.anchor.row
    popularity = gather(history.popularity, np.maximum(seed, 0))
    out[:, 3] = of_query(np.where(seed >= 0, np.log1p(popularity), np.nan))


GROUP = FeatureGroup(
    "context",
    (
        Feature(
            "seeds", "number of seeds", "count", "session",
            "a long session tells more by its mean, a widget's one seed by itself",
        ),
        Feature(
            "hour", "hour of the day, UTC", "hours", "clock",
            "what people look for in the evening is not what they buy at noon",
        ),
        Feature(
            "weekday", "day of the week, 0 = Sunday", "days", "clock",
            "weekends are for browsing, and for other goods",
        ),
        Feature(
            "seed_popularity", "ln(1 + decayed popularity) of the newest seed", "ln points",
            "history", "a bestseller as seed says less of taste than a rare item",
        ),
    ),
    fill,
)  # fmt: skip
