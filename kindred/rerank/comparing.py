"""Two answers to one question beside each other: what moved, and what each should come to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kindred.indexer.columns import Columns
from kindred.rerank.blend_cost import blend_costs, expected_fee, view_fee
from kindred.rerank.funnel import Ranked
from kindred.schemas.preview import Expected, Moved, Placed
from kindred.schemas.settings import BlendSettings


def expected(ranked: Ranked, columns: Columns, settings: BlendSettings, k: int) -> Expected:
    """What the first k of a single query's list should come to; nulls without probabilities."""
    candidates = ranked.candidates
    if candidates.probability is None or not len(candidates):
        return Expected()
    shown, rows = candidates.probability[:k], candidates.rows[:k]
    by_view = np.zeros(len(rows), np.bool_)
    if ranked.drawn is not None:
        by_view = ~np.isnan(ranked.drawn[:k])
    by_sale = np.where(ranked.sponsored[:k], expected_fee(columns, rows, shown), 0.0)
    cost = blend_costs(candidates, ranked.sponsored, ranked.drawn, columns, settings, k)
    return Expected(
        purchases=float(shown.sum()),
        fee_minor=float(np.where(by_view, view_fee(columns, rows), by_sale).sum()),
        ndcg=round(float(cost.ndcg[0]), 9),
    )


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
