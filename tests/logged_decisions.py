"""Decisions as a request leaves them, and what their log tells of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kindred.events.decision_log import DecisionLog, LoggedDecision
from kindred.schemas.decision import CandidateColumns, Decision, DecisionContext, Shown
from kindred.schemas.event import Platform, Role
from kindred.schemas.query import Place, Subject

NOW = 1_795_000_000_000_000
FEATURES = np.array([[1.5, np.nan], [np.inf, -0.25], [1e-30, 3.0]], np.float32)


def decided(name: str, at: int = NOW, **fields: Any) -> LoggedDecision:
    """Three candidates of which two were shown."""

    def build(writer: str, sequence: int) -> Decision:
        told: dict[str, Any] = {
            "surface": "view_item",
            "subject": Subject(user_id="ann", role=Role.CONSULTANT),
            "context": DecisionContext(
                seed_item="seed", place=Place(lat=50.5, lon=8.25), platform=Platform.APP
            ),
            "shown": Shown(
                item_id=["a", "b"],
                propensity=[0.9, 0.05],
                explore=[False, False],
                sponsored=[True, False],
            ),
            "candidates": CandidateColumns(
                item_id=["a", "b", "c"],
                sources=[3, 1, 256],
                recall_rank=[2, 1, 3],
                merged=[0.5, 0.25, 0.125],
                score=[0.1, -3.7, 1e-9],
                probability=[0.3, 0.2, 0.1],
                blend=None,
                ad_rate_bp=[1200, 0, 0],
                price_minor=[100, None, 2**40],
                formats=[1, 2, 4],
                seller_id=["s", None, "t"],
            ),
            "candidate_count": 95,
            "versions": {"index": "i", "ranker": "000001"},
            "epsilon": 0.1,
            "degraded": ("rank: merge order (past the deadline)",),
            "ms": {"recall": 1.25},
            "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
            "feature_spec": "spec",
        }
        return Decision(
            decision_id=name, occurred_at=at, writer=writer, sequence=sequence, **(told | fields)
        )

    return LoggedDecision(name, at, build, FEATURES)


class Outcomes:
    """What a log tells of its decisions."""

    def __init__(self) -> None:
        self.counts = {"written": 0, "lost": 0}

    def __call__(self, outcome: str, count: int) -> None:
        self.counts[outcome] += count


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def log_all(path: Path, decisions: list[LoggedDecision], writer: str = "w0.1") -> None:
    log = DecisionLog(path, 1000, writer, clock=lambda: NOW)
    assert all(log.record(one) for one in decisions)
    log.close()
