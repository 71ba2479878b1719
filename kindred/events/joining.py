"""The join over the lake, a day at a time: `events.join` on what each day can touch.

First each day of events is linked (`events.linking`): with the answers shown on it and shortly
before it, and the rows clicked in the weeks before, which are few. An event of its last hour may
belong to the day after (`events.moments`), so each day looks an hour into both its neighbours.
Then the rows of each day of decisions are labelled from the links of the days that follow it. Both
leave files (`events.joined_days`), and a day is done again only where something it was made from
has changed.
Memory holds a day of decisions and a day of events, and a month of clicks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import polars as pl

from kindred.events.impressions import Windows, answers, impressions, narrow, touches, visits
from kindred.events.join import DEADLINE, label
from kindred.events.joined_days import DayState, JoinedDays, LinkState, fingerprints
from kindred.events.linking import Tally, link
from kindred.events.moments import CLOCK_LAG, touch_moments, visit_moments
from kindred.schemas.clock import DAY
from kindred.schemas.progress import Progress
from kindred.schemas.settings import JoinSettings

RULES = "4"
"""Goes up with every change of the rules: days joined by other rules are joined again."""

Source = Callable[[int | None, int | None], pl.LazyFrame]
"""Rows with since <= occurred_at < until (microseconds UTC); None is without bound."""


class JoinReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is joined now, and what of it this run did."""

    as_of: int
    """Microseconds UTC: what happened before it counts."""
    days: int
    rows: int
    recomputed: int
    """Days of rows that this run wrote."""
    relinked: int
    """Days of events that this run linked."""
    censored: int
    """Rows that may still change."""
    eligible: int
    """Clicks and stronger that name a decision, a trace or a session."""
    join_rate: float | None
    """Share of them that found the impression they came of; most acts of most visitors came of
    none, where answers are a part of the site."""
    named_join_rate: float | None
    """The same share of those that name a decision: what is lost between the logs."""
    orphan_purchases: int
    """Purchases that name a decision or a trace and found no impression."""
    trace_coverage: float | None
    """Share of those found that carry the trace of their decision."""


def join_lake(
    lake: Path,
    decisions: Source,
    events: Source,
    windows: JoinSettings,
    as_of: int,
    progress: Progress,
) -> JoinReport:
    """Bring `lake/joined` to what `join` says of everything, as of `as_of`.

    A day whose inputs have vanished from the lake (retention) keeps its rows. ArtefactError where
    another join is at work or the disk fails.
    """
    days = JoinedDays(lake)
    with days.held():
        days.drop_future(as_of)
        run = _Run(days, decisions, events, Windows.of(windows), as_of)
        with progress.task("look for changes"):
            told = _Days.of(run.told(None, None), "decision_id", _OF_DAY < CLOCK_LAG)
            happened = _Days.of(run.happened(None, None), "event_id", _OF_DAY >= DAY - CLOCK_LAG)
        with progress.task("link days of events", len(happened.whole)) as advance:
            links, relinked = run.link_days(told, happened, advance)
        with progress.task("label days of decisions", len(told.whole)) as advance:
            rows, recomputed = run.label_days(told.whole, links, advance)
    return _report(as_of, rows, links, recomputed, relinked)


def joined_until(lake: Path) -> int:
    """The latest `as_of` that anything in `lake/joined` was made for; 0 where there is nothing."""
    days = JoinedDays(lake)
    made_for = [state.as_of for state in days.day_states().values()]
    made_for += [state.as_of for state in days.link_states().values()]
    return max(made_for, default=0)


_OF_DAY = pl.col("occurred_at") % DAY


class _Days(NamedTuple):
    """Fingerprints by day (its number since 1970) of what is told on it."""

    whole: dict[int, str]
    edge: dict[int, str]
    """Of the hour of the day that a neighbour looks into."""

    @classmethod
    def of(cls, rows: pl.LazyFrame, key: str, edge: pl.Expr) -> _Days:
        halves = fingerprints(rows, pl.col(key), "occurred_at", edge)
        days = dict.fromkeys(day for day, _ in halves)
        parts = {d: [halves.get((d, at), "") for at in (False, True)] for d in days}
        return cls(
            {d: "+".join(p) for d, p in parts.items()}, {d: p[1] for d, p in parts.items() if p[1]}
        )


