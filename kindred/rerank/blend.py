"""Ad rates blended into the order, on calibrated probabilities (SPEC §3.8, B3).

blend = log p + what the rate adds + c · log(price / p0). Two formulas say what a rate adds:

- `power`: p · rate^b, so b · log(rate / (r0 / e)), r0 / e being what no rate counts as;
- `expected_value`: p · (1 + a · rate · price / p0), a sale and its fee in one sum, where a fee of
  p0 is worth a sales. Of all orders by one score it loses the fewest sales for the fees it earns,
  as far as the probabilities are right; advertisers' auctions rank by such a total value.

Neither ever takes from an item because it pays, and a fee that nobody can tell adds nothing. Raw
ranker scores are never blended: they have no common scale across lists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from kindred.indexer.columns import CAMPAIGN_CODE, Columns
from kindred.rerank.rules import Acting
from kindred.rerank.trail import Trail
from kindred.retrieval.segments import places_in_runs, ranks_within
from kindred.schemas.item import Campaign
from kindred.schemas.ranking import Candidates, Doubles, Mask, Rows
from kindred.schemas.rule import Effect
from kindred.schemas.settings import BlendSettings


@dataclass(frozen=True, slots=True)
class Formula:
    """How a rate enters the order."""

    adds: Callable[[Doubles, Doubles, BlendSettings], Doubles]
    """(rate, its clamped share of the price; price / p0, clamped, NaN unknown) -> float64[n] from 0
    on the log scale; all float64[n]"""
    of_price: bool
    """Whether what a rate adds depends on the price, so that nothing is added without one"""


def _power(rate: Doubles, _: Doubles, settings: BlendSettings) -> Doubles:
    unsponsored = settings.r0_bp / 10_000 / math.e
    return settings.b * np.log(np.maximum(rate / unsponsored, 1.0))


def _expected_value(rate: Doubles, price: Doubles, settings: BlendSettings) -> Doubles:
    return np.log1p(settings.a * rate * np.nan_to_num(price))


FORMULAS: Mapping[str, Formula] = {
    "power": Formula(_power, of_price=False),
    "expected_value": Formula(_expected_value, of_price=True),
}
"""By the name that `blend.formula` has for it."""


def rate_adds(columns: Columns, rows: Rows, settings: BlendSettings) -> Doubles:
    """float64[n] from 0: what each one's rate adds to its value, if it counts."""
    rate = np.minimum(columns.ad_rate_bp[rows], settings.rate_max_bp) / 10_000
    p0 = settings.p0_minor or usual_price(columns)
    price = np.minimum(columns.price[rows] / p0, settings.price_max)
    return FORMULAS[settings.formula].adds(rate, price, settings)


def usual_price(columns: Columns) -> float:
    """The geometric mean of the catalogue's known prices, minor units; 1 where there is none."""
    known = columns.price[np.isfinite(columns.price)]
    return float(np.exp(np.log(np.maximum(known, 1.0)).mean())) if len(known) else 1.0


def with_usual_price(settings: BlendSettings, columns: Columns) -> BlendSettings:
    """The settings with the catalogue's usual price, unless they have one."""
    p0 = settings.p0_minor or usual_price(columns)
    return msgspec.structs.replace(settings, p0_minor=p0)


def sponsored(columns: Columns, rows: Rows) -> Mask:
    """bool[n]: in a pay-per-sale campaign with a rate."""
    return np.asarray(
        (columns.campaign[rows] == CAMPAIGN_CODE[Campaign.PLS]) & (columns.ad_rate_bp[rows] > 0)
    )


def kth_probability(candidates: Candidates, k: int | Rows) -> Doubles:
    """float64[Q]: each query's k-th highest probability, or its lowest of fewer."""
    assert candidates.probability is not None
    order, ranks = ranks_within(candidates.queries, candidates.probability)
    lengths = np.diff(candidates.offsets)
    kth = np.zeros(candidates.query_count)
    at = order[ranks == np.minimum(k, lengths)[candidates.queries[order]] - 1]
    kth[candidates.queries[at]] = candidates.probability[at]
    return kth


