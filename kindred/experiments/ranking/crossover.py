"""The learning curve's tables: effects relative to purchases alone, crossovers, and verdicts.

Intervals are 95 % bootstrap over what the figure depends on: a resample draws the training draws of
each market and its visitors anew, a visitor with all lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from kindred.experiments.ranking.curve import (
    BINARY,
    NAMES,
    RANDOMISED,
    SERVED,
    UNWEIGHTED,
    WEIGHTED,
    MarketCurve,
    slices_of,
)
from kindred.indexer.behaviour.impressions import PLATFORMS
from kindred.rerank.alternatives import ENSEMBLE
from kindred.schemas.ranking import Doubles

RESAMPLES = 1000
AT_ONCE = 100
SLICES = ("all", *PLATFORMS, RANDOMISED)
WANTED = {30: -0.05, 100: -0.02, 300: 0.0, 1000: 0.0}
"""Largest relative purchase rank of what serves, by purchases (SPEC C1; 300 as 1,000)."""
WANTED_WEIGHTED = {30: -0.05}
"""The same of the weighted grades alone (ibid.)."""


def curve_report(
    curves: Sequence[MarketCurve], seed: int, wanted: Sequence[int] = ()
) -> dict[str, Any]:
    """Tables by size, where the alternatives cross, and what was wanted of them.

    Sizes `wanted` that no market held purchases for are named.
    """
    sizes = sorted({size for curve in curves for size in curve.sizes})
    tables = {size: _table([c for c in curves if size in c.sizes], size, seed) for size in sizes}
    return {
        "sizes": {str(size): table for size, table in tables.items()},
        "not reached": sorted(set(wanted) - set(sizes)),
        "crossover": {name: _crossover(name, tables) for name in NAMES if name != BINARY},
        "verdicts": _verdicts(tables),
    }


def _table(curves: Sequence[MarketCurve], size: int, seed: int) -> dict[str, Any]:
    """One size: by platform and alternative."""
    slices = {}
    for part in SLICES:
        sums = [_sums(curve, size, part) for curve in curves]
        lists = sum(_bought_lists(curve, size, part) for curve in curves)
        if not lists:
            continue
        effects = _relatives(sums, seed)
        slices[part] = {
            "judging lists with a purchase": lists,
            "alternatives": {
                name: _figures(curves, size, part, name, effects[name]) for name in NAMES
            },
        }
    chosen = [name for curve in curves for name in curve.served[size]]
    return {
        "markets": len(curves),
        "draws": len(chosen),
        "auto chose": {name: chosen.count(name) for name in dict.fromkeys(chosen)},
        "slices": slices,
    }


def _bought_lists(curve: MarketCurve, size: int, part: str) -> int:
    """Judging lists with a purchase."""
    bought = ~np.isnan(curve.sizes[size][BINARY].ranks[0])
    return int((bought & slices_of(curve).get(part, np.zeros_like(bought))).sum())


def _figures(
    curves: Sequence[MarketCurve],
    size: int,
    part: str,
    name: str,
    effect: tuple[float, float, float],
) -> dict[str, Any]:
    ndcg, rank, by_draw = [], [], []
    for curve in curves:
        mask = slices_of(curve).get(part)
        if mask is None:
            continue
        held = curve.sizes[size][name]
        ndcg.append(np.nanmean(held.ndcg[:, mask]))
        rank.append(np.nanmean(held.ranks[:, mask]))
        base = np.nanmean(curve.sizes[size][BINARY].ranks[:, mask], axis=1)
        by_draw.extend((np.nanmean(held.ranks[:, mask], axis=1) / base - 1).tolist())
    return {
        "purchase rank": round(float(np.mean(rank)), 4),
        "relative to binary": [round(x, 5) for x in effect],
        "by draw": [round(x, 5) for x in by_draw],
        "NDCG@10": round(float(np.mean(ndcg)), 5),
    }


def _sums(curve: MarketCurve, size: int, part: str) -> dict[str, Doubles]:
    """float64[D, V]: each visitor's ranks of one market, summed, by alternative; zero elsewhere."""
    mask = slices_of(curve).get(part, np.zeros(len(curve.platform), np.bool_))
    visitors = int(curve.visitor.max(initial=-1)) + 1
    out: dict[str, Doubles] = {}
    for name, held in curve.sizes[size].items():
        ranks = np.where(mask & ~np.isnan(held.ranks), held.ranks, 0.0)
        summed = [np.bincount(curve.visitor, row, visitors) for row in ranks]
        out[name] = np.stack(summed).astype(np.float64)
    return out


