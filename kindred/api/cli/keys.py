"""`kindred keys`: API keys."""

from __future__ import annotations

import re

import click
import msgspec

from kindred.api.cli.output import json_option, print_json


class NewKey(msgspec.Struct, frozen=True):
    """A key: the secret for the caller, its fingerprint for kindred.toml."""

    name: str
    secret: str
    sha256: str
    scopes: tuple[str, ...]


@click.group()
def command() -> None:
    """Make API keys."""


@command.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(["read", "write", "admin"]),
    multiple=True,
    default=("read",),
    show_default=True,
    help="What the key may do; may be given several times.",
)
@json_option
def new(name: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Make a key for the caller NAME. The secret is shown once and kept nowhere."""
    from kindred.api.keys import fingerprint, new_secret
    from kindred.api.settings_text import toml_value

    if not re.fullmatch(r"[a-z0-9_-]{1,64}", name):
        raise click.BadParameter("use a-z, 0-9, _ and -, at most 64", param_hint="NAME")
    secret = new_secret()
    key = NewKey(name, secret, fingerprint(secret), tuple(dict.fromkeys(scopes)))
    if as_json:
        print_json(key)
        return
    click.echo(f"Secret, for {name} (send it as `Authorization: Bearer …`; it is kept nowhere):\n")
    click.echo(f"  {key.secret}\n")
    click.echo("For kindred.toml:\n")
    click.echo(f"  [api.keys.{name}]")
    click.echo(f"  sha256 = {toml_value(key.sha256)}")
    click.echo(f"  scopes = {toml_value(key.scopes)}")
