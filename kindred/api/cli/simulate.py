"""`kindred simulate`: a seeded market, its visitors before the funnel, and the two logs of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kindred.api.cli.output import json_option, print_json, print_table, terminal_progress

if TYPE_CHECKING:
    from kindred.api.market import MarketReport

START = "2026-01-05"
"""A fixed day, so that the same options give the same ids whenever they are run."""


@click.command()
@click.option("--impressions", type=click.IntRange(1), default=100_000, show_default=True,
              help="Items shown, at least.")  # fmt: skip
@click.option("--items", type=click.IntRange(100), help="Listings (default: by impressions).")
@click.option("--visitors", type=click.IntRange(1), help="Visitors (default: by impressions).")
@click.option("--days", type=click.FloatRange(1, 365), default=14.0, show_default=True,
              help="Simulated days; two fifths are history without recommendations.")  # fmt: skip
@click.option("--start", default=START, show_default=True, help="First simulated moment.")
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True,
              help="Everything follows from it.")  # fmt: skip
@click.option("-k", "k", type=click.IntRange(1, 100), default=24, show_default=True,
              help="Items of a list.")  # fmt: skip
@click.option("--explore", type=click.FloatRange(0, 1), default=0.1, show_default=True,
              help="Share of lists in random order.")  # fmt: skip
@click.option("--text/--no-text", default=False,
              help="Encode texts too (minutes for 10,000 items); for a new workspace.")  # fmt: skip
@json_option
@click.pass_obj
def command(
    context: dict[str, Path], impressions: int, items: int | None, visitors: int | None,
    days: float, start: str, seed: int, k: int, explore: float, text: bool, as_json: bool,
) -> None:  # fmt: skip
    """Simulate a marketplace in a workspace of its own.

    Makes the items and puts them into the catalogue; lets visitors browse for some days without
    recommendations; trains on that and indexes; then lets them browse the funnel in process.
    Decisions and events are in the lake afterwards, ready for `kindred join` and `kindred train`.
    Everything in the workspace is simulated, and every output says so.
    """
    import numpy as np

    from kindred.api.market import MarketPlan, prepare, settings_of, simulate
    from kindred.api.times import parse_moment
    from kindred.schemas.workspace import Workspace

    workspace = Workspace(context["workspace"])
    plan = MarketPlan.of(
        impressions, items, visitors, days=days, seed=seed, k=k, explore=explore,
        start=parse_moment(start, np.zeros(1, np.int64), "$.start"),
    )  # fmt: skip
    prepare(workspace, plan, text=text, pictures=False)
    settings = settings_of(workspace, os.environ)
    _, report = simulate(workspace, plan, settings, terminal_progress())
    if as_json:
        print_json(report)
        return
    print_report(report)


def print_report(report: MarketReport) -> None:
    """The figures of a run, for people."""
    rows = [
        ("impressions", report.impressions), ("decisions", report.decisions),
        ("visits", report.visits), ("clicks", report.clicks), ("CTR", report.ctr),
        ("purchases", report.purchases), ("seconds", report.seconds),
        ("impressions a second", report.impressions_per_second), ("until", report.until),
    ]  # fmt: skip
    print_table("Simulated market", ("what", "simulated"), rows)
    print_table("Simulated actions", ("action", "number"), list(report.actions.items()))
    places = list(enumerate(report.ctr_by_position, 1))
    print_table("Simulated clicks by position", ("position", "CTR"), places)
