"""docs/cli.md, written from the commands themselves: `python -m kindred.api.cli.reference`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from kindred.api.cli import main

HEAD = """\
# Command line

Written from the commands by `make docs`; a test fails when it is out of date.
"""


def reference() -> str:
    """The whole page, in Markdown."""
    root = click.Context(main, info_name="kindred")
    return "\n".join([HEAD, *_command(root)]) + "\n"


def _command(ctx: click.Context) -> Iterator[str]:
    command = ctx.command
    depth = 1 + ctx.command_path.count(" ")
    pieces = " ".join(command.collect_usage_pieces(ctx))
    yield f"{'#' * min(depth + 1, 4)} `{ctx.command_path}`\n"
    yield inspect.cleandoc((command.help or "").partition("\f")[0]).replace("\b\n", "") + "\n"
    yield f"    {ctx.command_path} {pieces}\n"
    if records := list(_options(ctx)):
        yield "| option | meaning |\n|---|---|"
        yield "\n".join(f"| `{option}` | {meaning} |" for option, meaning in records) + "\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            child = command.get_command(ctx, name)
            assert child is not None
            yield from _command(click.Context(child, info_name=name, parent=ctx))


def _options(ctx: click.Context) -> Iterator[tuple[str, str]]:
    for parameter in ctx.command.params:
        option, meaning = parameter.get_help_record(ctx) or ("", "")
        if meaning:  # an argument's is in the command's own words
            yield option.replace("|", "\\|"), meaning.replace("|", "\\|").replace("  [", " [")


if __name__ == "__main__":
    click.echo(reference(), nl=False)
