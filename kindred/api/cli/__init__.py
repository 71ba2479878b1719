"""`kindred`: the commands, each loaded when it is called.

The table holds what `kindred --help` shows, so that help imports no command: they bring torch,
polars and the web framework with them.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from kindred import __version__
from kindred.schemas.errors import KindredError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("kindred.api.cli.demo:command", "Everything, from nothing to a running service."),
    "init": ("kindred.api.cli.init:command", "Make a workspace with a commented kindred.toml."),
    "import": ("kindred.api.cli.importing:command", "Bring items or events in from files."),
    "items": ("kindred.api.cli.items:command", "Show, upsert and withdraw items."),
    "rules": ("kindred.api.cli.rules:command", "Pin, bury, boost and exclude items."),
    "train": ("kindred.api.cli.training:command", "Train the stages whose inputs have changed."),
    "index": ("kindred.api.cli.indexing:command", "Build the index and make it current."),
    "models": ("kindred.api.cli.models:command", "List model versions; go back to one."),
    "features": ("kindred.api.cli.features:command", "List what the ranker is told of an item."),
    "evaluate": ("kindred.api.cli.evaluating:command", "Measure answers against what happened."),
    "recommend": ("kindred.api.cli.recommending:command", "Answer a file of queries."),
    "serve": ("kindred.api.cli.serve:command", "Serve over HTTP."),
    "events": ("kindred.api.cli.events:command", "Look into the event log."),
    "decisions": ("kindred.api.cli.decisions:command", "Explain answers from their log."),
    "why-not": ("kindred.api.cli.reasons:why_not", "Tell why an item is not in an answer."),
    "preview": ("kindred.api.cli.reasons:preview", "Compare answers under other settings."),
    "join": ("kindred.api.cli.joining:command", "Join what was shown with what came of it."),
    "export": ("kindred.api.cli.exporting:command", "Move closed hours into the lake; copy it."),
    "keys": ("kindred.api.cli.keys:command", "Make API keys."),
    "simulate": ("kindred.api.cli.simulate:command", "Simulate a market and its visitors."),
    "bench": ("kindred.api.cli.bench:command", "Measure latency and throughput."),
}
"""Name -> (module:attribute of a click command, one line of help)."""

FAILED = 2
INTERRUPTED = 130


class Commands(click.Group):
    """The root group: loads lazily, and turns errors into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None where the name is unknown."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command: KindredError and usage errors exit with 2, Ctrl-C with 130."""
        as_json = "--json" in ctx.args
        try:
            return super().invoke(ctx)
        except KindredError as error:
            _report(error, as_json)
            ctx.exit(FAILED)
        except click.ClickException as error:
            if not as_json:
                raise
            _report(error, as_json)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("\nInterrupted. What is finished is kept: run it again to resume.", err=True)
            ctx.exit(INTERRUPTED)


def _report(error: KindredError | click.ClickException, as_json: bool) -> None:
    """One line on stderr, or with `--json` a problem on stdout."""
    from kindred.api.cli.output import print_problem

    if as_json:
        print_problem(error)
    else:
        click.echo(f"kindred: {error}", err=True)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Errors exit with 2, an interruption with 130.",
)
@click.version_option(__version__, "--version", prog_name="kindred")
@click.option(
    "--workspace",
    "-w",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="KINDRED_WORKSPACE",
    default=Path("workspace"),
    show_default=True,
    show_envvar=True,
    help="Folder that holds one marketplace.",
)
@click.pass_context
def main(ctx: click.Context, workspace: Path) -> None:
    """Kindred finds kindred items: retrieval and ranking for marketplaces."""
    # Before any OpenMP library is loaded: two of them spinning for the same cores cost minutes.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    ctx.ensure_object(dict)["workspace"] = workspace
