"""What happened to a candidate before: counts, rates, popularity, age (B4, item history)."""

from __future__ import annotations

import numpy as np

from kindred.indexer.behaviour.history import MEANINGS, NAMES
from kindred.rerank.features.group import Context, Feature, FeatureGroup, places
from kindred.schemas.clock import DAY
from kindred.schemas.ranking import Floats


def fill(context: Context, out: Floats) -> None:
    """Columns of the history, then the listing's age at the time of the question."""
    history, rows = context.corpus.history, context.rows
    if history is None:
        out[:, :-1] = np.nan
    else:
        out[:, :-1] = history.gather(rows)[:, PLACES]
    created = context.corpus.columns.created.take(rows)
    age = (context.of_query(context.queries.now) - created) / DAY
    out[:, -1] = np.where((created > 0) & (age >= 0), age, np.nan)


def _of(name: str, unit: str, why: str) -> Feature:
    return Feature(name, MEANINGS[name], unit, "events", why)


FROM_HISTORY = (
    _of("views_1d", "count", "what is looked at today"),
    _of("views_7d", "count", "what is looked at this week"),
    _of("views_30d", "count", "what is looked at at all"),
    _of("interest_30d", "count", "saved and watched: wanted, not only opened"),
    _of("contacts_30d", "count", "sellers were written to: the sale of a classified"),
    _of("carts_30d", "count", "wanted at its price"),
    _of("purchases_7d", "count", "what sells now"),
    _of("purchases_30d", "count", "what sells"),
    _of("purchases_all", "count", "what has always sold, where months say little"),
    _of("subjects", "people", "wanted by many, or by one many times"),
    _of("popularity", "points", "one figure of all actions by worth and age"),
    _of("trend", "ln ratio", "rising or falling"),
    _of("last_days", "days", "forgotten, or of this hour"),
    _of("click_rate", "share", "appeal where the log has impressions, whatever the exposure"),
    _of("purchase_rate", "share", "who looks, buys: the opposite of clickbait"),
    _of("click_rate_7d", "share", "the same while the week's price and season hold"),
    _of("purchase_rate_30d", "share", "the same of late"),
)
PLACES = places(NAMES, FROM_HISTORY)
GROUP = FeatureGroup(
    "history",
    (
        *FROM_HISTORY,
        Feature(
            "age_days", "days since it was listed", "days", "catalogue, clock",
            "a new listing has no history to be judged by, an old one has been passed over",
        ),
    ),
    fill,
)  # fmt: skip
