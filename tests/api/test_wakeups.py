"""Results of a thread on the event loop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from kindred.api.wakeups import Wakeups


def test_every_caller_gets_its_own_result_or_error() -> None:
    futures: list[Future[int]] = [Future() for _ in range(200)]

    def complete() -> None:
        for number, future in enumerate(futures):
            if number % 3:
                future.set_result(number)
            else:
                future.set_exception(ValueError(str(number)))

    async def ask() -> list[int | BaseException]:
        wakeups = Wakeups()
        threading.Timer(0.01, complete).start()
        return await asyncio.gather(
            *(wakeups.result(f, 30) for f in futures), return_exceptions=True
        )

    told = asyncio.run(ask())
    assert [str(t) for t in told] == [str(n) for n in range(200)]
    assert [isinstance(t, ValueError) for t in told] == [n % 3 == 0 for n in range(200)]


def test_a_caller_who_goes_away_disturbs_nobody() -> None:
    first, second = Future[str](), Future[str]()

    async def ask() -> str:
        wakeups = Wakeups()
        gone = asyncio.create_task(wakeups.result(first, 30))
        stays = asyncio.create_task(wakeups.result(second, 30))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert not first.cancelled()
        threading.Timer(0.01, lambda: (first.set_result("a"), second.set_result("b"))).start()
        return await stays

    assert asyncio.run(ask()) == "b"


def test_what_never_comes_is_not_waited_for_for_ever() -> None:
    never, late = Future[str](), Future[str]()

    async def ask() -> str:
        wakeups = Wakeups()
        with pytest.raises(TimeoutError):
            await wakeups.result(never, 0.01)
        assert not never.cancelled()
        never.set_result("after all")
        threading.Timer(0.01, late.set_result, ("b",)).start()
        return await wakeups.result(late, 30)

    assert asyncio.run(ask()) == "b"
