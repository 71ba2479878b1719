"""Whether a ranker may serve: the purchased item stands higher than in the merge's order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kindred.indexer.behaviour.impressions import PLATFORMS
from kindred.rerank.judged import Judged
from kindred.rerank.metrics import paired_interval, purchase_rank, shown_ndcg, tied_ranks
from kindred.schemas.ranking import Doubles, Mask

LEAST_JUDGED = 20
"""Lists that a gate takes at least: an interval of fewer means little."""
PURCHASE_RANK, ACTED_RANK = "purchase rank", "rank of what was acted on"


def verdict(
    compared: Mapping[str, Mapping[str, Any]], name: str, rival: str = "the merge's order"
) -> tuple[bool, str]:
    """(passed, why) from `by_slice`; a rank that falls is better. `rival` names its "merge"."""
    found, lead = compared["all"]["judged lists"], compared["all"]["ranker - merge"]
    if found < LEAST_JUDGED or lead is None:
        what = "a purchase" if name == PURCHASE_RANK else "something acted on"
        return False, f"{found} later lists with {what} to judge by, {LEAST_JUDGED} needed"
    told = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*lead)
    reason = f"{name} {told} against {rival} in {found:,} shown lists"
    if lead[2] >= 0:
        return False, reason
    fair = compared.get("randomised", {"judged lists": 0})
    lead = fair["ranker - merge"] if fair["judged lists"] >= LEAST_JUDGED else None
    if lead is not None and lead[1] > 0:
        return False, reason + ", but worse where the order was random"
    return True, reason


def by_slice(
    part: Judged, target: Mask, orders: Mapping[str, Doubles], seed: int
) -> dict[str, dict[str, Any]]:
    """Orders compared over all lists, the randomised ones, and each platform's."""
    slices: dict[str, Mask] = {"all": np.ones(len(part.lists), np.bool_)}
    if part.explore.any():
        slices["randomised"] = part.explore
    for code, name in enumerate(PLATFORMS):
        if (part.platform == code).any():
            slices[name] = part.platform == code
    return {name: compare(part, target, orders, mask, seed) for name, mask in slices.items()}


def compare(
    part: Judged, target: Mask, orders: Mapping[str, Doubles], wanted: Mask, seed: int
) -> dict[str, Any]:
    """Mean rank of the rows bool[n] `target` and NDCG@10 on the lists `wanted`, by order.

    "ranker - merge" is the paired difference of the ranks with its interval.
    """
    offsets = part.lists.offsets
    ranks = {name: tied_ranks(order, offsets) for name, order in orders.items()}
    places = {name: purchase_rank(r, target, offsets)[wanted] for name, r in ranks.items()}
    found = ~np.isnan(places["ranker"])
    subject = part.subject[wanted][found]
    lead = None
    if len(np.unique(subject)) > 1:
        lead = paired_interval((places["ranker"] - places["merge"])[found], subject, seed)
    return {
        "lists": int(wanted.sum()),
        "judged lists": int(found.sum()),
        "rank": {name: _mean(places[name]) for name in ranks},
        "ranker - merge": None if lead is None else [round(x, 4) for x in lead],
        "ndcg@10": {
            name: _mean(shown_ndcg(order, part.labels, offsets, 10)[wanted])
            for name, order in orders.items()
        },
    }


def _mean(values: Doubles) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(known.mean()), 5) if len(known) else None
