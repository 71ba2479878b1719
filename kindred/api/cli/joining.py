"""`kindred join`: decisions and events into labelled impressions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kindred.api.cli.output import json_option, print_json, print_table, terminal_progress

if TYPE_CHECKING:
    from kindred.events.joining import JoinReport


@click.command()
@click.option(
    "--until",
    help="Only what happened before this (UTC): `2024-03-01`, `2024-03-01T12:00` or `now`. "
    "By default, as long before now as an event may come late (events.late_minutes).",
)
@json_option
@click.pass_obj
def command(context: dict[str, Path], until: str | None, as_json: bool) -> None:
    """Join decisions with events: one labelled row for every item that was shown.

    Days whose decisions and events have not changed stay as they are, unless a window that was
    open has shut; an interrupted run carries on. The rules are in docs/join.md.
    """
    from kindred.api.joining import join_workspace
    from kindred.api.wiring import load_settings
    from kindred.schemas.clock import micros_now
    from kindred.schemas.workspace import Workspace

    workspace = Workspace(context["workspace"])
    settings = load_settings(workspace.settings, os.environ)
    report = join_workspace(workspace, settings, terminal_progress(), now=micros_now(), until=until)
    if as_json:
        print_json(report)
    else:
        print_report(report)


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
            ("join rate", _share(report.join_rate), "of these found the impression they came of"),
            ("trace coverage", _share(report.trace_coverage), "of those carry the answer's trace"),
            ("orphan purchases", f"{report.orphan_purchases:,}", "name an answer, and found none"),
        ],
    )  # fmt: skip


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
