"""Telling the service's log of a failure, from threads that must go on whatever happens to it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any


def tell(log: Any, words: str, error: BaseException, **facts: object) -> None:
    """An error for `log`, a structlog logger.

    The disk that fails is often the one that the service's log lies on, and its other end may
    have gone away. Then nobody is left to tell, and that is no reason to stop: whoever waits is
    told of the failure all the same, and it is counted.
    """
    with suppress(Exception):
        log.error(words, reason=f"{type(error).__name__}: {error}", **facts)
