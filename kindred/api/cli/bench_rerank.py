"""`kindred bench rerank`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from kindred.api.cli.measuring import items_option, report_options, seed_option, tell
from kindred.api.cli.output import print_table, terminal_progress

if TYPE_CHECKING:
    from kindred.api.bench.report import Spread
    from kindred.api.bench.rerank import RerankBench


@click.command()
@items_option
@click.option(
    "--candidates", default=300, show_default=True, type=click.IntRange(1), help="Of a request."
)
@click.option(
    "--trees", default=500, show_default=True, type=click.IntRange(1), help="Of the ranker."
)
@click.option(
    "--requests", default=300, show_default=True, type=click.IntRange(50), help="To measure."
)
@click.option(
    "--clock", default="wall", show_default=True, type=click.Choice(["wall", "cpu"]),
    help="What is told: `cpu` leaves out what other processes take, on a machine that is not idle.",
)  # fmt: skip
@seed_option
@report_options
def rerank(
    items: int,
    candidates: int,
    trees: int,
    requests: int,
    clock: Literal["wall", "cpu"],
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Order candidates of a drawn marketplace: features, trees, blend, beside the trees alone.

    On one core, and nothing is kept. A million items take about 1.5 GB and a few minutes.
    """
    from kindred.api.supervisor import ONE_THREAD

    os.environ.update(ONE_THREAD)
    from kindred.api.bench.rerank import Plan, run_rerank
    from kindred.schemas.clock import micros_now

    plan = Plan(
        items=items, candidates=candidates, trees=trees, requests=requests, seed=seed, clock=clock
    )
    result = run_rerank(plan, micros_now(), terminal_progress())
    tell(result, output, as_json, _show)


def _show(result: RerankBench) -> None:
    title = (
        f"{result.candidates} candidates × {result.features} features × {result.trees} trees of "
        f"{result.leaves} leaves, {result.items:,} items, "
        f"{result.requests} requests (ms, {result.clock})"
    )
    rows: list[tuple[str, Spread]] = [("re-ranking", result.rerank)]
    rows += [(f"  {name}", spread) for name, spread in result.stages.items()]
    rows += [("alone: features", result.assembly)]
    rows += [(f"  {name}", spread) for name, spread in result.groups.items()]
    walked = "compiled" if result.compiled else "LightGBM's"
    rows += [(f"alone: trees, {walked}", result.trees_alone)]
    rows += [("alone: lightgbm.predict", result.lightgbm)]
    rows += [("re-ranking with that", result.lightgbm_rerank)]
    print_table(title, ("", "p50", "p95", "p99"), [(n, s.p50, s.p95, s.p99) for n, s in rows])
    click.echo(f"re-ranking p50 is {result.ratio} × that of lightgbm.predict alone")
