"""Two answers to one question beside each other: what moved, and what each should come to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kindred.indexer.columns import Columns
from kindred.rerank.funnel import Ranked
from kindred.schemas.preview import Expected, Moved, Placed
from kindred.schemas.ranking import Doubles

RATE = 10_000
"""Basis points of a whole."""


def expected(ranked: Ranked, columns: Columns, k: int) -> Expected:
    """What the first k of a single query's list should come to; nulls without probabilities."""
    candidates = ranked.candidates
    if candidates.probability is None:
        return Expected()
    shown = candidates.probability[:k]
    rows, paid = candidates.rows[:k], ranked.sponsored[:k]
    rates = np.where(paid, columns.ad_rate_bp[rows] / RATE, 0.0)
    return Expected(
        purchases=float(shown.sum()),
        fee_minor=float(np.nansum(shown * rates * columns.price[rows])),
        ndcg=gain(shown) / best - 1 if (best := gain(-np.sort(-candidates.probability)[:k])) else 0,
    )


def gain(probabilities: Doubles) -> float:
    """DCG of a list with its probabilities as gains."""
    return float((probabilities / np.log2(np.arange(len(probabilities)) + 2)).sum())


def summed(parts: Sequence[Expected]) -> Expected:
    """Over questions: sums, and the mean NDCG; what none of them knows stays unknown."""

    def known(name: str) -> list[float]:
        return [value for part in parts if (value := getattr(part, name)) is not None]

    purchases, fees, ndcg = known("purchases"), known("fee_minor"), known("ndcg")
    return Expected(
        purchases=sum(purchases) if purchases else None,
        fee_minor=sum(fees) if fees else None,
        ndcg=float(np.mean(ndcg)) if ndcg else None,
    )


def differences(
    before: Ranked, after: Ranked, k: int, columns: Columns
) -> tuple[list[Moved], list[Placed], list[Placed]]:
    """(moved, entered, left) between the first k of a single query's two lists."""
    old, new = _places(before, k), _places(after, k)
    names = columns.item_ids
    moved = [
        Moved(item_id=names[row], before=old[row], after=place)
        for row, place in new.items()
        if row in old and old[row] != place
    ]
    entered = [Placed(item_id=names[row], place=p) for row, p in new.items() if row not in old]
    left = [Placed(item_id=names[row], place=p) for row, p in old.items() if row not in new]
    return moved, entered, left


def _places(ranked: Ranked, k: int) -> dict[int, int]:
    return {row: at + 1 for at, row in enumerate(ranked.candidates.rows[:k].tolist())}
