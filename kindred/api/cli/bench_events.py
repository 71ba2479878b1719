"""`kindred bench events` and `kindred bench crash`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kindred.api.cli.measuring import report_options, tell
from kindred.api.cli.output import print_table, terminal_progress

if TYPE_CHECKING:
    from kindred.api.bench.crash import CrashBench
    from kindred.api.bench.events import EventBench


@click.command()
@click.option(
    "--batch", "batches", multiple=True, type=click.IntRange(1, 500), default=(1, 20, 500),
    show_default=True, help="Events in a request; may be given several times.",
)  # fmt: skip
@click.option(
    "--connections", default=100, show_default=True, type=click.IntRange(1), help="Clients at once."
)
@click.option("--seconds", default=5.0, show_default=True, help="Length of a round.")
@report_options
@click.pass_obj
def events(
    context: dict[str, Path],
    batches: tuple[int, ...],
    connections: int,
    seconds: float,
    output: Path | None,
    as_json: bool,
) -> None:
    """Send events to one serving process over loopback, and count what it acknowledges."""
    from kindred.api.bench.events import run_events
    from kindred.api.telemetry import configure_logging

    configure_logging()
    below = context["workspace"] / "bench"
    result = run_events(below, batches, connections, seconds, terminal_progress())
    tell(result, output, as_json, _show_events)


def _show_events(result: EventBench) -> None:
    print_table(
        f"POST /v1/events, one process, {result.connections} connections",
        ("mix", "events a request", "acknowledged/s", "p50 ms", "p95 ms", "cores"),
        [(r.mix, r.batch, r.per_second, r.ms.p50, r.ms.p95, r.cores) for r in result.rounds],
    )


@click.command()
@click.option("--kills", default=20, show_default=True, type=click.IntRange(1), help="kill -9s.")
@click.option("--seed", default=7, show_default=True, help="Seed of the moments.")
@report_options
@click.pass_obj
def crash(
    context: dict[str, Path], kills: int, seed: int, output: Path | None, as_json: bool
) -> None:
    """Kill a serving process under load, again and again, and look for what it acknowledged.

    Exits with 1 where an acknowledged event is missing.
    """
    from kindred.api.bench.crash import run_crash
    from kindred.api.telemetry import configure_logging

    configure_logging()
    result = run_crash(context["workspace"] / "bench", kills, seed, terminal_progress())
    tell(result, output, as_json, _show_crash)
    if result.missing:
        raise SystemExit(1)


def _show_crash(result: CrashBench) -> None:
    click.echo(
        f"{result.kills} kills, {result.acknowledged:,} events acknowledged, "
        f"{result.missing:,} of them missing"
    )
