"""How a candidate did where it was shown: counts, smoothed rates, clicks over expected clicks.

Of the item, and of the item beside this seed. Where it stood enters only through what was to be
expected there; its position of now is no feature.
"""

from __future__ import annotations

import numpy as np

from kindred.indexer.behaviour.exposure import MEANINGS, NAMES
from kindred.rerank.features.group import Context, Feature, FeatureGroup, places
from kindred.schemas.ranking import Floats


def fill(context: Context, out: Floats) -> None:
    """Columns of the exposure, then the pair's."""
    exposure, pairs = context.corpus.exposure, context.corpus.pair_exposure
    if exposure is None:
        out[:, :-1] = np.nan
    else:
        out[:, :-1] = exposure.gather(context.rows)[:, PLACES]
    if pairs is None:
        out[:, -1] = np.nan
    else:
        out[:, -1] = pairs.lookup(context.queries.anchor.row[context.owners], context.rows)


def _of(name: str, unit: str, why: str) -> Feature:
    return Feature(name, MEANINGS[name], unit, "joined impressions", why)


FROM_EXPOSURE = (
    _of("shown_times_7d", "count", "how much this week's rates rest on"),
    _of("shown_times_30d", "count", "how much the rates rest on"),
    _of("shown_clicks_7d", "count", "clicked this week"),
    _of("shown_watches_30d", "count", "saved after being shown"),
    _of("shown_carts_30d", "count", "taken after being shown"),
    _of("shown_offers_30d", "count", "bargained for after being shown"),
    _of("shown_purchases_30d", "count", "bought after being shown"),
    _of("shown_ctr_1d", "share", "appeal today"),
    _of("shown_ctr_7d", "share", "appeal this week"),
    _of("shown_ctr", "share", "appeal"),
    _of("shown_cvr", "share", "clicks that end in a purchase: the opposite of clickbait"),
    _of("shown_coec", "ratio", "appeal, whatever place it was given"),
)
PLACES = places(NAMES, FROM_EXPOSURE)
PAIR = Feature(
    "pair_coec",
    "clicks over those expected at its positions beside the newest seed, 30d, smoothed to 1",
    "ratio", "joined impressions", "this item is clicked beside that one: a fit, not an appeal",
)  # fmt: skip
GROUP = FeatureGroup("exposure", (*FROM_EXPOSURE, PAIR), fill)
