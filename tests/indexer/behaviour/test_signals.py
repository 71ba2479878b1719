"""Weights of actions against a count by hand, and what the factors make of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from traces import random_trace, visits

from kindred.indexer.behaviour.interactions import Interactions, action_weights
from kindred.indexer.behaviour.signals import (
    BOUNDS,
    CONVERSIONS,
    PSEUDO_HITS,
    WITHIN,
    count_conversions,
    counted_signals,
    judged,
    make_signals,
    with_weights,
)
from kindred.indexer.behaviour.stages import behaviour_stages
from kindred.indexer.models import Artefact, ModelStore
from kindred.indexer.stage_run import run_stages
from kindred.schemas.clock import HOUR
from kindred.schemas.event import ACTION_CODE, ACTIONS
from kindred.schemas.model import Gate
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import AlsSettings, KindredSettings, SignalSettings

SIGNALS = SignalSettings()
CONVERTS = {ACTION_CODE[a.value] for a in CONVERSIONS}
VIEW, FAVOURITE = ACTION_CODE["view"], ACTION_CODE["favourite"]


def leading(n: int = 6_000) -> Interactions:
    """Favourites lead to a message within the hour in three of ten cases, views in three of 100."""
    draw = np.random.default_rng(2)
    x = random_trace(1, n, rows=80, subjects=300)
    action = np.where(draw.random(n) < 0.2, FAVOURITE, VIEW).astype(np.int16)
    writes = draw.random(n) < np.where(action == FAVOURITE, 0.3, 0.03)
    both = np.r_[np.arange(n), np.flatnonzero(writes)]
    ts = x.ts[both] + np.r_[np.zeros(n, int), np.full(writes.sum(), HOUR // 2)]
    told = np.r_[action, np.full(writes.sum(), ACTION_CODE["send_message"])]
    order = np.argsort(ts, kind="stable")
    made = x.take(both[order])
    return replace(made, ts=ts[order], action=told[order].astype(np.int16))


def by_hand(log: Interactions, until: int) -> tuple[np.ndarray, np.ndarray]:
    done, hits = np.zeros(len(ACTIONS), int), np.zeros(len(ACTIONS), int)
    of_pair = defaultdict(list)
    for n in range(len(log)):
        of_pair[log.subject[n], log.row[n]].append(n)
    for members in of_pair.values():
        for n in members:
            if log.ts[n] + WITHIN > until:
                continue
            later = [
                m for m in members
                if log.action[m] in CONVERTS and 0 <= log.ts[m] - log.ts[n] <= WITHIN
            ]  # fmt: skip
            done[log.action[n]] += 1
            hits[log.action[n]] += bool(later)
    return done, hits


@pytest.mark.parametrize("log", [random_trace(3, 4_000, rows=9, subjects=12), leading()])
def test_counts_are_those_by_hand(log: Interactions):
    until = int(log.ts[-1]) + 1
    counted = count_conversions(log, until)
    done, hits = by_hand(log, until)
    np.testing.assert_array_equal(counted.done, done)
    np.testing.assert_array_equal(counted.hits, hits)
    assert 0 < done.sum() < len(log)


def test_what_leads_to_messages_ten_times_as_often_weighs_ten_times_as_much():
    log = leading()
    made = make_signals(log, int(log.ts[-1]) + 1, SIGNALS)
    assert made.passed
    weights = made.arrays["weights"]
    assert weights[VIEW] == 1
    assert 5 < weights[FAVOURITE] < 12
    row = next(r for r in made.metrics["weights"] if r["action"] == "favourite")
    assert (row["given"], row["n"] > 1_000) == (4, True)
    assert 5 < row["counted"] < 12
    counted = weights[action_weights(SIGNALS) > 0]
    assert counted.min() >= BOUNDS[0]
    assert counted.max() <= BOUNDS[1]


def test_the_weight_is_the_mean_of_the_gamma_that_the_count_leaves():
    log = leading()
    counted = count_conversions(log, int(log.ts[-1]) + 1)
    given = action_weights(SIGNALS)
    share = counted.hits[VIEW] / counted.done[VIEW]
    # Mean of Gamma(s + hits, rate s / g + n p), by summing its density.
    shape = PSEUDO_HITS + counted.hits[FAVOURITE]
    rate = PSEUDO_HITS / given[FAVOURITE] + counted.done[FAVOURITE] * share
    grid = np.linspace(1e-3, 40, 400_000)
    log_density = (shape - 1) * np.log(grid) - rate * grid
    density = np.exp(log_density - log_density.max())
    mean = (grid * density).sum() / density.sum()
    assert counted.weights(given)[FAVOURITE] == pytest.approx(mean, rel=1e-3)
    assert counted.weights(given)[ACTION_CODE["place_bid"]] == given[ACTION_CODE["place_bid"]]


def test_an_action_without_a_weight_stays_without_one():
    log = leading()
    silent = SignalSettings(weights={"view": 1.0, "send_message": 10.0})
    weights = make_signals(log, int(log.ts[-1]) + 1, silent).arrays["weights"]
    assert weights[FAVOURITE] == 0


@pytest.mark.parametrize(
    ("log", "why"),
    [
        (visits([1, 2], [2, 3], actions=["purchase"] * 4), "nothing but purchase"),
        (visits([1, 2], actions=["favourite", "purchase"]), "no views"),
        (random_trace(3, 400, rows=500, subjects=400), "it takes 100"),
        (visits(), "nothing"),
    ],
)
def test_a_log_that_says_too_little_leaves_the_given_weights(log: Interactions, why: str):
    made = make_signals(log, int(log.ts.max(initial=0)) + 3 * WITHIN, SIGNALS)
    assert not made.passed
    assert why in made.reason
    np.testing.assert_array_equal(made.arrays["weights"], action_weights(SIGNALS))


def factors(log: Interactions, settings: KindredSettings, artefact: Artefact | None) -> np.ndarray:
    [als] = [
        stage
        for stage in behaviour_stages(
            log, 80, int(log.ts[-1]) + 1, settings, {"events": "e"}, threads=1
        )
        if stage.name == "als"
    ]
    needs = {} if artefact is None else {"signals": artefact}
    return als.make(needs, SilentProgress()).arrays["items"]


def trained_signals(tmp_path: Path, log: Interactions, settings: KindredSettings) -> Artefact:
    store = ModelStore(tmp_path)
    stages = behaviour_stages(log, 80, int(log.ts[-1]) + 1, settings, {"events": "e"}, threads=1)
    rows = run_stages(
        stages, store, seed=7, progress=SilentProgress(), clock=lambda: 1, only=["signals"]
    )
    return store.load("signals", rows[0].version)


def test_the_factors_are_made_with_the_counted_weights_that_passed_their_gate(tmp_path: Path):
    log = leading()
    small = KindredSettings(als=AlsSettings(embedding_size=4, iterations=3))
    made = trained_signals(tmp_path, log, small)
    told = with_weights(SIGNALS, made.arrays["weights"])
    gate = Gate(passed=True, reason="")
    passed = replace(made, card=msgspec.structs.replace(made.card, gate=gate))
    by_stage = factors(log, small, passed)
    named = factors(log, msgspec.structs.replace(small, signals=told), None)
    np.testing.assert_allclose(by_stage, named, atol=1e-6)
    assert not np.allclose(by_stage, factors(log, small, None), atol=1e-3)


def test_counted_weights_that_make_no_better_factors_are_not_in_use(tmp_path: Path):
    # Views and favourites of one visitor lie in the same group of items: weights change little.
    log = leading()
    made = trained_signals(
        tmp_path, log, KindredSettings(als=AlsSettings(embedding_size=4, iterations=3))
    )
    assert not made.card.gate.passed
    assert "against the given weights" in made.card.gate.reason
    assert counted_signals(SIGNALS, made) == SIGNALS


def test_the_gate_takes_a_lead_beyond_chance():
    made = make_signals(log := leading(), int(log.ts[-1]) + 1, SIGNALS)
    asked, ahead = np.zeros(1000, bool), np.arange(1000) < 30
    assert judged(made, ahead, asked).passed
    assert not judged(made, asked, ahead).passed
    assert not judged(made, np.arange(1000) < 3, asked).passed
    assert not judged(made, asked[:0], asked[:0]).passed
