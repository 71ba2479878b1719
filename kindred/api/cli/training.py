"""`kindred train`: what is stale, from the catalogue and the events."""

from __future__ import annotations

import os
from pathlib import Path

import click

from kindred.api.cli.output import (
    json_option,
    print_json,
    print_notes,
    print_table,
    terminal_progress,
)


@click.command()
@click.argument("stages", nargs=-1)
@click.option("--until", help="Only events before this: a time, `-28d` before the end, or `90%`.")
@json_option
@click.pass_obj
def command(
    context: dict[str, Path], stages: tuple[str, ...], until: str | None, as_json: bool
) -> None:
    """Train the stages whose inputs have changed (or only STAGES and what they need).

    Nothing is trained twice from the same inputs; an interrupted run carries on. A version whose
    gate fails is kept and does not serve.
    """
    from kindred.api.wiring import load_settings, train
    from kindred.schemas.workspace import Workspace

    workspace = Workspace(context["workspace"])
    settings = load_settings(workspace.settings, os.environ)
    rows = train(workspace, settings, terminal_progress(), until=until, only=stages)
    print_notes(workspace)
    if as_json:
        print_json(rows)
        return
    print_table(
        "Stages",
        ("stage", "state", "version", "seconds", "what it says"),
        [(r.stage, r.state, r.version, r.seconds, r.summary) for r in rows],
    )
