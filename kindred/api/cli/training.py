"""`kindred train`: what is stale, from the catalogue and the events."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kindred.api.cli.output import json_option, print_json, print_notes, print_table

if TYPE_CHECKING:
    from kindred.indexer.stages import StageRow


@click.command()
@click.argument("stages", nargs=-1)
@click.option("--until", help="Only events before this: a time, `-28d` before the end, or `90%`.")
@click.option(
    "--anew",
    is_flag=True,
    help="Keep no version of an older catalogue, and start no training from another version.",
)
@json_option
@click.pass_obj
def command(
    context: dict[str, Path], stages: tuple[str, ...], until: str | None, anew: bool, as_json: bool
) -> None:
    """Train the stages whose inputs have changed (or only STAGES and what they need).

    Nothing is trained twice from the same inputs; an interrupted run carries on. A version whose
    gate fails is kept and does not serve. What is learned from content is kept for some days
    although the catalogue changes (docs/representations.md).
    """
    from kindred.api.cli.live_stages import stage_display
    from kindred.api.wiring import current_models, load_settings, train
    from kindred.schemas.workspace import Workspace

    workspace = Workspace(context["workspace"])
    settings = load_settings(workspace.settings, os.environ)
    with stage_display() as display:
        rows = train(
            workspace, settings, display, until=until, only=stages, anew=anew, watcher=display
        )
    print_notes(workspace)
    if as_json:
        print_json(rows)
        return
    print_stages(rows, current_models(workspace))


def print_stages(rows: Sequence[StageRow], serving: Mapping[str, str]) -> None:
    """What became of each stage, what the gates said, what changed and what is in use now.

    Stages of the past, over which the ranker learns, are in the tables alone.
    """
    from kindred.rerank.stages import PAST

    if not rows:
        click.echo("No event yet: `kindred import events` brings them.")
        return
    print_table(
        "Stages",
        ("stage", "state", "version", "seconds", "what it says"),
        [(r.stage, r.state, r.version, r.seconds, r.summary) for r in rows],
        spare=("seconds",),
    )
    judged = [r for r in rows if r.gate != "has no gate"]
    if judged:
        print_table(
            "Gates",
            ("stage", "version", "gate", "what it said"),
            [(r.stage, r.version, _gate(r), r.gate) for r in judged],
        )
    changed = [
        f"{r.stage} {r.before or 'none'} -> {r.now}"
        for r in rows
        if r.now != r.before and not r.stage.endswith(PAST)
    ]
    starts = [f"{r.stage} {r.version} from {r.start}" for r in rows if r.start is not None]
    for heading, found in (
        ("Changed", changed or ["nothing"]),
        ("Trained from the version before", starts),
        ("In use", [f"{stage} {version}" for stage, version in serving.items()]),
    ):
        if found:
            click.echo(f"{heading}: {', '.join(found)}.")
    if changed:
        click.echo("Next: `kindred index`. Where the service runs, its builder does it by itself.")


def _gate(row: StageRow) -> str:
    return "refused" if row.state == "failed its gate" else "passed"
