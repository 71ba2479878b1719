"""`kindred init`: a workspace with a commented kindred.toml."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from kindred.api.cli.output import json_option, print_json
from kindred.schemas.errors import SettingsError
from kindred.schemas.workspace import Workspace


class Made(msgspec.Struct, frozen=True):
    """What `kindred init` did."""

    workspace: str
    settings: str
    written: bool


@click.command()
@click.option("--force", is_flag=True, help="Write kindred.toml anew where there is one.")
@json_option
@click.pass_obj
def command(context: dict[str, object], force: bool, as_json: bool) -> None:
    """Make a workspace: a folder with a kindred.toml that explains every setting.

    A kindred.toml that is there stays as it is.
    """
    from kindred.api.settings_text import write_settings

    root = context["workspace"]
    assert isinstance(root, Path)
    workspace = Workspace(root)
    path = workspace.settings
    try:
        workspace.root.mkdir(parents=True, exist_ok=True)
        written = force or not path.exists()
        if written:
            write_settings(path)
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error
    if as_json:
        print_json(Made(str(workspace.root), str(path), written))
        return
    click.echo(f"Wrote {path}" if written else f"{path} is there already (--force writes it anew)")
