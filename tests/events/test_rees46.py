"""A shop's real events: in by a column map, through the log, into sessions, out of the lake."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from click.testing import CliRunner

from kindred.api.cli import main
from kindred.events.contract import FACTS
from kindred.events.history import all_events
from kindred.events.lake import Lake
from kindred.events.log import EventLog
from kindred.events.roll import LoggedEvents, closed_before, roll
from kindred.events.sessions import Sessions, sessions_at
from kindred.schemas.event import Event
from kindred.schemas.query import Subject
from kindred.schemas.settings import EventSettings, SessionSettings
from kindred.schemas.workspace import Workspace

HALF_MINUTE = 30_000_000
MAP = (
    "--map", "occurred_at=event_time", "--map", "action=event_type",
    "--rename", "action:cart=add_to_cart", "--map", "entity_id=product_id",
    "--map", "session_id=user_session", "--map", "value_minor=price*100",
)  # fmt: skip


def test_sessions_rebuilt_from_the_log_are_those_that_were_served(
    shared_data: Path, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path / "w")
    source = shared_data / "rees46" / "events.parquet"
    imported = CliRunner().invoke(
        main, ["-w", str(workspace.root), "import", "events", str(source), *MAP]
    )
    assert imported.exit_code == 0, imported.output
    told = Lake(workspace.lake).scan().collect().sort("occurred_at", "event_id")
    assert told.height == pl.read_parquet(source).height

    # The same day once more, live: half-minute batches through the log, rolled as hours close.
    live = Workspace(tmp_path / "live")
    now = [0]
    log = EventLog.open(live.log, EventSettings(), clock=lambda: now[0])
    sessions = Sessions(live.log, SessionSettings(), clock=lambda: now[0])
    random = np.random.default_rng(7)
    asked: list[tuple[str, str | None, int]] = []
    served: list[tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...]]] = []
    halves = (pl.col("occurred_at") // HALF_MINUTE).alias("half_minute")
    for _, part in told.group_by(halves, maintain_order=True):
        rows = part.drop(*FACTS).to_dicts()
        now[0] = rows[-1]["occurred_at"]
        log.append(msgspec.convert(rows, list[Event])).result()
        for at in random.integers(len(rows), size=2).tolist():
            who = {"user_id": rows[at]["user_id"]}
            who["session_id"] = rows[at]["session_id"] if at % 2 else None
            session = sessions.of(Subject(**who))
            asked.append((who["user_id"], who["session_id"], now[0]))
            served.append((session.occurred_at, session.action, session.entity_id))
        roll(LoggedEvents(live.log), live.lake, closed_before(now[0], EventSettings()))
    log.close()
    sessions.close()
    assert 0 < Lake(live.lake).count() < told.height
    everything = all_events(live.lake, live.log)
    assert everything.collect().sort("occurred_at", "event_id").equals(told)

    names = pl.DataFrame(asked, schema=["user_id", "session_id", "at"], orient="row")
    names = names.with_columns(device_id=pl.lit(None, pl.String)).with_row_index("ask")
    rebuilt = sessions_at(everything, names, SessionSettings())
    assert max(len(session[0]) for session in served) > 10
    for ask, session in enumerate(served):
        found = rebuilt.filter(pl.col("ask") == ask).sort("place")
        columns = ("occurred_at", "action", "entity_id")
        assert tuple(tuple(found[name]) for name in columns) == session
