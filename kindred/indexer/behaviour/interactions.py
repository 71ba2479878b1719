"""What people did to items, as columns: the input of everything that learns from behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kindred.indexer.behaviour.users import NOBODY, Keys, user_keys
from kindred.schemas.clock import MINUTE
from kindred.schemas.event import ACTION_CODE, ACTIONS
from kindred.schemas.ranking import Floats, Mask, Rows
from kindred.schemas.settings import SignalSettings

"""Microseconds in a minute."""

Codes = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Sessions:
    """S sessions over n interactions: session s owns `index[offsets[s]:offsets[s + 1]]`."""

    offsets: Rows
    """int64[S + 1]"""
    index: Rows
    """int64[n]: positions in the interactions, oldest first within a session"""

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Interactions:
    """n actions on items, as a struct of arrays ordered by time.

    Ties in time are ordered by a hash of the event's id, so that their order says nothing.
    """

    subject: Codes
    """int32[n]: who, a position in `subjects`"""
    session: Codes
    """int32[n]: the visit, numbered without meaning"""
    row: Rows
    """int64[n]: the item's catalogue row"""
    action: NDArray[np.int16]
    """int16[n]: `schemas.event.ACTION_CODE`"""
    ts: Rows
    """int64[n]: microseconds UTC, never falling"""
    subjects: NDArray[np.uint64]
    """uint64[U]: hashes of the subjects' ids; `subject_names` turns them back"""
    users: Keys = field(default_factory=lambda: np.zeros(0, np.uint64))
    """uint64[U]: `users.user_key` of each subject, NOBODY for devices and sessions; empty where
    the log was read without ids"""

    def __len__(self) -> int:
        return len(self.ts)

    def take(self, index: Mask | Rows | slice) -> Self:
        """The interactions at `index`, which must keep the order of time; codes stay."""
        columns: dict[str, Any] = {name: getattr(self, name)[index] for name in _COLUMNS}
        return replace(self, **columns)

    def before(self, t: int) -> Self:
        """Those strictly before `t` (a view)."""
        return self.take(slice(0, int(np.searchsorted(self.ts, t, side="left"))))

    def between(self, since: int, until: int) -> Self:
        """Those with since ≤ ts < until (a view)."""
        low, high = np.searchsorted(self.ts, [since, until], side="left")
        return self.take(slice(int(low), int(high)))

    def look_back(self, days: int) -> Self:
        """Those at most `days` days older than the newest; 0 keeps all (a view)."""
        if days == 0 or len(self) == 0:
            return self
        oldest = int(self.ts[-1]) - days * 24 * 60 * MINUTE
        return self.take(slice(int(np.searchsorted(self.ts, oldest, side="left")), None))

    def signal_weights(self, signals: SignalSettings) -> Floats:
        """float32[n]: what each action is worth; 0 where it does not count."""
        return action_weights(signals)[self.action]

    def counted(self, signals: SignalSettings) -> Self:
        """Those whose action has a weight."""
        weights = self.signal_weights(signals)
        return self if np.all(weights > 0) else self.take(weights > 0)

    def sessions(self) -> Sessions:
        """The sessions that occur, each oldest first."""
        return grouped(self.session)


def grouped(codes: NDArray[Any]) -> Sessions:
    """Positions of each distinct code, in order of the codes, each group in its given order."""
    index = np.argsort(codes, kind="stable").astype(np.int64)
    ordered = codes[index]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: len(ordered)])
    return Sessions(np.append(starts, len(ordered)).astype(np.int64), index)


_COLUMNS = ("subject", "session", "row", "action", "ts")


def action_weights(signals: SignalSettings) -> Floats:
    """float32[actions]: weight by action code."""
    return np.array([signals.weights.get(a.value, 0.0) for a in ACTIONS], np.float32)


