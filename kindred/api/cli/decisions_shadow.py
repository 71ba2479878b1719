"""`kindred decisions shadow`: what a ranker that does not serve would have done."""

from __future__ import annotations

from datetime import datetime

import click

from kindred.api.cli.output import json_option, print_json, print_notes, print_table
from kindred.schemas.workspace import Workspace

NOTHING = 1
"""Exit code where no decision has scores of a shadow."""


@click.command()
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]),
    help="Only decisions of this moment (UTC) and later.",
)  # fmt: skip
@json_option
@click.pass_context
def shadow(context: click.Context, since: datetime | None, as_json: bool) -> None:
    """Compare the order of a shadow ranker with the serving one's (setting ranker.shadow).

    Over the logged candidates: Kendall's tau, what the first k have in common, and, where `kindred
    join` found purchases, their mean place among what was shown by either ranker's score. Without
    any logged shadow scores the exit code is 1.
    """
    from kindred.api.shadowed import compare_logged
    from kindred.api.times import micros_of

    workspace = Workspace(context.obj["workspace"])
    found = compare_logged(workspace, None if since is None else micros_of(since))
    notes = print_notes(workspace)
    if as_json:
        print_json({"pairs": found, "notes": notes})
    elif not found:
        click.echo("no decision has scores of a shadow: set ranker.shadow and serve", err=True)
    else:
        rows = [
            (
                one.serving, one.shadow, one.decisions, f"{one.tau:.3f}",
                ", ".join(f"{k}: {share:.2f}" for k, share in one.overlap.items()),
                f"{one.same_first:.2f}", one.purchases,
                None if one.purchase_rank is None
                else f"{one.purchase_rank[0]:.2f} / {one.purchase_rank[1]:.2f}",
                None if one.purchase_rank_lead is None
                else "{:+.2f} [{:+.2f}, {:+.2f}]".format(*one.purchase_rank_lead),
            )
            for one in found
        ]  # fmt: skip
        columns = (
            "serving", "shadow", "decisions", "tau", "overlap", "same first", "purchases",
            "their rank", "lead",
        )  # fmt: skip
        print_table("serving / shadow", columns, rows)
    if not found:
        context.exit(NOTHING)
