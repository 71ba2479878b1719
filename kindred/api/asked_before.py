"""Logged decisions as the requests that they answered, to be asked again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kindred.events.decisions import newest
from kindred.schemas.event import Platform, Role
from kindred.schemas.query import (
    Filters,
    Place,
    Relation,
    SessionAction,
    SessionRecallRequest,
    SimilarRequest,
    Subject,
)
from kindred.schemas.workspace import Workspace

COLUMNS = (
    "decision_id", "occurred_at", "surface", "policy", "platform", "role", "user_id", "device_id",
    "session_id", "seed_item", "session_items", "lat", "lon", "flags", "shown_item",
)  # fmt: skip
MOST = 100
"""Items of the longest answer."""


@dataclass(frozen=True, slots=True)
class AskedBefore:
    """Requests by decision id, newest first, and the decisions that tell none."""

    requests: dict[str, SimilarRequest]
    left_out: Counter[str] = field(default_factory=Counter)


AskAgain = Callable[[int], AskedBefore]
"""How many of the newest decisions -> the requests that they answered"""


def asked_before(workspace: Workspace, limit: int) -> AskedBefore:
    """The newest `limit` decisions; of what a request told, filters, relation and the like are in
    its decision's flags.
    """
    found = newest(workspace.lake, workspace.decisions, limit, columns=COLUMNS)
    asked = AskedBefore({})
    for row in found.iter_rows(named=True):
        if row["policy"] != "funnel":
            asked.left_out["not of the funnel"] += 1
        elif row["seed_item"] is None or not row["shown_item"]:
            asked.left_out["nothing shown"] += 1
        else:
            asked.requests[row["decision_id"]] = request_of(row)
    return asked


def request_of(row: Mapping[str, Any]) -> SimilarRequest:
    """The request behind a row of COLUMNS."""
    flags: dict[str, str] = msgspec.json.decode(row["flags"] or "{}")
    ids = {name: row[name] for name in ("user_id", "device_id", "session_id")}
    subject = Subject(**ids, role=Role(row["role"] or "customer")) if any(ids.values()) else None
    relation = flags.get("relation")
    return SimilarRequest(
        item_id=row["seed_item"],
        session=tuple(SessionAction(item_id=name) for name in row["session_items"] or ()),
        subject=subject,
        place=None if row["lat"] is None else Place(lat=row["lat"], lon=row["lon"]),
        filters=msgspec.json.decode(flags.get("filters", "{}"), type=Filters),
        dislike=msgspec.json.decode(flags.get("dislike", "[]"), type=tuple[str, ...]),
        k=min(len(row["shown_item"]), MOST),
        relation=None if relation is None else Relation(relation),
        surface=row["surface"],
        platform=Platform(row["platform"]),
        blend=flags.get("blend") != "false",
    )


def flags_of(request: SimilarRequest | SessionRecallRequest) -> dict[str, str]:
    """What a request asked for that its decision has no column for; nothing that is the default."""
    flags = {}
    if request.filters != Filters():
        flags["filters"] = msgspec.json.encode(request.filters).decode()
    if isinstance(request, SimilarRequest):
        if request.relation is not None:
            flags["relation"] = request.relation.value
        if request.dislike:
            flags["dislike"] = msgspec.json.encode(request.dislike).decode()
        if not request.blend:
            flags["blend"] = "false"
    return flags
