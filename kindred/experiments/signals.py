"""Rich signals (SPEC A1, F3-F5): factors of all actions against factors of views alone.

The questions are about what came after a moment, and are the same for all: `user → item`, which
item that is new to them does a visitor come to next; `item → item`, the last item of a visit from
those before it. Beside what people looked at it is asked what they converted on: a message, a
contact, a purchase. The filter of rare users and items (A2, F5) is judged on the users it keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from kindred.experiments.simulated import SIMULATED, SimulatedLog
from kindred.indexer.behaviour.als import AlsModel, cells, drop_rare, train_als
from kindred.indexer.behaviour.holdout import last_items, vector_ranks
from kindred.indexer.behaviour.interactions import Interactions, action_weights
from kindred.indexer.behaviour.signals import CONVERSIONS, count_conversions
from kindred.rerank.metrics import paired_interval
from kindred.schemas.event import ACTION_CODE, ACTIONS, Action
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows
from kindred.schemas.settings import AlsSettings, SignalSettings

VIEWS, ALIKE, GIVEN, COUNTED = "views only", "all alike", "given weights", "counted weights"
K = 10
THRESHOLD = 0.039
"""Half of the published lift (SPEC A1)."""
FUTURE = 0.2
"""Newest share of the events, which is asked about."""
QUESTIONS = 4000
USERS_AT_ONCE = 512
_CONVERTS = [ACTION_CODE[a.value] for a in CONVERSIONS]


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions of one kind with everybody's answers: hits float64[Q] by variant."""

    visitor: Rows
    """int64[Q], for clustered intervals"""
    hits: dict[str, Doubles]


def moment_of(counted: Interactions) -> int:
    """When the newest `FUTURE` of the events begins."""
    return int(counted.ts[int((1 - FUTURE) * (len(counted) - 1))])


def parted(log: Interactions, signals: SignalSettings) -> tuple[Interactions, Interactions, int]:
    """(what is learned from, what is asked about, the moment between) of the actions that count."""
    counted = log.counted(signals)
    cut = moment_of(counted)
    return counted.before(cut), counted.between(cut, int(counted.ts[-1]) + 1), cut


def variants(
    past: Interactions, until: int, signals: SignalSettings
) -> dict[str, tuple[Interactions, SignalSettings]]:
    """What each variant learns from, and by which weights."""
    given = action_weights(signals)
    views = past.take(past.action == ACTION_CODE[Action.VIEW.value])
    counted = count_conversions(past, until).weights(given)
    alike = (given > 0).astype(np.float32)
    return {
        VIEWS: (views, signals),
        ALIKE: (past, _weighted(signals, alike)),
        GIVEN: (past, signals),
        COUNTED: (past, _weighted(signals, counted)),
    }


def _weighted(signals: SignalSettings, weights: Floats) -> SignalSettings:
    named = {a.value: float(w) for a, w in zip(ACTIONS, weights, strict=True) if w > 0}
    return msgspec.structs.replace(signals, weights=named)


def ask(
    log: Interactions,
    live: Mask,
    als: AlsSettings,
    signals: SignalSettings,
    seed: int,
    threads: int = 0,
) -> dict[str, Asked]:
    """Every variant's hits on one log; `live` bool[N] are the items that may be answered."""
    past, future, cut = parted(log, signals)
    visitor, target, converted = next_items(past, future, live, seed)
    visits = last_items(future, QUESTIONS)
    of_visit = future.subject[visits.events].astype(np.int64)
    hits: dict[str, dict[str, Doubles]] = {}
    for name, (part, weights) in variants(past, cut, signals).items():
        model = train_als(part, len(live), als, weights, seed, threads)
        ranks = user_ranks(model, past, live, visitor, target)
        hits.setdefault("user → item", {})[name] = _hit(ranks)
        hits.setdefault("user → item, converted", {})[name] = _hit(ranks[converted])
        hits.setdefault("item → item", {})[name] = _hit(vector_ranks(model.unit(), visits))
    who = {
        "user → item": visitor,
        "user → item, converted": visitor[converted],
        "item → item": of_visit,
    }
    return {task: Asked(who[task], hits[task]) for task in hits}


def _hit(ranks: Rows) -> Doubles:
    return (ranks < K).astype(np.float64)


