"""`kindred features`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kindred.api.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from kindred.api.feature_report import FeatureReport


@click.command()
@click.option(
    "--answers", default=500, show_default=True, type=click.IntRange(1, 100_000),
    help="Newest logged answers that coverage is counted over.",
)  # fmt: skip
@click.option("--group", help="Features of this group alone.")
@json_option
@click.pass_obj
def command(context: dict[str, Path], answers: int, group: str | None, as_json: bool) -> None:
    """List the ranker's features: meaning, unit, source, coverage, importance.

    The JSON says of each, too, why it is there.
    """
    import msgspec

    from kindred.api.feature_report import feature_report
    from kindred.api.settings_file import load_settings
    from kindred.rerank.features import GROUPS
    from kindred.schemas.clock import micros_now
    from kindred.schemas.workspace import Workspace

    if group is not None and group not in (names := [g.name for g in GROUPS]):
        raise click.BadParameter(f"no group {group!r}; there are {', '.join(names)}")
    workspace = Workspace(context["workspace"])
    settings = load_settings(workspace.settings, os.environ)
    report = feature_report(workspace, settings, answers=answers, now=micros_now())
    if group is not None:
        kept = tuple(f for f in report.features if f.group == group)
        report = msgspec.structs.replace(report, features=kept)
    if as_json:
        print_json(report)
    else:
        _show(report)


def _show(report: FeatureReport) -> None:
    print_table(
        f"{len(report.features)} features, specification {report.specification}",
        ("feature", "group", "coverage", "importance", "unit", "reads", "meaning", "why"),
        [
            (
                f.name, f.group, f.coverage, f.importance, f.unit, f.reads,
                f.meaning, f.why,
            )
            for f in report.features
        ],
        spare=("why", "reads"),
        cut=("meaning", "why"),
    )  # fmt: skip
    if report.covered is None:
        click.echo("coverage: no answer was logged with these features, and there is no index")
    else:
        click.echo(f"coverage: of {report.candidates:,} candidates of {report.covered}")
    if report.ranker is None:
        click.echo("importance: no ranker serves")
    else:
        click.echo(f"importance: share of the gain in ranker {report.ranker}")
    if report.foreign:
        click.echo(
            f"ranker {report.ranker} knows {len(report.foreign)} features that are none of these: "
            "run `kindred train ranker`"
        )
