"""What happened to each item, as columns: features, and the lists of bestsellers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.behaviour.pairs import ranges
from kindred.schemas.clock import DAY
from kindred.schemas.errors import VersionMismatch
from kindred.schemas.event import ACTION_CODE, ACTIONS, Action
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows, all_within
from kindred.schemas.settings import SignalSettings

GROUPS: dict[str, tuple[Action, ...]] = {
    "impressions": (Action.IMPRESSION, Action.INVIEW),
    "views": (Action.CLICK, Action.VIEW),
    "interest": (Action.SHOW_INTEREST, Action.FAVOURITE, Action.WATCH, Action.FOLLOW_SELLER),
    "contacts": (
        Action.SEND_MESSAGE, Action.SHOW_PHONE, Action.CONTACT_SELLER, Action.MAKE_OFFER,
        Action.PLACE_BID,
    ),
    "carts": (Action.ADD_TO_CART,),
    "purchases": (Action.BUY_NOW, Action.PURCHASE),
}  # fmt: skip
"""Actions that are counted together."""
WINDOWS: dict[str, float] = {"1d": 1, "7d": 7, "30d": 30, "all": np.inf}
"""Days back from `now`."""
PRIOR_EVENTS = 20.0
"""Pseudo-events at the catalogue's mean rate that a smoothed rate begins with."""

