"""Matrix factorisation against closed forms solved cell by cell."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from traces import random_trace, visits

from kindred.indexer.behaviour.als import AlsModel, FoldIn, cells, drop_rare, train_als
from kindred.indexer.behaviour.interactions import Interactions, action_weights
from kindred.schemas.event import ACTIONS
from kindred.schemas.settings import AlsSettings, SignalSettings

SIGNALS = SignalSettings()
SMALL = AlsSettings(embedding_size=4, iterations=5, alpha=2.0, regularization=0.3, min_events=1)


def dense_signal(x: Interactions, users: int, rows: int) -> NDArray[np.float64]:
    """r by its definition: Σ_a w_a ln(1 + count)."""
    counts = np.zeros((users, rows, len(ACTIONS)))
    for u, i, a in zip(x.subject, x.row, x.action, strict=True):
        counts[u, i, a] += 1
    return np.log1p(counts) @ action_weights(SIGNALS).astype(float)


def solve(fixed: NDArray[np.float64], c: NDArray[np.float64], p: NDArray[np.float64], lam: float):
    """Each row's minimiser of Σ c (p − x·y)² + λ|x|², over ALL its cells."""
    eye = lam * np.eye(fixed.shape[1])
    return np.array([
        np.linalg.solve((fixed.T * ci) @ fixed + eye, (fixed.T * ci) @ pi)
        for ci, pi in zip(c, p, strict=True)
    ])  # fmt: skip


def oracle(x: Interactions, users: int, rows: int, seed: int) -> tuple[NDArray, NDArray]:
    r = dense_signal(x, users, rows)
    c, p = 1 + SMALL.alpha * r / r[r > 0].mean(), (r > 0).astype(float)
    item = np.random.default_rng(seed).random((rows, 4), np.float32).astype(float) * 0.01
    user = np.zeros((users, 4))
    for _ in range(SMALL.iterations):
        user = solve(item, c, p, SMALL.regularization)
        item = solve(user, c.T, p.T, SMALL.regularization)
    return user, item


def six_by_eight() -> Interactions:
    """Every one of 6 users and 8 items occurs, with all kinds of actions and repetitions."""
    return random_trace(11, 40, rows=8, subjects=6)


def test_the_exact_solver_equals_the_normal_equations_of_the_stated_convention():
    x = six_by_eight()
    model = train_als(x, 8, SMALL, SIGNALS, seed=5, threads=1, exact=True)
    user, item = oracle(x, 6, 8, seed=5)
    assert model.present.all()
    np.testing.assert_allclose(model.items, item, atol=1e-4)
    np.testing.assert_allclose(model.users, user, atol=1e-4)


def test_conjugate_gradients_come_to_the_same_predictions():
    x = six_by_eight()
    long = AlsSettings(embedding_size=4, iterations=60, alpha=2.0, regularization=0.3, min_events=1)
    models = [train_als(x, 8, long, SIGNALS, seed=5, threads=1, exact=e) for e in (True, False)]
    exact, near = (m.users @ m.items.T for m in models)
    np.testing.assert_allclose(near, exact, atol=0.02)


def test_signals_are_weighted_by_action_and_grow_with_the_logarithm_of_the_count():
    x = visits([0, 0, 0, 0, 1], actions=["view", "view", "view", "purchase", "favourite"])
    subjects, rows, signal = cells(x, SIGNALS)
    assert subjects.tolist() == [0, 0]
    assert rows.tolist() == [0, 1]
    w = SIGNALS.weights
    expected = [w["view"] * np.log(4) + w["purchase"] * np.log(2), w["favourite"] * np.log(2)]
    assert signal == pytest.approx(expected)


def test_rare_users_and_items_are_dropped_until_none_is_left():
    # item 3 has one event; without it user 2 has one; without user 2 item 2 has one; and so on
    x = visits([0, 1, 0, 1], [0, 1, 2], [2, 3])
    kept, dropped = drop_rare(x, 2)
    assert sorted(set(kept.row.tolist())) == [0, 1]
    assert (dropped.users, dropped.items, dropped.events) == (1, 2, 3)
    assert dropped.rounds == 3
    assert drop_rare(kept, 2)[1].events == 0
    everything, _ = drop_rare(visits([0], [1]), 2)
    assert len(everything) == 0


