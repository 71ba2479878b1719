"""Moments as people write them on a command line."""

from __future__ import annotations

from datetime import UTC, datetime

from kindred.schemas.clock import DAY
from kindred.schemas.errors import InputError
from kindred.schemas.ranking import Rows


def parse_moment(text: str, times: Rows, path: str = "$.train_until") -> int:
    """Microseconds UTC of `text`: `2024-03-01`, an ISO time, `-28d` before the end, or `90%`.

    `times` int64[n] are the events' times, rising; a share counts events.
    """
    if not len(times):
        raise InputError("there are no events: `kindred import events` brings them in", path)
    try:
        if text.endswith("%"):
            share = float(text[:-1]) / 100
            if not 0 < share < 1:
                raise ValueError
            return int(times[int(share * len(times))])
        if text.startswith("-") and text.endswith("d"):
            return int(times[-1]) + 1 - round(float(text[1:-1]) * DAY)
        return _micros(text)
    except ValueError:
        raise InputError(f"{text!r} is neither a time, `-28d` nor `90%`", path) from None


def moment_of(text: str, path: str) -> int:
    """Microseconds UTC of `2024-03-01` or an ISO time, from 1970 on; InputError carries `path`."""
    try:
        moment = _micros(text)
        if moment < 0:
            raise ValueError
    except ValueError:
        raise InputError(f"{text!r} is no time such as `2024-03-01T12:00`", path) from None
    return moment


def micros_of(moment: datetime) -> int:
    """Microseconds UTC; a moment without a zone is in UTC."""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1e6)


def _micros(text: str) -> int:
    return micros_of(datetime.fromisoformat(text))


def readable(moment: int) -> str:
    """`2024-03-01T12:00:00Z`"""
    return datetime.fromtimestamp(moment / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
