"""`kindred bench`: figures of this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kindred.api.cli.bench_decisions import decisions
from kindred.api.cli.bench_events import crash, events
from kindred.api.cli.bench_freshness import freshness
from kindred.api.cli.bench_rerank import rerank
from kindred.api.cli.measuring import items_option, report_options, seed_option, tell
from kindred.api.cli.output import print_table, terminal_progress

if TYPE_CHECKING:
    from kindred.api.bench.report import SimilarBench, Spread


@click.group()
def command() -> None:
    """Measure latency and throughput."""


command.add_command(decisions)
command.add_command(freshness)
command.add_command(events)
command.add_command(crash)
command.add_command(rerank)


@command.command()
@items_option
@click.option(
    "--requests", default=600, show_default=True, type=click.IntRange(30),
    help="Latency requests, over all rounds.",
)  # fmt: skip
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Rounds.")
@click.option("--seconds", default=5.0, show_default=True, help="Length of a throughput round.")
@click.option("--changes", default=20, show_default=True, help="Items put and withdrawn.")
@click.option("--only", type=click.Choice(["latency"]), help="Leave out what else there is.")
@seed_option
@report_options
@click.pass_obj
def similar(
    context: dict[str, Path],
    items: int,
    requests: int,
    rounds: int,
    seconds: float,
    changes: int,
    only: str | None,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Serve a synthetic marketplace and measure POST /v1/similar over loopback.

    Made on the first run below the workspace's folder `bench`, and kept there.
    """
    from kindred.api.supervisor import ONE_THREAD

    os.environ.update(ONE_THREAD)  # the parts are timed in this process, as in a worker
    from kindred.api.bench.run import run_similar
    from kindred.api.bench.similar import Plan
    from kindred.api.telemetry import configure_logging

    configure_logging()
    plan = Plan(requests=requests, rounds=rounds, seconds=seconds, changes=changes)
    result = run_similar(
        context["workspace"] / "bench",
        items,
        seed,
        plan,
        terminal_progress(),
        latency_only=only == "latency",
    )
    tell(result, output, as_json, _show)


def _show(result: SimilarBench) -> None:
    latency = result.latency
    title = (
        f"POST /v1/similar, {result.items:,} items, {latency.candidates:.0f} candidates, "
        f"{latency.trees} trees, one worker, {latency.requests} requests (ms)"
    )
    rows: list[tuple[str, Spread]] = [("client", latency.client), ("service", latency.service)]
    rows += [(f"  {name}", spread) for name, spread in latency.stages.items() if name != "total"]
    rows += [(f"alone: {name}", spread) for name, spread in latency.parts.items()]
    print_table(title, ("", "p50", "p95", "p99"), [(n, s.p50, s.p95, s.p99) for n, s in rows])
    click.echo(f"service p50 is {latency.ratio} × its engine parts; {latency.degraded} degraded")
    if result.throughput is not None:
        t = result.throughput
        click.echo(f"two workers: {t.ratio} × one (requests/s by round: {t.two} against {t.one})")
    if result.visibility is not None:
        v = result.visibility
        for name in v.put:
            click.echo(
                f"seen by {name}: put p95 {v.put[name].p95} ms, withdrawn p95 "
                f"{v.withdrawn[name].p95} ms"
            )
        click.echo(f"slowest change: {v.slowest_ms} ms")
