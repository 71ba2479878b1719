"""Whether the log takes an event: the contract, its time, and what the listing allows (SPEC B7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from kindred.events.actions import FORMATS, PRICED
from kindred.events.contract import Facts
from kindred.schemas.clock import DAY, MINUTE
from kindred.schemas.errors import SettingsError
from kindred.schemas.event import Action, EntityKind, Event, Platform
from kindred.schemas.faults import fault_of
from kindred.schemas.item import FormatBits
from kindred.schemas.settings import EventSettings

_COARSER = {"seconds": 1_000_000, "milliseconds": 1_000}
"""Units that times are told in by mistake, in microseconds."""
_A_YEAR = 365 * DAY
_BROKEN = (msgspec.DecodeError, ValueError)
_decode = msgspec.json.Decoder(Event).decode


class Refused(NamedTuple):
    """A row that the log does not take: a dead letter."""

    place: int
    """In the batch."""
    path: str
    reason: str
    raw: bytes
    """The row as it was told."""
    durable: bool = False
    """Whether its action is one whose commit waits for the disk."""


@dataclass(slots=True)
class Batch:
    """Rows of one request, as far as they have been judged."""

    rows: Sequence[bytes | msgspec.Raw]
    """As they were told."""
    events: list[Event] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    """Place in the request, by event."""
    refused: list[Refused] = field(default_factory=list)
    asks: list[int] = field(default_factory=list)
    """Events (by their place in `events`) that the catalogue must be asked about."""
    facts: list[Facts | None] = field(default_factory=list)
    """By event, kept with it; null where it is not among the priced actions."""


class EventChecks:
    """Judges rows of one batch. It asks nothing of the disk: facts are told to `judge`.

    SettingsError where the settings name an action that there is not.
    """

    def __init__(self, settings: EventSettings) -> None:
        self.durable = actions_named(settings.durable, "$.events.durable")
        self._app_only = actions_named(settings.app_only, "$.events.app_only")
        self._interest = frozenset(settings.interest_categories)
        asking = {*PRICED, Action.SHOW_INTEREST} if self._interest else {*PRICED}
        self._asking = frozenset(asking)
        self._late = settings.late_minutes * MINUTE
        self._late_minutes = settings.late_minutes
        self._skew, self._skew_s = int(settings.skew_s * 1e6), settings.skew_s

    def read(self, rows: Sequence[bytes | msgspec.Raw], now: int) -> Batch:
        """Decode rows and judge what can be judged from them alone; `now` is in µs UTC."""
        batch = Batch(rows)
        earliest, latest = now - self._late, now + self._skew
        events, places, asking = batch.events, batch.places, self._asking
        for index, raw in enumerate(rows):
            try:
                event = _decode(raw)
            except _BROKEN as error:
                path, reason = fault_of(error, "the row")
                batch.refused.append(self._row(index, path[1:], reason, raw))
                continue
            if not earliest <= event.occurred_at <= latest:
                reason = self._untimely(event.occurred_at, now)
                batch.refused.append(self._row(index, ".occurred_at", reason, raw, event))
            elif event.action in self._app_only and event.platform is not Platform.APP:
                reason = f"`{event.action.value}` happens in the mobile app alone"
                batch.refused.append(self._row(index, ".platform", reason, raw, event))
            else:
                if event.action in asking and event.entity_kind is EntityKind.ITEM:
                    batch.asks.append(len(events))
                events.append(event)
                places.append(index)
        batch.facts = [None] * len(events)
        return batch

    def judge(self, batch: Batch, facts: Sequence[Facts | None]) -> None:
        """Refuse the events that their listings do not allow.

        facts: for each of `batch.asks`, None for items that the catalogue does not hold: what it
        does not know it does not forbid.
        """
        refused: set[int] = set()
        for at, known in zip(batch.asks, facts, strict=True):
            if known is None:
                continue
            event, index = batch.events[at], batch.places[at]
            if (wrong := self._disallowed(event, known)) is not None:
                refused.add(at)
                batch.refused.append(self._row(index, ".action", wrong, batch.rows[index], event))
            elif event.action is not Action.SHOW_INTEREST:
                batch.facts[at] = known
        batch.asks = []
        if refused:
            kept = [at for at in range(len(batch.events)) if at not in refused]
            batch.events = [batch.events[at] for at in kept]
            batch.places = [batch.places[at] for at in kept]
            batch.facts = [batch.facts[at] for at in kept]
            batch.refused.sort(key=lambda row: row.place)

    def _disallowed(self, event: Event, facts: Facts) -> str | None:
        if event.action is Action.SHOW_INTEREST:
            if facts.top_category in self._interest:
                return None
            where = "listings without a category"
            if facts.top_category is not None:
                where = f"the category {facts.top_category!r}"
            return f"`show_interest` is not known in {where}"
        needed = FORMATS.get(event.action)
        return (
            format_reason(event.action, facts.formats)
            if needed and not (needed & facts.formats)
            else None
        )

    def _row(
        self,
        index: int,
        path: str,
        reason: str,
        raw: bytes | msgspec.Raw,
        event: Event | None = None,
    ) -> Refused:
        durable = event is not None and event.action in self.durable
        return Refused(index, f"$.events[{index}]{path}", reason, bytes(raw), durable)

    def _untimely(self, occurred_at: int, now: int) -> str:
        for unit, micros in _COARSER.items():
            if abs(now - occurred_at * micros) <= _A_YEAR:
                return f"is told in {unit}, it seems; times are microseconds since 1970 UTC"
        seconds = abs(now - occurred_at) / 1e6
        if occurred_at > now:
            return f"lies {seconds:,.1f} s in the future; at most {self._skew_s:g} s are taken"
        return (
            f"is {seconds / 60:,.1f} minutes old; at most {self._late_minutes} minutes are taken "
            "(`kindred import events` takes what is older)"
        )


def actions_named(names: Iterable[str], path: str) -> frozenset[Action]:
    """The actions of these names; SettingsError, with the setting's path, for others."""
    try:
        return frozenset(Action(name) for name in names)
    except ValueError as error:
        allowed = ", ".join(action.value for action in Action)
        raise SettingsError(f"{error}; there are {allowed}", path) from error


def format_reason(action: Action, formats: int) -> str:
    """What is wrong with an action on a listing of these format bits."""
    had = ", ".join(bit.name.lower() for bit in FormatBits if bit & formats and bit.name)
    return f"{needed_format(action)}; this one had {had}"


def needed_format(action: Action) -> str:
    """What an action needs of a listing, in words."""
    needed = (FORMATS[action].name or "").lower()
    return f"`{action.value}` needs a listing with the format {needed}"
