"""What became of what callers sent: rows taken and refused, and what was wrong."""

from __future__ import annotations

from kindred.schemas.base import Record


class RowError(Record, frozen=True, kw_only=True):
    """Why one row of a batch was refused."""

    index: int
    path: str
    reason: str


class BatchResult(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What became of a batch: `accepted` rows are durable."""

    accepted: int
    unchanged: int = 0
    rejected: list[RowError] = []
    sequence: int = 0
    """The catalogue's change sequence after this batch."""


class EventResult(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What became of a batch of events: `accepted` ones are committed."""

    accepted: int
    unchanged: int = 0
    """Events whose id the log holds already."""
    rejected: list[RowError] = []


class Problem(Record, frozen=True, kw_only=True, omit_defaults=False):
    """RFC 9457 problem details, with the paths of the fields at fault."""

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str | None = None
    errors: list[RowError] = []
