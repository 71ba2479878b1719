"""`kindred evaluate diversity`: what spreading an answer costs, and what it gives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from kindred.api.cli.output import (
    json_option,
    print_json,
    print_table,
    terminal_progress,
    write_report,
)


def strengths(_: click.Context, __: click.Parameter, value: str) -> tuple[float, ...]:
    """`0.1,0.5` as numbers."""
    try:
        told = tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter("must be numbers such as 0.1,0.5") from None
    if not all(0 < strength <= 100 for strength in told):
        raise click.BadParameter("every strength must be above 0 and at most 100")
    return told


@click.command("diversity")
@click.option(
    "--train-until", "until", default="-28d", show_default=True,
    help="Split: a time, `-28d` before the last event, or `95%` of the events.",
)  # fmt: skip
@click.option("--k", type=click.IntRange(1, 100), default=6, show_default=True, help="Places.")
@click.option(
    "--strengths", "told", default="0.05,0.1,0.2,0.4,0.8", show_default=True, callback=strengths,
    help="Prices tried, for `diversity.category`, `diversity.seller` and both.",
)  # fmt: skip
@click.option(
    "--queries", type=click.IntRange(1), default=5_000, show_default=True,
    help="Sessions asked at most, drawn with the seed.",
)  # fmt: skip
@click.option(
    "--repeats/--no-repeats", default=None,
    help="Whether an item of the session may be the answer (default: where the log shows it).",
)  # fmt: skip
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON to write.")
@json_option
@click.pass_obj
def diversity(
    context: dict[str, Path],
    until: str,
    k: int,
    told: tuple[float, ...],
    queries: int,
    repeats: bool | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Spread the same answers at several prices: what order and hits pay, what variety they get.

    Everything is trained on what came before the split, and asked about the sessions after it.
    Ad rates are left out. Differences are to the order as it is, paired, with 95 % bootstrap
    intervals over visitors.
    """
    from kindred.api.wiring import evaluate_diversity, load_settings
    from kindred.schemas.workspace import Workspace

    workspace = Workspace(context["workspace"])
    settings = load_settings(workspace.settings, os.environ)
    report = evaluate_diversity(
        workspace, settings, terminal_progress(), until=until, k=k, strengths=told,
        queries=queries, repeats=repeats,
    )  # fmt: skip
    write_report(output, report)
    if as_json:
        print_json(report)
    else:
        print_diversity(report)


def print_diversity(report: dict[str, Any]) -> None:
    """One row for each price."""
    for note in report["notes"]:
        click.echo(f"Note: {note}")
    names = list(report["rows"][0]["mean"])
    rows = [
        (
            row["kind"],
            row["strength"],
            *(f"{row['mean'][name]:.4f}{_change(row['difference'].get(name))}" for name in names),
        )
        for row in report["rows"]
    ]
    title = (
        f"Answers of {report['k']} to {report['queries']:,} sessions after "
        f"{report['train_until']}, with the change and its 95 % interval"
    )
    print_table(title, ("spread by", "strength", *names), rows)


def _change(difference: list[float] | None) -> str:
    """` (-0.0012 ±0.0008)`"""
    if difference is None:
        return ""
    mean, low, high = difference
    return f" ({mean:+.4f} ±{(high - low) / 2:.4f})"
