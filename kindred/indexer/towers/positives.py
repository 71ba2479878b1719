"""Pairs of items that belong together, drawn from what one visitor did (SPEC F11, E12).

AIR learns from co-clicks: two items of one visit, whatever was done to them. The hybrid learns
from conversions: two items that one visitor wrote about, called about or, where a market has no
such actions, bought on the same day. Pairs are drawn anew in each epoch, and no visitor counts for
more than so many of them in a day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.interactions import Interactions, grouped
from kindred.schemas.clock import DAY
from kindred.schemas.event import ACTION_CODE, Action
from kindred.schemas.ranking import Doubles, Mask, Rows

CONVERSIONS: tuple[tuple[Action, ...], ...] = (
    (Action.SEND_MESSAGE, Action.SHOW_PHONE, Action.CONTACT_SELLER),
    (Action.PURCHASE, Action.BUY_NOW, Action.MAKE_OFFER, Action.PLACE_BID),
    (Action.ADD_TO_CART,),
)
"""What counts as a conversion: the first of these that a log has enough of (F6), else all."""
ENOUGH = 1000
"""Groups with at least two items from which on a kind of conversion, or a span, is enough."""
SPANS_DAYS = (1, 20, 0)
"""Spans tried for conversions, in days; 0 is all that a visitor ever did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """G groups of distinct items; each is good for some pairs."""

    offsets: Rows
    """int64[G + 1]"""
    rows: Rows
    """int64[n]: the items of group g are `offsets[g]:offsets[g + 1]`"""
    subjects: Rows
    """int64[G]: the visitor of each group"""
    examples: Rows
    """int64[P]: group of each example"""
    said: str
    """Where the pairs come from, for a card."""

    def __len__(self) -> int:
        return len(self.examples)

    def of_groups(self, chosen: Mask) -> Together:
        """The examples of some groups alone."""
        return replace(self, examples=self.examples[chosen[self.examples]])

    def draw(self, numbers: Rows, rng: np.random.Generator) -> tuple[Rows, Rows, Rows]:
        """(groups, rows, other rows) int64[b] each: one ordered pair of two items for each."""
        groups = self.examples[numbers]
        sizes = self.offsets[groups + 1] - self.offsets[groups]
        first = rng.integers(0, sizes)
        second = (first + 1 + rng.integers(0, sizes - 1)) % sizes
        start = self.offsets[groups]
        return groups, self.rows[start + first], self.rows[start + second]

    def frequency(self, size: int) -> Doubles:
        """float64[size]: chance of each item to be either one of a drawn pair."""
        sizes = np.diff(self.offsets)
        weight = np.bincount(self.examples, minlength=len(sizes)) / np.maximum(sizes, 1)
        summed = np.bincount(self.rows, np.repeat(weight, sizes), minlength=size)
        chances: Doubles = summed / max(summed.sum(), 1e-12)

        return chances


def together(
    log: Interactions, keys: NDArray[np.int64], cap: int, most: int, seed: int, said: str
) -> Together:
    """Distinct items by group, int64[n] `keys`.

    A group of k items gives min(cap, k (k − 1) / 2) examples, and all together at most `most`,
    drawn at random. Groups with a single item are left out.
    """
    size = int(log.row.max(initial=0)) + 1
    _, first, codes = np.unique(keys, return_index=True, return_inverse=True)
    distinct = np.unique(codes.astype(np.int64) * size + log.row)
    groups = grouped(distinct // size)
    rows = (distinct % size)[groups.index]
    sizes = np.diff(groups.offsets)
    several = sizes > 1
    kept = np.repeat(several, sizes)
    sizes = sizes[several]
    examples = np.repeat(np.arange(len(sizes)), np.minimum(sizes * (sizes - 1) // 2, cap))
    if len(examples) > most:
        rng = np.random.default_rng(seed)
        examples = np.sort(rng.choice(examples, most, replace=False))
    return Together(
        offsets=np.append(0, np.cumsum(sizes)),
        rows=rows[kept],
        subjects=log.subject[first][several].astype(np.int64),
        examples=examples,
        said=said,
    )


def co_clicks(log: Interactions, cap: int, most: int, seed: int) -> Together:
    """Items of one visit."""
    return together(log, log.session.astype(np.int64), cap, most, seed, "one visit")


def conversions(log: Interactions, cap: int, most: int, seed: int) -> Together:
    """Items on which one visitor converted on one day, or in a longer span where days are few."""
    chosen, kind = log, "any action"
    for actions in CONVERSIONS:
        some = of_actions(log, actions)
        if pairable(some, 1) >= ENOUGH:
            chosen, kind = some, " or ".join(action.value for action in actions)
            break
    days = next((d for d in SPANS_DAYS if pairable(chosen, d) >= ENOUGH), SPANS_DAYS[-1])
    span = f"within {days} days" if days else "ever"
    said = f"{kind} {'on one day' if days == 1 else span}"
    return together(chosen, spans(chosen, days), cap, most, seed, said)


def of_actions(log: Interactions, actions: Sequence[Action]) -> Interactions:
    """Those actions alone."""
    return log.take(np.isin(log.action, [ACTION_CODE[action.value] for action in actions]))


def spans(log: Interactions, days: int) -> NDArray[np.int64]:
    """int64[n]: one number for each visitor and span of so many days (UTC)."""
    subject = log.subject.astype(np.int64)
    if days == 0:
        return subject
    since = (log.ts - (log.ts[0] if len(log) else 0) // DAY * DAY) // (days * DAY)
    keys: NDArray[np.int64] = subject * (int(since.max(initial=0)) + 1) + since
    return keys


def pairable(log: Interactions, days: int) -> int:
    """How many groups have at least two distinct items."""
    if not len(log):
        return 0
    size = int(log.row.max()) + 1
    keys = spans(log, days)
    distinct = np.unique(np.unique(keys, return_inverse=True)[1].astype(np.int64) * size + log.row)
    return int((np.unique(distinct // size, return_counts=True)[1] > 1).sum())
