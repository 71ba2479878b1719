"""The next-item question that gates a stage, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from traces import random_trace, visits

from kindred.indexer.behaviour.holdout import (
    hit_rate,
    last_items,
    table_ranks,
    vector_ranks,
    without_targets,
)
from kindred.indexer.behaviour.pairs import count_pairs
from kindred.schemas.settings import PairSettings


def test_the_last_item_is_asked_for_from_the_ones_before():
    asked = last_items(visits([0, 1, 2], [3], [4, 4], [2, 5, 6, 5]), limit=10, half_life=1.0)
    assert asked.targets.tolist() == [5, 2]
    assert asked.seeds[: asked.offsets[1]].tolist() == [2, 6]
    assert asked.seeds[asked.offsets[1] :].tolist() == [0, 1]
    assert asked.weights.tolist() == [0.5, 1, 0.5, 1]


def test_items_of_the_same_moment_weigh_the_same():
    asked = last_items(visits([0, 1, 2, 3], step=0), limit=10, half_life=1.0)
    assert asked.weights.tolist() == [1, 1, 1]


def test_only_the_newest_visits_are_asked():
    asked = last_items(visits([0, 1], [1, 2], [2, 3]), limit=2)
    assert asked.targets.tolist() == [3, 2]


def test_what_is_asked_for_is_not_learned_from():
    x = visits([0, 1, 2, 1, 2], [2, 0])
    asked = last_items(x, limit=1)
    assert asked.targets.tolist() == [0]
    rest = without_targets(x, asked)
    assert rest.row.tolist() == [0, 1, 2, 1, 2, 2]
    both = without_targets(x, last_items(x, limit=2))
    assert both.row.tolist() == [0, 1, 1, 2]


def test_ranks_equal_a_full_sort():
    x = random_trace(9, 3000, rows=40, subjects=30)
    asked = last_items(x, limit=50)
    table = count_pairs(x, 45, PairSettings(neighbours=15))
    vectors = np.random.default_rng(0).standard_normal((45, 6)).astype(np.float32)
    vectors[[3, 44]] = 0
    by_table, by_vector = table_ranks(table, asked), vector_ranks(vectors, asked)
    for q in range(len(asked)):
        own = slice(asked.offsets[q], asked.offsets[q + 1])
        seeds, weights, target = asked.seeds[own], asked.weights[own], asked.targets[q]
        score = np.zeros(45)
        for seed, weight in zip(seeds, weights, strict=True):
            near = slice(table.indptr[seed], table.indptr[seed + 1])
            score[table.rows[near]] += weight * table.scores[near]
        score[seeds] = 0
        expected = (score > score[target]).sum() if score[target] > 0 else 45
        assert by_table[q] == expected
        cosine = vectors @ (vectors[seeds] * weights[:, None]).sum(axis=0)
        cosine[[3, 44]] = -np.inf
        cosine[seeds] = -np.inf
        assert by_vector[q] == (45 if target in (3, 44) else (cosine > cosine[target]).sum())


def test_the_hit_rate_has_a_standard_error():
    assert hit_rate(np.array([0, 9, 10, 40]), 10) == (0.5, pytest.approx(0.25))
    assert hit_rate(np.zeros(0, np.int64), 10) == (0.0, 0.0)


def test_no_question_at_all_is_no_error():
    for x in (visits(), visits([1], [1, 1])):
        asked = last_items(x, limit=5)
        assert len(asked) == 0
        assert len(without_targets(x, asked)) == len(x)
        assert len(vector_ranks(np.zeros((3, 2), np.float32), asked)) == 0
        assert len(table_ranks(count_pairs(x, 3, PairSettings()), asked)) == 0
