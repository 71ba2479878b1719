"""Who sells: many with a thing or two, a few with hundreds, and what they pay to be seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.experiments.marketsim.knobs import MarketKnobs
from kindred.experiments.marketsim.places import Places
from kindred.schemas.item import Campaign
from kindred.schemas.ranking import Doubles, Mask

CAMPAIGNS = (Campaign.NONE, Campaign.PLS, Campaign.PLX)
"""By code: the values of `Sellers.campaign` index it."""
OUTSIDE_TOPS = 0.05
"""A dealer's weight in a top category that is not one of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Sellers:
    """M sellers in columns, the largest first."""

    seller_id: list[str]
    weight: Doubles
    """float64[M], size by the power law; sums to 1"""
    dealer: Mask
    """bool[M]"""
    affinity: Doubles
    """float64[M, T], inclination to sell in each top category"""
    place: NDArray[np.int32]
    """int32[M], row of places"""
    quality: Doubles
    """float64[M], what its listings share, standard normal"""
    campaign: NDArray[np.int8]
    """int8[M], index of CAMPAIGNS"""
    ad_rate_bp: NDArray[np.int64]
    """int64[M], basis points of the price; 0 unless PLS"""

    def __len__(self) -> int:
        return len(self.seller_id)


def make_sellers(
    knobs: MarketKnobs, places: Places, tops: int, rng: np.random.Generator
) -> Sellers:
    """Sellers in proportion to the items; `tops` is the number of top categories."""
    count = max(10, round(knobs.items * knobs.sellers_per_item))
    weight = np.arange(1, count + 1) ** -knobs.seller_power
    dealer = np.arange(count) < max(1, round(knobs.dealer_share * count))
    affinity = np.where(dealer[:, None], OUTSIDE_TOPS, 1.0) * np.ones((count, tops))
    own = np.argsort(rng.random((count, tops)), axis=1)[:, : knobs.seller_tops]
    np.put_along_axis(affinity, own, 1.0, axis=1)
    pls = np.where(dealer, knobs.dealer_pls_share, knobs.private_pls_share)
    plx = np.where(dealer, knobs.dealer_plx_share, 0.0)
    draw = rng.random(count)
    campaign = np.where(draw < pls, 1, np.where(draw < pls + plx, 2, 0)).astype(np.int8)
    rate = knobs.ad_rate_bp * np.exp(knobs.ad_rate_sigma * rng.standard_normal(count))
    return Sellers(
        seller_id=[f"s-{n:06d}" for n in range(count)],
        weight=weight / weight.sum(),
        dealer=dealer,
        affinity=affinity,
        place=rng.choice(len(places), count, p=places.weight).astype(np.int32),
        quality=rng.standard_normal(count),
        campaign=campaign,
        ad_rate_bp=np.where(campaign == 1, np.clip(np.round(rate), 50, 3000), 0).astype(np.int64),
    )
