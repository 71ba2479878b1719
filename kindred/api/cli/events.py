"""`kindred events`: what the event log refused."""

from __future__ import annotations

from pathlib import Path

import click

from kindred.api.cli.output import json_option, print_json, print_table


@click.group()
def command() -> None:
    """Look into the event log."""


@command.command()
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1), help="Rows shown at most."
)
@json_option
@click.pass_obj
def rejects(context: dict[str, Path], limit: int, as_json: bool) -> None:
    """Rows that POST /v1/events refused, the newest first, with path and reason.

    Rows are cut to one line; --json has them whole.
    """
    from kindred.api.times import readable
    from kindred.events.history import newest_rejects
    from kindred.schemas.workspace import Workspace

    found = newest_rejects(Workspace(context["workspace"]).log, limit)
    if as_json:
        print_json(found)
    else:
        rows = [(readable(r.received_at), r.path, r.reason, r.raw) for r in found]
        columns = ("received", "path", "reason", "row")
        print_table("Refused", columns, rows, spare=("row",), cut=("row",))
