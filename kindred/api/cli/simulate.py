"""`kindred simulate`: a seeded market, its visitors before the funnel, and the two logs of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kindred.api.cli.output import json_option, print_json, print_table, terminal_progress

if TYPE_CHECKING:
    from kindred.api.market_report import Learned, MarketReport
    from kindred.schemas.workspace import Workspace

START = "2026-01-05"
"""A fixed day, so that the same options give the same ids whenever they are run."""
IMPRESSIONS = 600_000
"""Of fewer, a ranker's gate seldom gets enough purchases to tell."""


@click.command()
@click.option(
    "--impressions",
    type=click.IntRange(1),
    help=f"Items shown, at least (default: {IMPRESSIONS:,}; twice as many with --learn).",
)
@click.option("--items", type=click.IntRange(100), help="Listings (default: by impressions).")
@click.option("--visitors", type=click.IntRange(1), help="Visitors (default: by impressions).")
@click.option(
    "--days",
    type=click.FloatRange(1, 365),
    default=14.0,
    show_default=True,
    help="Simulated days; two fifths are history without recommendations.",
)
@click.option("--start", default=START, show_default=True, help="First simulated moment.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=7,
    show_default=True,
    help="Everything follows from it.",
)
@click.option(
    "-k", "k", type=click.IntRange(1, 100), default=24, show_default=True, help="Items of a list."
)
@click.option(
    "--explore",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    help="Share of lists in random order.",
)
@click.option(
    "--learn",
    is_flag=True,
    help="Half-way, join, train and index; then answer half of the visitors with the ranker and "
    "its ads, the others without, and compare.",
)
@click.option(
    "--text/--no-text",
    default=False,
    help="Encode texts too (a minute for each 3,000 items); for a new workspace.",
)
@click.option(
    "--pictures",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Draw pictures of the first N items, and encode them; for a new workspace.",
)
@click.option(
    "--truth",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write what the market really is into this folder.",
)
@click.option(
    "--knobs",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="TOML file of knobs that differ from their default (docs/marketsim.md).",
)
@click.option(
    "--http",
    "url",
    metavar="URL",
    help="Browse a running server of this workspace's market instead.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="With --http: pages a second, about.",
)
@click.option(
    "--speed",
    type=click.FloatRange(1),
    default=20.0,
    show_default=True,
    help="With --http: how many times shorter than people's the pauses are.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    help="With --http: wall time, at most.",
)
@click.option("--key", envvar="KINDRED_API_KEY", help="With --http: API key to read and write.")
@json_option
@click.pass_obj
def command(
    context: dict[str, Path], impressions: int | None, items: int | None, visitors: int | None,
    days: float, start: str, seed: int, k: int, explore: float, learn: bool, text: bool,
    pictures: int, truth: Path | None, knobs: Path | None, url: str | None, rate: float,
    speed: float, seconds: float, key: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Simulate a marketplace in a workspace of its own.

    Makes the items and puts them into the catalogue; lets visitors browse for some days without
    recommendations; trains on that and indexes; then lets them browse the funnel in process.
    Decisions and events are in the lake afterwards, ready for `kindred join` and `kindred train`.
    Until then no ranker serves, so no ads are placed; with --learn both happen half-way, and the
    rest of the visits shows what came of it.
    The same options make the same market, and an interrupted run begins again without doubling
    anything. Everything in the workspace is simulated, and every output says so.
    """
    from kindred.api.market import simulate
    from kindred.api.market_plan import (
        Knobs,
        Market,
        MarketPlan,
        prepare,
        read_knobs,
        settings_of,
    )
    from kindred.api.market_report import export
    from kindred.api.times import moment_of
    from kindred.schemas.workspace import Workspace

    workspace, progress = Workspace(context["workspace"]), terminal_progress()
    impressions = impressions or IMPRESSIONS * (2 if learn else 1)
    if url is not None:
        browse_server(
            workspace, url, impressions=impressions, rate=rate, speed=speed, seconds=seconds,
            key=key, as_json=as_json,
        )  # fmt: skip
        return
    chosen = Knobs() if knobs is None else read_knobs(knobs)
    plan = MarketPlan.of(
        impressions, items, visitors, days=days, seed=seed, k=k, explore=explore,
        learn=learn,
        pictures=pictures, catalogue=chosen.catalogue, behaviour=chosen.behaviour,
        start=moment_of(start, "$.start"),
    )  # fmt: skip
    prepare(workspace, plan, text=text)
    settings = settings_of(workspace, os.environ)
    with progress.task("make the simulated market"):
        market = Market.make(plan)
    report = simulate(workspace, market, settings, progress)
    if truth is not None:
        export(market, truth)
    if as_json:
        print_json(report)
        return
    print_report(report)


def browse_server(
    workspace: Workspace, url: str, *, impressions: int, rate: float, speed: float,
    seconds: float, key: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Let the visitors of the workspace's market browse a server on the wall clock."""
    from kindred.api.cli.demo_market import rows_of, watched
    from kindred.api.market_demo import live_visitors
    from kindred.api.market_plan import Market, held_plan

    plan = held_plan(workspace)
    market = Market.make(plan)
    with watched(quiet=as_json) as show:
        figures = live_visitors(
            workspace, market, url, seconds=seconds, rate=rate, speed=speed, k=plan.k,
            impressions=impressions, on_figures=show,
            headers={} if key is None else {"authorization": f"Bearer {key}"},
        )  # fmt: skip
    if as_json:
        print_json(figures)
    else:
        print_table("Simulated visitors", ("what", "simulated"), rows_of(figures))


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
    if report.learned is not None:
        print_learned(report.learned)


def print_learned(learned: Learned) -> None:
    """What the ranker of the first half did in the second, for people."""
    if learned.ranker_serves:
        click.echo(f"Ranker {learned.version} serves since {learned.since}: {learned.reason}")
    else:
        click.echo(
            "No ranker serves, so the merge answered the second half too, and no ads were placed: "
            f"{learned.reason}"
        )
    if learned.arms is None:
        return
    arms = learned.arms
    print_table(
        f"Simulated visitors since {learned.since}, by arm",
        ("what", "ranker on", "ranker off", "difference", "95 % from", "to"),
        [
            *((name, getattr(arms.on, name), getattr(arms.off, name), None, None, None)
              for name in arms.on.__struct_fields__),
            *((name, rate.on, rate.off, rate.difference, rate.low, rate.high)
              for name, rate in arms.rates.items()),
        ],
    )  # fmt: skip
