"""From what came of an impression to a label: which outcomes are better, and what a row weighs.

eBay's order (SPEC B8) is nothing < click < the four middle actions < purchase. The middle ones are
ordered by how often the item was bought after the action, which differs by listing format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.impressions import CLICK, OUTCOMES, PURCHASE, Impressions
from kindred.schemas.clock import DAY, HOUR
from kindred.schemas.item import FormatBits
from kindred.schemas.ranking import Doubles, Floats, Mask
from kindred.schemas.settings import JoinSettings

Labels = NDArray[np.int8]
ACTIONS: tuple[str, ...] = tuple(OUTCOMES)
"""Outcomes by grade less one; the middle four are those between."""
CLICKED, BOUGHT = 1, 6
"""Labels that no order changes."""
MIDDLE = slice(CLICK + 1, PURCHASE)
ENOUGH = 30
"""An action seen less often keeps its place in the plain order of grades."""
PRIOR = 50.0
"""Actions at the rate of all formats that a format's rate begins with."""
COMBINATIONS = 8
"""Sets of three format bits."""


@dataclass(frozen=True, slots=True)
class LabelOrder:
    """Which label each action gets, by the formats of the listing."""

    labels: Labels
    """int8[8, 6]: label 1 to 6 by `FormatBits` and column of OUTCOMES"""
    report: dict[str, Any]
    """The order and its counts, for the card"""
    values: Mapping[str, float]
    """What an action is worth in purchases: P(purchase | action) over all formats, 1 for one"""

    def label(self, happened: Mask, formats: NDArray[np.uint8]) -> Labels:
        """int8[n]: the best of what happened, bool[n, 6]; 0 where nothing did."""
        labels: Labels = np.where(happened, self.labels[formats], 0).max(axis=1, initial=0)
        return labels

    def weight(
        self, labels: Labels, formats: NDArray[np.uint8], weights: Mapping[str, float]
    ) -> Floats:
        """float32[n]: what `weights` says of the action behind each label; 1 where it is silent."""
        by_action = np.array([weights.get(name, 1.0) for name in ACTIONS])
        by_label = np.full((COMBINATIONS, len(ACTIONS) + 1), weights.get("nothing", 1.0))
        for bits in range(COMBINATIONS):
            by_label[bits, self.labels[bits]] = by_action
        return by_label[formats, labels].astype(np.float32)


def label_order(outcomes: NDArray[np.int64], formats: NDArray[np.uint8], until: int) -> LabelOrder:
    """Order the middle actions by P(purchase | action) as of `until`.

    outcomes int64[n, 6] are first moments, formats uint8[n]. A format's rate is smoothed towards
    the rate over all formats.
    """
    happened = outcomes < until
    bought = happened[:, [PURCHASE]] & (outcomes[:, [PURCHASE]] >= outcomes)
    tries, hits = np.zeros((2, COMBINATIONS, len(ACTIONS)))
    for bits in range(COMBINATIONS):
        here = formats == bits
        tries[bits] = happened[here].sum(axis=0)
        hits[bits] = (happened & bought)[here].sum(axis=0)
    all_tries, all_hits = tries.sum(axis=0), hits.sum(axis=0)
    overall = all_hits / np.maximum(all_tries, 1)
    smoothed = (hits + PRIOR * overall) / (tries + PRIOR)
    known = all_tries[MIDDLE] >= ENOUGH
    labels = np.array([_places(rates[MIDDLE], known) for rates in smoothed])
    report = {"all formats": _told(_places(overall[MIDDLE], known), all_tries, all_hits)}
    for bits in np.flatnonzero(tries[:, MIDDLE].sum(axis=1)).tolist():
        report[format_name(bits)] = _told(labels[bits], tries[bits], hits[bits])
    worth = (all_hits + 1) / (all_tries + 2)
    values = {name: float(v) for name, v in zip(ACTIONS, worth, strict=True)}
    return LabelOrder(labels, report, {**values, ACTIONS[PURCHASE]: 1.0})


def format_name(bits: int) -> str:
    """`buy_now+best_offer`"""
    names = [bit.name.lower() for bit in FormatBits if bit & bits and bit.name]
    return "+".join(names) or "unknown format"


def _places(rates: Doubles, known: Mask) -> Labels:
    """int8[6]: labels of all actions, where those `known` share out their places by rate."""
    places = np.arange(len(known))
    order = places[known][np.argsort(rates[known], kind="stable")]
    labels = np.arange(1, len(ACTIONS) + 1)
    labels[MIDDLE][order] = places[known] + CLICK + 2
    return labels.astype(np.int8)


def _told(labels: Labels, tries: Doubles, hits: Doubles) -> dict[str, Any]:
    ranked = sorted(range(CLICK + 1, PURCHASE), key=lambda a: labels[a])
    return {
        "order": [ACTIONS[a] for a in ranked],
        "purchases after": {
            ACTIONS[a]: [int(hits[a]), int(tries[a])] for a in range(len(ACTIONS) - 1)
        },
    }


def usable(
    shown: Impressions,
    until: int,
    windows: JoinSettings,
    *,
    open_purchases: bool,
    open_actions: bool = False,
    auctions: bool = False,
) -> Mask:
    """bool[n]: rows whose outcomes are known as of `until`, or of the newest that was joined.

    The window of actions must be closed, unless `open_actions`; that for a purchase, unless
    `open_purchases`: what may still come counts as not done. A row that the join calls final is
    known from its end on. What stood at an auction place is left out, for it was drawn, not ranked;
    with `auctions` everything else is, and what stood at the only such place of its list.
    """
    known_until = min(until, shown.newest)
    final = ~shown.censored & (until > shown.newest)
    wait = 0 if open_actions else windows.action_hours * HOUR
    closed = shown.ts + wait <= known_until
    if not open_purchases:
        clicked = shown.outcomes[:, CLICK]
        waits = (clicked < until) & (clicked > known_until - windows.purchase_days * DAY)
        closed &= ~waits
    known = closed | final
    if not auctions:
        return known & ~shown.auctioned
    known &= shown.auctioned
    several: Mask = np.bincount(shown.owners[known], minlength=shown.lists) > 1
    return known & several[shown.owners]


def inverse_propensity(propensity: Doubles, clip: float) -> Floats:
    """float32[n]: 1 / propensity, at most `clip`; 1 where it is unknown."""
    factor = np.minimum(1 / np.where(propensity > 0, propensity, 1.0), clip)
    return np.where(np.isnan(propensity), 1.0, factor).astype(np.float32)
