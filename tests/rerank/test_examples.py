"""Sessions cut in two: nothing that is held out is among what was seen."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kindred.indexer.behaviour.interactions import Interactions
from kindred.rerank.examples import LATER, NEXT, cut_sessions


def interactions(events: list[tuple[int, int, int]]) -> Interactions:
    """From (session, row, ts), in order of time."""
    events = sorted(events, key=lambda e: e[2])
    column = np.array(events, np.int64).reshape(-1, 3)
    return Interactions(
        subject=column[:, 0].astype(np.int32),
        session=column[:, 0].astype(np.int32),
        row=column[:, 1],
        action=np.zeros(len(events), np.int16),
        ts=column[:, 2],
        subjects=np.arange(100, dtype=np.uint64),
    )


def test_the_last_item_is_held_out_and_short_sessions_are_left_out():
    examples = cut_sessions(interactions([(0, 5, 1), (0, 6, 2), (0, 7, 3), (1, 9, 4)]), rng=None)
    assert examples.seeds.tolist() == [5, 6]
    assert examples.followed.tolist() == [7]
    assert examples.now.tolist() == [2]


def test_an_item_seen_before_does_not_follow_unless_repeats_may():
    log = interactions([(0, 5, 1), (0, 6, 2), (0, 5, 3)])
    assert len(cut_sessions(log, rng=None)) == 0
    assert cut_sessions(log, rng=None, repeats=True).followed.tolist() == [5]


def test_the_next_moment_counts_more_than_what_is_later():
    log = interactions([(0, 1, 1), (0, 2, 2), (0, 3, 2), (0, 4, 9)])
    rng = np.random.default_rng(0)
    while True:
        examples = cut_sessions(log, rng=rng)
        if len(examples.seeds) == 1:
            break
    assert dict(zip(examples.followed.tolist(), examples.grades.tolist(), strict=True)) == {
        2: NEXT,
        3: NEXT,
        4: LATER,
    }


def test_a_widget_query_keeps_only_the_newest_seed():
    log = interactions([(0, r, r) for r in range(1, 9)])
    examples = cut_sessions(log, rng=np.random.default_rng(3), single_seed_share=1.0)
    assert len(examples.seeds) == 1
    assert examples.followed.min() == examples.seeds[0] + 1


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 30)), max_size=40),
    st.integers(0, 5),
    st.booleans(),
)
def test_seeds_come_before_what_follows_and_nothing_is_invented(events, seed, repeats):
    log = interactions(events)
    examples = cut_sessions(log, rng=np.random.default_rng(seed), repeats=repeats)
    happened = {(int(s), int(r)) for s, r in zip(log.session, log.row, strict=True)}
    for q in range(len(examples)):
        one = examples.take(np.array([q]))
        who = int(one.subject[0])
        assert len(one.seeds)
        assert len(one.followed)
        assert all((who, int(r)) in happened for r in [*one.seeds, *one.followed])
        if not repeats:
            assert not set(one.seeds.tolist()) & set(one.followed.tolist())
        assert len(set(one.followed.tolist())) == len(one.followed)
    assert np.all(np.diff(examples.now) >= 0)
