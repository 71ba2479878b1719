"""The wall clock, as an argument's default."""

from __future__ import annotations

import time

DAY = 86_400_000_000
"""Microseconds in a day."""
HOUR = 3_600_000_000
"""Microseconds in an hour."""


def micros_now() -> int:
    """Microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000
