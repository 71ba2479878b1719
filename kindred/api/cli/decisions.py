"""`kindred decisions`: what was shown, why, and whether the log is whole."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kindred.api.cli.decisions_shadow import shadow
from kindred.api.cli.output import json_option, print_json, print_notes, print_table
from kindred.schemas.errors import InputError
from kindred.schemas.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kindred.events.decision_tables import StoredDecision

MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])
UNCONFIRMED = 1
"""Exit code where logged scores differ from their model's, or where there are none."""


@click.group()
def command() -> None:
    """Explain answers from the log of decisions; check that log."""


@command.command()
@click.argument("decision_id")
@click.option(
    "--candidates", default=20, show_default=True, type=click.IntRange(1), help="Rows, at most."
)
@json_option
@click.pass_obj
def show(context: dict[str, Path], decision_id: str, candidates: int, as_json: bool) -> None:
    """Explain the answer DECISION_ID from its log alone."""
    from kindred.api.decision_report import (
        CANDIDATE_COLUMNS,
        CANDIDATES_SPARE,
        candidate_rows,
        explained,
        facts,
        telling_features,
    )

    workspace = Workspace(context["workspace"])
    told = explained(workspace, decision_id)
    notes = print_notes(workspace)
    if as_json:
        print_json(told, notes=notes)
        return
    print_table(f"decision {decision_id}", ("", ""), facts(told))
    rows = candidate_rows(told, candidates)
    held = told.decision.candidates
    if held is None or not rows:
        click.echo("no candidates were logged")
        return
    print_table(
        f"the first {len(rows)} of {len(held.item_id)} candidates logged, "
        f"{len(told.decision.shown.item_id) or 'none'} of them shown",
        CANDIDATE_COLUMNS,
        rows,
        spare=CANDIDATES_SPARE,
    )
    items = min(3, len(rows))
    if features := telling_features(told, items, 5):
        columns = ("feature", "median", *(held.item_id[at] for at in range(items)))
        print_table(f"what sets the first {items} apart", columns, features)


@command.command("list")
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="At most."
)
@click.option("--since", type=MOMENT, help="Only those of this moment (UTC) and later.")
@json_option
@click.pass_obj
def list_decisions(
    context: dict[str, Path], limit: int, since: datetime | None, as_json: bool
) -> None:
    """List the newest decisions, newest first."""
    from kindred.api.times import readable
    from kindred.events.decisions import newest

    workspace = Workspace(context["workspace"])
    found = newest(workspace.lake, workspace.decisions, limit, _micros(since))
    print_notes(workspace)
    if as_json:
        print_json(found.to_dicts())
        return
    rows = [
        (
            row["decision_id"], readable(row["occurred_at"]), row["surface"], row["seed_item"],
            row["user_id"] or row["device_id"] or row["session_id"], len(row["shown_item"]),
            row["candidate_count"], len(row["degraded"]),
        )
        for row in found.iter_rows(named=True)
    ]  # fmt: skip
    columns = ("decision", "when", "surface", "seed", "who", "shown", "candidates", "degraded")
    spare = ("seed", "who", "shown", "surface", "candidates", "degraded")
    print_table("", columns, rows, spare=spare)


@command.command()
@json_option
@click.pass_obj
def losses(context: dict[str, Path], as_json: bool) -> None:
    """Count the decisions that are missing, by the sequence numbers of each serving process."""
    from kindred.api.times import readable
    from kindred.events.writers import count_writers

    workspace = Workspace(context["workspace"])
    counts = count_writers(workspace.lake, workspace.decisions)
    notes = print_notes(workspace)
    assigned, lost = sum(c.assigned for c in counts), sum(c.lost for c in counts)
    if as_json:
        print_json(
            {
                "answers": assigned,
                "lost": lost,
                "share": lost / max(assigned, 1),
                "writers": [count._asdict() for count in counts],
                "notes": notes,
            }
        )
        return
    rows = [
        (
            c.writer, readable(c.begun_at) if c.begun_at else None, c.assigned, c.written,
            c.waiting, c.lost, "yes" if c.running else "no",
        )
        for c in counts
    ]  # fmt: skip
    columns = ("writer", "since", "answers", "written", "waiting", "lost", "running")
    print_table(f"{lost:,} of {assigned:,} decisions lost", columns, rows)


@command.command()
@click.argument("decision_id", required=False)
@click.option("--since", type=MOMENT, help="All decisions of this moment (UTC) and later.")
@json_option
@click.pass_context
def rescore(
    context: click.Context, decision_id: str | None, since: datetime | None, as_json: bool
) -> None:
    """Score logged features with the logged model: DECISION_ID's, or all (--since).

    The scores must agree with the logged ones to 1e-6; if one does not, or if there is none to
    check, the exit code is 1.
    """
    from functools import partial

    from kindred.events.feature_names import feature_names
    from kindred.indexer.models import ModelStore
    from kindred.rerank.rescore import STAGE, TOLERANCE, rescore

    if decision_id is not None and since is not None:
        raise InputError("either one decision or --since", "$.since")
    workspace = Workspace(context.obj["workspace"])
    result = rescore(
        _chosen(workspace, decision_id, _micros(since)),
        partial(ModelStore(workspace.models).load, STAGE),
        partial(feature_names, workspace.lake),
    )
    notes = print_notes(workspace)
    if as_json:
        print_json(result, notes=notes)
    elif not result.decisions:
        click.echo(
            f"nothing to check: no ranker scored any of {result.unscored:,} decisions", err=True
        )
    else:
        click.echo(
            f"{result.decisions:,} decisions with {result.candidates:,} candidates scored anew, "
            f"{result.unscored:,} without scores; largest difference "
            f"{result.largest_difference:.3g}"
        )
        if not result.agrees:
            click.echo(f"decision {result.decision_id} differs by more than {TOLERANCE:g}")
    if not (result.agrees and result.decisions):
        context.exit(UNCONFIRMED)


command.add_command(shadow)


def _chosen(
    workspace: Workspace, decision_id: str | None, since: int | None
) -> Iterator[StoredDecision]:
    from kindred.api.decision_report import stored_decision
    from kindred.events.decision_tables import from_columns
    from kindred.events.decisions import AT_ONCE, all_decisions

    if decision_id is not None:
        yield stored_decision(workspace, decision_id)
        return
    for part in all_decisions(workspace.lake, workspace.decisions, since).collect_batches(
        chunk_size=AT_ONCE
    ):
        for row in part.iter_rows(named=True):
            yield from_columns(row)


def _micros(moment: datetime | None) -> int | None:
    from kindred.api.times import micros_of

    return None if moment is None else micros_of(moment)
