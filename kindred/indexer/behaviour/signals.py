"""What an action is worth, counted in the marketplace's own log (SPEC §2.1, F3, F4).

w_a = P(a conversion within 24 h | a) / P(a conversion within 24 h | view), of the same visitor with
the same item, at or after the action: a conversion leads to itself. Conversions are a message, a
phone number shown and a contact (FINN's, F6), and the purchase, for which those stand where nothing
is sold on the site.

Few conversions follow a rare action, so each ratio is shrunk towards the given weight g_a. Hits are
Poisson with mean w_a · n_a · p (n_a actions, p the views' share that converts), and w_a is Gamma
with mean g_a and shape `PSEUDO_HITS`: the mean of what remains is (hits + s) / (n_a · p + s / g_a).
An action that never happened keeps its given weight. Weights are relative to the view's, and
clipped to [1, 20].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from kindred.indexer.behaviour.holdout import lead
from kindred.indexer.behaviour.interactions import Interactions, action_weights
from kindred.indexer.models import Artefact
from kindred.indexer.stages import Made
from kindred.schemas.clock import HOUR
from kindred.schemas.event import ACTION_CODE, ACTIONS, Action
from kindred.schemas.ranking import Doubles, Floats, Mask, Rows
from kindred.schemas.settings import SignalSettings

CODE = 2
WITHIN = 24 * HOUR
"""How soon after an action a conversion counts (µs)."""
BOUNDS = (1.0, 20.0)
PSEUDO_HITS = 10.0
"""What the given weight counts for, in conversions: seen ten times, the data weighs the same."""
ENOUGH = 100
"""Conversions after views, with fewer of which the given weights are used."""
CONVERSIONS = (
    Action.SEND_MESSAGE, Action.SHOW_PHONE, Action.CONTACT_SELLER, Action.PURCHASE,
)  # fmt: skip
"""What is closest to a transaction."""
_VIEW = ACTION_CODE[Action.VIEW.value]


@dataclass(frozen=True, slots=True)
class Counted:
    """By action code: how often it was done, and led to a conversion in time."""

    done: Rows
    """int64[actions]: those whose 24 hours are over"""
    hits: Rows
    """int64[actions]"""

    @property
    def view_share(self) -> float:
        """P(conversion | view)."""
        return float(self.hits[_VIEW] / max(self.done[_VIEW], 1))

    def ratios(self) -> Doubles:
        """float64[actions]: as counted, neither shrunk nor clipped; NaN where never done."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.hits / self.done / self.view_share)

    def weights(self, given: Floats) -> Floats:
        """float32[actions]: shrunk towards `given` and clipped; 0 where that is 0.

        `given` float32[actions] must have a weight for the view, and views must have converted.
        """
        prior = given.astype(np.float64) / float(given[_VIEW])
        expected = self.done * self.view_share
        with np.errstate(divide="ignore"):
            shrunk = (self.hits + PSEUDO_HITS) / (expected + PSEUDO_HITS / prior)
        shrunk[_VIEW] = 1.0
        return np.where(given > 0, np.clip(shrunk, *BOUNDS), 0).astype(np.float32)


def count_conversions(
    log: Interactions, until: int, conversions: Sequence[Action] = CONVERSIONS
) -> Counted:
    """Count the actions of `log` at least 24 h before `until` (µs), and what they led to."""
    converts = np.isin(log.action, [ACTION_CODE[a.value] for a in conversions])
    hit = followed(log, converts)
    over = log.ts + WITHIN <= until
    size = len(ACTIONS)
    return Counted(
        done=np.bincount(log.action[over], minlength=size),
        hits=np.bincount(log.action[over & hit], minlength=size),
    )


