"""`kindred bench decisions`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kindred.api.cli.measuring import items_option, report_options, seed_option, tell
from kindred.api.cli.output import print_table, terminal_progress

if TYPE_CHECKING:
    from kindred.api.bench.decisions import DecisionBench


@click.command()
@items_option
@click.option(
    "--requests", default=2_000, show_default=True, type=click.IntRange(100),
    help="Latency requests to each service, over all rounds.",
)  # fmt: skip
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(1), help="Rounds.")
@click.option("--seconds", default=30.0, show_default=True, help="Length of the load.")
@seed_option
@report_options
@click.pass_obj
def decisions(
    context: dict[str, Path],
    items: int,
    requests: int,
    rounds: int,
    seconds: float,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Load a served marketplace, count the decisions that are missing, and time the log.

    The marketplace is that of `bench similar`, below the workspace's folder `bench`.
    """
    from kindred.api.bench.decisions import run_decisions
    from kindred.api.telemetry import configure_logging

    configure_logging()
    below = context["workspace"] / "bench"
    result = run_decisions(below, items, requests, rounds, seconds, seed, terminal_progress())
    tell(result, output, as_json, _show)


def _show(result: DecisionBench) -> None:
    rows = [
        ("client, logging", result.on.client), ("client, not logging", result.off.client),
        ("service, logging", result.on.service), ("service, not logging", result.off.service),
    ]  # fmt: skip
    title = f"POST /v1/similar, {result.items:,} items, one process (ms)"
    print_table(title, ("", "p50", "p95", "p99"), [(n, s.p50, s.p95, s.p99) for n, s in rows])
    click.echo(
        f"client p50 with the log is {result.ratio} × that without it (by round: {result.ratios})"
    )
    click.echo(
        f"{result.lost:,} of {result.answers:,} decisions lost ({result.share_lost:.4%}); "
        f"{result.answers_per_s:,} answers a second under load; {result.mebibytes} MiB of log"
    )
