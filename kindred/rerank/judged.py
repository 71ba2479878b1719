"""Shown lists with labels as of a moment, in three parts by time: train, stop, judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.exposure import PositionCurve, position_curve
from kindred.indexer.behaviour.impressions import PURCHASE
from kindred.rerank.labels import LabelOrder, label_order, usable
from kindred.rerank.logged import JoinedLog, LoggedLists, read_lists
from kindred.rerank.training import TooLittle, silent
from kindred.schemas.ranking import Doubles, Mask
from kindred.schemas.settings import JoinSettings, RankerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Shown lists with what came of them as of one moment."""

    lists: LoggedLists
    labels: NDArray[np.int8]
    """int8[n]: 0 to 6 by the market's own order"""
    bought: Mask
    """bool[n]"""

    @property
    def bought_lists(self) -> int:
        """Lists with a purchase."""
        return len(np.unique(self.lists.owners[self.bought]))

    @property
    def subject(self) -> NDArray[np.uint64]:
        """uint64[L]: who saw each list."""
        return self.lists.shown.subject[self.lists.lists]

    @property
    def explore(self) -> Mask:
        """bool[L]: in random order."""
        return self.lists.shown.explore[self.lists.lists]

    def looks(self, curve: PositionCurve) -> Doubles:
        """float64[n] in [0, 1]: chance of a look at each row where it stood, 1 at the best."""
        shown, at = self.lists.shown, self.lists.at
        return curve.look(shown.platform[shown.owners[at]], shown.position[at])

    @property
    def platform(self) -> NDArray[np.int8]:
        """int8[L]"""
        return self.lists.shown.platform[self.lists.lists]

    def take(self, wanted: Mask) -> Judged:
        """The lists where bool[L] holds."""
        rows = wanted[self.lists.owners]
        return Judged(
            lists=self.lists.take(wanted), labels=self.labels[rows], bought=self.bought[rows]
        )

    def labelled(self) -> Judged:
        """The lists of which anything came."""
        found = np.bincount(self.lists.owners, self.labels > 0, minlength=len(self.lists)) > 0
        return self.take(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Three parts in order of time, labelled alike."""

    training: Judged
    """Lists of which something came."""
    stopping: Judged
    """All lists."""
    judging: Judged
    """All lists."""
    order: LabelOrder
    curve: PositionCurve
    """What positions earned before the moment that the labels are of"""


def judged_lists(lists: LoggedLists, order: LabelOrder, until: int) -> Judged:
    """Label every row by what happened before `until`."""
    happened = lists.shown.outcomes[lists.at] < until
    labels = order.label(happened, lists.shown.formats[lists.at])
    return Judged(lists=lists, labels=labels, bought=happened[:, PURCHASE])


def split_lists(
    log: JoinedLog,
    until: int,
    size: int,
    settings: RankerSettings,
    windows: JoinSettings,
    *,
    seed: int,
    on_lists: Callable[[int], None] = silent,
) -> Parts:
    """Read the lists shown before `until`: training, then stopping, then judging, by time.

    Of the later two parts all lists count, also those of which nothing came, but of many only a
    sample. `size` is the catalogue's.
    """
    shown = log.shown
    keep = usable(shown, until, windows, open_purchases=settings.open_purchases)
    known = np.bincount(shown.owners[keep], minlength=shown.lists) > 0
    known &= log.readable() & (shown.at < until)
    clicked = np.flatnonzero(known & shown.clicked_lists(until))
    if not len(clicked):
        raise TooLittle("nothing came of any shown list whose features were logged")
    share = settings.development_share
    first = int(shown.at[clicked[int((1 - share) * (len(clicked) - 1))]])
    second = int(shown.at[clicked[int((1 - share / 2) * (len(clicked) - 1))]])
    early = clicked[shown.at[clicked] < first][-settings.joined_lists :]
    late = np.flatnonzero(known & (shown.at >= first))
    if len(late) > settings.joined_lists:
        drawn = np.random.default_rng(seed).choice(late, settings.joined_lists, replace=False)
        late = np.sort(drawn)
    rows = keep & (shown.ts < first)
    order = label_order(shown.outcomes[rows], shown.formats[rows], until)
    training = read_lists(log, early, keep, size, on_lists)
    rest = read_lists(log, late, keep, size, on_lists)
    development = judged_lists(rest, order, until)
    is_late = shown.at[rest.lists] >= second
    return Parts(
        training=judged_lists(training, order, until).labelled(),
        stopping=development.take(~is_late),
        judging=development.take(is_late),
        order=order,
        curve=position_curve(shown, until),
    )
