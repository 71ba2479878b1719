"""Units and the two constrained types that every noun uses.

Times are int64 microseconds UTC. Money is int64 minor units with an ISO-4217 code. Ad rates are
basis points of the price. Distances are metres. Probabilities are float64 in (0, 1].
"""

from __future__ import annotations

from typing import Annotated

import msgspec

MAX_ID_BYTES = 128

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_BYTES)]
"""An external id: 1 to 128 bytes of UTF-8 (`check_id` checks the bytes)."""

Micros = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""A moment: microseconds since 1970-01-01 UTC, up to the year 2255.

The bound is that of a double, in which stores and browsers compare numbers."""

Minor = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
"""An amount of money in minor units."""

Country = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}$(?!\n)")]
"""ISO 3166-1 alpha-2."""

Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$(?!\n)")]
"""ISO 4217."""

Latitude = Annotated[float, msgspec.Meta(ge=-90, le=90)]
Longitude = Annotated[float, msgspec.Meta(ge=-180, le=180)]


class Record(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Base of everything that crosses a boundary: frozen, strict, defaults left out."""


def check_id(value: str, field: str) -> None:
    """Raise ValueError unless `value` is at most 128 bytes of UTF-8 without NUL."""
    if len(value.encode()) > MAX_ID_BYTES or "\0" in value:
        raise ValueError(f"`{field}` must be at most {MAX_ID_BYTES} bytes without NUL")
