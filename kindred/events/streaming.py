"""The join as events arrive: keyed state, timers, and the rules of `events.join` on what is open.

Rows come in any order; a watermark says up to which moment everything has arrived (an hour behind
the clock tolerates an hour of lateness). Between two watermarks lies a span of time that
`events.linking` can do on its own, so the state is small: what waits for its watermark, the items
shown in the last day, the rows clicked in the last month, and the rows that can still change with
what happened to them. A row's timer is the moment at which its last window shuts; then it is
emitted as final and forgotten.

An event may name an answer that comes after it (`events.moments`). Where an event of the last hour
names one that is not known yet, what happened from there on is linked as it stands, and again at
the next watermark; rows that this changes are emitted again.
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
from kindred.events.linking import CLICKED_SCHEMA, LINK_SCHEMA, Linked, Tally, link
from kindred.events.moments import CLOCK_LAG, touch_moments, visit_moments
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
        self._settled_until = watermark
        """What happened before it is linked for good."""
        self._settled_tally = Tally()
        self._open_tally = Tally()
        self._decisions = DECISION_SCHEMA.to_frame()
        self._events = EVENT_SCHEMA.to_frame()
        self._shown = _SHOWN.to_frame()
        self._answers = _ANSWERS.to_frame()
        self._clicked = CLICKED_SCHEMA.to_frame()
        self._rows = _ROWS.to_frame()
        self._links = LINK_SCHEMA.to_frame()
        self._open_links = LINK_SCHEMA.to_frame()
        nothing = EVENT_SCHEMA.to_frame().lazy()
        self._touches = touches(nothing).collect()
        self._visits = visits(nothing).collect()

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
        self._take(*self._arrived())
        keys = self._link()
        due = pl.col(DEADLINE).is_null() | (pl.col(DEADLINE) < watermark)
        keys = pl.concat([keys, self._rows.filter(due).select(ROW)])
        labelled = self._label(keys)
        self._forget()
        return labelled.drop(DEADLINE)

    @property
    def tally(self) -> Tally:
        """How well events have found their impressions."""
        return _sum(self._settled_tally, self._open_tally)

    @property
    def state(self) -> dict[str, int]:
        """Rows held, by what they are held for."""
        return {
            "waiting": self._decisions.height + self._events.height,
            "unsettled": self._touches.height + self._visits.height,
            "shown": self._shown.height,
            "answers": self._answers.height,
            "clicked": self._clicked.height,
            "open": self._rows.height,
            "links": self._links.height + self._open_links.height,
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

    def _take(self, arrived: pl.DataFrame, done: pl.DataFrame) -> None:
        """Bring the state up to the watermark, links apart."""
        told, happened = arrived.lazy(), done.lazy()
        shown = impressions(told).with_columns(pl.lit(None, pl.Int64).alias(DEADLINE))
        self._rows = pl.concat([self._rows, shown.collect()])
        self._shown = pl.concat([self._shown, narrow(told).collect()])
        self._answers = pl.concat([self._answers, answers(told).collect()])
        fresh = touches(happened).collect()
        self._touches = pl.concat([self._touches, fresh]).drop("touch").with_row_index("touch")
        self._visits = pl.concat([self._visits, visits(happened).collect()])

    def _link(self) -> pl.DataFrame:
        """Link what is not linked for good; the rows (`ROW`) whose links are others than before."""
        touched = touch_moments(self._touches, self._shown)
        visited = visit_moments(self._visits, self._answers)
        self._settled_until = self._settling()
        done = pl.col("occurred_at") < self._settled_until
        settled = self._linked(touched.filter(done), visited.filter(done))
        self._settled_tally = _sum(self._settled_tally, settled.tally)
        self._clicked = pl.concat([self._clicked, settled.clicked])
        self._links = pl.concat([self._links, settled.links])
        still = self._linked(touched.filter(~done), visited.filter(~done))
        changed = _difference(self._open_links, pl.concat([settled.links, still.links]))
        self._open_links, self._open_tally = still.links, still.tally
        self._touches = self._touches.filter(touched.select(~done).to_series())
        self._visits = self._visits.filter(visited.select(~done).to_series())
        whole = changed.filter(pl.col("position") == 0)
        rows = self._rows.join(whole, on="decision_id", how="semi").select(ROW)
        return pl.concat([changed.select(ROW), rows])

    def _settling(self) -> int:
        """The moment of the first event that may still turn out to be later; else the watermark."""
        known = pl.concat([self._answers["decision_id"], self._clicked["decision_id"]])
        since = self.watermark - CLOCK_LAG
        claims = pl.concat(
            [frame.select("occurred_at", "decision_id") for frame in (self._touches, self._visits)]
        )
        unknown = claims.drop_nulls("decision_id").filter(
            pl.col("occurred_at") >= since, ~pl.col("decision_id").is_in(known.implode())
        )
        first = unknown.select(pl.col("occurred_at").min()).item()
        return self.watermark if first is None else int(first)

    def _linked(self, touched: pl.DataFrame, visited: pl.DataFrame) -> Linked:
        if touched.is_empty() and visited.is_empty():
            return Linked(self._links.clear(), self._clicked.clear(), Tally())
        return link(touched, visited, self._shown, self._answers, self._clicked, self._windows)

    def _label(self, keys: pl.DataFrame) -> pl.DataFrame:
        """The rows with these keys as they stand now; their timers are set."""
        touched = self._rows.join(keys, on=ROW, how="semi").drop(DEADLINE)
        links = pl.concat([self._links, self._open_links])
        theirs = links.join(touched, on="decision_id", how="semi")
        labelled = label(touched, theirs, self._windows, self.watermark)
        timed = touched.join(labelled.select(*ROW, DEADLINE), on=ROW)
        others = self._rows.join(keys, on=ROW, how="anti")
        self._rows = pl.concat([others, timed])
        return labelled

    def _forget(self) -> None:
        """Drop what no event after the watermark can need."""
        now, windows = self._settled_until, self._windows
        moment = pl.col("occurred_at")
        self._rows = self._rows.filter(pl.col(DEADLINE) >= self.watermark)
        self._shown = self._shown.filter(moment >= now - windows.recent)
        self._answers = self._answers.filter(moment >= now - windows.awareness)
        self._clicked = self._clicked.filter(pl.col("clicked_at") >= now - windows.clicked)
        visits_to = pl.col("position") == 0
        rows = self._links.filter(~visits_to).join(self._rows, on=ROW, how="semi")
        whole = self._links.filter(visits_to).join(self._rows, on="decision_id", how="semi")
        self._links = pl.concat([rows, whole])


def _sum(one: Tally, other: Tally) -> Tally:
    return Tally(*map(sum, zip(one, other, strict=True)))


def _difference(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Links that one of the two has more often than the other."""
    counted = [frame.with_columns(times=pl.lit(n)) for frame, n in ((before, -1), (after, 1))]
    times = pl.concat(counted).group_by(LINK_SCHEMA.names()).agg(pl.col("times").sum())
    return times.filter(pl.col("times") != 0)
