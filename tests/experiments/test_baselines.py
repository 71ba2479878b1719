"""The strongest simple baselines, counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_market import small_items
from traces import visits

from kindred.experiments.baselines import make_baselines
from kindred.indexer.behaviour.users import NOBODY, user_keys
from kindred.indexer.columns import Columns
from kindred.indexer.store.exact import ExactStore
from kindred.retrieval.plan import FilterPlanner
from kindred.retrieval.queries import make_queries
from kindred.retrieval.sources import Corpus
from kindred.schemas.settings import PlanSettings

OWN = "visitor's own items"


@pytest.fixture
def corpus() -> Corpus:
    columns = Columns(8)
    columns.apply(np.arange(8), small_items([f"i{n}" for n in range(8)]))
    exact = ExactStore(columns, {})
    planner = FilterPlanner(columns, PlanSettings())
    return Corpus(columns=columns, tables={}, store=exact, exact=exact, planner=planner)


def test_a_visitor_gets_what_they_had_most_often_and_a_stranger_nothing(corpus: Corpus):
    log = visits([1, 2, 2, 3], [4, 4, 1], [5, 5])
    log = replace(log, users=np.append(user_keys(["ann", "bo"]), np.uint64(NOBODY)))
    seeds = [[3], [1], [5], [1], [2]]
    queries = make_queries(
        corpus.columns,
        np.arange(len(seeds) + 1),
        np.concatenate(seeds),
        now=1,
        half_life=3.0,
        users=user_keys(["ann", "bo", None, "cy", "ann"]),
    )
    found = make_baselines(log, corpus)[OWN](queries, 1)
    told = {q: found.rows[found.queries == q].tolist() for q in range(len(seeds))}
    # What is asked about is no answer: ann, who asks about 2, gets one of the others.
    assert told[0] == [2]
    assert told[1] == [4]
    assert told[2] == []
    assert told[3] == []
    assert told[4] in ([1], [3])


def test_a_log_without_users_has_no_such_baseline(corpus: Corpus):
    assert OWN not in make_baselines(visits([1, 2], [2, 3]), corpus)
