"""Visitors in two arms, one answered with the ranker and one without, and what came of each."""

from __future__ import annotations

from hashlib import blake2b

import msgspec
import numpy as np
import polars as pl

from kindred.experiments.marketsim.shops import Asked, Lists, LoggedShop
from kindred.retrieval.segments import lengths_of, offsets_of, owners_of
from kindred.schemas.ranking import Doubles, Mask

EXPERIMENT, ON, OFF = "ranker", "on", "off"
RESAMPLES = 1000
COUNTS = ("lists", "impressions", "clicks", "purchases", "sponsored", "fee_minor", "halo_fee_minor")
RATES = {
    "ctr": ("clicks", "impressions", 1),
    "purchases_per_1000_lists": ("purchases", "lists", 1000),
    "sponsored_share": ("sponsored", "impressions", 1),
    "fee_minor_per_1000_lists": ("fee_minor", "lists", 1000),
    "halo_fee_minor_per_1000_lists": ("halo_fee_minor", "lists", 1000),
}
"""What is compared: so many of one count for each of another."""


def treated(visitors: int, seed: int) -> Mask:
    """bool[V]: whose lists the ranker orders; half of the visitors, by a hash of seed and number.

    A visitor stays in an arm however often the market is made.
    """
    last = bytes(
        blake2b(f"{seed}:{number}".encode(), digest_size=1).digest()[0]
        for number in range(visitors)
    )
    return np.asarray(np.frombuffer(last, np.uint8) % 2 == 1)


class Arms:
    """One shop for the treated visitors, another for the rest."""

    def __init__(self, on: LoggedShop, off: LoggedShop, treated: Mask) -> None:
        """`treated` bool[V]: the visitors whom `on` answers."""
        self._shops = on, off
        self._treated = treated

    def __len__(self) -> int:
        return sum(len(shop) for shop in self._shops)

    def open(self, on_sale: Mask) -> None:
        """See LoggedShop.open."""
        for shop in self._shops:
            shop.open(on_sale)

    def similar(self, asked: Asked) -> Lists:
        """See Shop.similar."""
        mine = self._treated[asked.visits.visitor]
        at = np.flatnonzero(mine), np.flatnonzero(~mine)
        answers = [
            shop.similar(asked.take(where)) for shop, where in zip(self._shops, at, strict=True)
        ]
        page = np.concatenate(at)
        back = np.argsort(page)
        lengths = np.concatenate([lengths_of(a.offsets) for a in answers])
        owner = page[owners_of(offsets_of(lengths))]
        return Lists(
            offsets=offsets_of(lengths[back]),
            rows=np.concatenate([a.rows for a in answers])[np.argsort(owner, kind="stable")],
            decision=np.concatenate([a.decision for a in answers])[back],
            trace=np.concatenate([a.trace for a in answers])[back],
        )

    def frame(self) -> pl.DataFrame:
        """See LoggedShop.frame."""
        return pl.concat([shop.frame() for shop in self._shops])


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the lists of one arm. Amounts are in the currency's smallest unit."""

    visitors: int
    lists: int
    impressions: int
    clicks: int
    purchases: int
    """Shown items that the join holds a purchase of"""
    sponsored: int
    """Items placed by their ad rate"""
    fee_minor: int
    halo_fee_minor: int


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A rate in both arms, and on - off with its interval."""

    on: float
    off: float
    difference: float
    low: float
    high: float
    """The middle 95 % of resampled visitors"""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The two arms; rates by the names of `RATES`."""

    on: Arm
    off: Arm
    rates: dict[str, Difference]


def compare_arms(decisions: pl.LazyFrame, joined: pl.LazyFrame, seed: int) -> Comparison | None:
    """The arms of the decisions that name one, by their joined rows; None where one is empty.

    Visitors are resampled, not lists, because a visitor's lists resemble each other.
    """
    arm = pl.col("experiments").str.json_path_match(f"$.{EXPERIMENT}")
    told = decisions.select("decision_id", "device_id", arm=arm).filter(pl.col("arm").is_not_null())
    by_visitor = (
        joined.drop("device_id")
        .join(told, on="decision_id")
        .group_by("arm", "device_id")
        .agg(
            lists=pl.col("decision_id").n_unique(),
            impressions=pl.len(),
            clicks=pl.col("click_at").is_not_null().sum(),
            purchases=pl.col("purchase_at").is_not_null().sum(),
            sponsored=pl.col("sponsored").sum(),
            fee_minor=pl.col("fee_minor").sum(),
            halo_fee_minor=pl.col("halo_fee_minor").sum(),
        )
        .sort("arm", "device_id")
        .collect()
    )
    counts = {
        name: by_visitor.filter(arm=name).select(COUNTS).to_numpy().astype(np.float64)
        for name in (ON, OFF)
    }
    if not all(len(part) for part in counts.values()):
        return None
    return _compared(counts[ON], counts[OFF], seed)


def _compared(on: Doubles, off: Doubles, seed: int) -> Comparison:
    """From float64[visitors, COUNTS] of each arm."""
    rng = np.random.default_rng(seed)
    drawn = _resampled(on, rng), _resampled(off, rng)
    whole = on.sum(axis=0), off.sum(axis=0)
    rates = {}
    for name in RATES:
        low, high = np.quantile(_rate(drawn[0], name) - _rate(drawn[1], name), [0.025, 0.975])
        a, b = float(_rate(whole[0], name)), float(_rate(whole[1], name))
        told = (round(x, 6) for x in (a, b, a - b, float(low), float(high)))
        rates[name] = Difference(**dict(zip(Difference.__struct_fields__, told, strict=True)))
    return Comparison(on=_arm(on), off=_arm(off), rates=rates)


def _resampled(counts: Doubles, rng: np.random.Generator) -> Doubles:
    """float64[RESAMPLES, COUNTS]: sums over as many visitors, drawn with repeats."""
    n, sums = len(counts), []
    for first in range(0, RESAMPLES, 50):
        drawn = rng.integers(0, n, (min(50, RESAMPLES - first), n))
        sums.append(counts[drawn].sum(axis=1))
    return np.concatenate(sums)


def _rate(counts: Doubles, name: str) -> Doubles:
    """float64[…] of float64[…, COUNTS]"""
    of, each, times = RATES[name]
    number, base = counts[..., COUNTS.index(of)], counts[..., COUNTS.index(each)]
    return np.asarray(times * number / np.maximum(base, 1))


def _arm(counts: Doubles) -> Arm:
    sums = (int(x) for x in counts.sum(axis=0))
    return Arm(visitors=len(counts), **dict(zip(COUNTS, sums, strict=True)))
