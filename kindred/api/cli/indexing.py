"""`kindred index`: catalogue and models into an index version, or back to the one before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kindred.api.cli.output import (
    json_option,
    print_json,
    print_notes,
    print_table,
    terminal_progress,
)

if TYPE_CHECKING:
    from kindred.indexer.versions import Manifest
    from kindred.schemas.progress import Progress


def index(root: Path, progress: Progress, *, back: bool = False) -> Manifest:
    """Build an index version of the workspace in `root` and make it current; `back` goes back."""
    from kindred.api.wiring import build, load_settings
    from kindred.indexer.build import rollback
    from kindred.schemas.workspace import Workspace

    workspace = Workspace(root)
    settings = load_settings(workspace.settings, os.environ)
    return rollback(workspace, settings) if back else build(workspace, settings, progress)


@click.command()
@click.option("--rollback", is_flag=True, help="Use the version before the current one again.")
@json_option
@click.pass_obj
def command(context: dict[str, Path], rollback: bool, as_json: bool) -> None:
    """Build the index from the catalogue, the encoders and the models, and make it current.

    Nothing unchanged is encoded again; an interrupted build leaves the version in use as it was,
    and the next one carries on. The version before is kept for --rollback.
    """
    from kindred.schemas.workspace import Workspace

    root = context["workspace"]
    manifest = index(root, terminal_progress(), back=rollback)
    notes = print_notes(Workspace(root))
    if as_json:
        print_json(manifest, notes=notes)
        return
    print_table(
        f"Index {manifest.version}: {manifest.active:,} of {manifest.items:,} items",
        ("space", "dim", "vectors", "refused", "made by"),
        [
            (name, space.dim, space.count, manifest.rejected.get(name, 0), space.version)
            for name, space in manifest.spaces.items()
        ],
    )
    if manifest.rejected:
        where = root / "index" / manifest.version / "rejects.jsonl"
        click.echo(f"What was refused, and why: {where}", err=True)
