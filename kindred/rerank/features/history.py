"""What happened to a candidate before: counts, rates, popularity, age."""

from __future__ import annotations

import numpy as np

from kindred.indexer.behaviour.history import MEANINGS, NAMES
from kindred.rerank.features.group import Context, FeatureGroup, table
from kindred.schemas.clock import DAY
from kindred.schemas.ranking import Floats


def fill(context: Context, out: Floats) -> None:
    """The history's own columns, then the listing's age at the time of the question."""
    history, rows = context.corpus.history, context.rows
    if history is None:
        out[:, :-1] = np.nan
    else:
        out[:, :-1] = history.gather(rows)
    created = context.corpus.columns.created[rows]
    age = (context.queries.now[context.owners] - created) / DAY
    out[:, -1] = np.where((created > 0) & (age >= 0), age, np.nan)


GROUP = FeatureGroup(
    "history",
    table(**{name: MEANINGS[name] for name in NAMES}, age_days="days since it was listed"),
    fill,
)
