"""How long work tells where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Somewhere to report to."""

    def task(
        self, name: str, total: int | None = None
    ) -> AbstractContextManager[Callable[[int], None]]:
        """A piece of work of `total` units; the yielded function adds finished ones."""


class SilentProgress:
    """Reports to nobody."""

    @contextmanager
    def task(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        """See Progress.task."""
        yield lambda done: None  # noqa: ARG005
