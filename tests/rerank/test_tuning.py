"""Weights found by trials: seeded, carried on after a kill, judged against those given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from shown_lists import ITEMS, joined, shown_log

from kindred.rerank import tuning
from kindred.rerank.judged import Parts, split_lists
from kindred.rerank.training import TooLittle
from kindred.rerank.tuning import Tuned, tune_weights
from kindred.schemas.settings import JoinSettings, RankerSettings

pytest.importorskip("optuna", reason="the extra `tune` is not installed")

SETTINGS = RankerSettings(
    trees=8, learning_rate=0.3, min_data_in_leaf=20, early_stopping=8, tune_trials=6
)


@pytest.fixture(scope="module")
def parts() -> Parts:
    held = joined(shown_log(1500))
    end = held.shown.newest + 1
    return split_lists(held, end, ITEMS, SETTINGS, JoinSettings(), seed=1)


@pytest.fixture(scope="module")
def tuned(parts: Parts) -> Tuned:
    return tune_weights(parts, SETTINGS, seed=5)


def test_the_first_trials_are_the_given_weights_and_the_first_phase(tuned: Tuned):
    given, phase = tuned.trials[:2]
    assert given.weights == {
        "click": 1, "watch": 6, "cart": 15, "offer": 38, "buy_now": 8, "purchase": 15
    }  # fmt: skip
    assert given.middle_actions
    assert phase.weights["purchase"] == 150
    assert phase.weights["click"] == phase.weights["cart"] == 1
    assert not phase.middle_actions


def test_the_best_trial_and_all_others_are_in_the_report(tuned: Tuned):
    assert len(tuned.trials) == 6
    assert tuned.best.loss == min(t.loss for t in tuned.trials)
    told = tuned.report
    table = told["trials"]
    assert [row[1] for row in table["rows"]] == [t.loss for t in tuned.trials]
    assert len(table["columns"]) == len(table["rows"][0])
    assert told["given weights"] == tuned.trials[0].loss
    assert tuned.clear == (told["less the given"][2] < 0)
    for trial in tuned.trials[2:]:
        assert all(0.5 <= w <= 300 for w in trial.weights.values())
    assert len({tuple(t.weights.values()) for t in tuned.trials}) == 6
    applied = tuned.applied(SETTINGS)
    assert applied.weights["offer"] == tuned.best.weights["offer"]
    assert applied.weights["nothing"] == 1.0


def test_a_seed_repeats_it_and_another_tries_others(parts: Parts, tuned: Tuned):
    again = tune_weights(parts, SETTINGS, seed=5)
    assert again.trials == tuned.trials
    other = tune_weights(parts, SETTINGS, seed=6)
    assert other.trials[2:] != tuned.trials[2:]


class KilledError(Exception):
    pass


def test_a_killed_run_carries_on_where_it_was(
    parts: Parts, tuned: Tuned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    journal = tmp_path / "studies" / "one.jsonl"
    done = []

    def killed(number: int) -> None:
        done.append(number)
        if sum(done) == 3:
            raise KilledError

    with pytest.raises(KilledError):
        tune_weights(parts, SETTINGS, seed=5, journal=journal, on_trial=killed)
    journal.write_bytes(journal.read_bytes() + b'{"weights": {"cli')  # the kill tore it off
    tried = []
    learn = tuning._tried
    monkeypatch.setattr(tuning, "_tried", lambda *a, **kw: tried.append(1) or learn(*a, **kw))
    resumed = tune_weights(parts, SETTINGS, seed=5, journal=journal)
    assert len(tried) == 3
    assert resumed.trials == tuned.trials
    assert resumed.report == tuned.report
    again = tune_weights(parts, SETTINGS, seed=5, journal=journal)
    assert len(tried) == 3  # all are in the journal
    assert again.trials == tuned.trials


def test_with_few_purchases_weights_cannot_be_told_apart(parts: Parts):
    stopping = parts.stopping
    few = stopping.bought & (np.cumsum(stopping.bought) <= 19)
    with pytest.raises(TooLittle, match="19 purchases to tell weights apart by; it takes 20"):
        tune_weights(replace(parts, stopping=replace(stopping, bought=few)), SETTINGS, seed=1)


def test_given_weights_outside_of_what_is_tried_are_tried_as_they_are(parts: Parts):
    heavy = msgspec.structs.replace(
        SETTINGS, weights={**SETTINGS.weights, "offer": 900.0, "watch": 0.0}, tune_trials=3
    )
    found = tune_weights(parts, heavy, seed=1)
    assert found.trials[0].weights["offer"] == 900
    assert found.trials[0].weights["watch"] == 0
