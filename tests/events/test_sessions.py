"""Sessions: the visitor's last hour, read from the log or rebuilt from columns."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import polars as pl
import pytest
from builders import event
from hypothesis import given, settings
from hypothesis import strategies as st

from kindred.events.contract import event_columns
from kindred.events.log_tables import open_log_file
from kindred.events.sessions import Sessions, sessions_at
from kindred.schemas.clock import HOUR
from kindred.schemas.errors import InputError, LogError
from kindred.schemas.event import ACTION_CODE, Action, EntityKind, Event
from kindred.schemas.query import Subject
from kindred.schemas.settings import SessionSettings

NOW = 1_700_000_000_000_000
_COLUMNS = (
    "event_id", "occurred_at", "action", "entity_kind", "entity_id", "user_id", "device_id",
    "session_id", "text",
)  # fmt: skip


def written(path: Path, events: list[Event]) -> None:
    """Commit `events` to the log's own table."""
    db = open_log_file(path)
    rows = []
    for told in events:
        plain = msgspec.to_builtins(told)
        values = [plain.get(name) for name in _COLUMNS]
        values[2] = ACTION_CODE[told.action.value]
        values[3] = told.entity_kind.value
        rows.append((*values, NOW, 0, "customer", "web"))
    names = ", ".join((*_COLUMNS, "received_at", "logged_in", "role", "platform"))
    marks = ", ".join("?" * (len(_COLUMNS) + 4))
    db.executemany(f"INSERT INTO events ({names}) VALUES ({marks})", rows)
    db.close()


def sessions(path: Path, now: int = NOW, **chosen: int) -> Sessions:
    return Sessions(path, SessionSettings(**chosen), clock=lambda: now)


def test_a_log_that_is_not_there_has_no_sessions_until_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a#folder?of 100%" / "log.sqlite"
    path.parent.mkdir()
    read = sessions(path)
    assert len(read.of(Subject(user_id="u"))) == 0
    written(path, [event(event_id="1", user_id="u", occurred_at=NOW)])
    assert len(read.of(Subject(user_id="u"))) == 1
    path.rename(path.with_name("another"))
    written(path, [])
    assert len(read.of(Subject(user_id="u"))) == 0


