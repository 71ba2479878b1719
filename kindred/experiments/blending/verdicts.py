"""What a frontier shows: whether it dominates others and is concave, and which strength keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kindred.experiments.blending.frontier import (
    EXPECTED,
    EXPECTED_SERVED,
    POWER,
    SERVED,
    Sums,
    interval,
)
from kindred.schemas.settings import BlendSettings

PURCHASES_KEPT = 0.99
"""Share of the purchases without ads in the order that a strength should keep (SPEC §3.8)."""
FREE = {"power": POWER, "expected_value": EXPECTED}
"""Family of each formula without the hard rules."""


def dominated(sums: Sums, other: str, by: str = POWER) -> dict[str, Any]:
    """Whether the frontier `by` earns more than each point of `other` at that point's NDCG.

    Every frontier begins where no ad counts. Between two points of one lies the straight line:
    lists can be split between them.
    Beyond its strongest point it earns no more than there.
    """
    line, rest = sums.family(by), sums.family(other)
    rest = rest[(sums.ndcg[0, rest] != 0) | (sums.revenue[0, rest] != 0)]  # b = 0 is everybody's
    leads = np.empty((len(sums.ndcg), len(rest)))
    for r in range(len(leads)):
        ndcg, best = np.append(sums.ndcg[r, line], 0), np.append(sums.revenue[r, line], 0)
        at = np.argsort(ndcg)
        ndcg, best = ndcg[at], best[at]
        # Whoever may lose more NDCG can still take the best that costs less.
        best = np.maximum.accumulate(best[::-1])[::-1]
        leads[r] = np.interp(sums.ndcg[r, rest], ndcg, best) - sums.revenue[r, rest]
    told = [
        {"strength": sums.of[i].strength, "revenue ahead": interval(leads[:, n])}
        for n, i in enumerate(rest.tolist())
    ]
    lows = [row["revenue ahead"][1] for row in told]
    highs = [row["revenue ahead"][2] for row in told]
    ahead, behind = sum(x > 0 for x in lows), sum(x < 0 for x in highs)
    word = "dominated" if ahead == len(rest) else "not dominated" if behind else "undecided"
    return {"verdict": word, "points": len(rest), "ahead": ahead, "behind": behind, "at": told}


def verdicts(sums: Sums, families: Mapping[str, str], serving: BlendSettings) -> dict[str, Any]:
    """C5 and what follows from it; `families` name what is compared and how it is called."""
    return {
        **{
            f"C5: {sums.of[column].family}, {sums.of[column].strength:g} earns 5 % and more for "
            "1.5 % of NDCG at most": worth(sums, column)
            for column in (
                sums.column(POWER, 0.25),
                *near(sums, FREE[serving.formula], serving.strength),
            )
        },
        **{
            f"C5: the frontier of {name} is concave": concave(sums, name)
            for name in (EXPECTED, POWER)
        },
        **{
            f"C5: {mine} over {say}": dominated(sums, name, mine)
            for mine in (EXPECTED, POWER)
            for name, say in families.items()
            if name != mine
        },
        "purchases kept": {
            name: keeps(sums, name) for name in (EXPECTED, EXPECTED_SERVED, POWER, SERVED)
        },
    }


def near(sums: Sums, family: str, strength: float) -> list[int]:
    """The point of that strength, if it is one of the family's."""
    return [i for i in sums.family(family).tolist() if sums.of[i].strength == strength]


def worth(sums: Sums, column: int) -> dict[str, Any]:
    """Whether a point earns 5 % and more and pays 1.5 % of NDCG at most, surely."""
    earned, paid = interval(sums.revenue[:, column]), interval(sums.ndcg[:, column])
    passed = earned[1] >= 0.05 and paid[1] >= -0.015
    return {"revenue": earned, "ndcg": paid, "passed": passed}


def concave(sums: Sums, family: str = POWER) -> dict[str, Any]:
    """Whether each further unit of NDCG buys less: no rise of the slope that is sure."""
    line = sums.family(family)
    earned, lost = np.diff(sums.revenue[:, line], axis=1), -np.diff(sums.ndcg[:, line], axis=1)
    slope = earned / np.where(np.abs(lost) > 1e-12, lost, 1e-12)
    turns = [interval(column) for column in np.diff(slope, axis=1).T]
    rises = [turn for turn in turns if turn[1] > 0]
    return {"passed": not rises, "slopes": [round(float(s), 3) for s in slope[0]],
            "sure rises": len(rises)}  # fmt: skip


def keeps(sums: Sums, family: str) -> dict[str, Any]:
    """The largest strength under which the expected purchases are 99 % of those without ads.

    Against the same order and rules at strength 0, so that rules do not count as ads.
    """
    line = sums.family(family)
    base = line[0]
    kept = (1 + sums.purchases[:, line]) / (1 + sums.purchases[:, base : base + 1])
    told = [(sums.of[i].strength, interval(kept[:, n])) for n, i in enumerate(line.tolist())]
    sure = [s for s, value in told if value[1] >= PURCHASES_KEPT]
    likely = [s for s, value in told if value[0] >= PURCHASES_KEPT]
    return {
        "strength": max(likely),
        "strength, with 95 % confidence": max(sure) if sure else None,
        "purchases": {str(s): value for s, value in told},
    }
