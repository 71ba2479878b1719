"""The learning curve's tables: effects relative to purchases alone, crossovers, and verdicts.

Intervals are 95 % bootstrap over what the figure depends on: a resample draws the training draws of
each market and its visitors anew, a visitor with all lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from kindred.experiments.ranking.curve import RANDOMISED, MarketCurve, Measured, slices_of
from kindred.experiments.ranking.draws import (
    BINARY,
    NAMES,
    PAIRS,
    PHASE_1_TUNED,
    SERVED,
    TUNED,
    UNWEIGHTED,
    WEIGHTED,
)
from kindred.indexer.behaviour.impressions import PLATFORMS
from kindred.rerank.alternatives import ENSEMBLE
from kindred.schemas.ranking import Doubles, Mask

RESAMPLES = 1000
AT_ONCE = 100
SLICES = ("all", *PLATFORMS, RANDOMISED)
WANTED = {30: -0.05, 100: -0.02, 300: 0.0, 1000: 0.0}
"""Largest relative purchase rank of what serves, by purchases (SPEC C1; 300 as 1,000)."""
WANTED_WEIGHTED = {30: -0.05}
"""The same of the weighted grades alone (ibid.)."""
EACH_OTHER = ((PAIRS, WEIGHTED), (SERVED, ENSEMBLE))
"""Weights of pairs against those of rows (SPEC C3), and what `auto`'s choice is worth."""
OF_TUNED = ((TUNED, WEIGHTED), (TUNED, BINARY), (PHASE_1_TUNED, BINARY))
"""Tuned weights against those given, and against purchases alone (SPEC C2)."""

Effect = tuple[float, float, float]
"""(mean, low, high) of a relative purchase rank"""
Ranks = Mapping[str, Measured]


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
    slices: dict[str, Any] = {}
    for part in SLICES:
        masks = [slices_of(curve).get(part, np.zeros_like(curve.explore)) for curve in curves]
        if not any(mask.any() for mask in masks):
            continue
        effects = relatives(
            [(c.sizes[size], c.visitor, mask) for c, mask in zip(curves, masks, strict=True)],
            [*((name, BINARY) for name in NAMES), *EACH_OTHER],
            seed,
        )
        slices[part] = {
            "judging lists with a purchase": int(sum(mask.sum() for mask in masks)),
            "alternatives": {
                name: _figures(curves, size, masks, name, effects[name, BINARY]) for name in NAMES
            },
            "against each other": _told_effects(effects, EACH_OTHER),
        }
    told = [one for curve in curves for one in curve.told[size]]
    chosen = [one["served"] for one in told]
    return {
        "markets": len(curves),
        "draws": len(chosen),
        "auto chose": {name: chosen.count(name) for name in dict.fromkeys(chosen)},
        "purchases to choose by": [one["purchases to choose by"] for one in told],
        "tuned": _tuned([c for c in curves if size in c.tuned], size, seed),
        "slices": slices,
    }


def _tuned(curves: Sequence[MarketCurve], size: int, seed: int) -> dict[str, Any] | None:
    """What tuned weights are worth, on the draws that they were tuned on; None without any."""
    if not curves:
        return None
    held: list[tuple[Ranks, np.ndarray, Mask]] = []
    for curve in curves:
        count = len(curve.told_tuned[size])
        given = {n: Measured(m.ranks[:count], m.ndcg[:count]) for n, m in curve.sizes[size].items()}
        everywhere = np.ones_like(curve.explore)
        held.append(({**given, **curve.tuned[size]}, curve.visitor, everywhere))
    told = [one for curve in curves for one in curve.told_tuned[size]]
    return {
        "draws": len(told),
        "trials": [one["trials"] for one in told],
        "lead on the given clear while tuning": sum(one["clear"] for one in told),
        "chosen": [one.get("weights") for one in told],
        "effects": _told_effects(relatives(held, OF_TUNED, seed), OF_TUNED),
    }


def _told_effects(
    effects: Mapping[tuple[str, str], Effect], pairs: Sequence[tuple[str, str]]
) -> dict[str, list[float]]:
    return {f"{name} against {base}": _rounded(effects[name, base]) for name, base in pairs}


def _rounded(effect: Effect) -> list[float]:
    return [round(x, 5) for x in effect]


