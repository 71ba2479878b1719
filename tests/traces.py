"""Small traces of behaviour, built without a lake."""

from __future__ import annotations

import numpy as np

from kindred.indexer.behaviour.interactions import Interactions
from kindred.schemas.event import ACTION_CODE


def visits(
    *sequences: list[int], actions: list[str] | None = None, step: int = 1_000_000
) -> Interactions:
    """One visit of one new subject for each list of rows.

    Visits follow each other; within one, items are `step` microseconds apart (0: a basket).
    """
    lengths = [len(s) for s in sequences]
    session = np.repeat(np.arange(len(sequences)), lengths)
    within = np.concatenate([np.arange(n) for n in lengths]) if lengths else np.zeros(0)
    names = actions or ["view"] * sum(lengths)
    return Interactions(
        subject=session.astype(np.int32),
        session=session.astype(np.int32),
        row=np.array([r for s in sequences for r in s], np.int64),
        action=np.array([ACTION_CODE[a] for a in names], np.int16),
        ts=(session * 10**10 + within * step).astype(np.int64),
        subjects=np.arange(len(sequences), dtype=np.uint64),
    )


def random_trace(seed: int, n: int, rows: int, subjects: int, days: int = 40) -> Interactions:
    """n actions of every counted kind; one visit per subject and day; many ties."""
    draw = np.random.default_rng(seed)
    day = 86_400_000_000
    ts = np.sort(draw.integers(0, days * 24, n)) * (day // 24)
    subject = draw.integers(0, subjects, n)
    kinds = [ACTION_CODE[a] for a in ("view", "favourite", "add_to_cart", "purchase")]
    _, session = np.unique(subject * days + ts // day, return_inverse=True)
    return Interactions(
        subject=subject.astype(np.int32),
        session=session.astype(np.int32),
        row=draw.integers(0, rows, n).astype(np.int64),
        action=np.array(kinds, np.int16)[draw.integers(0, 4, n)],
        ts=ts.astype(np.int64),
        subjects=np.arange(subjects, dtype=np.uint64),
    )