@dataclass(frozen=True, slots=True)
class _Run:
    days: JoinedDays
    decisions: Source
    events: Source
    windows: Windows
    as_of: int

    def told(self, since: int | None, until: int | None) -> pl.LazyFrame:
        return self.decisions(since, self.as_of if until is None else min(until, self.as_of))

    def happened(self, since: int | None, until: int | None) -> pl.LazyFrame:
        return self.events(since, self.as_of if until is None else min(until, self.as_of))

    def link_days(
        self, told: _Days, happened: _Days, advance: Callable[[int], object]
    ) -> tuple[dict[int, LinkState], int]:
        """State by day of events; how many were linked anew. In order: clicks go before sales."""
        states = self.days.link_states()
        done = 0
        early = {day + 1 for day in happened.edge if day + 1 in told.edge}
        for day in sorted(happened.whole.keys() | early):
            inputs = self._link_inputs(day, told, happened, states)
            known = states.get(day)
            if known is None or _changed(known.inputs, inputs):
                states[day] = self._link(day, inputs, states)
                done += 1
            advance(1)
        return states, done

    def _link_inputs(
        self,
        day: int,
        told: _Days,
        happened: _Days,
        states: dict[int, LinkState],
    ) -> dict[str, str]:
        back = _days(max(self.windows.recent, self.windows.awareness))
        days = range(day - back, day + 1)
        shown = {f"decisions {d}": told.whole[d] for d in days if d in told.whole}
        shown |= {"decisions after": told.edge[day + 1]} if day + 1 in told.edge else {}
        done = {"events before": happened.edge[day - 1]} if day - 1 in happened.edge else {}
        done |= {f"events {day}": happened.whole[day]} if day in happened.whole else {}
        clicked = {f"clicked {d}": states[d].clicked for d in self._click_days(day) if d in states}
        return {"rules": self._rules(), **done, **shown, **clicked}

    def _click_days(self, day: int) -> range:
        return range(day - _days(self.windows.clicked), day)

    def _link(self, day: int, inputs: dict[str, str], states: dict[int, LinkState]) -> LinkState:
        since, until = day * DAY, (day + 1) * DAY
        happened = self.happened(since - CLOCK_LAG, until)
        later = until + CLOCK_LAG
        shown = narrow(self.told(since - self.windows.recent, later)).collect()
        known = answers(self.told(since - self.windows.awareness, later)).collect()
        of_day = pl.col("occurred_at").is_between(since, until, closed="left")
        linked = link(
            touch_moments(touches(happened).collect(), shown).filter(of_day),
            visit_moments(visits(happened).collect(), known).filter(of_day),
            shown,
            known,
            self.days.clicked(
                [d for d in self._click_days(day) if d in states], since - self.windows.clicked
            ),
            self.windows,
        )
        return self.days.put_links(day, linked, inputs, self.as_of)

    def label_days(
        self, told: dict[int, str], links: dict[int, LinkState], advance: Callable[[int], object]
    ) -> tuple[dict[int, DayState], int]:
        """State by day of decisions; how many were labelled anew."""
        states = self.days.day_states()
        done = 0
        for day in sorted(told):
            ahead = range(day, day + _days(self.windows.longest) + 2)
            found = {d: links[d].rows.get(str(day), "") for d in ahead if d in links}
            inputs = {"rules": self._rules(), f"decisions {day}": told[day]}
            inputs |= {f"links {d}": fingerprint for d, fingerprint in found.items()}
            known = states.get(day)
            if known is None or _changed(known.inputs, inputs) or _moved(known, self.as_of):
                states[day] = self._label(day, [d for d, f in found.items() if f], inputs)
                done += 1
            advance(1)
        return states, done

    def _label(self, day: int, link_days: list[int], inputs: dict[str, str]) -> DayState:
        since, until = day * DAY, (day + 1) * DAY
        shown = impressions(self.told(since, until)).collect()
        rows = label(shown, self.days.links(link_days, since, until), self.windows, self.as_of)
        still_open = rows.filter("censored")[DEADLINE]
        state = DayState(
            inputs=inputs,
            as_of=self.as_of,
            rows=rows.height,
            censored=still_open.len(),
            open_until=int(still_open.min()) if still_open.len() else 0,  # type: ignore[arg-type]
        )
        self.days.put_day(day, rows.drop(DEADLINE), state)
        return state

    def _rules(self) -> str:
        return f"{RULES} {' '.join(map(str, self.windows))}"


def _days(span: int) -> int:
    """Days before today that the moments of `span` before any moment of today lie in."""
    return -(-span // DAY)


def _changed(known: dict[str, str], inputs: dict[str, str]) -> bool:
    """Whether an input is another than before; one that has vanished changes nothing."""
    return any(known.get(name, "") != fingerprint for name, fingerprint in inputs.items())


def _moved(known: DayState, as_of: int) -> bool:
    """Whether the same inputs give other rows as of now: a window has shut, or is open again."""
    return as_of < known.as_of or (known.censored > 0 and as_of > known.open_until)


def _report(
    as_of: int,
    rows: dict[int, DayState],
    links: dict[int, LinkState],
    recomputed: int,
    relinked: int,
) -> JoinReport:
    counted = [Tally(*(state.tally)) for state in links.values()]
    eligible, found = sum(t.eligible for t in counted), sum(t.found for t in counted)
    named = sum(t.named for t in counted)
    return JoinReport(
        as_of=as_of,
        days=len(rows),
        rows=sum(state.rows for state in rows.values()),
        recomputed=recomputed,
        relinked=relinked,
        censored=sum(state.censored for state in rows.values()),
        eligible=eligible,
        join_rate=found / eligible if eligible else None,
        named_join_rate=sum(t.named_found for t in counted) / named if named else None,
        orphan_purchases=sum(t.orphans for t in counted),
        trace_coverage=sum(t.traced for t in counted) / found if found else None,
    )