def test_only_the_look_back_window_counts():
    x = random_trace(1, 400, rows=10, subjects=20)
    window = AlsSettings(embedding_size=4, iterations=3, look_back_days=10)
    model = train_als(x, 10, window, SIGNALS, seed=1, threads=1)
    recent = train_als(x.look_back(10), 10, window, SIGNALS, seed=1, threads=1)
    np.testing.assert_array_equal(model.items, recent.items)


def test_the_result_depends_on_the_seed_and_on_nothing_else():
    x = random_trace(2, 3000, rows=60, subjects=100)
    chosen = AlsSettings(embedding_size=8, iterations=4)
    one, two = (train_als(x, 60, chosen, SIGNALS, seed=3, threads=t).items for t in (1, 2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, train_als(x, 60, chosen, SIGNALS, seed=4, threads=1).items)


def test_items_bought_by_the_same_people_lie_together():
    crowd = [[0, 1, 2]] * 20 + [[3, 4, 5]] * 20
    model = train_als(visits(*crowd), 7, SMALL, SIGNALS, seed=0, threads=1)
    unit = model.unit()
    assert unit.dtype == np.float32
    cosine = unit @ unit.T
    assert cosine[0, 1] > 0.9
    assert cosine[0, 3] < 0.5
    assert not model.present[6]
    assert not unit[6].any()


def test_fold_in_equals_the_closed_form_of_one_more_user():
    model = train_als(random_trace(4, 900, 30, 40), 33, SMALL, SIGNALS, seed=2, threads=1)
    rows, signal = np.array([3, 8, 3, 29]), np.array([1.0, 5.0, 0.5, 2.0], np.float32)
    y = model.items.astype(float)
    a = y.T @ y + SMALL.regularization * np.eye(4)
    b = np.zeros(4)
    for row, r in zip(rows, signal, strict=True):
        a += model.slope * r * np.outer(y[row], y[row])
        b += (1 + model.slope * r) * y[row]
    np.testing.assert_allclose(FoldIn(model)(rows, signal), np.linalg.solve(a, b), atol=1e-4)


def test_fold_in_takes_many_sessions_of_any_length_and_ignores_unknown_rows():
    model = train_als(random_trace(4, 900, 30, 40), 33, SMALL, SIGNALS, seed=2, threads=1)
    fold = FoldIn(model)
    draw = np.random.default_rng(0)
    lengths = draw.integers(0, 6, 700)
    offsets = np.append(0, np.cumsum(lengths))
    rows = draw.integers(0, 30, offsets[-1])
    signal = draw.random(offsets[-1]).astype(np.float32)
    many = fold.many(offsets, rows, signal)
    assert many.shape == (700, 4)
    for q in (0, 1, 511, 512, 699):
        own = slice(offsets[q], offsets[q + 1])
        np.testing.assert_allclose(many[q], fold(rows[own], signal[own]), atol=1e-5)
    alone = fold(np.array([3]), np.ones(1, np.float32))
    noisy = fold(np.array([-1, 3, 32, 9999]), np.ones(4, np.float32))
    np.testing.assert_allclose(noisy, alone, atol=1e-6)
    assert not fold(np.array([32]), np.ones(1, np.float32)).any()


def test_a_kept_model_folds_in_as_before():
    model = train_als(random_trace(4, 900, 30, 40), 30, SMALL, SIGNALS, seed=2, threads=1)
    again = AlsModel.load(model.arrays())
    query = (np.array([1, 2]), np.ones(2, np.float32))
    np.testing.assert_array_equal(FoldIn(again)(*query), FoldIn(model)(*query))


def test_nothing_to_learn_from_is_a_model_of_nothing():
    model = train_als(visits([0], [1]), 3, AlsSettings(), SIGNALS, seed=0, threads=1)
    assert not model.present.any()
    assert not model.unit().any()
    assert not FoldIn(model)(np.array([0]), np.ones(1, np.float32)).any()