def _relatives(
    sums: Sequence[Mapping[str, Doubles]], seed: int
) -> dict[str, tuple[float, float, float]]:
    """(effect, low, high) by alternative: ranks over those of purchases alone, less one.

    All alternatives share the resamples. A visitor is drawn Poisson(1) times, which comes to the
    same as drawing as many visitors as there are.
    """
    rng = np.random.default_rng(seed)
    totals = np.zeros((RESAMPLES, len(NAMES)))
    for held in sums:
        ranks = np.stack([held[name] for name in NAMES])  # A × D × V
        alternatives, draws, visitors = ranks.shape
        flat = ranks.reshape(-1, visitors).T
        for start in range(0, RESAMPLES, AT_ONCE):
            of = slice(start, min(start + AT_ONCE, RESAMPLES))
            count = of.stop - of.start
            drawn = rng.multinomial(draws, np.full(draws, 1 / draws), count)
            people = rng.poisson(1.0, (count, visitors)).astype(np.float64)
            by_draw = (people @ flat).reshape(count, alternatives, draws)
            totals[of] += np.einsum("bad,bd->ba", by_draw, drawn)
    whole = {name: sum(float(held[name].sum()) for held in sums) for name in NAMES}
    binary = np.maximum(totals[:, [NAMES.index(BINARY)]], 1e-9)
    low, high = np.quantile(totals / binary - 1, [0.025, 0.975], axis=0)
    return {
        name: (whole[name] / max(whole[BINARY], 1e-9) - 1, float(low[at]), float(high[at]))
        for at, name in enumerate(NAMES)
    }


def _effect(tables: Mapping[int, dict[str, Any]], size: int, name: str, part: str) -> list[float]:
    found: list[float] = tables[size]["slices"][part]["alternatives"][name]["relative to binary"]
    return found


def _crossover(name: str, tables: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
    """How an alternative stands at every size, and the purchases at which its lead is used up."""
    effects = {size: _effect(tables, size, name, "all") for size in tables}
    stands = {
        str(size): "ahead" if high < 0 else "behind" if low > 0 else "within chance"
        for size, (_, low, high) in effects.items()
    }
    crossing = None
    sizes = sorted(effects)
    for left, right in pairwise(sizes):
        before, after = effects[left][0], effects[right][0]
        if before < 0 <= after:
            way = before / (before - after)
            crossing = round(float(np.exp(np.log(left) + way * np.log(right / left))))
            break
    return {"stands": stands, "loses its lead at": crossing}


def _verdicts(tables: Mapping[int, dict[str, Any]]) -> list[dict[str, Any]]:
    out = []
    for name, wanted in ((ENSEMBLE, WANTED), (SERVED, WANTED), (WEIGHTED, WANTED_WEIGHTED)):
        for size, most in wanted.items():
            if size in tables:
                out.append(_verdict(tables, size, name, most))
    for size in tables:
        mean, low, high = _effect(tables, size, UNWEIGHTED, "all")
        claim = f"unweighted grades are worse than purchases alone, {size} purchases"
        out.append(_told(claim, [mean, low, high], ">= 0", mean >= 0, low > 0))
        by_platform = [name for name in PLATFORMS if name in tables[size]["slices"]]
        web_app = [_effect(tables, size, ENSEMBLE, name)[0] for name in by_platform]
        if len(web_app) == len(PLATFORMS):
            alike = len({effect < 0 for effect in web_app}) == 1
            out.append(
                {
                    "claim": f"the ensemble's sign is equal on {' and '.join(PLATFORMS)}, "
                    f"{size} purchases",
                    "difference": [round(x, 5) for x in web_app],
                    "wanted": "equal",
                    "excludes zero": None,
                    "passed": alike,
                }
            )
    return out


def _verdict(
    tables: Mapping[int, dict[str, Any]], size: int, name: str, most: float
) -> dict[str, Any]:
    mean, low, high = _effect(tables, size, name, "all")
    sure = high < 0
    passed = mean <= most and (sure or most == 0)
    claim = f"{name} against purchases alone, {size} purchases"
    return _told(claim, [mean, low, high], f"<= {most:+.0%}", passed, sure)


def _told(
    claim: str, difference: list[float], wanted: str, passed: bool, sure: bool
) -> dict[str, Any]:
    return {
        "claim": claim,
        "difference": difference,
        "wanted": wanted,
        "excludes zero": sure,
        "passed": bool(passed),
    }
