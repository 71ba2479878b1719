"""How an item did where it was shown: counts, smoothed rates, clicks over expected clicks.

Everything is as of one moment. An outcome counts by its own moment: a purchase of tomorrow is not
in today's figures, though its impression is of last week.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.behaviour.impressions import CLICK, PLATFORMS, Impressions
from kindred.schemas.clock import DAY
from kindred.schemas.errors import VersionMismatch
from kindred.schemas.ranking import Doubles, Floats, Rows, all_within

WINDOWS: dict[str, int] = {"1d": 1, "7d": 7, "30d": 30}
"""Days back from the moment."""
LONGEST = max(WINDOWS.values())
COUNTED = ("clicks", "watches", "carts", "offers", "buy_nows", "purchases")
"""Plural of `impressions.OUTCOMES`, in their order."""
PRIOR = 50.0
"""Impressions (clicks, for purchases) at the catalogue's mean rate that a smoothed rate begins
with (SPEC §3.7)."""
ENOUGH_CLICKS = 200
"""Clicks on a platform's randomised lists from which they alone give its position curve."""
DEEPEST = 60
"""Positions from here on count as one."""

NAMES = (
    *(f"shown_{what}_{window}" for what in ("times", *COUNTED) for window in WINDOWS),
    "shown_ctr_1d",
    "shown_ctr_7d",
    "shown_ctr",
    "shown_cvr",
    "shown_coec",
)
"""Columns of `Exposure.values`; MEANINGS says what each is."""
MEANINGS: dict[str, str] = {
    **{f"shown_times_{w}": f"times shown in the last {w}" for w in WINDOWS},
    **{f"shown_{c}_{w}": f"{c} that came of being shown, in the last {w}"
       for c in COUNTED for w in WINDOWS},
    **{f"shown_ctr_{w}": f"clicks per time shown in {w}, smoothed towards the catalogue's rate"
       for w in ("1d", "7d")},
    "shown_ctr": "clicks per time shown in 30d, smoothed towards the catalogue's rate",
    "shown_cvr": "purchases per click in 30d, smoothed towards the catalogue's rate",
    "shown_coec": "clicks over those expected at the positions where it stood, 30d, smoothed to 1",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Facts about each of N rows as of one moment; N = 0 where nothing is known."""

    values: Floats
    """float32[N, len(NAMES)], NaN = unknown"""
    unshown: Floats
    """float32[len(NAMES)]: those of a row that was never shown, in the N rows or newer"""

    def gather(self, rows: Rows) -> Floats:
        """float32[m, len(NAMES)]: the values of rows; newer rows were never shown, -1 is NaN."""
        if all_within(rows, len(self.values)):
            return self.values.take(rows, axis=0)
        known = (rows >= 0) & (rows < len(self.values))
        found = np.full((len(rows), len(NAMES)), np.nan, np.float32)
        found[known] = self.values[rows[known]]
        found[rows >= len(self.values)] = self.unshown
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The columns by name, to be kept."""
        return {"values": self.values, "unshown": self.unshown}

    @classmethod
    def load(cls, arrays: Mapping[str, NDArray[Any]]) -> Exposure:
        """From its arrays. Raises VersionMismatch where they have other columns."""
        if arrays["values"].shape[1:] != (len(NAMES),) or "unshown" not in arrays:
            raise VersionMismatch(
                f"item exposure has {arrays['values'].shape[1:]} columns, not {len(NAMES)} and "
                "those of what was never shown: run `kindred train exposure`"
            )
        return cls(values=arrays["values"], unshown=arrays["unshown"])


def item_exposure(shown: Impressions, n_rows: int, now: int) -> Exposure:
    """Facts of `n_rows` catalogue rows as of `now`: what happened from then on is left out."""
    until = int(np.searchsorted(shown.ts, now, side="left"))
    if not until:
        nothing = np.full((1, len(NAMES)), np.nan, np.float32)
        return Exposure(values=nothing[:0], unshown=nothing[0])
    n_rows += 1  # the last one stands for all that were never shown
    columns: list[Doubles] = []
    for days in WINDOWS.values():
        since = int(np.searchsorted(shown.ts, now - days * DAY, side="left"))
        columns.append(_count(shown.row[since:until], n_rows))
    for moments, at in shown.by_moment:
        for days in WINDOWS.values():
            low, high = np.searchsorted(moments, [now - days * DAY, now], side="left")
            columns.append(_count(shown.row[at[low:high]], n_rows))
    counted = dict(zip(NAMES, columns, strict=False))
    columns += [_rate(counted[f"shown_clicks_{w}"], counted[f"shown_times_{w}"]) for w in WINDOWS]
    columns.append(_rate(counted["shown_purchases_30d"], counted["shown_clicks_30d"]))
    columns.append(_over_expected(shown, n_rows, now))
    values = np.stack(columns, axis=1).astype(np.float32)
    return Exposure(values=values[:-1], unshown=values[-1])


@dataclass(frozen=True, slots=True)
class PositionCurve:
    """Chance of a click by platform and position, over the whole market."""

    chances: Doubles
    """float64[platforms + 1, DEEPEST + 1]: the first row is for unknown platforms"""

    def of(self, platform: NDArray[np.int8], position: NDArray[np.int16]) -> Doubles:
        """float64[n] for int8[n] codes of PLATFORMS and int16[n] positions, 1 = first."""
        chances: Doubles = self.chances[platform + 1, np.clip(position, 0, DEEPEST)]
        return chances

    def look(self, platform: NDArray[np.int8], position: NDArray[np.int16]) -> Doubles:
        """float64[n] in [0, 1]: the same over that of the platform's best position."""
        best = self.chances.max(axis=1)
        looks: Doubles = self.of(platform, position) / np.maximum(best, 1e-12)[platform + 1]
        return looks


def position_curve(shown: Impressions, now: int) -> PositionCurve:
    """What a position earned in the longest window before `now`, as it was known then.

    Where a platform's randomised lists have enough clicks, its curve is theirs: elsewhere what
    stands first is also what is better.
    """
    window = _window(shown, now)
    owners = shown.owners[window]
    clicked = shown.outcomes[window, CLICK] < now
    platform = shown.platform[owners].astype(np.int64) + 1
    key = platform * (DEEPEST + 1) + np.clip(shown.position[window], 0, DEEPEST)
    random = shown.explore[owners]
    chosen = np.ones(len(key), np.bool_)
    for code in range(len(PLATFORMS) + 1):
        here = platform == code
        if int((clicked & random & here).sum()) >= ENOUGH_CLICKS:
            chosen &= random | ~here
    size = (len(PLATFORMS) + 1) * (DEEPEST + 1)
    tries = np.bincount(key[chosen], minlength=size).reshape(-1, DEEPEST + 1)
    hits = np.bincount(key[chosen & clicked], minlength=size).reshape(-1, DEEPEST + 1)
    mean = hits.sum(axis=1, keepdims=True) / np.maximum(tries.sum(axis=1, keepdims=True), 1)
    return PositionCurve((hits + PRIOR * mean) / (tries + PRIOR))


def _window(shown: Impressions, now: int) -> slice:
    """Rows shown in the longest window before `now`."""
    since, until = np.searchsorted(shown.ts, [now - LONGEST * DAY, now], side="left")
    return slice(int(since), int(until))


def _over_expected(shown: Impressions, n_rows: int, now: int) -> Doubles:
    """Of the impressions of the longest window: (clicks + c) / (expected + c), c = PRIOR shown."""
    window = _window(shown, now)
    rows = shown.row[window]
    known = rows >= 0
    platform = shown.platform[shown.owners[window]]
    chances = position_curve(shown, now).of(platform, shown.position[window])
    if not chances.any():
        return np.full(n_rows, np.nan)
    expected = np.bincount(rows[known], chances[known], n_rows)
    clicked = known & (shown.outcomes[window, CLICK] < now)
    prior = PRIOR * float(chances.mean())
    over: Doubles = (_count(rows[clicked], n_rows) + prior) / (expected + prior)
    return over


def _count(rows: Rows, n_rows: int) -> Doubles:
    """float64[n_rows]: how often each row occurs; -1 counts nowhere."""
    return np.bincount(rows[rows >= 0], minlength=n_rows).astype(np.float64)


def _rate(hits: Doubles, tries: Doubles) -> Doubles:
    """hits / tries, with PRIOR tries at the mean rate added; NaN where nothing is known."""
    if not hits.any() or not tries.any():
        return np.full(len(hits), np.nan)
    mean = hits.sum() / tries.sum()
    rate: Doubles = (hits + PRIOR * mean) / (tries + PRIOR)
    return rate
