"""Events become columns: who, in which visit, did what to which row, in order of time."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from builders import event
from hypothesis import given
from hypothesis import strategies as st

from kindred.indexer.behaviour.interactions import (
    Interactions,
    load_interactions,
    subject_names,
)
from kindred.indexer.behaviour.users import user_key
from kindred.schemas.event import ACTION_CODE, Action, EntityKind, Event
from kindred.schemas.settings import SignalSettings

MINUTE = 60_000_000
SETTINGS = SignalSettings()
COLUMNS = (
    "event_id", "action", "entity_kind", "entity_id", "user_id", "device_id", "session_id",
)  # fmt: skip


def frame(events: list[Event]) -> pl.LazyFrame:
    def text(value: Any) -> Any:
        return getattr(value, "value", value)

    columns = {name: [text(getattr(e, name)) for e in events] for name in COLUMNS}
    table = pl.DataFrame(columns, schema=dict.fromkeys(COLUMNS, pl.String))
    return table.with_columns(
        occurred_at=pl.Series([e.occurred_at for e in events], dtype=pl.Int64)
    ).lazy()


def rows(*item_ids: str) -> pl.DataFrame:
    return pl.DataFrame({"item_id": list(item_ids), "row": np.arange(len(item_ids)) * 10})


def load(events: list[Event], **kw: Any) -> Interactions:
    return load_interactions(frame(events), rows("a", "b"), SETTINGS, **kw)


def test_only_known_items_count():
    events = [
        event(entity_id="a"),
        event(entity_id="nowhere"),
        event(entity_id="a", action=Action.FOLLOW_SELLER, entity_kind=EntityKind.SHOP),
        event(entity_id="b", action=Action.PURCHASE),
    ]
    found = load(events)
    assert found.row.tolist() == [0, 10]
    assert found.action.tolist() == [ACTION_CODE["view"], ACTION_CODE["purchase"]]


def test_a_subject_is_the_user_else_the_device_else_the_session():
    same = {"entity_id": "a", "user_id": None}
    events = [
        event(entity_id="a", user_id="x", device_id="d1"),
        event(entity_id="a", user_id="x", device_id="d2"),
        event(**same, device_id="x", session_id="s"),
        event(**same, session_id="x"),
    ]
    found = load(events)
    codes = found.subject.tolist()
    assert codes[0] == codes[1]
    assert len(set(codes)) == 3
    assert [subject_names(frame(events), found)[c] for c in codes] == ["x"] * 4


def test_a_session_id_holds_a_visit_together_across_a_login():
    events = [
        event(entity_id="a", user_id=None, device_id="d", session_id="s"),
        event(entity_id="b", user_id="u", device_id="d", session_id="s"),
    ]
    assert len(load(events).sessions()) == 1


def test_without_a_session_id_a_long_silence_begins_a_new_visit():
    times = [0, 29, 59, 90]
    events = [event(entity_id="a", occurred_at=t * MINUTE) for t in times]
    events.append(event(entity_id="a", occurred_at=30 * MINUTE, user_id="other"))
    found = load(events)
    sessions = found.sessions()
    visits = [
        found.ts[sessions.index[low:high]] // MINUTE
        for low, high in zip(sessions.offsets, sessions.offsets[1:], strict=False)
    ]
    assert sorted(v.tolist() for v in visits) == [[0, 29, 59], [30], [90]]


def test_since_is_included_and_until_is_not():
    events = [event(entity_id="a", occurred_at=t) for t in range(5)]
    assert load(events, since=1, until=4).ts.tolist() == [1, 2, 3]
    whole = load(events)
    assert whole.between(1, 4).ts.tolist() == [1, 2, 3]
    assert whole.before(2).ts.tolist() == [0, 1]


def test_look_back_keeps_the_newest_days():
    day = 24 * 60 * MINUTE
    events = [event(entity_id="a", occurred_at=t * day) for t in range(10)]
    assert len(load(events).look_back(3)) == 4
    assert len(load(events).look_back(0)) == 10


def test_an_action_without_a_weight_does_not_count():
    events = [event(entity_id="a"), event(entity_id="a", action=Action.IMPRESSION)]
    found = load(events)
    assert sorted(found.signal_weights(SETTINGS).tolist()) == [0.0, 1.0]
    assert len(found.counted(SETTINGS)) == 1


def test_no_event_at_all_is_no_error():
    found = load([])
    assert len(found) == 0
    assert len(found.sessions()) == 0
    assert len(found.look_back(3)) == 0


def test_ties_are_not_ordered_by_item():
    events = [
        event(event_id=f"e{i}", entity_id=f"i{i:03d}", occurred_at=7, user_id="u")
        for i in range(64)
    ]
    catalogue = rows(*(f"i{i:03d}" for i in range(64)))
    found = load_interactions(frame(events), catalogue, SETTINGS)
    assert np.corrcoef(found.row, np.arange(64))[0, 1] < 0.5


@given(st.permutations(list(range(12))))
def test_the_order_of_arrival_changes_nothing(order: list[int]):
    events = [
        event(
            event_id=f"e{i}",
            entity_id="ab"[i % 2],
            user_id=f"u{i % 3}",
            session_id=f"s{i % 4}" if i % 5 else None,
            occurred_at=i // 3,
        )
        for i in range(12)
    ]
    expected, found = load(events), load([events[i] for i in order])
    for name in ("subject", "session", "row", "action", "ts", "subjects"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_only_users_who_logged_in_have_a_key_that_lasts():
    events = [
        event(entity_id="a", user_id="x", device_id="d"),
        event(entity_id="b", user_id="y"),
        event(entity_id="a", user_id=None, device_id="x"),
        event(entity_id="a", user_id=None, session_id="y"),
        event(entity_id="nowhere", user_id="z"),
    ]
    found = load(events)
    keys = found.users[found.subject]
    assert sorted(keys.tolist()) == sorted([0, 0, user_key("x"), user_key("y")])
    assert len(load([]).users) == 0