def load_interactions(
    events: pl.LazyFrame,
    row_of: pl.DataFrame,
    settings: SignalSettings,
    since: int | None = None,
    until: int | None = None,
) -> Interactions:
    """Read the actions on known items with since ≤ time < until.

    `events` has the columns of the lake, `row_of` the columns `item_id` and `row`. A subject is
    the user, else the device, else the session; a visit is the session id, else the subject's
    actions without a pause of `session_gap_minutes`. Ten million events take about 2 GB.
    """
    wanted = pl.col("entity_kind").cast(pl.String) == "item"
    if since is not None:
        wanted &= pl.col("occurred_at") >= since
    if until is not None:
        wanted &= pl.col("occurred_at") < until
    rows = row_of.lazy().select(entity_id="item_id", row=pl.col("row").cast(pl.Int64))
    actions = pl.col("action").cast(pl.String)
    frame = (
        events.filter(wanted)
        .join(rows, on="entity_id", how="inner")
        .select(
            "row",
            ts=pl.col("occurred_at").cast(pl.Int64),
            action=actions.replace_strict(ACTION_CODE, return_dtype=pl.Int16),
            tie=pl.col("event_id").hash(),
            subject=subject_hash(),
            session=pl.when(pl.col("session_id").is_not_null()).then(pl.col("session_id").hash(3)),
        )
        .collect(engine="streaming")
        .sort("ts", "tie")
    )
    log = _with_codes(frame, settings.session_gap_minutes * MINUTE)
    return replace(log, users=_user_keys(events.filter(wanted), log.subjects))


def _user_keys(events: pl.LazyFrame, subjects: NDArray[np.uint64]) -> Keys:
    """uint64[U]: the key of each subject that is a user."""
    named = (
        events.filter(pl.col("user_id").is_not_null())
        .select(key=subject_hash(), name="user_id")
        .unique("key")
        .collect(engine="streaming")
    )
    at = np.searchsorted(subjects, named["key"].to_numpy())
    at = np.minimum(at, max(len(subjects) - 1, 0))
    there = subjects[at] == named["key"].to_numpy() if len(subjects) else np.zeros(0, bool)
    keys = np.full(len(subjects), NOBODY, np.uint64)
    if there.any():
        keys[at[there]] = user_keys(named["name"].filter(pl.Series(there)))
    return keys


def subject_names(events: pl.LazyFrame, interactions: Interactions) -> list[str]:
    """Id of each of `interactions.subjects`, read from the same events ("" where it is gone)."""
    names = (
        events.select(key=subject_hash(), name=pl.coalesce("user_id", "device_id", "session_id"))
        .unique("key")
        .collect(engine="streaming")
    )
    wanted = pl.DataFrame({"key": interactions.subjects})
    joined = wanted.join(names, on="key", how="left", maintain_order="left")
    return joined["name"].fill_null("").to_list()


def subject_hash() -> pl.Expr:
    """Whose event it is, as `Interactions.subjects` has it.

    The seeds keep a user and a device of the same name apart.
    """
    user, device, session = pl.col("user_id"), pl.col("device_id"), pl.col("session_id")
    return (
        pl.when(user.is_not_null())
        .then(user.hash(1))
        .when(device.is_not_null())
        .then(device.hash(2))
        .otherwise(session.hash(3))
    )


def _with_codes(frame: pl.DataFrame, gap: int) -> Interactions:
    ts = frame["ts"].to_numpy()
    subjects, inverse = np.unique(frame["subject"].to_numpy(), return_inverse=True)
    subject = inverse.astype(np.int32)
    named = frame["session"].is_not_null().to_numpy()
    session = np.zeros(len(ts), np.int32)
    known, codes = np.unique(frame["session"].drop_nulls().to_numpy(), return_inverse=True)
    session[named] = codes
    loose = np.flatnonzero(~named)
    loose = loose[np.argsort(subject[loose], kind="stable")]
    fresh = np.ones(len(loose), bool)
    fresh[1:] = (np.diff(subject[loose]) != 0) | (np.diff(ts[loose]) > gap)
    session[loose] = len(known) - 1 + np.cumsum(fresh)
    return Interactions(
        subject=subject,
        session=session,
        row=frame["row"].to_numpy(),
        action=frame["action"].to_numpy(),
        ts=ts,
        subjects=subjects,
    )
