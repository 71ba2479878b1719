"""The contract as columns says what the contract as a type says."""

from __future__ import annotations

from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kindred.events.contract import EVENT_SCHEMA, FACTS, check_events, event_columns
from kindred.schemas.event import Action, EntityKind, Event, Platform, Role

alphabet = st.sampled_from("aé日 \0-0A")
ids = st.text(alphabet, max_size=3) | st.sampled_from(["x" * 128, "x" * 129, "é" * 64, "é" * 65])


def text(longest: int) -> st.SearchStrategy[str]:
    return st.text(alphabet, max_size=3) | st.sampled_from(["é" * longest, "é" * (longest + 1)])


def whole(bound: int) -> st.SearchStrategy[int]:
    edges = st.sampled_from([0, -1, bound, bound - 1])
    return edges | st.integers(-(2**63), 2**63 - 1) | st.integers(0, bound - 1)


def choice(kind: type[Any]) -> st.SearchStrategy[str]:
    return st.sampled_from([k.value for k in kind]) | st.sampled_from(["", "nothing", "VIEW"])


trace = "00-" + "a" * 32 + "-" + "0" * 16 + "-01"
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "event_id": ids,
    "occurred_at": whole(2**53),
    "action": choice(Action),
    "entity_id": ids,
    "entity_kind": choice(EntityKind),
    "user_id": ids,
    "device_id": ids,
    "session_id": ids,
    "logged_in": st.booleans(),
    "role": choice(Role),
    "platform": choice(Platform),
    "text": text(512),
    "surface": text(64),
    "decision_id": ids,
    "position": whole(256),
    "traceparent": st.sampled_from([trace, trace.upper(), trace + "0", "", "x"]),
    "country": st.sampled_from(["DE", "NO", "de", "D", "DEU", ""]),
    "postcode": text(16),
    "value_minor": whole(2**53),
    "dwell_ms": whole(2**31),
}
GOOD = {
    "event_id": "e", "occurred_at": 5, "action": "view", "entity_id": "i", "user_id": "u",
}  # fmt: skip


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """A good row with some fields drawn anew, absent ones included."""
    drawn = draw(st.sets(st.sampled_from(sorted(FIELDS)), max_size=5))
    return {**GOOD, **{name: draw(st.none() | FIELDS[name]) for name in drawn}}


def refusal(row: dict[str, Any]) -> str | None:
    try:
        msgspec.convert({k: v for k, v in row.items() if v is not None}, Event)
    except msgspec.ValidationError as e:
        return str(e)
    return None


@settings(max_examples=80, deadline=None)
@given(st.lists(rows(), min_size=1, max_size=20))
def test_columns_refuse_what_the_type_refuses(told: list[dict[str, Any]]) -> None:
    frame = event_columns(pl.DataFrame(told, schema=dict(EVENT_SCHEMA)))
    refused = dict(
        zip(*check_events(frame).select("index", "path").to_dict().values(), strict=True)
    )
    for index, row in enumerate(told):
        reason = refusal(row)
        assert (index in refused) == (reason is not None), (row, reason)


@pytest.mark.parametrize(
    ("field", "value"),
    [("action", "buy"), ("country", "de"), ("position", 256), ("surface", "s" * 65)],
)
def test_a_problem_names_the_field(field: str, value: object) -> None:
    row = {**GOOD, field: value}
    found = check_events(event_columns(pl.DataFrame([row])))
    assert found["path"].to_list() == [f"$.{field}"]
    reason = refusal(row)
    assert reason is not None
    assert f"`$.{field}`" in reason


def test_absent_fields_take_the_defaults_of_the_type() -> None:
    filled = event_columns(pl.DataFrame([GOOD])).row(0, named=True)
    event = msgspec.to_builtins(Event(**{**GOOD, "action": Action.VIEW}))  # type: ignore[arg-type]
    assert {k: v for k, v in filled.items() if v is not None} == {
        **event, "entity_kind": "item", "logged_in": False, "role": "customer", "platform": "web",
    }  # fmt: skip


def test_columns_are_the_fields_of_the_type() -> None:
    assert tuple(EVENT_SCHEMA) == (*Event.__struct_fields__, *FACTS)