COUNTS = tuple(f"{group}_{window}" for group in GROUPS for window in WINDOWS)
NAMES = (
    *COUNTS,
    "visits", "subjects", "popularity", "trend", "last_days", "first_days",
    "click_rate", "purchase_rate", "click_rate_7d", "click_rate_30d", "purchase_rate_30d",
)  # fmt: skip
"""Columns of `History.values`; MEANINGS says what each is."""
MEANINGS: dict[str, str] = {
    **{f"{g}_{w}": f"{g} in the last {w}" if w != "all" else f"all {g}"
       for g in GROUPS for w in WINDOWS},
    "visits": "visits in which somebody acted on the item",
    "subjects": "distinct people who acted on it",
    "popularity": "sum of action weights, halved with each half-life of age",
    "trend": "log of the daily rate of the last 7 days over that of the last 30",
    "last_days": "days since the last action",
    "first_days": "days since the first action",
    "click_rate": "views per impression, smoothed towards the catalogue's rate",
    "purchase_rate": "purchases per view, smoothed towards the catalogue's rate",
    **{f"click_rate_{w}": f"views per impression in the last {w}, smoothed likewise"
       for w in ("7d", "30d")},
    "purchase_rate_30d": "purchases per view in the last 30d, smoothed likewise",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Facts about each of N rows as of one moment."""

    values: Floats
    """float32[N, len(NAMES)], NaN = unknown"""
    popularity: Floats
    """float32[N]: decayed sum of action weights"""
    by_popularity: Rows
    """int64[m]: rows with any popularity, most popular first, ties by row"""

    def gather(self, rows: Rows) -> Floats:
        """float32[m, len(NAMES)]: the values of rows; NaN for rows outside (-1, or newer)."""
        if all_within(rows, len(self.values)):
            return self.values.take(rows, axis=0)
        known = (rows >= 0) & (rows < len(self.values))
        found = np.full((len(rows), self.values.shape[1]), np.nan, np.float32)
        found[known] = self.values[rows[known]]
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The columns by name, to be kept."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> History:
        """From its arrays. Raises VersionMismatch where they have other columns."""
        if arrays["values"].shape[1:] != (len(NAMES),):
            raise VersionMismatch(
                f"item history has {arrays['values'].shape[1:]} columns, not {len(NAMES)}: "
                "run `kindred train history`"
            )
        return cls(**{name: arrays[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Bestsellers:
    """The most popular rows of every category, by its code at any level."""

    indptr: Rows
    """int64[C + 1]"""
    rows: Rows
    """int64[nnz], most popular first"""

    def lookup(self, codes: NDArray[Any], limit: int) -> tuple[Rows, Rows]:
        """(int64[n] position in `codes`, int64[n] row): the first `limit` of each category.

        A code outside the table (-1: no category) has none.
        """
        known = (codes >= 0) & (codes < len(self.indptr) - 1)
        safe = np.where(known, codes, 0)
        ends = self.indptr[np.minimum(safe + 1, len(self.indptr) - 1)]
        counts = np.where(known, np.minimum(ends - self.indptr[safe], limit), 0)
        return np.repeat(np.arange(len(codes)), counts), self.rows[
            ranges(self.indptr[safe], counts)
        ]


def bestsellers(
    category: NDArray[np.int32], popularity: Floats, active: Mask, top: int
) -> Bestsellers:
    """The `top` active rows with the most popularity of each category at each level.

    category int32[N, levels] (-1 none) holds a code for each prefix of the path, so that codes of
    different levels differ. Rows newer than `popularity` have none.
    """
    n = min(len(popularity), len(category))
    rows, level = np.nonzero((category[:n] >= 0) & (active[:n] & (popularity[:n] > 0))[:, None])
    codes = category[rows, level].astype(np.int64)
    order = np.lexsort((rows, -popularity[rows], codes))
    rows, codes = rows[order], codes[order]
    sizes = np.bincount(codes, minlength=int(category.max(initial=-1)) + 1)
    starts = np.cumsum(sizes) - sizes
    rows = rows[np.arange(len(rows)) - starts[codes] < top]
    indptr = np.append(0, np.cumsum(np.minimum(sizes, top))).astype(np.int64)
    return Bestsellers(indptr, rows.astype(np.int64))


def item_history(
    interactions: Interactions, n_rows: int, now: int, signals: SignalSettings
) -> History:
    """Facts as of `now`: interactions from then on are left out."""
    past = interactions.before(now)
    counts = np.concatenate(
        [_counts(past.between(_since(now, days), now), n_rows) for days in WINDOWS.values()]
    ).reshape(len(WINDOWS), len(GROUPS), n_rows)
    columns: dict[str, Doubles] = {
        f"{group}_{window}": counts[w, g]
        for g, group in enumerate(GROUPS)
        for w, window in enumerate(WINDOWS)
    }
    age = (now - past.ts) / DAY
    decayed = past.signal_weights(signals) * 0.5 ** (age / signals.popularity_half_life_days)
    columns["popularity"] = np.bincount(past.row, decayed, n_rows).astype(np.float64)
    acted = past.counted(signals)  # to be shown an item is no action
    columns["visits"] = _distinct(acted.session, acted.row, n_rows)
    columns["subjects"] = _distinct(acted.subject, acted.row, n_rows)
    columns["trend"] = _trend(counts)
    columns["last_days"], columns["first_days"] = _ages(acted, n_rows, now)
    columns["click_rate"] = _rate(columns["views_all"], columns["impressions_all"])
    columns["purchase_rate"] = _rate(columns["purchases_all"], columns["views_all"])
    columns["click_rate_7d"] = _rate(columns["views_7d"], columns["impressions_7d"])
    columns["click_rate_30d"] = _rate(columns["views_30d"], columns["impressions_30d"])
    columns["purchase_rate_30d"] = _rate(columns["purchases_30d"], columns["views_30d"])
    popularity = columns["popularity"].astype(np.float32)
    order = np.argsort(-popularity, kind="stable")
    return History(
        values=np.stack([columns[name] for name in NAMES], axis=1).astype(np.float32),
        popularity=popularity,
        by_popularity=order[: int(np.count_nonzero(popularity > 0))].astype(np.int64),
    )


def _since(now: int, days: float) -> int:
    return 0 if np.isinf(days) else now - int(days * DAY)


def _counts(interactions: Interactions, n_rows: int) -> Doubles:
    """float64[groups · n_rows]: actions by group and row."""
    group_of = np.full(len(ACTIONS), -1)
    for g, actions in enumerate(GROUPS.values()):
        group_of[[ACTION_CODE[a.value] for a in actions]] = g
    group = group_of[interactions.action]
    key = (group * n_rows + interactions.row)[group >= 0]
    return np.bincount(key, minlength=len(GROUPS) * n_rows).astype(np.float64)


def _distinct(codes: NDArray[np.int32], rows: Rows, n_rows: int) -> Doubles:
    """float64[n_rows]: distinct codes of each row."""
    pairs = codes.astype(np.int64) * n_rows + rows
    pairs.sort()  # numpy's own unique hashes, seven times slower
    first = np.ones(len(pairs), bool)
    first[1:] = pairs[1:] != pairs[:-1]
    return np.bincount(pairs[first] % max(n_rows, 1), minlength=n_rows).astype(np.float64)


def _trend(counts: Doubles) -> Doubles:
    """Smoothed with one event a month, so that silence is 0 and not a jump."""
    engaged = counts[:, 1:].sum(axis=1)
    week, month = engaged[1] / 7, engaged[2] / 30
    trend: Doubles = np.log((week + 1 / 30) / (month + 1 / 30))
    return trend


def _ages(past: Interactions, n_rows: int, now: int) -> tuple[Doubles, Doubles]:
    """Days since the last and since the first action, NaN where there is none."""
    last, first = np.full(n_rows, np.nan), np.full(n_rows, np.nan)
    age = (now - past.ts) / DAY
    last[past.row] = age  # in order of time, so the newest stays
    first[past.row[::-1]] = age[::-1]
    return last, first


def _rate(hits: Doubles, tries: Doubles) -> Doubles:
    """hits / tries, with PRIOR_EVENTS tries at the mean rate added; NaN where nothing is known."""
    if not hits.any() or not tries.any():
        return np.full(len(hits), np.nan)
    mean = hits.sum() / tries.sum()
    rate: Doubles = (hits + PRIOR_EVENTS * mean) / (tries + PRIOR_EVENTS)
    return rate
