"""`kindred join`: decisions and events into labelled impressions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kindred.api.cli.output import (
    json_option,
    print_json,
    print_notes,
    print_table,
    terminal_progress,
)

if TYPE_CHECKING:
    from kindred.events.joining import JoinReport


@click.command()
@click.option(
    "--until",
    help="Only what happened before this (UTC): `2024-03-01`, `2024-03-01T12:00` or `now`. "
    "By default, as long before now as an event may come late (events.late_minutes), or until "
    "where a run before has joined.",
)
@click.option("--show", metavar="DECISION", help="Print the rows of this decision afterwards.")
@json_option
@click.pass_obj
def command(context: dict[str, Path], until: str | None, show: str | None, as_json: bool) -> None:
    """Join decisions with events: one labelled row for every item that was shown.

    Days whose decisions and events have not changed stay as they are, unless a window that was
    open has shut; an interrupted run carries on. The rules are in docs/join.md.
    """
    from kindred.api.joining import join_workspace, rows_of, trace_joined
    from kindred.api.spans import start_tracing, stop_tracing
    from kindred.api.wiring import load_settings
    from kindred.events.joining import joined_until
    from kindred.schemas.clock import micros_now
    from kindred.schemas.workspace import Workspace

    workspace = Workspace(context["workspace"])
    settings = load_settings(workspace.settings, os.environ)
    start_tracing(settings.telemetry, "join")
    before = joined_until(workspace.lake)
    report = join_workspace(workspace, settings, terminal_progress(), now=micros_now(), until=until)
    trace_joined(workspace, before, report.as_of)
    stop_tracing()
    rows = None if show is None else rows_of(workspace, show)
    notes = print_notes(workspace)
    if as_json:
        print_json(report, notes=notes, **({} if rows is None else {"shown": rows}))
        return
    print_report(report)
    if show is not None and rows is not None:
        print_rows(show, rows)


def print_rows(decision_id: str, rows: list[dict[str, Any]]) -> None:
    """What came of each item that a decision showed."""
    outcomes = [name for name in rows[0] if name.endswith("_at") and name != "occurred_at"]
    print_table(
        f"Decision {decision_id}: what came of it",
        ("position", "item", "grade", "what happened", "sale", "fee", "by", "may still change"),
        [
            (
                row["position"],
                row["item_id"],
                row["grade"],
                ", ".join(name[:-3] for name in outcomes if row[name] is not None) or None,
                row["sale_minor"],
                row["fee_minor"],
                row["attribution"],
                row["censored"],
            )
            for row in rows
        ],
    )


def print_report(report: JoinReport) -> None:
    """What there is, how much of it this run did, and how well events found their impressions."""
    from kindred.api.times import readable

    print_table(
        f"Joined impressions as of {readable(report.as_of)}",
        ("what", "value", ""),
        [
            ("days", f"{report.days:,}", f"{report.recomputed:,} of them written by this run"),
            ("impressions", f"{report.rows:,}", f"{report.censored:,} may still change"),
            ("clicks and more", f"{report.eligible:,}", "name a decision, a trace or a session"),
            ("named join rate", _share(report.named_join_rate),
             "of those that name a decision found it: less than all is a loss"),
            ("join rate", _share(report.join_rate),
             "of all of them came of an answer; the others found things by themselves"),
            ("trace coverage", _share(report.trace_coverage), "of those found carry its trace"),
            ("orphan purchases", f"{report.orphan_purchases:,}", "name an answer, and found none"),
        ],
    )  # fmt: skip


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
