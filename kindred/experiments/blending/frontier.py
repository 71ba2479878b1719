"""Orders of lists by probability and ad rate, and what each costs and earns.

Beside the two formulas of the funnel stand what else is in use or has been tried (SPEC M4): the
ranker's raw score times one plus the rate, and bands within which the rate alone decides. Every
family has a strength, and its points from weak to strong are its frontier. One frontier dominates
another where, at the NDCG of each of the other's points, it earns more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from kindred.indexer.columns import Columns
from kindred.rerank.blend import blend, sponsored, with_usual_price
from kindred.rerank.blend_cost import expected_fee
from kindred.schemas.ranking import Candidates, Doubles, Mask, Rows
from kindred.schemas.settings import BlendSettings

EXPONENTS = (0.0, 0.05, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 1.5, 3.0, 6.0)
RAW = (0.25, 0.5, 1.0, 3.0, 6.0, 12.0)
"""Strengths of raw · (1 + a · rate)"""
WORTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0, 20.0, 60.0)
"""Strengths of p · (1 + a · rate · price / p0)"""
BANDS = (6, 7, 8, 10, 15, 20)
"""First so many, within which the rate decides"""
NEAR = (0.95, 0.9, 0.8, 0.7, 0.5, 0.3)
"""Shares of the k-th probability, from which on the rate decides"""
POWER, EXPECTED = "power", "expected value"
SERVED, EXPECTED_SERVED = "power, as served", "expected value, as served"
ORACLE, EXPECTED_ORACLE = "power, true p", "expected value, true p"
PRICED, OF_THE_LIST = "power, price too", "expected value, the list's usual price"
RAW_SCORE, SHIFTED = "raw score", "raw score above the lowest"
BAND, THRESHOLD = "rank bands", "probability bands"
RESAMPLES = 400


@dataclass(frozen=True, slots=True)
class Point:
    """One order of all lists: what each list is worth under it."""

    family: str
    strength: float
    ndcg: Doubles
    """float64[L]: NDCG@k with the true, or estimated, probabilities as gains"""
    purchases: Doubles
    """float64[L], expected"""
    revenue: Doubles
    """float64[L]: expected fees, minor units"""


@dataclass(frozen=True, slots=True)
class Judge:
    """What lists are worth: L lists of W candidates, by row of `columns`."""

    columns: Columns
    rows: Rows
    """int64[L, W]"""
    chance: Doubles
    """float64[L, W]: of a purchase"""
    look: Doubles
    """float64[L, k]: chance of a look at each place"""

    def point(self, family: str, strength: float, first: Rows, paid: Mask) -> Point:
        """What the entries `first` int64[L, k] are worth; `paid` bool[L, k] owe a fee on a sale."""
        p = np.take_along_axis(self.chance, first, 1)
        rows = np.take_along_axis(self.rows, first, 1)
        fee = expected_fee(self.columns, rows.ravel(), p.ravel()).reshape(p.shape)
        k = first.shape[1]
        discount = 1 / np.log2(np.arange(2, k + 2))
        ideal = -np.sort(-self.chance, axis=1)[:, :k] @ discount
        return Point(
            family, strength,
            ndcg=(p @ discount) / np.maximum(ideal, 1e-300),
            purchases=(self.look * p).sum(axis=1),
            revenue=(self.look * np.where(paid, fee, 0.0)).sum(axis=1),
        )  # fmt: skip


Lists = Callable[[Doubles], Candidates]
"""Probabilities float64[L, W] -> the lists as the funnel's candidates"""


def blended(
    judge: Judge, lists: Lists, probability: Doubles, settings: BlendSettings, family: str
) -> Point:
    """The order that the funnel's own blend makes."""
    k = judge.look.shape[1]
    size = judge.columns.size
    candidates, paid = blend(lists(probability), judge.columns, settings, k)
    head = candidates.ranks < k
    owners = candidates.queries[head]
    entry = _entries(judge.rows, owners, candidates.rows[head], size)
    shape = judge.look.shape
    return judge.point(family, settings.strength, entry.reshape(shape), paid[head].reshape(shape))


def _entries(rows: Rows, owners: Rows, found: Rows, size: int) -> Rows:
    """int64[n]: where each found row stands in its list."""
    width = rows.shape[1]
    keys = (np.arange(len(rows))[:, None] * size + rows).ravel()
    order = np.argsort(keys)
    at: Rows = order[np.searchsorted(keys, owners * size + found, sorter=order)]
    return np.asarray(at % width)


def by_key(judge: Judge, key: Doubles, family: str, strength: float) -> Point:
    """The order by falling key float64[L, W]; whatever is sponsored owes a fee."""
    k = judge.look.shape[1]
    first = np.argsort(-key, axis=1, kind="stable")[:, :k]
    rows = np.take_along_axis(judge.rows, first, 1)
    paid = sponsored(judge.columns, rows.ravel()).reshape(rows.shape)
    return judge.point(family, strength, first, paid)


