"""What commands that measure share: their options, and how their reports are told."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kindred.api.cli.output import Command, json_option, print_json

if TYPE_CHECKING:
    from kindred.schemas.settings import KindredSettings
    from kindred.schemas.workspace import Workspace

Number = TypeVar("Number", int, float)

repeats_option = click.option(
    "--repeats/--no-repeats", default=None,
    help="Whether an item of the session may be the answer (default: where the log shows it).",
)  # fmt: skip
items_option = click.option(
    "--items", default=100_000, show_default=True, type=click.IntRange(1_000),
    help="Items of the marketplace.",
)  # fmt: skip
seed_option = click.option("--seed", default=7, show_default=True, help="Seed of the marketplace.")


def split_option(default: str) -> Callable[[Command], Command]:
    """`--train-until`, which a command receives as `until`."""
    share = default if default.endswith("%") else "95%"
    return click.option(
        "--train-until", "until", default=default, show_default=True,
        help=f"Split: a time, `-28d` before the last event, or `{share}` of the events.",
    )  # fmt: skip


def report_options(command: Command) -> Command:
    """Give a command `--output` and `--json`: `output: Path | None` and `as_json: bool`."""
    file = click.Path(dir_okay=False, path_type=Path)
    return click.option("--output", type=file, help="JSON to write.")(json_option(command))


def many(
    kind: Callable[[str], Number], fits: Callable[[Number], bool], *, such_as: str, must: str
) -> Callable[[click.Context, click.Parameter, str], tuple[Number, ...]]:
    """Reads an option such as `10,20`; all of its numbers must fit, or else `must` is said."""

    def read(_: click.Context, __: click.Parameter, value: str) -> tuple[Number, ...]:
        try:
            found = tuple(kind(part) for part in value.split(","))
        except ValueError:
            raise click.BadParameter(f"must be numbers such as {such_as}") from None
        if not all(map(fits, found)):
            raise click.BadParameter(must)
        return found

    return read


def opened(context: dict[str, Path]) -> tuple[Workspace, KindredSettings]:
    """The command's workspace, and the settings of it and the environment."""
    from kindred.api.settings_file import load_settings
    from kindred.schemas.workspace import Workspace

    workspace = Workspace(context["workspace"])
    return workspace, load_settings(workspace.settings, os.environ)


def tell(report: Any, output: Path | None, as_json: bool, show: Callable[[Any], None]) -> None:
    """Write a report into the file that somebody named, whose folder is made, and on stdout: as
    JSON, or as `show` does."""
    import msgspec

    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    if as_json:
        print_json(report)
    else:
        show(report)


def print_notes_of(report: Mapping[str, Any]) -> None:
    """What a reader of the report must know first."""
    for note in report.get("notes", ()):
        click.echo(f"Note: {note}")


def interval(values: list[float]) -> str:
    """`0.1050 ±0.0075`"""
    mean, low, high = values
    return f"{mean:.4f} ±{(high - low) / 2:.4f}"