def followed(log: Interactions, converts: Mask) -> Mask:
    """bool[n]: a conversion of the same visitor with the same item, now or within 24 hours."""
    n_rows = int(log.row.max(initial=-1)) + 1
    pair = log.subject.astype(np.int64) * n_rows + log.row
    # Of one moment, conversions come last: they may be what the other actions led to.
    order = np.lexsort((converts, log.ts, pair))
    at = np.flatnonzero(converts[order])
    following = np.searchsorted(at, np.arange(len(order)))
    there = following < len(at)
    found = order[at[following[there]]]
    asked = order[there]
    soon = (pair[found] == pair[asked]) & (log.ts[found] - log.ts[asked] <= WITHIN)
    hit = np.zeros(len(log), bool)
    hit[asked] = soon
    return hit


def make_signals(log: Interactions, until: int, signals: SignalSettings) -> Made:
    """Weights from the actions before `until`, or the given ones where the log says too little."""
    past = log.before(until).counted(signals)
    given = action_weights(signals)
    if problem := _too_little(past, given, counted := count_conversions(past, until)):
        return Made(
            arrays={"weights": given},
            metrics={"weights": _table(given, counted, given)},
            passed=False,
            reason=f"{problem}: the given weights are used",
            summary=problem,
        )
    weights = counted.weights(given)
    known = int(((counted.done > 0) & (given > 0)).sum())
    views = counted.view_share
    return Made(
        arrays={"weights": weights},
        metrics={"views that convert": round(views, 5), "weights": _table(given, counted, weights)},
        reason=f"{int(counted.hits[_VIEW]):,} conversions after views to compare with",
        summary=f"weights of {known} actions; {views:.2%} of the views lead to a conversion",
    )


def judged(made: Made, counted: Mask, given: Mask) -> Made:
    """`made`, with its gate: factors by these weights must answer better than by the given ones.

    counted, given bool[Q]: whether the same question was answered among the first ten by factors
    of each. Counting says what leads to a conversion, not what makes better neighbours.
    """
    ahead, low = lead(counted, given)
    said = f"HR@10 {ahead:+.4f}, at least {low:+.4f}, against the given weights"
    return replace(
        made,
        metrics={**made.metrics, "lead over the given weights": [round(ahead, 5), round(low, 5)]},
        passed=low > 0,
        reason=f"{said}, on {len(counted)} next items",
    )


def _too_little(log: Interactions, given: Floats, counted: Counted) -> str:
    """Why nothing can be counted, empty where it can."""
    kinds = np.unique(log.action)
    if len(kinds) < 2:
        alone = f"nothing but {ACTIONS[kinds[0]].value}" if len(kinds) else "nothing"
        return f"the log holds {alone}"
    if given[_VIEW] <= 0 or not counted.done[_VIEW]:
        return "there are no views to compare with"
    if counted.hits[_VIEW] < ENOUGH:
        return f"{int(counted.hits[_VIEW])} conversions follow views within 24 h; it takes {ENOUGH}"
    return ""


def _table(given: Floats, counted: Counted, weights: Floats) -> list[dict[str, Any]]:
    """The card's rows: every action with a weight."""
    ratios = counted.ratios()
    return [
        {
            "action": ACTIONS[code].value,
            "given": round(float(given[code]), 3),
            "counted": None if not np.isfinite(ratios[code]) else round(float(ratios[code]), 3),
            "used": round(float(weights[code]), 3),
            "n": int(counted.done[code]),
            "conversions": int(counted.hits[code]),
        }
        for code in np.flatnonzero(given > 0).tolist()
    ]


def counted_signals(signals: SignalSettings, artefact: Artefact | None) -> SignalSettings:
    """`signals` with the weights of a version that passed its gate; else as given."""
    if artefact is None or not artefact.card.gate.passed:
        return signals
    return with_weights(signals, artefact.arrays["weights"])


def with_weights(signals: SignalSettings, weights: Floats) -> SignalSettings:
    """`signals` with float32[actions] `weights` in the place of its own."""
    named = zip(ACTIONS, weights.tolist(), strict=True)
    return msgspec.structs.replace(
        signals, weights={action.value: weight for action, weight in named if weight > 0}
    )