def _figures(
    curves: Sequence[MarketCurve], size: int, masks: Sequence[Mask], name: str, effect: Effect
) -> dict[str, Any]:
    ndcg, rank, by_draw = [], [], []
    for curve, mask in zip(curves, masks, strict=True):
        if not mask.any():
            continue
        held = curve.sizes[size][name]
        ndcg.append(held.ndcg[:, mask].mean())
        rank.append(held.ranks[:, mask].mean())
        base = curve.sizes[size][BINARY].ranks[:, mask].mean(axis=1)
        by_draw.extend((held.ranks[:, mask].mean(axis=1) / base - 1).tolist())
    return {
        "purchase rank": round(float(np.mean(rank)), 4),
        "relative to binary": _rounded(effect),
        "by draw": [round(x, 5) for x in by_draw],
        "NDCG@10": round(float(np.mean(ndcg)), 5),
    }


def relatives(
    markets: Sequence[tuple[Ranks, np.ndarray, Mask]], pairs: Sequence[tuple[str, str]], seed: int
) -> dict[tuple[str, str], Effect]:
    """(effect, low, high) by pair: the first one's purchase ranks over the second's, less one.

    A market is its ranks by alternative, the visitor of each list int64[L], and the lists that
    count bool[L]. All pairs share the resamples. A visitor is drawn Poisson(1) times, which comes
    to the same as drawing as many visitors as there are.
    """
    rng = np.random.default_rng(seed)
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    whole, totals = np.zeros(len(names)), np.zeros((RESAMPLES, len(names)))
    for held, visitor, mask in markets:
        ranks = np.stack([_by_visitor(held[name].ranks, visitor, mask) for name in names])
        alternatives, draws, visitors = ranks.shape
        whole += ranks.sum(axis=(1, 2)) / draws
        flat = ranks.reshape(-1, visitors).T
        for start in range(0, RESAMPLES, AT_ONCE):
            of = slice(start, min(start + AT_ONCE, RESAMPLES))
            count = of.stop - of.start
            drawn = rng.multinomial(draws, np.full(draws, 1 / draws), count) / draws
            people = rng.poisson(1.0, (count, visitors)).astype(np.float64)
            by_draw = (people @ flat).reshape(count, alternatives, draws)
            totals[of] += np.einsum("bad,bd->ba", by_draw, drawn)
    found: dict[tuple[str, str], Effect] = {}
    for name, base in pairs:
        a, b = names.index(name), names.index(base)
        low, high = np.quantile(totals[:, a] / np.maximum(totals[:, b], 1e-9) - 1, [0.025, 0.975])
        found[name, base] = (float(whole[a] / max(whole[b], 1e-9)) - 1, float(low), float(high))
    return found


def _by_visitor(ranks: Doubles, visitor: np.ndarray, mask: Mask) -> Doubles:
    """float64[D, V]: each visitor's ranks, summed over the lists that count."""
    visitors = int(visitor.max(initial=-1)) + 1
    rows = np.where(mask, ranks, 0.0)
    return np.stack([np.bincount(visitor, row, visitors) for row in rows])


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
                effect = _effect(tables, size, name, "all")
                out.append(_at_most(f"{name} against {BINARY}", size, effect, most))
    for size, table in tables.items():
        if table["tuned"]:
            for name, base in OF_TUNED:
                effect = table["tuned"]["effects"][f"{name} against {base}"]
                out.append(_at_most(f"{name} against {base}", size, effect, 0.0))
        mean, low, high = _effect(tables, size, UNWEIGHTED, "all")
        claim = f"unweighted grades are worse than {BINARY}, {size} purchases"
        out.append(_told(claim, [mean, low, high], ">= 0", mean >= 0, low > 0))
        by_platform = [name for name in PLATFORMS if name in table["slices"]]
        web_app = [_effect(tables, size, ENSEMBLE, name)[0] for name in by_platform]
        if len(web_app) == len(PLATFORMS):
            alike = len({effect < 0 for effect in web_app}) == 1
            claim = f"the ensemble's sign is equal on {' and '.join(PLATFORMS)}, {size} purchases"
            out.append(_told(claim, web_app, "equal", alike, None))
    return out


def _at_most(claim: str, size: int, effect: list[float], most: float) -> dict[str, Any]:
    mean, _, high = effect
    sure = high < 0
    passed = mean <= most and (sure or most == 0)
    return _told(f"{claim}, {size} purchases", effect, f"<= {most:+.0%}", passed, sure)


def _told(
    claim: str, difference: list[float], wanted: str, passed: bool, sure: bool | None
) -> dict[str, Any]:
    return {
        "claim": claim,
        "difference": difference,
        "wanted": wanted,
        "excludes zero": sure,
        "passed": bool(passed),
    }
