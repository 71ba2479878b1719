"""`kindred demo --market`: the demo on a simulated market, with visitors to watch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kindred.api.cli.output import print_json, print_table, terminal_progress

if TYPE_CHECKING:
    import threading

    from rich.table import Table

    from kindred.api.market_demo import LiveFigures
    from kindred.api.market_plan import Market
    from kindred.api.supervisor import Serving
    from kindred.schemas.settings import KindredSettings
    from kindred.schemas.workspace import Workspace

SHORT_S = 30.0
"""How long visitors browse with `--exit`."""
LINE_EVERY = 5
"""Seconds between two lines where there is no terminal."""


def run_market(root: Path, *, leave: bool, port: int | None, seed: int, as_json: bool) -> None:
    """Make the market below `root`, serve it, and let visitors browse until it is ended."""
    import msgspec

    from kindred.api.market_demo import MarketDemo, demo_plan
    from kindred.api.market_plan import Market, prepare, settings_of
    from kindred.api.telemetry import configure_logging
    from kindred.schemas.workspace import Workspace

    workspace = Workspace(root / "market")
    plan = demo_plan(workspace, seed)
    prepare(workspace, plan, text=True)
    settings = settings_of(workspace, os.environ)
    if port is not None:
        api = msgspec.structs.replace(settings.api, port=port)
        settings = msgspec.structs.replace(settings, api=api)
    progress = terminal_progress()
    with progress.task("make the simulated market"):
        market = Market.make(plan)
    demo = MarketDemo(workspace=workspace, settings=settings, market=market, progress=progress)
    steps = demo.run(lambda s: click.echo(f"{s.step}: {s.produced} ({s.seconds:.1f} s)", err=True))
    if not as_json:
        rows = [(s.step, "fresh" if s.fresh else f"{s.seconds:.1f}", s.produced) for s in steps]
        print_table("The simulated market", ("stage", "seconds", "what it produced"), rows)
    configure_logging()
    figures = served(
        workspace, settings, market, seconds=SHORT_S if leave else float("inf"), quiet=as_json
    )
    if as_json:
        print_json({"simulated": True, "steps": steps, "figures": figures})
    elif figures is not None:
        print_table("Simulated visitors", ("what", "simulated"), rows_of(figures))


def served(
    workspace: Workspace, settings: KindredSettings, market: Market, *, seconds: float, quiet: bool
) -> LiveFigures | None:
    """Serve for `seconds` of visits, or until a signal; what came of it, None where nothing did."""
    from kindred.api.market_demo import (
        NO_RANKER,
        PAGES_PER_SECOND,
        SPEED,
        in_background,
        live_visitors,
    )
    from kindred.api.supervisor import Supervisor
    from kindred.api.wiring import current_models

    supervisor = Supervisor(workspace, settings)
    ranked = "ranker" in current_models(workspace)
    ads = "a ranker orders what they see, ads among it" if ranked else NO_RANKER
    figures: list[LiveFigures] = []
    failures: list[Exception] = []
    visitors: list[threading.Thread] = []

    def visit(url: str) -> None:
        with watched(quiet=quiet) as show:
            try:
                figures.append(
                    live_visitors(
                        workspace, market, url, rate=PAGES_PER_SECOND, speed=SPEED,
                        seconds=seconds, k=market.plan.k, stop=lambda: supervisor.stopping,
                        on_figures=show,
                    )
                )  # fmt: skip
            except Exception as error:  # raised below, on the main thread
                if not supervisor.stopping:
                    failures.append(error)

    def ready(serving: Serving) -> None:
        click.echo(
            f"\nKindred serves a simulated market on {serving.url} (API: {serving.url}/docs); "
            f"simulated visitors browse; {ads}. Ctrl-C ends it.\n",
            err=True,
        )
        visitors.append(in_background(lambda: visit(serving.url), supervisor.stop))

    supervisor.run(ready)
    for thread in visitors:
        thread.join(timeout=10)
    if failures:
        raise failures[0]
    return figures[-1] if figures else None


def rows_of(figures: LiveFigures) -> list[tuple[str, object]]:
    """(what, value) for a table."""
    return [
        ("seconds", figures.seconds), ("requests", figures.requests),
        ("requests a second", figures.requests_per_second), ("failed", figures.failed),
        ("visits", figures.visits), ("impressions", figures.impressions),
        ("clicks", figures.clicks), ("CTR", figures.ctr), ("actions", figures.actions),
        ("purchases", figures.purchases), ("events logged", figures.events),
        ("events refused", figures.rejected), ("p50 ms", figures.p50_ms),
        ("p95 ms", figures.p95_ms), ("decisions lost", figures.decisions_lost),
    ]  # fmt: skip


@contextmanager
def watched(*, quiet: bool) -> Iterator[Callable[[LiveFigures], None]]:
    """A live table on a terminal, a line now and then elsewhere, nothing with `quiet`."""
    if quiet:
        yield lambda figures: None  # noqa: ARG005
    elif not sys.stdout.isatty():
        yield _lines()
    else:
        from rich.live import Live

        with Live(refresh_per_second=2) as live:
            yield lambda figures: live.update(_table(figures))


def _lines() -> Callable[[LiveFigures], None]:
    told = 0.0

    def show(figures: LiveFigures) -> None:
        nonlocal told
        if figures.seconds - told >= LINE_EVERY:
            told = figures.seconds
            said = ", ".join(f"{what} {value}" for what, value in rows_of(figures))
            click.echo(f"simulated: {said}")

    return show


def _table(figures: LiveFigures) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title="Simulated visitors", box=box.SIMPLE_HEAD, title_justify="left")
    for what, value in rows_of(figures):
        table.add_row(what, "-" if value is None else f"{value:,}")
    return table
