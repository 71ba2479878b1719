"""`kindred bench freshness`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kindred.api.cli.measuring import items_option, report_options, seed_option, tell
from kindred.api.cli.output import print_table, terminal_progress

if TYPE_CHECKING:
    from kindred.api.bench.freshness import FreshnessBench


@click.command()
@items_option
@click.option(
    "--events", default=300, show_default=True, type=click.IntRange(20), help="Events sent."
)
@seed_option
@report_options
@click.pass_obj
def freshness(
    context: dict[str, Path],
    items: int,
    events: int,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Send events and listings to a served marketplace and measure when answers know of them.

    The marketplace is that of `bench similar`, below the workspace's folder `bench`.
    """
    from kindred.api.bench.freshness import run_freshness
    from kindred.api.telemetry import configure_logging

    configure_logging()
    below = context["workspace"] / "bench"
    result = run_freshness(below, items, events, seed, terminal_progress())
    tell(result, output, as_json, _show)


def _show(result: FreshnessBench) -> None:
    rows = [("acknowledged", result.acknowledged)]
    rows += [(f"in the answers of {name}", spread) for name, spread in result.seen.items()]
    rows += [
        (f"a new listing's {result.listed_space} neighbours, {name}", spread)
        for name, spread in result.listed.items()
    ]
    rows += [
        (f"reading {read.mean_actions:g} actions of {read.events:,}", read.ms)
        for read in result.reads
    ]
    title = f"events in sessions, {result.events} events, two processes (ms)"
    print_table(title, ("", "p50", "p95", "p99"), [(n, s.p50, s.p95, s.p99) for n, s in rows])
    click.echo(
        f"the very next answer knew of {result.asked_first_time:.1%}; slowest {result.slowest_ms} "
        f"ms; {result.load_per_s:g} other answers a second meanwhile"
    )