def blend(
    candidates: Candidates,
    columns: Columns,
    settings: BlendSettings,
    k: int | Rows,
    trail: Trail | None = None,
    acting: Acting | None = None,
) -> tuple[Candidates, Mask]:
    """(candidates best first with `blend` filled, bool[n]: placed by its ad rate).

    A sponsored item whose probability is under `floor` × the k-th one's competes without its
    rate, and so do one whose fee nobody can tell and those past the `sponsored_max` best. Past
    `seller_cap` items of a seller, the rest moves behind everything else, in order: a list of one
    seller's items alone keeps them. `k` is one number, or int64[Q]. Rules that boost add to the
    value, not to the probability.
    """
    assert candidates.probability is not None
    p, rows, owners = candidates.probability, candidates.rows, candidates.queries
    adds = None if acting is None else acting.boosts(rows, owners)
    floor = settings.floor * kth_probability(candidates, k)[owners]
    rated = sponsored(columns, rows)
    known = np.isfinite(columns.price[rows]) | (not FORMULAS[settings.formula].of_price)
    paid = rated & known & (p >= floor)
    value = valued(candidates, columns, paid, settings, adds)
    order = np.lexsort((-value, owners))
    at = order[paid[order]]
    over = at[running_rank(owners[at]) >= settings.sponsored_max]
    if len(over):
        paid[over] = False
        value = valued(candidates, columns, paid, settings, adds)
        order = np.lexsort((-value, owners))
    late = past_cap(owners[order], columns.seller[rows[order]], settings.seller_cap)
    behind = rows[order[late]]
    order = order[np.lexsort((late, owners[order]))]
    blended = candidates.with_columns(blend=value).take(order)
    if trail is not None:
        by_rule = {} if acting is None else acting.by_rule(Effect.BOOST, rows, owners)
        trail.note(
            "blend", blended, floor=rows[rated & (p < floor)], unpriced=rows[rated & ~known],
            sponsored_max=rows[over], seller_cap=behind, **by_rule,
        )  # fmt: skip
    return blended, paid[order]


def valued(
    candidates: Candidates,
    columns: Columns,
    paid: Mask,
    settings: BlendSettings,
    adds: Doubles | None = None,
) -> Doubles:
    """float64[n]: the blend's value; `paid` says whose rate counts, `adds` what rules add."""
    assert candidates.probability is not None
    rows = candidates.rows
    value: Doubles = np.log(candidates.probability)
    value[paid] += rate_adds(columns, rows[paid], settings)
    if settings.c:
        price = columns.price[rows]
        value = value + settings.c * price_term(price, candidates.queries, candidates.query_count)
    return value if adds is None else value + adds


def price_term(price: Doubles, owners: Rows, queries: int) -> Doubles:
    """float64[n]: log(price / p0), p0 the query's geometric mean; 0 where the price is unknown."""
    log_price = np.log(np.maximum(price, 1.0))
    known = np.isfinite(log_price)
    sums = np.bincount(owners[known], log_price[known], queries)
    means = sums / np.maximum(np.bincount(owners[known], minlength=queries), 1)
    return np.where(known, log_price - means[owners], 0.0)


def past_cap(owners: Rows, sellers: NDArray[np.int32], cap: int) -> Mask:
    """bool[n]: entries past `cap` of their seller, of lists in order; 0 is no cap."""
    late = np.zeros(len(owners), np.bool_)
    if cap:
        at = np.flatnonzero(sellers >= 0)
        key = owners[at] * (int(sellers.max(initial=0)) + 1) + sellers[at]
        late[at[running_rank(key) >= cap]] = True
    return late


def running_rank(keys: Rows) -> Rows:
    """int64[n]: how many earlier entries have the same key."""
    order = np.argsort(keys, kind="stable")
    out = np.empty(len(keys), np.int64)
    out[order] = places_in_runs(keys[order])
    return out