def next_items(
    past: Interactions, future: Interactions, live: Mask, seed: int
) -> tuple[Rows, Rows, Mask]:
    """(visitors, items, whether they converted): items new to visitors of before, each pair once.

    At most QUESTIONS without a conversion, drawn with the seed, and as many with one.
    """
    size = len(live)
    known = np.unique(past.subject.astype(np.int64) * size + past.row)
    key = future.subject.astype(np.int64) * size + future.row
    converts = np.unique(key[np.isin(future.action, _CONVERTS)])
    pairs = np.unique(key)
    old = np.isin(pairs // size, past.subject)
    pairs = pairs[old & live[pairs % size] & ~np.isin(pairs, known)]
    rng = np.random.default_rng(seed)
    converted = np.isin(pairs, converts)
    chosen = np.sort(np.concatenate([
        _some(np.flatnonzero(converted), rng), _some(np.flatnonzero(~converted), rng)
    ]))  # fmt: skip
    pairs = pairs[chosen]
    return pairs // size, pairs % size, converted[chosen]


def _some(index: Rows, rng: np.random.Generator) -> Rows:
    return rng.permutation(index)[:QUESTIONS]


def user_ranks(
    model: AlsModel, past: Interactions, live: Mask, visitor: Rows, target: Rows
) -> Rows:
    """int64[Q]: rank of each target (0 = first) by x_u · y_i among live items new to the visitor.

    A visitor or a target without factors gets the number of rows.
    """
    size = len(live)
    at = np.minimum(np.searchsorted(model.subjects, visitor), max(len(model.subjects) - 1, 0))
    known = np.zeros(len(visitor), bool)
    if len(model.subjects):
        known = (model.subjects[at] == visitor) & model.present[target]
    ranks = np.full(len(visitor), size, np.int64)
    pair = np.unique(past.subject.astype(np.int64) * size + past.row)
    asked = np.flatnonzero(known)
    barred = ~(live & model.present)
    for low in range(0, len(asked), USERS_AT_ONCE):
        some = asked[low : low + USERS_AT_ONCE]
        scores = model.users[at[some]] @ model.items.T
        scores[:, barred] = -np.inf
        own = scores[np.arange(len(some)), target[some]]
        first = np.searchsorted(pair, visitor[some] * size)
        count = np.searchsorted(pair, (visitor[some] + 1) * size) - first
        owner = np.repeat(np.arange(len(some)), count)
        step = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        scores[owner, pair[np.repeat(first, count) + step] % size] = -np.inf
        ranks[some] = (scores > own[:, None]).sum(axis=1)
    return ranks


def filter_worth(
    log: Interactions,
    live: Mask,
    als: AlsSettings,
    signals: SignalSettings,
    seed: int,
    threads: int = 0,
) -> dict[str, Any]:
    """The filter of rare users and items: hit rate of the users it keeps, and cells it saves."""
    past, future, _ = parted(log, signals)
    kept, dropped = drop_rare(past, 2)
    visitor, target, _ = next_items(past, future, live, seed)
    mine = np.isin(visitor, kept.subject)
    hits = {}
    for least in (1, 2):
        chosen = msgspec.structs.replace(als, min_events=least)
        model = train_als(past, len(live), chosen, signals, seed, threads)
        hits[least] = _hit(user_ranks(model, past, live, visitor[mine], target[mine]))
    full, left = len(cells(past, signals)[0]), len(cells(kept, signals)[0])
    lead = paired_interval(hits[2] - hits[1], visitor[mine], seed)
    base = float(hits[1].mean())
    return {
        "users dropped": dropped.users,
        "items dropped": dropped.items,
        "events dropped": dropped.events,
        "cells": [full, left],
        "cells saved": round(1 - left / max(full, 1), 4),
        "HR@10 without, with": [round(base, 5), round(float(hits[2].mean()), 5)],
        "difference": [round(x, 5) for x in lead],
        "relative": round(lead[0] / base, 4) if base else None,
        "users asked": len(np.unique(visitor[mine])),
    }


def compare_signals(
    logs: Mapping[int, tuple[Interactions, Mask]],
    als: AlsSettings,
    signals: SignalSettings,
    threads: int = 0,
) -> dict[str, Any]:
    """The report on logs by seed, each with the items that may be answered (`live_at_cut`).

    Hit rates by task and variant, the leads over views alone, and what the filter is worth.
    """
    by_seed = {
        seed: ask(log, live, als, signals, seed, threads) for seed, (log, live) in logs.items()
    }
    tasks = {
        task: summary([by_seed[seed][task] for seed in by_seed])
        for task in next(iter(by_seed.values()))
    }
    leads = {task: tasks[task]["leads"].get(COUNTED) for task in ("user → item", "item → item")}
    return {
        "suite": "signals",
        "note": SIMULATED,
        "seeds": list(by_seed),
        "events": {seed: len(log) for seed, (log, _) in logs.items()},
        "tasks": tasks,
        "threshold": THRESHOLD,
        "passes": {
            task: lead is not None
            and (lead["relative"] or 0) >= THRESHOLD
            and lead["difference"][1] > 0
            for task, lead in leads.items()
        },
        "filter of rare users and items": {
            seed: filter_worth(log, live, als, signals, seed, threads)
            for seed, (log, live) in logs.items()
        },
    }


def live_at_cut(made: SimulatedLog, signals: SignalSettings) -> Mask:
    """bool[N]: the items on sale when the questions begin."""
    counted = made.log.counted(signals)
    return made.world.live(moment_of(counted))


def summary(parts: Sequence[Asked], seed: int = 7) -> dict[str, Any]:
    """Hit rates of several logs together, and the lead of each variant over views alone."""
    span = 1 + max(int(p.visitor.max(initial=0)) for p in parts)
    cluster = np.concatenate([p.visitor + n * span for n, p in enumerate(parts)])
    hits = {name: np.concatenate([p.hits[name] for p in parts]) for name in parts[0].hits}
    base = float(hits[VIEWS].mean()) if len(cluster) else 0.0
    leads = {}
    for name, values in hits.items():
        if name != VIEWS and len(cluster):
            lead = paired_interval(values - hits[VIEWS], cluster, seed)
            leads[name] = {
                "difference": [round(x, 5) for x in lead],
                "relative": round(lead[0] / base, 4) if base else None,
                "by seed": [round(float((p.hits[name] - p.hits[VIEWS]).mean()), 5) for p in parts],
            }
    return {
        "questions": len(cluster),
        "HR@10": {n: round(float(v.mean()), 5) for n, v in hits.items() if len(v)},
        "leads": leads,
    }
