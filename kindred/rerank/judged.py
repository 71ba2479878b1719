"""Shown lists with labels as of a moment, in three parts by time: train, stop, judge.

Each part knows what was known when it ended, as if that were today: its labels are of that moment.
What might still have come then counts as not done, or each end would cost a day of lists. Only
what judges is labelled by everything known since, and holds no list whose actions may still come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.exposure import PositionCurve, position_curve
from kindred.indexer.behaviour.impressions import PURCHASE, Impressions
from kindred.rerank.labels import LabelOrder, label_order, usable
from kindred.rerank.logged import JoinedLog, LoggedLists, read_lists
from kindred.rerank.training import TooLittle, silent
from kindred.schemas.ranking import Doubles, Mask, Rows
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
    """Three parts in order of time, each labelled by what was known at its end."""

    training: Judged
    """Lists of which something came."""
    stopping: Judged
    """All lists."""
    judging: Judged
    """All lists."""
    order: LabelOrder
    """By what was known when the training part ended"""
    curve: PositionCurve
    """What positions earned before the training part ended"""
    moments: Moments


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All lists of which something came before a moment, and the order of labels of then."""

    lists: Judged
    order: LabelOrder


class Moments(NamedTuple):
    """Microseconds UTC: where the parts end."""

    training: int
    stopping: int
    judging: int


def judged_lists(lists: LoggedLists, order: LabelOrder, until: int) -> Judged:
    """Label every row by what happened before `until`."""
    happened = lists.shown.outcomes[lists.at] < until
    labels = order.label(happened, lists.shown.formats[lists.at])
    return Judged(lists=lists, labels=labels, bought=happened[:, PURCHASE])


def split_moments(
    log: JoinedLog, until: int, settings: RankerSettings, windows: JoinSettings
) -> Moments | None:
    """Where the parts end that `until` gives; None where one of them has nothing to tell.

    The newest `judging_share` of the lists of which something came judges; `development_share` of
    those that were known by then stops the training.
    """
    keep = _usable(log, until, settings, windows)
    clicked = _clicked(log, keep, until)
    if not len(clicked):
        return None
    second = _newest(log, clicked, settings.judging_share)
    clicked = _clicked(log, _usable(log, second, settings, windows, inner=True), second)
    if not len(clicked):
        return None
    first = _newest(log, clicked, settings.development_share)
    if not len(_clicked(log, _usable(log, first, settings, windows, inner=True), first)):
        return None
    return Moments(first, second, until)


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
    sample. `size` is the catalogue's. Raises TooLittle where a part would be empty.
    """
    shown = log.shown
    moments = split_moments(log, until, settings, windows)
    if moments is None:
        raise TooLittle(
            "the shown lists of which something came, and whose features were logged, are too few "
            "to train by, to stop by and to judge by"
        )
    first, second, _ = moments
    keep = _usable(log, first, settings, windows, inner=True)
    order = _order_of(shown, keep, first)

    def part(since: int, end: int, most: int) -> Judged:
        keep = _usable(log, end, settings, windows, inner=end < until)
        wanted = np.flatnonzero(_lists_of(shown, keep) & (shown.at >= since))
        if len(wanted) > most:
            rng = np.random.default_rng(seed)
            wanted = np.sort(rng.choice(wanted, most, replace=False))
        return judged_lists(read_lists(log, wanted, keep, size, on_lists, known=first), order, end)

    return Parts(
        training=_read_clicked(log, first, keep, order, size, settings, on_lists),
        stopping=part(first, second, settings.joined_lists // 2),
        judging=part(second, until, settings.joined_lists),
        order=order,
        curve=position_curve(shown, first),
        moments=moments,
    )


def learnable_lists(
    log: JoinedLog, until: int, settings: RankerSettings, windows: JoinSettings
) -> int:
    """Lists of which something is known to have come at `until`."""
    return len(_clicked(log, _usable(log, until, settings, windows), until))


def known_lists(
    log: JoinedLog,
    until: int,
    size: int,
    settings: RankerSettings,
    windows: JoinSettings,
    *,
    on_lists: Callable[[int], None] = silent,
) -> Known:
    """All that was known at `until`: what a ranker learns from whose making has been judged."""
    keep = _usable(log, until, settings, windows)
    order = _order_of(log.shown, keep, until)
    lists = _read_clicked(log, until, keep, order, size, settings, on_lists)
    return Known(lists=lists, order=order)


def _order_of(shown: Impressions, rows: Mask, until: int) -> LabelOrder:
    """The order of labels by what happened before `until` to the rows bool[n]."""
    return label_order(shown.outcomes[rows], shown.formats[rows], until)


def _read_clicked(
    log: JoinedLog,
    until: int,
    keep: Mask,
    order: LabelOrder,
    size: int,
    settings: RankerSettings,
    on_lists: Callable[[int], None],
) -> Judged:
    """The newest lists, of the rows `keep`, of which something is known to have come at `until`."""
    wanted = _clicked(log, keep, until)[-settings.joined_lists :]
    lists = read_lists(log, wanted, keep, size, on_lists, known=until)
    return judged_lists(lists, order, until).labelled()


def _usable(
    log: JoinedLog,
    until: int,
    settings: RankerSettings,
    windows: JoinSettings,
    *,
    inner: bool = False,
) -> Mask:
    """bool[n]: rows of readable lists shown before `until` whose outcomes were known then.

    At an `inner` moment, the end of a part that others follow, actions may still come.
    """
    shown = log.shown
    keep = usable(
        shown, until, windows, open_purchases=settings.open_purchases, open_actions=inner,
        auctions=log.auctions,
    )  # fmt: skip
    rows: Mask = keep & (log.readable() & (shown.at < until))[shown.owners]
    return rows


def _lists_of(shown: Impressions, rows: Mask) -> Mask:
    """bool[L]: lists of the rows bool[n]."""
    lists: Mask = np.bincount(shown.owners[rows], minlength=shown.lists) > 0
    return lists


def _clicked(log: JoinedLog, keep: Mask, until: int) -> Rows:
    """int64[m]: the lists of the rows `keep` of which something came before `until`, rising."""
    found = log.shown.clicked_lists(until)
    if log.auctions:
        found &= _lists_of(log.shown, keep & (log.shown.outcomes < until).any(axis=1))
    clicked: Rows = np.flatnonzero(_lists_of(log.shown, keep) & found)
    return clicked


def _newest(log: JoinedLog, clicked: Rows, share: float) -> int:
    """When the newest share of the lists `clicked` begins."""
    return int(log.shown.at[clicked[int((1 - share) * (len(clicked) - 1))]])
