"""`kindred evaluate`: answers measured against what happened next."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from kindred.api.cli.evaluating_blend import blend
from kindred.api.cli.evaluating_diversity import diversity
from kindred.api.cli.evaluating_ranking import ranking
from kindred.api.cli.evaluating_representations import representations
from kindred.api.cli.measuring import (
    interval,
    many,
    opened,
    print_notes_of,
    repeats_option,
    report_options,
    split_option,
    tell,
)
from kindred.api.cli.output import print_table, terminal_progress


@click.group()
def command() -> None:
    """Measure answers against what happened, split by time."""


command.add_command(blend)
command.add_command(diversity)
command.add_command(ranking)
command.add_command(representations)


lengths = many(
    int, lambda k: 1 <= k <= 500, such_as="10,20", must="every k must be between 1 and 500"
)


@command.command("next-item")
@split_option("-28d")
@click.option(
    "--k", "ks", default="10,20", show_default=True, callback=lengths, help="List lengths."
)
@click.option(
    "--queries", type=click.IntRange(1), default=10_000, show_default=True,
    help="Sessions asked at most, drawn with the seed.",
)  # fmt: skip
@repeats_option
@report_options
@click.pass_obj
def next_item(
    context: dict[str, Path],
    until: str,
    ks: tuple[int, ...],
    queries: int,
    repeats: bool | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Hold out the last item of each later session; ask every source, the merge, the ranker.

    Everything is trained on what came before the split. One query a session; intervals are 95 %
    bootstrap over visitors, and the difference of the ranked answer to the best single source and
    to the best simple baseline is paired.
    """
    from kindred.api.wiring import evaluate_next_item

    workspace, settings = opened(context)
    report = evaluate_next_item(
        workspace, settings, terminal_progress(), until=until, ks=ks, queries=queries,
        repeats=repeats,
    )  # fmt: skip
    tell(report, output, as_json, partial(print_next_item, ks=ks))


@command.command("shown-lists")
@click.option(
    "--train-until", "until", default="50%", show_default=True,
    help="Split: a time, `-7d` before the last list, or a share of the lists.",
)  # fmt: skip
@click.option(
    "--k", "ks", default="5,10", show_default=True, callback=lengths, help="List lengths of NDCG."
)
@click.option(
    "--seeds", type=click.IntRange(1, 20), default=3, show_default=True,
    help="Trainings, each with a seed of its own.",
)  # fmt: skip
@click.option(
    "--lists", type=click.IntRange(2), default=100_000, show_default=True,
    help="Later lists at most, drawn with the seed.",
)  # fmt: skip
@report_options
@click.pass_obj
def shown_lists(
    context: dict[str, Path],
    until: str,
    ks: tuple[int, ...],
    seeds: int,
    lists: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Order what was shown anew: would the bought items have stood higher?

    The ranker learns from joined impressions before the split and is asked about later ones,
    beside the order shown, the merge's, popularity, and each objective that was tried.
    Intervals are 95 % bootstrap over visitors, differences are paired, and lists in random order
    are told apart: no position favours anything there.
    """
    from kindred.api.wiring import evaluate_shown_lists

    workspace, settings = opened(context)
    report = evaluate_shown_lists(
        workspace, settings, terminal_progress(), until=until, ks=ks, seeds=seeds, lists=lists
    )
    tell(report, output, as_json, partial(print_shown_lists, ks=ks))


def print_shown_lists(report: dict[str, Any], ks: tuple[int, ...]) -> None:
    """A table for all lists and one for those in random order, then the ranker's leads."""
    names = ["purchase rank", "purchase MRR", *(f"NDCG@{k}" for k in ks)]
    print_notes_of(report)
    for label, found in report["slices"].items():
        title = (
            f"Shown lists after {report['train_until']}, {label}: {found['lists']:,}, "
            f"{found['lists with a purchase']:,} with a purchase; {len(report['seeds'])} seeds, "
            "95 % intervals"
        )
        rows = [
            (name, *("-" if m[n] is None else interval(m[n]) for n in names))
            for name, m in found["methods"].items()
        ]
        print_table(title, ("order", *names), rows)
        for other, d in found["differences"].items():
            lead = d["purchase rank"]
            if lead is None:
                click.echo(f"ranker - {other}: too few visitors who bought")
                continue
            verdict = "excludes zero" if lead[2] < 0 or lead[1] > 0 else "does NOT exclude zero"
            click.echo(
                f"ranker - {other}: purchase rank {lead[0]:+.4f} [{lead[1]:+.4f}, "
                f"{lead[2]:+.4f}], {verdict} (less is better)"
            )


def print_next_item(report: dict[str, Any], ks: tuple[int, ...]) -> None:
    """Methods by kind, then the ranked answer's lead."""
    names = [f"{m}@{k}" for k in ks for m in ("HR", "MRR", "NDCG")]
    rows = [
        (name, m["kind"], *(interval(m[n]) for n in names), m[f"coverage@{ks[0]}"])
        for name, m in report["methods"].items()
    ]
    title = (
        f"Next item: {report['queries']:,} sessions after {report['train_until']}, "
        f"{report['items']:,} active items, seed {report['seed']}, 95 % intervals"
    )
    if not report["ranker_serves"]:
        click.echo("No ranker passed its gate: the merge's order is what serves.", err=True)
    print_table(title, ("method", "kind", *names, f"coverage@{ks[0]}"), rows)
    for label, d in report["differences"].items():
        lead, relative = d[f"HR@{ks[0]}"], d[f"HR@{ks[0]} relative"]
        verdict = "excludes zero" if d[f"HR@{ks[0]} excludes zero"] else "does NOT exclude zero"
        share = "" if relative is None else f" ({relative:+.0%})"
        click.echo(
            f"{report['served']} - {label} ({d['method']}): HR@{ks[0]} {lead[0]:+.4f} "
            f"[{lead[1]:+.4f}, {lead[2]:+.4f}]{share}, {verdict}"
        )
