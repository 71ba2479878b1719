"""The contract of an event as columns: `schemas.event.Event`, checked ten million at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import polars as pl

from kindred.schemas.base import COUNTRY, MAX_ID_BYTES, TRACEPARENT
from kindred.schemas.event import ENTITY_KINDS, Action, EntityKind, Platform, Role, kind_reason
from kindred.schemas.faults import PATTERN_WORDS, one_of

EVENT_SCHEMA = pl.Schema(
    {
        "event_id": pl.String(),
        "occurred_at": pl.Int64(),
        "action": pl.String(),
        "entity_id": pl.String(),
        "entity_kind": pl.String(),
        "user_id": pl.String(),
        "device_id": pl.String(),
        "session_id": pl.String(),
        "logged_in": pl.Boolean(),
        "role": pl.String(),
        "platform": pl.String(),
        "text": pl.String(),
        "surface": pl.String(),
        "decision_id": pl.String(),
        "position": pl.Int64(),
        "traceparent": pl.String(),
        "country": pl.String(),
        "postcode": pl.String(),
        "value_minor": pl.Int64(),
        "dwell_ms": pl.Int64(),
        "formats": pl.UInt8(),
        "seller_id": pl.String(),
        "ad_rate_bp": pl.UInt16(),
    }
)
"""Fields of an event, in their order, with the type of each column; then FACTS."""
FACTS = ("formats", "seller_id", "ad_rate_bp")
"""What the catalogue said of the item at the time, kept with the actions in `actions.PRICED`:
format bits, seller, and the ad rate where it was in a pay-per-sale campaign (else 0). Null where
the catalogue did not know the item; never told by the caller."""


class Facts(NamedTuple):
    """What the catalogue says of an item at a moment."""

    formats: int
    """FormatBits"""
    seller_id: str | None
    ad_rate_bp: int
    """0 where the item is in no pay-per-sale campaign."""
    top_category: str | None


_DEFAULTS = {
    "entity_kind": EntityKind.ITEM.value,
    "logged_in": False,
    "role": Role.CUSTOMER.value,
    "platform": Platform.WEB.value,
}
_CHOICES = {"action": Action, "entity_kind": EntityKind, "role": Role, "platform": Platform}
_LONGEST = {
    "event_id": 128, "entity_id": 128, "user_id": 128, "device_id": 128, "session_id": 128,
    "decision_id": 128, "text": 512, "surface": 64, "postcode": 16,
}  # fmt: skip
_NOT_EMPTY = ("event_id", "entity_id", "user_id", "device_id", "session_id", "decision_id")
_PATTERNS = {"country": COUNTRY, "traceparent": TRACEPARENT}
_PYTHONS_END = r"(?!\n)"
"""Polars knows no look-ahead and needs none: there `$` is the end alone."""
_BELOW = {"occurred_at": 2**53, "position": 256, "value_minor": 2**53, "dwell_ms": 2**31}


class Problem(NamedTuple):
    """Rows where `wrong` holds break the contract at `path`."""

    wrong: pl.Expr
    path: str
    reason: str


def event_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Exactly the columns of `EVENT_SCHEMA`: absent ones are null, and nulls take the default."""
    absent = [pl.lit(None, dtype).alias(n) for n, dtype in EVENT_SCHEMA.items() if n not in frame]
    whole = frame.with_columns(absent).select(
        pl.col(name).cast(dtype) for name, dtype in EVENT_SCHEMA.items()
    )
    return whole.with_columns(pl.col(name).fill_null(value) for name, value in _DEFAULTS.items())


def contract_problems() -> Iterator[Problem]:
    """Everything that can be wrong with a row of `event_columns`, the graver first."""
    for name in ("event_id", "occurred_at", "action", "entity_id"):
        yield Problem(pl.col(name).is_null(), "$", f"Object missing required field `{name}`")
    for name, choices in _CHOICES.items():
        values = [choice.value for choice in choices]
        yield Problem(~pl.col(name).is_in(values), f"$.{name}", one_of(values))
    for name in _NOT_EMPTY:
        yield Problem(pl.col(name) == "", f"$.{name}", "Expected `str` of length >= 1")
    for name, longest in _LONGEST.items():
        wrong = pl.col(name).str.len_chars() > longest
        yield Problem(wrong, f"$.{name}", f"Expected `str` of length <= {longest}")
    for name, pattern in _PATTERNS.items():
        wrong = ~pl.col(name).str.contains(pattern.removesuffix(_PYTHONS_END))
        yield Problem(wrong, f"$.{name}", PATTERN_WORDS[pattern])
    for name, bound in _BELOW.items():
        wrong = ~pl.col(name).is_between(0, bound - 1)
        yield Problem(wrong, f"$.{name}", f"Expected `int` from 0 to {bound - 1}")
    for name in _NOT_EMPTY:
        wrong = (pl.col(name).str.len_bytes() > MAX_ID_BYTES) | pl.col(name).str.contains(
            "\0", literal=True
        )
        yield Problem(wrong, f"$.{name}", f"must be at most {MAX_ID_BYTES} bytes without NUL")
    nobody = pl.all_horizontal(pl.col("user_id", "device_id", "session_id").is_null())
    yield Problem(nobody, "$", "one of `user_id`, `device_id`, `session_id` is required")
    for action, kinds in ENTITY_KINDS.items():
        named = [kind.value for kind in kinds]
        wrong = (pl.col("action") == action.value) & ~pl.col("entity_kind").is_in(named)
        yield Problem(wrong, "$", kind_reason(action))


_FOUND = {"index": pl.get_index_type(), "path": pl.String(), "reason": pl.String()}


def first_problems(frame: pl.DataFrame, problems: list[Problem]) -> pl.DataFrame:
    """The gravest problem of each row that has one: columns `index`, `path`, `reason`."""
    if not problems:
        return pl.DataFrame(schema=_FOUND)
    which = pl.coalesce(
        pl.when(p.wrong).then(pl.lit(number, pl.UInt16)) for number, p in enumerate(problems)
    )
    told = pl.DataFrame(
        {
            "problem": range(len(problems)),
            "path": [p.path for p in problems],
            "reason": [p.reason for p in problems],
        },
        schema={"problem": pl.UInt16, "path": pl.String, "reason": pl.String},
    )
    found = frame.select(problem=which).with_row_index("index").drop_nulls("problem")
    return found.join(told, on="problem", maintain_order="left").select("index", "path", "reason")


def check_events(frame: pl.DataFrame) -> pl.DataFrame:
    """What breaks the contract in `event_columns(...)`: `index`, `path`, `reason` by row."""
    return first_problems(frame, list(contract_problems()))
