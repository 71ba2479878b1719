"""`kindred export`: the logs' closed hours into the lake, and copies of the lake."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import click

from kindred.api.cli.output import json_option, print_json, print_notes, terminal_progress
from kindred.schemas.errors import InputError

_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])


@click.command()
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder to copy rows into."
)
@click.option(
    "--what", multiple=True, type=click.Choice(["events", "decisions", "joined"]),
    default=("events", "decisions", "joined"), show_default=True,
    help="Tables to copy; may be given several times.",
)  # fmt: skip
@click.option("--since", type=_MOMENT, help="Only rows of this moment (UTC) and later.")
@click.option("--until", type=_MOMENT, help="Only rows of before this moment (UTC).")
@click.option("--all", "open_hours", is_flag=True, help="Copy the hours that are still open too.")
@json_option
@click.pass_obj
def command(
    context: dict[str, Path],
    output: Path | None,
    what: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    open_hours: bool,
    as_json: bool,
) -> None:
    """Move closed hours from the logs into the lake; with --output, copy tables of the lake.

    `kindred serve` moves them too. An hour is closed when nothing that happened in it is taken any
    more. The copy has a folder of zstd Parquet for each day, as the lake has.
    """
    if output is None and (open_hours or since or until):
        raise InputError("--all, --since and --until belong to --output", "$.output")
    from kindred.api.exporting import export
    from kindred.api.settings_file import load_settings
    from kindred.events.roll import Rolled, roll_closed
    from kindred.schemas.clock import micros_now
    from kindred.schemas.workspace import Workspace

    workspace = Workspace(context["workspace"])
    settings = load_settings(workspace.settings, os.environ)
    rolled = roll_closed(workspace, settings.events, micros_now()) or Rolled()
    copies = [
        export(
            workspace, output, table, _micros(since), _micros(until), terminal_progress(),
            open_hours=open_hours,
        )
        for table in dict.fromkeys(what) if output is not None
    ]  # fmt: skip
    notes = print_notes(workspace)
    if as_json:
        print_json({"rolled": rolled, "copies": copies, "notes": notes})
        return
    click.echo(f"into the lake: {rolled.events:,} events, {rolled.decisions:,} decisions")
    for day in rolled.expired:
        click.echo(f"expired: {day}")
    for copy in copies:
        click.echo(f"{copy.what}: {copy.rows:,} rows of {copy.days:,} days in {copy.folder}")


def _micros(moment: datetime | None) -> int | None:
    from kindred.api.times import micros_of

    return None if moment is None else micros_of(moment)