def points(
    judge: Judge,
    lists: Lists,
    probability: Doubles,
    settings: BlendSettings,
    *,
    raw: Doubles | None = None,
    true: bool = False,
) -> list[Point]:
    """All families over the lists, from their probabilities float64[L, W].

    Both formulas stand with the hard rules of `settings` ("as served") and, to be compared with
    what has none, without. `raw` are the ranker's scores; with `true` the judge's own chances are
    blended too, which no ranker can beat.
    """
    served = msgspec.structs.replace(with_usual_price(settings, judge.columns), arms=())
    free = msgspec.structs.replace(
        served, floor=0.0, seller_cap=0, sponsored_max=judge.rows.size, c=0.0
    )
    found = []

    def add(family: str, p: Doubles, of: BlendSettings, **strength: float | str) -> None:
        told = msgspec.structs.replace(of, **strength)
        found.append(blended(judge, lists, p, told, family))

    for b in EXPONENTS:
        add(POWER, probability, free, formula="power", b=b)
        add(PRICED, probability, free, formula="power", b=b, c=b)
        add(SERVED, probability, served, formula="power", b=b)
        if true:
            add(ORACLE, judge.chance, free, formula="power", b=b)
    for a in WORTHS:
        add(EXPECTED, probability, free, formula="expected_value", a=a)
        add(EXPECTED_SERVED, probability, served, formula="expected_value", a=a)
        if true:
            add(EXPECTED_ORACLE, judge.chance, free, formula="expected_value", a=a)
    rate = _rates(judge)
    if raw is not None:
        # Scores have no zero. Read as they are, a rate makes what is below it worse; so they are
        # tried with the list's own lowest for a zero, too.
        above = raw - raw.min(axis=1, keepdims=True)
        found += [by_key(judge, raw * (1 + a * rate), RAW_SCORE, a) for a in RAW]
        found += [by_key(judge, above * (1 + a * rate), SHIFTED, a) for a in RAW]
    # The same sum with a usual price of every list's own, as where there are several currencies.
    log_price = np.log(np.maximum(judge.columns.price[judge.rows], 1.0))
    unknown = np.isnan(log_price)
    mean = np.where(unknown, 0.0, log_price).sum(axis=1) / np.maximum((~unknown).sum(axis=1), 1)
    ratio = np.where(unknown, 0.0, np.exp(log_price - mean[:, None]))
    fee = rate * np.minimum(ratio, settings.price_max)
    found += [by_key(judge, probability * (1 + a * fee), OF_THE_LIST, a) for a in WORTHS]
    return found + banded(judge, probability, rate)


def banded(judge: Judge, probability: Doubles, rate: Doubles) -> list[Point]:
    """Bands by rank and by share of the k-th probability, within which the rate decides."""
    k = judge.look.shape[1]
    order = np.argsort(-probability, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), 1)
    kth = np.take_along_axis(probability, order[:, k - 1 : k], 1)
    behind = -rank - 10.0
    found = [
        by_key(judge, np.where(rank < most, rate - rank / 1e6, behind), BAND, most)
        for most in BANDS
        if most <= rank.shape[1]
    ]
    for share in NEAR:
        inside = (probability >= share * kth) | (rank < k)
        key = np.where(inside, rate - rank / 1e6, behind)
        found.append(by_key(judge, key, THRESHOLD, share))
    return found


def _rates(judge: Judge) -> Doubles:
    """float64[L, W]: ad rates as shares, 0 where nothing is paid."""
    flat = judge.rows.ravel()
    rate = np.where(sponsored(judge.columns, flat), judge.columns.ad_rate_bp[flat], 0)
    return np.asarray(rate.reshape(judge.rows.shape) / 10_000)


@dataclass(frozen=True, slots=True)
class Sums:
    """What points are worth in total: of all lists, and of resampled ones."""

    of: Sequence[Point]
    ndcg: Doubles
    """float64[1 + RESAMPLES, P]: relative to b = 0, less 1; the first row is of all lists"""
    purchases: Doubles
    revenue: Doubles

    def column(self, family: str, strength: float) -> int:
        """Which point."""
        return next(
            i for i, p in enumerate(self.of) if p.family == family and p.strength == strength
        )

    def family(self, name: str) -> Rows:
        """int64[m]: its points, weak to strong."""
        return np.array([i for i, p in enumerate(self.of) if p.family == name], np.int64)


def summed(found: Sequence[Point], clusters: Rows, seed: int) -> Sums:
    """Totals with resamples of whole clusters int64[L], such as visitors.

    All are relative to the order by probability alone, without hard rules (b = 0).
    """
    _, of = np.unique(clusters, return_inverse=True)
    base = next(i for i, p in enumerate(found) if p.family == POWER and p.strength == 0)
    rng = np.random.default_rng(seed)
    n = int(of.max(initial=-1)) + 1
    drawn = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(np.float64)
    weights = np.concatenate([np.ones((1, n)), drawn])

    def relative(name: str) -> Doubles:
        by_cluster = np.stack([np.bincount(of, getattr(p, name), n) for p in found], axis=1)
        totals = weights @ by_cluster
        return np.asarray(totals / totals[:, base : base + 1] - 1)

    return Sums(found, relative("ndcg"), relative("purchases"), relative("revenue"))


def table(sums: Sums) -> list[dict[str, Any]]:
    """A row for each point: changes against b = 0, each with its interval."""
    return [
        {
            "family": p.family,
            "strength": p.strength,
            "ndcg": interval(sums.ndcg[:, i]),
            "purchases": interval(sums.purchases[:, i]),
            "revenue": interval(sums.revenue[:, i]),
        }
        for i, p in enumerate(sums.of)
    ]


def interval(values: Doubles) -> list[float]:
    """[all, low, high] of a value and its resamples."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return [round(float(x), 6) for x in (values[0], low, high)]
