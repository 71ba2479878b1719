"""Results of other threads on the event loop, many at one wake-up."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Wakeups:
    """Awaits futures that a thread completes in groups.

    `asyncio.wrap_future` wakes the loop once for each of them, which costs more than the rest.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._landed: list[asyncio.Future[None]] = []

    async def result(self, future: Future[T], limit_s: float) -> T:
        """The future's result or error; TimeoutError where neither comes within `limit_s`.

        A caller that is cancelled, or waits no longer, cancels nothing.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def landed(_: Future[T]) -> None:
            with self._lock:
                asleep = not self._landed
                self._landed.append(waiter)
            if asleep:
                loop.call_soon_threadsafe(self._wake)

        future.add_done_callback(landed)
        async with asyncio.timeout(limit_s):
            await waiter
        return future.result()

    def _wake(self) -> None:
        with self._lock:
            landed, self._landed = self._landed, []
        for waiter in landed:
            if not waiter.done():
                waiter.set_result(None)
