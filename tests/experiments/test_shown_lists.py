"""Orders of shown lists: what makes them knows nothing of what came after the split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from shown_lists import ITEMS, START, joined, shown_log

from kindred.experiments.shown_lists import RANKER, Split, orders_of, read_split
from kindred.indexer.behaviour.impressions import NEVER, PURCHASE, Impressions
from kindred.rerank.features import FEATURES
from kindred.rerank.logged import JoinedLog
from kindred.schemas.clock import DAY
from kindred.schemas.progress import SilentProgress
from kindred.schemas.ranking import Doubles
from kindred.schemas.settings import KindredSettings, RankerSettings

SETTINGS = KindredSettings(ranker=RankerSettings(trees=30, learning_rate=0.15, min_data_in_leaf=20))
QUIET = SilentProgress()
MOMENT = START + 10 * DAY


def another_future(shown: Impressions) -> Impressions:
    """Other outcomes from MOMENT on, also of what was shown before; the newest moment stays."""
    rng = np.random.default_rng(2)
    outcomes = shown.outcomes.copy()
    later = (outcomes >= MOMENT) & (outcomes != shown.newest)
    outcomes[later] = NEVER
    bought = (outcomes[:, PURCHASE] == NEVER) & (rng.random(len(shown)) < 0.1)
    outcomes[bought] = np.minimum(outcomes[bought], np.maximum(shown.ts[bought], MOMENT)[:, None])
    return replace(shown, outcomes=outcomes)


def ordered(held: JoinedLog) -> tuple[dict[str, Doubles], Split]:
    read = read_split(held, MOMENT, ITEMS, SETTINGS, 10_000, lambda done: None)
    return orders_of(read, SETTINGS, 1, QUIET)[0], read


def test_only_the_labels_of_the_judged_lists_are_of_later():
    held = joined(shown_log(1500))
    orders, read = ordered(held)
    others, other = ordered(replace(held, shown=another_future(held.shown)))
    assert {RANKER, "ranker, binary"} <= orders.keys()
    assert orders.keys() == others.keys()
    for name, scores in orders.items():
        np.testing.assert_array_equal(scores, others[name])
    assert read.known.order.report == other.known.order.report
    later, changed = read.later, other.later
    np.testing.assert_array_equal(later.lists.features, changed.lists.features)
    assert not np.isnan(later.lists.features[:, FEATURES.index("shown_coec")]).any()
    assert later.bought.sum() != pytest.approx(changed.bought.sum(), rel=0.2)
