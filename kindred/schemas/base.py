"""Units and the two constrained types that every noun uses.

Times are int64 microseconds UTC. Money is int64 minor units with an ISO-4217 code. Ad rates are
basis points of the price. Distances are metres. Probabilities are float64 in (0, 1].
"""

from __future__ import annotations

from typing import Annotated

import msgspec

MAX_ID_BYTES = 128
_SURELY_SHORT = MAX_ID_BYTES // 4
"""A character is at most four bytes."""

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_BYTES)]
"""An external id: 1 to 128 bytes of UTF-8 (`check_id` checks the bytes)."""

Micros = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""A moment: microseconds since 1970-01-01 UTC, up to the year 2255.

The bound is that of a double, in which stores and browsers compare numbers."""

Minor = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""An amount of money in minor units."""

COUNTRY = r"^[A-Z]{2}$(?!\n)"
CURRENCY = r"^[A-Z]{3}$(?!\n)"
TRACEPARENT = r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$(?!\n)"
"""Patterns; `schemas.faults` has their words."""

Country = Annotated[str, msgspec.Meta(pattern=COUNTRY)]
"""ISO 3166-1 alpha-2."""

Currency = Annotated[str, msgspec.Meta(pattern=CURRENCY)]
"""ISO 4217."""

Latitude = Annotated[float, msgspec.Meta(ge=-90, le=90)]
Longitude = Annotated[float, msgspec.Meta(ge=-180, le=180)]


class Record(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Base of everything that crosses a boundary: frozen, strict, defaults left out."""


def check_ids(record: Record, *fields: str) -> None:
    """`check_id` of those fields that are told."""
    for field in fields:
        if (value := getattr(record, field)) is not None:
            check_id(value, field)


def check_id(value: str, field: str) -> None:
    """Raise ValueError unless `value` is at most 128 bytes of UTF-8 without NUL."""
    if "\0" in value or (len(value) > _SURELY_SHORT and len(value.encode()) > MAX_ID_BYTES):
        raise ValueError(f"`{field}` must be at most {MAX_ID_BYTES} bytes without NUL")
