"""A trail tells where a row stood behind each stage, and what took it."""

from __future__ import annotations

import numpy as np

from kindred.rerank.trail import Trail
from kindred.retrieval.sources import SOURCES
from kindred.schemas.ranking import Candidates


def listed(*rows: int) -> Candidates:
    n = len(rows)
    return Candidates.unfound(np.array([0, n]), np.array(rows, np.int64), len(SOURCES))


def test_places_are_told_as_far_down_as_a_row_came():
    trail = Trail()
    trail.note("merge", listed(5, 7, 9), mismatch=np.array([4]))
    trail.note("rank", listed(9, 5, 7))
    trail.note("rules", listed(9, 7), **{"rule:no fives": np.array([5])})
    assert trail.places(9) == {"merge": 3, "rank": 1, "rules": 1}
    assert trail.places(5) == {"merge": 1, "rank": 2}
    assert trail.places(4) == {}


def test_a_step_names_the_rule_that_took_a_row_and_keeps_no_idle_ones():
    trail = Trail()
    trail.note("blend", listed(1, 2), seller_cap=np.array([2]), floor=np.zeros(0, np.int64))
    step = trail.step("blend")
    assert step is not None
    assert step.lost_to(2) == "seller_cap"
    assert step.lost_to(1) is None
    assert set(step.lost) == {"seller_cap"}
    assert trail.step("rank") is None
