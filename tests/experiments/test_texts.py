"""Text spaces compared on one table."""

from __future__ import annotations

import numpy as np
import pytest
from traces import visits

from kindred.experiments.texts import agreement, compare_texts
from kindred.indexer.behaviour.holdout import last_items

ROWS = 60
SHELF = (np.arange(ROWS) // 10).astype(np.int32)


def space(noise: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Vectors that tell the shelf, but for noise."""
    draw = np.random.default_rng(seed)
    centres = np.eye(6, 12)[SHELF]
    vectors = centres + noise * draw.standard_normal((ROWS, 12))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit, np.ones(ROWS, bool)


def questions():
    draw = np.random.default_rng(2)
    log = visits(*((draw.permutation(10)[:3] + 10 * draw.integers(6)).tolist() for _ in range(300)))
    return last_items(log, 300)


def test_the_space_that_knows_who_goes_with_whom_serves():
    spaces = {"text": space(2.0), "text_tuned": space(0.1)}
    compared = compare_texts(spaces, questions(), SHELF, np.arange(ROWS), np.arange(ROWS))
    base, tuned = compared.rows
    assert base.measures["HR@10"].gain == 0
    figure = tuned.measures["HR@10"]
    assert figure.mean > 0.9
    assert figure.gain == pytest.approx(figure.mean - base.measures["HR@10"].mean, abs=2e-5)
    assert figure.gain > figure.gain_within > 0
    assert compared.verdict.startswith("text_tuned serves")
    assert tuned.measures["category@10"].mean > base.measures["category@10"].mean


def test_a_space_no_better_does_not_serve():
    spaces = {"text": space(1.0), "text_classifier": space(1.0)}
    compared = compare_texts(spaces, questions(), SHELF, np.arange(ROWS), np.arange(ROWS))
    assert compared.verdict.startswith("text serves")
    none = last_items(visits([1, 2]), 0)
    nobody = compare_texts(spaces, none, SHELF, np.arange(ROWS), np.arange(0))
    assert "no visit was asked about" in nobody.verdict


def test_shares_of_neighbours_by_brute_force():
    vectors, _ = space(0.5, seed=7)
    vectors[5] = 0
    category = SHELF.copy()
    category[8] = -1
    text_of = np.arange(ROWS)
    text_of[11] = 10
    asked = np.array([0, 10, 11, 42])
    wanted = []
    for row in asked:
        others = [
            r for r in range(ROWS)
            if category[r] >= 0 and r != 5 and r != 11 and text_of[r] != text_of[row]
        ]  # fmt: skip
        near = sorted(others, key=lambda r: -float(vectors[r] @ vectors[row]))[:10]
        wanted.append(np.mean([category[r] == category[row] for r in near]))
    np.testing.assert_allclose(agreement(vectors, category, text_of, asked), wanted)
