"""Ids that the service makes."""

from __future__ import annotations

import os
import uuid


def time_ordered_id(micros: int) -> str:
    """A UUID of version 7 (RFC 9562): sorts by the time `micros`, 74 random bits."""
    random = int.from_bytes(os.urandom(10)) & ((1 << 74) - 1)
    value = (
        (micros // 1000) << 80 | 7 << 76 | (random >> 62) << 64 | 2 << 62 | random & (1 << 62) - 1
    )
    return str(uuid.UUID(int=value))


def trace_id() -> str:
    """16 random bytes in hex: a W3C trace id."""
    return os.urandom(16).hex()


def span_id() -> str:
    """8 random bytes in hex: a W3C parent id."""
    return os.urandom(8).hex()
