"""Ragged arithmetic against plain loops."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kindred.retrieval.segments import (
    last_of,
    offsets_of,
    owners_of,
    ranks_within,
    segment_sum,
    unit,
)

lengths = st.lists(st.integers(0, 5), max_size=12)


@given(lengths)
def test_sums_and_last_entries_agree_with_a_loop_also_for_empty_segments(sizes):
    offsets = offsets_of(np.array(sizes, np.int64))
    values = np.arange(offsets[-1], dtype=np.int64) * 3 + 1
    parts = [values[a:b] for a, b in itertools.pairwise(offsets)]
    assert segment_sum(values, offsets).tolist() == [p.sum() for p in parts]
    assert last_of(values, offsets, -1).tolist() == [p[-1] if len(p) else -1 for p in parts]
    assert owners_of(offsets).tolist() == [i for i, p in enumerate(parts) for _ in p]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 5)), max_size=30))
def test_ranks_count_the_better_entries_of_the_same_owner(pairs):
    owners = np.array([p[0] for p in pairs], np.int64)
    key = np.array([p[1] for p in pairs], np.int64)
    order, ranks = ranks_within(owners, key)
    assert sorted(order.tolist()) == list(range(len(pairs)))
    for at, rank in zip(order, ranks, strict=True):
        better = (owners == owners[at]) & (key > key[at])
        ties = (owners == owners[at]) & (key == key[at]) & (np.arange(len(key)) < at)
        assert rank == better.sum() + ties.sum()


def test_unit_keeps_a_zero_row_zero():
    out = unit(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32))
    assert np.allclose(out, [[0.6, 0.8], [0.0, 0.0]])
