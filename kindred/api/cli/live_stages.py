"""Stages as they are trained: one live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from kindred.api.cli.output import LineProgress
from kindred.schemas.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from kindred.indexer.stages import StageRow

WAITING, TRAINING = "waiting", "training"
STYLES = {WAITING: "dim", TRAINING: "bold", "failed its gate": "yellow", "withdrawn": "yellow"}
OTHER_LINES = 8
"""Lines of a terminal that rows of stages leave free: headings, bars, what was typed."""
FEWEST = 5
"""Rows shown on the smallest terminal."""


class StageDisplay(Progress, Protocol):
    """Progress that is also told of stages (a `Watcher`)."""

    def planned(self, stages: Sequence[str]) -> None:
        """See Watcher.planned."""

    def began(self, stage: str) -> None:
        """See Watcher.began."""

    def ended(self, row: StageRow) -> None:
        """See Watcher.ended."""


@contextmanager
def stage_display(stream: TextIO | None = None) -> Iterator[StageDisplay]:
    """The display for a stream, stderr by default; it is gone from a terminal afterwards."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield StageLines(stream)
        return
    table = StageTable(stream)
    with table.shown():
        yield table


class StageLines:
    """A line as a stage ends, beside those of `LineProgress`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines = LineProgress(stream)
        self._stage = ""

    @contextmanager
    def task(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """See Progress.task. The stage's own line stands for the task of its training."""
        if name == f"train {self._stage}":
            yield _nothing
            return
        with self._lines.task(name, total) as advance:
            yield advance

    def planned(self, stages: Sequence[str]) -> None:
        """See Watcher.planned."""
        self._say(f"{len(stages)} stages: {', '.join(stages)}")

    def began(self, stage: str) -> None:
        """See Watcher.began."""
        self._stage = stage

    def ended(self, row: StageRow) -> None:
        """See Watcher.ended."""
        took = f" in {row.seconds:.1f} s" if row.seconds else ""
        self._say(f"{row.stage}: {row.state}, version {row.version}{took}: {row.summary}")

    def _say(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class StageTable:
    """One table: a row for each stage, with bars in the row of the one that is being trained."""

    def __init__(
        self,
        stream: TextIO,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bars

        self._console = console or Console(file=stream)
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: dict[str, list[str]] = {}
        """stage -> state, seconds, version, what it says"""
        self._stage: str | None = None
        self._since = 0.0
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            console=self._console,
        )

    def shown(self) -> AbstractContextManager[Any]:
        """Keep the table on the terminal."""
        from rich.live import Live

        return Live(
            console=self._console,
            get_renderable=self.table,
            refresh_per_second=4,
            transient=True,
        )

    @contextmanager
    def task(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """See Progress.task. The row stands for the task of the stage's training."""
        if name == f"train {self._stage}":
            yield _nothing
            return
        bar = self._bars.add_task(name, total=total)
        try:
            yield lambda done: self._bars.advance(bar, done)
        finally:
            self._bars.remove_task(bar)

    def planned(self, stages: Sequence[str]) -> None:
        """See Watcher.planned."""
        with self._lock:
            self._rows = {stage: [WAITING, "", "", ""] for stage in stages}

    def began(self, stage: str) -> None:
        """See Watcher.began."""
        with self._lock:
            self._stage, self._since = stage, self._clock()
            self._rows[stage] = [TRAINING, "", "", ""]

    def ended(self, row: StageRow) -> None:
        """See Watcher.ended."""
        with self._lock:
            self._stage = None
            took = f"{row.seconds:.1f}" if row.seconds else ""
            self._rows[row.stage] = [row.state, took, row.version, row.summary]

    def table(self) -> RenderableType:
        """As it stands; the part around the running stage where the terminal is short."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            if not self._rows:
                return self._bars.get_renderable()
            names = list(self._rows)
            table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=True)
            table.add_column("stage", no_wrap=True)
            table.add_column("state", no_wrap=True, min_width=len("failed its gate"))
            table.add_column("seconds", no_wrap=True, justify="right", min_width=7)
            table.add_column("version", no_wrap=True)
            table.add_column("what it says", no_wrap=True, overflow="ellipsis", ratio=1)
            room = max(FEWEST, self._console.height - OTHER_LINES - len(self._bars.tasks))
            ended = sum(values[0] not in (WAITING, TRAINING) for values in self._rows.values())
            at = names.index(self._stage) if self._stage in self._rows else ended
            first, last = window(len(names), at, room)
            for name in names[first:last]:
                state, took, version, says = self._rows[name]
                told: RenderableType = Text(says)
                if name == self._stage:
                    took = f"{self._clock() - self._since:.0f}"
                    told = self._bars.get_renderable()
                table.add_row(name, state, took, version, told, style=STYLES.get(state))
            if last - first < len(names):
                table.caption = f"{ended} of {len(names)} stages are done"
            return table


def window(count: int, at: int, room: int) -> tuple[int, int]:
    """(first, past the last) of at most `room` of `count` rows with `at` in the middle of them."""
    first = max(0, min(at - room // 2, count - room))
    return first, min(count, first + room)


def _nothing(done: int) -> None:
    """Where nobody looks."""
