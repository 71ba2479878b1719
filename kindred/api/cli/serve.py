"""`kindred serve`: the HTTP service of a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from kindred.api.cli.output import json_option, print_json

if TYPE_CHECKING:
    from kindred.api.supervisor import Serving


@click.command()
@click.option("--host", help="Address to listen on (default: api.host).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 picks a free one.")
@click.option("--workers", type=click.IntRange(1, 256), help="Serving processes.")
@json_option
@click.pass_obj
def command(
    context: dict[str, Path],
    host: str | None,
    port: int | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Serve over HTTP until Ctrl-C or SIGTERM.

    One line on stdout when every process listens; the log, JSON lines, is on stderr.
    """
    import os

    from kindred.api.settings_file import load_settings
    from kindred.api.supervisor import serve
    from kindred.api.telemetry import configure_logging
    from kindred.schemas.workspace import Workspace

    workspace = Workspace(context["workspace"])
    settings = load_settings(workspace.settings, os.environ)
    chosen = {"host": host, "port": port, "workers": workers}
    told = {name: value for name, value in chosen.items() if value is not None}
    api = msgspec.structs.replace(settings.api, **told)
    configure_logging()

    def ready(serving: Serving) -> None:
        if as_json:
            print_json(serving)
            return
        many = "1 process" if serving.workers == 1 else f"{serving.workers} processes"
        click.echo(f"Kindred serves on {serving.url} ({many}; {serving.url}/docs)")
        for problem in serving.problems:
            click.echo(f"It cannot answer yet: {problem}", err=True)

    serve(workspace, msgspec.structs.replace(settings, api=api), ready)
