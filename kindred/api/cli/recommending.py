"""`kindred recommend`: the funnel over a file of queries."""

from __future__ import annotations

from pathlib import Path

import click

from kindred.api.cli.output import json_option, print_json, terminal_progress


@click.command()
@click.option(
    "--input", "source", required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Parquet with query_id and seeds or session.",
)  # fmt: skip
@click.option(
    "--output", "target", required=True, type=click.Path(dir_okay=False, path_type=Path),
    help="Parquet to write: query_id, rank, item_id, score, sources.",
)  # fmt: skip
@click.option(
    "--k", type=click.IntRange(1, 500), default=20, show_default=True, help="Answers a query."
)
@click.option(
    "--stage", type=click.Choice(["recall", "rank", "blend"]), default="blend", show_default=True,
    help="How far down the funnel.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 64), help="Processes (default: the cores).")
@json_option
@click.pass_obj
def command(
    context: dict[str, Path],
    source: Path,
    target: Path,
    k: int,
    stage: str,
    workers: int | None,
    as_json: bool,
) -> None:
    """Answer every query of a Parquet file.

    A query is `seeds` (a list of item ids, never answered with themselves) or `session` (a list
    of {item_id, action, ts} or of item ids, oldest first, whose items may come back). Optional
    columns: `filters` (JSON as in POST /v1/similar) and `k`.
    """
    from kindred.api.batch import recommend_file

    summary = recommend_file(
        context["workspace"], source, target, k=k, stage=stage, workers=workers,
        progress=terminal_progress(),
    )  # fmt: skip
    if as_json:
        print_json(summary)
    else:
        click.echo(
            f"{summary['answers']:,} answers to {summary['queries']:,} queries in "
            f"{summary['seconds']:.1f} s -> {target} "
            f"({summary['known_items']:,} of {summary['asked_items']:,} items known)"
        )
