"""Decisions on disk: the file of the open hours, and their two forms, records and columns."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl

from kindred.events import database
from kindred.events.database import WAIT_S, Tables
from kindred.events.shown import DECISION_SCHEMA
from kindred.schemas.decision import CandidateColumns, Decision
from kindred.schemas.errors import LogError
from kindred.schemas.ranking import Floats

DECISION_TABLES = Tables(
    "decision log",
    (
        """
CREATE TABLE decisions (
    decision_id TEXT PRIMARY KEY,
    occurred_at INTEGER NOT NULL,
    writer TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    doc BLOB NOT NULL,
    features BLOB
);
CREATE INDEX decisions_by_time ON decisions (occurred_at);
CREATE INDEX decisions_by_writer ON decisions (writer, sequence);
CREATE TABLE writers (
    writer TEXT PRIMARY KEY,
    begun_at INTEGER NOT NULL,
    assigned INTEGER NOT NULL
)
""",
    ),
)
"""`writers` has those that have ended: how many sequence numbers each gave out."""

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Decision)
_LISTS = (
    "sources", "recall_rank", "merged", "score", "shadow", "probability", "blend", "ad_rate_bp",
    "price_minor", "formats", "seller_id",
)  # fmt: skip
_JSON = ("versions", "flags", "experiments", "ms")
_SHOWN = ("propensity", "explore", "sponsored", "campaign")

Row = tuple[str, int, str, int, bytes, bytes | None]
"""(decision_id, occurred_at, writer, sequence, doc, features)"""


class StoredDecision(NamedTuple):
    """A decision with its feature rows."""

    decision: Decision
    features: Floats | None
    """float32[candidates, F]"""


def open_decisions(path: Path, wait_s: float = WAIT_S) -> sqlite3.Connection:
    """A writing connection to the file at `path`, made when missing.

    A commit survives the end of the process, not that of the machine.
    """
    db = database.open_log(path, DECISION_TABLES, LogError, wait_s)
    try:
        db.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        db.close()
        raise
    return db


def reading(path: Path) -> AbstractContextManager[sqlite3.Connection | None]:
    """A connection that only reads, or None where nothing has been logged; LogError."""
    return database.reading(path, DECISION_TABLES.what, LogError)


def to_row(decision: Decision, features: Floats | None) -> Row:
    """The row of the table `decisions`."""
    held = None if features is None else np.ascontiguousarray(features, "<f4").tobytes()
    return (
        decision.decision_id,
        decision.occurred_at,
        decision.writer,
        decision.sequence,
        _encode(decision),
        held,
    )


def from_row(doc: bytes, features: bytes | None) -> StoredDecision:
    """What `to_row` made; LogError where it cannot be read."""
    try:
        decision = _decoder.decode(doc)
    except msgspec.MsgspecError as error:
        raise LogError(f"a logged decision cannot be read: {error}") from error
    return StoredDecision(decision, _feature_rows(decision.candidates, features))


def decision_frame(rows: Iterable[tuple[bytes, bytes | None]]) -> pl.DataFrame:
    """DECISION_SCHEMA columns from (doc, features) of the table `decisions`."""
    return to_columns([(_decoder.decode(doc), features) for doc, features in rows])


def to_columns(decisions: Sequence[tuple[Decision, bytes | None]]) -> pl.DataFrame:
    """DECISION_SCHEMA columns from records and the bytes of their feature rows."""
    if not decisions:
        return DECISION_SCHEMA.to_frame()
    columns: dict[str, list[Any]] = {name: [] for name in DECISION_SCHEMA}
    for decision, features in decisions:
        for name, value in _values(decision).items():
            columns[name].append(value)
        columns["features"].append(features)
    made = {
        name: _lists(columns[name], dtype.inner)
        if isinstance(dtype, pl.List)
        else pl.Series(columns[name], dtype=dtype)
        for name, dtype in DECISION_SCHEMA.items()
    }
    return pl.DataFrame(made, schema=DECISION_SCHEMA)


def _lists(values: Sequence[Sequence[Any] | None], inner: Any) -> pl.Series:
    """A column of lists out of one flat column: many times faster than a list at a time."""
    flat = pl.Series(list(chain.from_iterable(v for v in values if v)), dtype=inner)
    length = pl.Series("length", [None if v is None else len(v) for v in values], dtype=pl.Int64)
    at = length.fill_null(0).cum_sum() - length.fill_null(0)
    cut = pl.lit(flat).implode().list.slice(pl.col("at"), pl.col("length"))
    frame = pl.DataFrame({"at": at, "length": length})
    return frame.select(pl.when(pl.col("length").is_not_null()).then(cut)).to_series()


def _values(decision: Decision) -> dict[str, Any]:
    subject, context, shown = decision.subject, decision.context, decision.shown
    place, held = context.place, decision.candidates
    return {
        **{
            name: getattr(decision, name)
            for name in (
                "decision_id", "occurred_at", "surface", "traceparent", "policy", "epsilon",
                "slate_propensity", "writer", "sequence", "candidate_count", "feature_spec",
            )
        },
        **{name: msgspec.json.encode(getattr(decision, name)).decode() for name in _JSON},
        "platform": context.platform.value,
        "role": subject.role.value,
        "user_id": subject.user_id,
        "device_id": subject.device_id,
        "session_id": subject.session_id,
        "seed_item": context.seed_item,
        "session_items": list(context.session),
        "query": context.query,
        "category": list(context.category),
        "lat": None if place is None else place.lat,
        "lon": None if place is None else place.lon,
        "season": context.season,
        "region": context.region,
        "degraded": list(decision.degraded),
        "shown_item": shown.item_id,
        **{f"shown_{name}": getattr(shown, name) for name in _SHOWN[:-1]},
        "shown_campaign": [None if c is None else c.value for c in shown.campaign],
        "candidate_item": None if held is None else held.item_id,
        **{f"candidate_{n}": None if held is None else getattr(held, n) for n in _LISTS},
    }  # fmt: skip


def from_columns(row: Mapping[str, Any]) -> StoredDecision:
    """The record of one row of DECISION_SCHEMA."""
    told = {name: row[name] for name in ("decision_id", "occurred_at", "surface", "policy")}
    told |= {name: row[name] for name in ("epsilon", "writer", "sequence", "candidate_count")}
    told |= {name: row[name] for name in ("traceparent", "slate_propensity", "feature_spec")}
    told |= {name: msgspec.json.decode(row[name] or "{}") for name in _JSON}
    subject = {name: row[name] for name in ("user_id", "device_id", "session_id", "role")}
    context = {name: row[name] for name in ("seed_item", "query", "season", "region", "platform")}
    context["category"] = row["category"] or ()
    context["session"] = row["session_items"] or ()
    if row["lat"] is not None:
        context["place"] = {"lat": row["lat"], "lon": row["lon"]}
    shown = {"item_id": row["shown_item"], **{n: row[f"shown_{n}"] or [] for n in _SHOWN}}
    if row["candidate_item"] is not None:
        held = {name: row[f"candidate_{name}"] for name in _LISTS}
        told["candidates"] = {"item_id": row["candidate_item"], **held}
    told |= {"degraded": row["degraded"] or (), "subject": subject, "context": context}
    try:
        decision = msgspec.convert(told | {"shown": shown}, Decision)
    except msgspec.ValidationError as error:
        raise LogError(f"the decision {row['decision_id']} cannot be read: {error}") from error
    return StoredDecision(decision, _feature_rows(decision.candidates, row["features"]))


def _feature_rows(held: CandidateColumns | None, features: bytes | None) -> Floats | None:
    if features is None or held is None or not held.item_id:
        return None
    return np.frombuffer(features, "<f4").reshape(len(held.item_id), -1)
