"""What commands write: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from kindred.schemas.errors import InputError, SettingsError
from kindred.schemas.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from kindred.schemas.workspace import Workspace

Command = TypeVar("Command", bound=Callable[..., Any])

PLAIN_WIDTH = 160
"""Cells of a table that does not go to a terminal, unless the environment has COLUMNS."""


def json_option(command: Command) -> Command:
    """Give a command `--json`, which it receives as `as_json: bool`."""
    flag = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    return flag(command)


def print_json(value: Any, **beside: Any) -> None:
    """Write what msgspec can encode on stdout, indented; `beside` joins the fields of an object."""
    import msgspec

    if beside:
        value = msgspec.to_builtins(value) | beside
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_notes(workspace: Workspace) -> list[str]:
    """Write what the workspace's settings note, such as that all of it is simulated, on stderr.

    Gives the notes, for the JSON of results that have room for them.
    """
    from kindred.api.settings_file import load_settings

    notes = load_settings(workspace.settings, os.environ).notes
    for note in notes:
        click.echo(f"Note: {note}", err=True)
    return list(notes)


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    spare: Sequence[str] = (),
    cut: Collection[str] = (),
) -> None:
    """Write a table on stdout: numbers right-aligned, floats with four significant digits.

    `rows` holds one value per column; None is shown as a dash. Words are not broken, so that ids
    can be copied: where the width does not do, `spare` columns are left out, empty ones and the
    last of them first, and a line on stderr names them. Values of `cut` columns are cut to a line.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from kindred.api.cli.layout import fitted, measures

    held = [list(row) for row in rows]
    told = [[_cell(value) for value in row] for row in held]
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PLAIN_WIDTH
    layout = fitted(
        [
            measures([row[at] for row in told], column, cut=column in cut)
            for at, column in enumerate(columns)
        ],
        console.width,
        sorted(map(columns.index, spare), key=lambda at: all(row[at] is None for row in held)),
    )
    console.width = max(console.width, layout.width)
    table = Table(
        title=title or None, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0)
    )
    for at, width in zip(layout.columns, layout.widths, strict=True):
        one_line = columns[at] in cut
        table.add_column(
            columns[at],
            justify="right" if _numeric([row[at] for row in held]) else "left",
            overflow="ellipsis" if one_line else "fold",
            no_wrap=one_line,
            width=width,
        )
    for row in told:
        table.add_row(*(row[at] for at in layout.columns))
    console.print(table)
    if left := [name for at, name in enumerate(columns) if at not in layout.columns]:
        click.echo(f"Left out, too narrow: {', '.join(left)}. --json has all.", err=True)


def _numeric(values: Iterable[Any]) -> bool:
    held = [value for value in values if value is not None]
    return bool(held) and all(isinstance(value, int | float) for value in held)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def print_problem(error: Exception) -> None:
    """Write an error on stdout as problem details (RFC 9457), with the field at fault."""
    name = type(error).__name__
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    path = error.path if isinstance(error, InputError | SettingsError) else None
    reason = error.message if isinstance(error, InputError) else str(error)
    print_json(
        {
            "type": "urn:kindred:" + words.replace(" ", "-").lower(),
            "title": words.capitalize(),
            "detail": str(error),
            "errors": [] if path is None else [{"path": path, "reason": reason}],
        }
    )


def terminal_progress(stream: TextIO | None = None) -> Progress:
    """Progress for people: bars on a terminal, plain lines elsewhere (stderr by default)."""
    stream = stream or sys.stderr
    return BarProgress(stream) if stream.isatty() else LineProgress(stream)


class BarProgress:
    """Bars that live while at least one task is open, and stay when they are done."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._bars: Bars | None = None
        self._open = 0

    @contextmanager
    def task(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """See Progress.task."""
        with self._lock:
            if self._bars is None:
                self._bars = _bars(self._stream)
                self._bars.start()
            bars = self._bars
            self._open += 1
        task = bars.add_task(name, total=total)
        finished = 0

        def advance(done: int) -> None:
            nonlocal finished
            finished += done
            bars.advance(task, done)

        try:
            yield advance
            bars.update(task, total=finished or 1, completed=finished or 1)
        finally:
            with self._lock:
                self._open -= 1
                if self._open == 0:
                    bars.stop()
                    self._bars = None


def _bars(stream: TextIO) -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(file=stream),
    )


class LineProgress:
    """One line when a task ends, and one every few seconds while it runs."""

    def __init__(
        self,
        stream: TextIO,
        every_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._every = every_s
        self._clock = clock

    @contextmanager
    def task(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """See Progress.task."""
        begun = said = self._clock()
        finished = 0

        def advance(done: int) -> None:
            nonlocal finished, said
            finished += done
            now = self._clock()
            if now - said >= self._every:
                said = now
                of = f" of {total:,} ({finished / total:.0%})" if total else ""
                self._say(f"{name}: {finished:,}{of}")

        yield advance
        count = f"{finished:,} in " if finished else ""
        self._say(f"{name}: done, {count}{self._clock() - begun:.1f} s")

    def _say(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
