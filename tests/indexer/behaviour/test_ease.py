"""Linear weights between items: the closed form against regressions solved one by one."""

from __future__ import annotations

import numpy as np
import pytest

from kindred.indexer.behaviour.ease import (
    Choice,
    EaseTable,
    choose,
    ease_weights,
    frequent,
    gram_of,
    largest,
    memberships,
    train_ease,
)
from kindred.indexer.behaviour.holdout import gate_questions, last_items, without_targets
from kindred.indexer.behaviour.interactions import Interactions
from kindred.schemas.settings import EaseSettings


def log_of(visits: list[list[int]], visitors: list[int] | None = None) -> Interactions:
    """One visit after the other, an action a second."""
    lengths = [len(v) for v in visits]
    subject = np.repeat(visitors if visitors is not None else np.arange(len(visits)), lengths)
    count = sum(lengths)
    return Interactions(
        subject=subject.astype(np.int32),
        session=np.repeat(np.arange(len(visits)), lengths).astype(np.int32),
        row=np.concatenate(visits).astype(np.int64),
        action=np.zeros(count, np.int16),
        ts=np.arange(count, dtype=np.int64) * 1_000_000,
        subjects=np.arange(int(subject.max()) + 1, dtype=np.uint64),
    )


def drawn(seed: int, visits: int = 60, items: int = 9) -> Interactions:
    """Visits of a few items each."""
    rng = np.random.default_rng(seed)
    return log_of(
        [rng.choice(items, rng.integers(2, 5), replace=False).tolist() for _ in range(visits)]
    )


@pytest.mark.parametrize("penalty", [0.5, 4.0, 60.0])
def test_closed_form_is_ridge_regression_of_each_item_on_the_others(penalty: float) -> None:
    log = drawn(1)
    held = memberships(log, 9, "visit").toarray().astype(np.float64)
    found = ease_weights(gram_of(log, 9, np.arange(9), "visit"), penalty)
    for item in range(9):
        others = np.delete(np.arange(9), item)
        inputs = held[:, others]
        solved = np.linalg.solve(inputs.T @ inputs + penalty * np.eye(8), inputs.T @ held[:, item])
        np.testing.assert_allclose(found[others, item], solved, rtol=2e-4, atol=2e-5)
    assert not np.diag(found).any()


def test_the_table_holds_the_largest_positive_weights_best_first() -> None:
    log = drawn(2, items=12)
    items = np.array([0, 2, 3, 5, 7, 8, 11])
    weights = ease_weights(gram_of(log, 12, items, "visit"), 1.0)
    table = largest(weights, items, 12, 3, np.zeros(12, np.int64))
    for row in range(12):
        _, rows, scores = table.lookup(np.array([row]), 10)
        if row not in items:
            assert not len(rows)
            continue
        own = weights[np.flatnonzero(items == row)[0]]
        order = [j for j in np.argsort(-own, kind="stable") if own[j] > 0][:3]
        assert rows.tolist() == items[order].tolist()
        np.testing.assert_array_equal(scores, own[order])


def test_only_the_most_frequent_items_take_part() -> None:
    log = log_of([[0, 1, 2], [0, 1, 3], [0, 1, 2], [4, 2]])
    assert frequent(log, 6, 3).tolist() == [0, 1, 2]
    assert frequent(log, 6, 100).tolist() == [0, 1, 2, 3, 4]
    made = train_ease(log, 6, EaseSettings(items=3), Choice(1.0, "visit", recent=True))
    assert set(made.table.rows.tolist()) <= {0, 1, 2}
    assert made.table.support.tolist() == [3, 3, 3, 1, 1, 0]


def test_arrays_bring_the_table_back() -> None:
    made = train_ease(drawn(3), 9, EaseSettings(), Choice(1.0, "visit", recent=False))
    again = EaseTable.load(made.arrays())
    assert not again.recent
    np.testing.assert_array_equal(again.table.rows, made.table.rows)
    np.testing.assert_array_equal(again.table.scores, made.table.scores)


def paired_visits(visits: int) -> list[list[int]]:
    """Items 2n and 2n + 1 go together, among some that go with everything."""
    rng = np.random.default_rng(5)
    listed = []
    for _ in range(visits):
        first = 2 * int(rng.integers(0, 15))
        listed.append([30 + int(rng.integers(0, 3)), first, first + 1])
    return listed


def test_the_choice_is_made_on_answers_that_were_not_learned() -> None:
    log = log_of(paired_visits(3_000))
    questions = gate_questions(log, 33)
    rest = without_targets(log, questions)
    choice, facts = choose(rest, questions, 33, EaseSettings())
    assert choice.by == "visitor"  # each visitor came once: there is nothing to choose
    assert facts["tried"] == 8
    assert facts["penalty"] == choice.penalty
    made = train_ease(rest, 33, EaseSettings(), choice)
    _, rows, _ = made.table.lookup(np.array([0, 8]), 1)
    assert rows.tolist() == [1, 9]


def test_visits_that_hold_one_item_leave_what_visitors_did() -> None:
    rng = np.random.default_rng(7)
    visitors = np.sort(rng.integers(0, 200, 2_000))
    kind = visitors % 10
    visits = [[int(k * 3 + rng.integers(0, 3))] for k in kind]
    log = log_of(visits, visitors.tolist())
    choice, _ = choose(log, last_items(log, 0), 30, EaseSettings())
    made = train_ease(log, 30, EaseSettings(), Choice(choice.penalty, "visitor", recent=True))
    _, rows, _ = made.table.lookup(np.array([0]), 2)
    assert set(rows.tolist()) == {1, 2}
    alone = train_ease(log, 30, EaseSettings(), Choice(choice.penalty, "visit", recent=True))
    assert not len(alone.table.rows)


def test_an_empty_log_has_an_empty_table() -> None:
    log = drawn(1).take(slice(0, 0))
    choice, _ = choose(log, last_items(log, 10), 5, EaseSettings())
    made = train_ease(log, 5, EaseSettings(), choice)
    assert made.table.indptr.tolist() == [0] * 6
