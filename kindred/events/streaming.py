"""The join as events arrive: keyed state, timers, and the rules of `events.join` on what is open.

Rows come in any order; a watermark says up to which moment everything has arrived (an hour behind
the clock tolerates an hour of lateness). Between two watermarks lies a span of time that
`events.linking` can do on its own, so the state is small: what waits for its watermark, the items
shown in the last day, the rows clicked in the last month, and the rows that can still change with
what happened to them. A row's timer is the moment at which its last window shuts; then it is
emitted as final and forgotten.
"""

from __future__ import annotations

import polars as pl

from kindred.events.contract import EVENT_SCHEMA
from kindred.events.impressions import (
    KNOWN,
    SHOWN,
    Windows,
    answers,
    impressions,
    narrow,
    touches,
    visits,
)
from kindred.events.join import DEADLINE, ROW, label
from kindred.events.linking import CLICKED_SCHEMA, LINK_SCHEMA, Tally, link
from kindred.events.shown import DECISION_SCHEMA, JOINED_SCHEMA
from kindred.schemas.settings import JoinSettings

_ROWS = pl.Schema({name: JOINED_SCHEMA[name] for name in KNOWN} | {DEADLINE: pl.Int64()})
_SHOWN = pl.Schema({name: JOINED_SCHEMA[name] for name in SHOWN})
_ANSWERS = pl.Schema(
    {"decision_id": pl.String(), "trace_id": pl.String(), "occurred_at": pl.Int64()}
)


class StreamingJoin:
    """The join of one stream. The last emission of a row equals the row of `join`, bit for bit."""

    def __init__(self, windows: JoinSettings, watermark: int = 0) -> None:
        self._windows = Windows.of(windows)
        self.watermark = watermark
        """Microseconds UTC: everything before it has arrived."""
        self.late = 0
        """Decisions and events that came after the watermark had passed them, and were dropped."""
        self.tally = Tally()
        """How well events have found their impressions."""
        self._decisions = DECISION_SCHEMA.to_frame()
        self._events = EVENT_SCHEMA.to_frame()
        self._shown = _SHOWN.to_frame()
        self._answers = _ANSWERS.to_frame()
        self._clicked = CLICKED_SCHEMA.to_frame()
        self._rows = _ROWS.to_frame()
        self._links = LINK_SCHEMA.to_frame()

    def add(
        self, *, decisions: pl.DataFrame | None = None, events: pl.DataFrame | None = None
    ) -> None:
        """Take rows of `DECISION_SCHEMA` and `EVENT_SCHEMA`, in any order, repeated or not."""
        if decisions is not None:
            decisions = decisions.with_columns(features=pl.lit(None, pl.Binary))
            self._decisions = pl.concat([self._decisions, self._in_time(decisions)])
        if events is not None:
            self._events = pl.concat([self._events, self._in_time(events)])

    def advance(self, watermark: int) -> pl.DataFrame:
        """Everything before `watermark` has arrived: rows that are new, changed or final now.

        `JOINED_SCHEMA`, as of `watermark`; a row that is emitted again replaces its emission
        before. A watermark that does not move on emits nothing.
        """
        if watermark <= self.watermark:
            return JOINED_SCHEMA.to_frame()
        self.watermark = watermark
        keys = self._link(*self._arrived())
        due = pl.col(DEADLINE).is_null() | (pl.col(DEADLINE) < watermark)
        keys = pl.concat([keys, self._rows.filter(due).select(ROW)])
        labelled = self._label(keys)
        self._forget()
        return labelled.drop(DEADLINE)

    @property
    def state(self) -> dict[str, int]:
        """Rows held, by what they are held for."""
        return {
            "waiting": self._decisions.height + self._events.height,
            "shown": self._shown.height,
            "answers": self._answers.height,
            "clicked": self._clicked.height,
            "open": self._rows.height,
            "links": self._links.height,
        }

    def _in_time(self, frame: pl.DataFrame) -> pl.DataFrame:
        kept = frame.filter(pl.col("occurred_at") >= self.watermark)
        self.late += frame.height - kept.height
        return kept

    def _arrived(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Decisions and events that the watermark has passed; they wait no longer."""
        passed = pl.col("occurred_at") < self.watermark
        told, happened = self._decisions.filter(passed), self._events.filter(passed)
        self._decisions = self._decisions.filter(~passed)
        self._events = self._events.filter(~passed)
        return told, happened

    def _link(self, arrived: pl.DataFrame, done: pl.DataFrame) -> pl.DataFrame:
        """Bring the state up to the watermark; the rows (`ROW`) that something happened to."""
        if arrived.is_empty() and done.is_empty():
            return self._rows.select(ROW).clear()
        told, happened = arrived.lazy(), done.lazy()
        shown = impressions(told).with_columns(pl.lit(None, pl.Int64).alias(DEADLINE))
        self._rows = pl.concat([self._rows, shown.collect()])
        self._shown = pl.concat([self._shown, narrow(told).collect()])
        self._answers = pl.concat([self._answers, answers(told).collect()])
        linked = link(
            touches(happened).collect(),
            visits(happened).collect(),
            self._shown,
            self._answers,
            self._clicked,
            self._windows,
        )
        self.tally = Tally(*map(sum, zip(self.tally, linked.tally, strict=True)))
        self._clicked = pl.concat([self._clicked, linked.clicked])
        self._links = pl.concat([self._links, linked.links])
        visited = linked.links.filter(pl.col("position") == 0)
        return pl.concat(
            [
                linked.links.select(ROW),
                self._rows.join(visited, on="decision_id", how="semi").select(ROW),
            ]
        )

    def _label(self, keys: pl.DataFrame) -> pl.DataFrame:
        """The rows with these keys as they stand now; their timers are set."""
        touched = self._rows.join(keys, on=ROW, how="semi").drop(DEADLINE)
        theirs = self._links.join(touched, on="decision_id", how="semi")
        labelled = label(touched, theirs, self._windows, self.watermark)
        timed = touched.join(labelled.select(*ROW, DEADLINE), on=ROW)
        others = self._rows.join(keys, on=ROW, how="anti")
        self._rows = pl.concat([others, timed])
        return labelled

    def _forget(self) -> None:
        """Drop what no event after the watermark can need."""
        now, windows = self.watermark, self._windows
        moment = pl.col("occurred_at")
        self._rows = self._rows.filter(pl.col(DEADLINE) >= now)
        self._shown = self._shown.filter(moment >= now - windows.recent)
        self._answers = self._answers.filter(moment >= now - windows.awareness)
        self._clicked = self._clicked.filter(pl.col("clicked_at") >= now - windows.clicked)
        visits_to = pl.col("position") == 0
        rows = self._links.filter(~visits_to).join(self._rows, on=ROW, how="semi")
        whole = self._links.filter(visits_to).join(self._rows, on="decision_id", how="semi")
        self._links = pl.concat([rows, whole])
