"""`kindred evaluate diversity`: what spreading an answer costs, and what it gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kindred.api.cli.measuring import (
    many,
    opened,
    print_notes_of,
    repeats_option,
    report_options,
    split_option,
    tell,
)
from kindred.api.cli.output import print_table, terminal_progress

strengths = many(
    float, lambda told: 0 < told <= 100, such_as="0.1,0.5",
    must="every strength must be above 0 and at most 100",
)  # fmt: skip


@click.command("diversity")
@split_option("-28d")
@click.option("--k", type=click.IntRange(1, 100), default=6, show_default=True, help="Places.")
@click.option(
    "--strengths", "told", default="0.05,0.1,0.2,0.4,0.8", show_default=True, callback=strengths,
    help="Prices tried, for `diversity.category`, `diversity.seller` and both.",
)  # fmt: skip
@click.option(
    "--queries", type=click.IntRange(1), default=5_000, show_default=True,
    help="Sessions asked at most, drawn with the seed.",
)  # fmt: skip
@repeats_option
@report_options
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
    from kindred.api.wiring import evaluate_diversity

    workspace, settings = opened(context)
    report = evaluate_diversity(
        workspace, settings, terminal_progress(), until=until, k=k, strengths=told,
        queries=queries, repeats=repeats,
    )  # fmt: skip
    tell(report, output, as_json, print_diversity)


def print_diversity(report: dict[str, Any]) -> None:
    """One row for each price."""
    print_notes_of(report)
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