def test_a_session_is_the_newest_actions_of_the_last_hour(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    told = [event(event_id=f"e{n}", entity_id=f"i{n}", occurred_at=NOW - n * 1000, user_id="u")
            for n in range(100)]  # fmt: skip
    old = event(event_id="old", occurred_at=NOW - HOUR - 1, user_id="late")
    seen = event(event_id="p", action=Action.IMPRESSION, occurred_at=NOW, user_id="u")
    written(path, [*told, old, seen])
    found = sessions(path).of(Subject(user_id="u"))
    assert found.entity_id == tuple(f"i{n}" for n in range(64))
    assert len(sessions(path, actions=3).of(Subject(user_id="u"))) == 3
    assert len(sessions(path).of(Subject(user_id="late"))) == 0


def test_streams_are_by_kind_and_action(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    search = {"action": Action.SEARCH, "entity_kind": EntityKind.QUERY, "entity_id": "q"}
    written(
        path,
        [
            event(event_id="1", entity_id="a", occurred_at=NOW - 3, user_id="u"),
            event(event_id="2", occurred_at=NOW - 2, user_id="u", text="oak table", **search),
            event(event_id="3", entity_id="b", occurred_at=NOW - 1, user_id="u"),
        ],
    )
    found = sessions(path).of(Subject(user_id="u"))
    assert found.streams() == {
        (EntityKind.ITEM, Action.VIEW): [(NOW - 1, "b"), (NOW - 3, "a")],
        (EntityKind.QUERY, Action.SEARCH): [(NOW - 2, "q")],
    }
    assert found.text == (None, "oak table", None)


def test_a_device_shows_nothing_of_the_user_who_logged_out(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    shared = {"device_id": "d", "session_id": "s"}
    written(
        path,
        [
            event(event_id="1", entity_id="hers", occurred_at=NOW - 2, user_id="her", **shared),
            event(event_id="2", entity_id="anyones", occurred_at=NOW - 1, user_id=None, **shared),
        ],
    )
    read = sessions(path)
    assert read.of(Subject(device_id="d")).entity_id == ("anyones",)
    assert read.of(Subject(device_id="d", session_id="s")).entity_id == ("anyones",)
    assert read.of(Subject(user_id="other", session_id="s")).entity_id == ("anyones",)
    assert read.of(Subject(session_id="s")).entity_id == ("anyones",)
    assert read.of(Subject(user_id="her", session_id="s")).entity_id == ("anyones", "hers")
    assert read.of(Subject(user_id="her")).entity_id == ("hers",)


def test_a_log_in_brings_the_anonymous_actions_of_before_it(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    there = {"user_id": None, "device_id": "d"}
    written(
        path,
        [
            event(event_id="1", entity_id="before", occurred_at=NOW - 10, **there),
            event(event_id="2", entity_id="own", occurred_at=NOW - 5, user_id="u", device_id="d"),
            event(event_id="3", entity_id="after", occurred_at=NOW + 10, **there),
        ],
    )
    read = sessions(path)
    assert read.of(Subject(user_id="u")).entity_id == ("own",)
    for _ in range(2):
        read.merge(Subject(device_id="d"), "u")
    assert read.of(Subject(user_id="u")).entity_id == ("own", "before")
    assert sessions(path).of(Subject(user_id="u")).entity_id == ("own", "before")
    assert read.of(Subject(user_id="v")).entity_id == ()
    early = sessions(tmp_path / "before the first event.sqlite")
    early.merge(Subject(device_id="d"), "u")
    assert early.of(Subject(user_id="u")).entity_id == ()
    with pytest.raises(InputError):
        read.merge(Subject(user_id="u"), "u")


def test_what_a_user_did_before_the_log_in_is_nobody_elses_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    there = {"user_id": None, "device_id": "d", "session_id": "s"}
    told = [event(event_id=f"e{n}", entity_id=f"at-{n}", occurred_at=NOW + n, **there)
            for n in (10, 30, 50, 70)]  # fmt: skip
    written(path, told)
    for moment, user in ((20, "ann"), (40, "bob"), (60, "ann")):
        sessions(path, NOW + moment).merge(Subject(device_id="d"), user)
    read = sessions(path, NOW + 80)
    assert read.of(Subject(user_id="ann")).entity_id == ("at-50", "at-10")
    assert read.of(Subject(user_id="bob")).entity_id == ("at-30",)
    assert read.of(Subject(device_id="d")).entity_id == ("at-70",)
    assert read.of(Subject(session_id="s")).entity_id == ("at-70",)
    assert read.of(Subject(user_id="bob", session_id="s")).entity_id == ("at-70", "at-30")


def test_a_log_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    path.write_bytes(b"this is no database, and longer than a header" * 100)
    with pytest.raises(LogError):
        sessions(path).of(Subject(user_id="u"))


who = st.sampled_from([None, "a", "b"])
moments = st.integers(-5_000, 0).map(lambda s: NOW + s * 1_000_000)


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    count = draw(st.integers(0, 60))
    told = []
    for n in range(count):
        user, device, session = draw(who), draw(who), draw(who)
        if user is None and device is None and session is None:
            session = "a"
        action = draw(st.sampled_from([Action.VIEW, Action.PURCHASE, Action.INVIEW]))
        told.append(
            event(
                event_id=f"e{draw(st.integers(0, 999)):03}-{n}", entity_id=f"i{n}", action=action,
                occurred_at=draw(moments), user_id=user, device_id=device, session_id=session,
            )
        )  # fmt: skip
    return told


@settings(max_examples=40, deadline=None)
@given(told=histories(), most=st.integers(1, 20))
def test_rebuilt_from_columns_a_session_is_the_one_read_live(
    told: list[Event], most: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("log") / "log.sqlite"
    written(path, told)
    live = sessions(path, actions=most)
    frame = event_columns(pl.DataFrame([msgspec.to_builtins(e) for e in told] or {"event_id": []}))
    named = [(u, d, n) for u in (None, "a") for d in (None, "a", "b") for n in (None, "a", "b")]
    asked = pl.DataFrame(
        [(ask, *ids, NOW) for ask, ids in enumerate(named)],
        {"ask": pl.Int64, "user_id": pl.String, "device_id": pl.String, "session_id": pl.String,
         "at": pl.Int64},
        orient="row",
    )  # fmt: skip
    rebuilt = sessions_at(frame.lazy(), asked, SessionSettings(actions=most))
    for ask, (user, device, session) in enumerate(named):
        expected = live.of(Subject(user_id=user, device_id=device, session_id=session))
        found = rebuilt.filter(pl.col("ask") == ask).sort("place")
        assert tuple(found["entity_id"]) == expected.entity_id
        assert tuple(found["occurred_at"]) == expected.occurred_at
        assert tuple(found["action"]) == expected.action


def test_a_session_is_an_indexed_read(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    written(path, [event(event_id="1", user_id="u")])
    live = sessions(path)
    asked: list[str] = []
    live.of(Subject(user_id="u", session_id="s"))
    db = live._readers.connection()
    assert db is not None
    db.set_trace_callback(asked.append)
    live.of(Subject(user_id="u", device_id="d", session_id="s"))
    live.of(Subject(device_id="d"))
    live.of(Subject(session_id="s"))
    db.set_trace_callback(None)
    with sqlite3.connect(path) as reader:
        plans = [str(reader.execute(f"EXPLAIN QUERY PLAN {q}").fetchall()) for q in asked]
    assert len(plans) == 5
    assert "SCAN" not in " ".join(plans)
    assert all("USING INDEX" in plan or "PRIMARY KEY" in plan for plan in plans)
