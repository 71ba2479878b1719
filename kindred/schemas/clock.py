"""Units of time, and the wall clock as an argument's default."""

from __future__ import annotations

import time
from datetime import date

EPOCH = date(1970, 1, 1)
"""The day from which microseconds count."""
DAY = 86_400_000_000
"""Microseconds in a day."""
HOUR = 3_600_000_000
"""Microseconds in an hour."""
MINUTE = 60_000_000
"""Microseconds in a minute."""


def micros_now() -> int:
    """Microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000
