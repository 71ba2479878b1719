"""`kindred evaluate representations`: every module, the hybrid and the merge on one task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kindred.api.cli.measuring import (
    interval,
    opened,
    print_notes_of,
    report_options,
    split_option,
    tell,
)
from kindred.api.cli.output import print_table, terminal_progress


@click.command("representations")
@split_option("90%")
@click.option(
    "--seeds", type=click.IntRange(1, 20), default=3, show_default=True,
    help="Draws of held-out items, each with a training of its own.",
)  # fmt: skip
@click.option(
    "--queries", type=click.IntRange(1), default=10_000, show_default=True,
    help="Questions of each seed at most, drawn with it.",
)  # fmt: skip
@click.option(
    "--part", type=click.Choice(["test", "development"]), default="test", show_default=True,
    help="`development` splits what came before the split once more: for choosing settings.",
)  # fmt: skip
@click.option(
    "--ablations", is_flag=True,
    help="Train AIR with other losses and the factors with other confidences, too.",
)  # fmt: skip
@report_options
@click.pass_obj
def representations(
    context: dict[str, Path],
    /,
    output: Path | None,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Ask every representation for the next item; say whether the hybrid earns its place.

    Everything is trained on what came before the split, and a tenth of the items that have events
    on both sides is held out of all of it: cold items are known by their content alone. Where
    visits tell, the answer is the last item of a later visit; else each later event of a visitor,
    from what came before it. All methods answer the same questions over all active items;
    intervals are 95 % bootstrap over visitors.
    """
    from kindred.api.wiring import evaluate_representations

    workspace, settings = opened(context)
    report = evaluate_representations(workspace, settings, terminal_progress(), **wanted)
    tell(report, output, as_json, print_representations)


def print_representations(report: dict[str, Any]) -> None:
    """The table of methods, then gates, verdicts, relations and looks, as far as there are any."""
    print_notes_of(report)
    if report["slices"]:
        print_slices(report)
    failed = [s for s in report["stages"] if s["state"] == "failed its gate"]
    for stage in failed:
        click.echo(f"{stage['stage']} failed its gate: {stage['gate']}")
    for verdict in [*report["verdicts"], *report["ablations"]]:
        click.echo(line_of(verdict))
    for relation, found in report["relations"].items():
        print_relation(relation, found)
    if report["looks"] is not None:
        print_looks(report["looks"])


def print_slices(report: dict[str, Any]) -> None:
    """Methods by hit rate, over all, warm and cold answers."""
    slices = report["slices"]
    whole = slices["all"]["methods"]
    parts = [part for part in ("all", "warm", "cold") if part in slices]
    columns = [(part, measure) for part in parts for measure in ("HR@10", "HR@50", "MRR")]
    rows = []
    for name, found in sorted(whole.items(), key=lambda kv: -kv[1]["HR@10"][0]):
        figures = [interval(slices[part]["methods"][name][measure]) for part, measure in columns]
        rows.append((name, found["kind"], *figures, f"{found['coverage@10']:.3f}"))
    asked = ", ".join(f"{slices[part]['questions']:,} {part}" for part in parts)
    title = (
        f"Representations after {report['train_until']} ({report['part']}): questions {asked} of "
        f"{len(report['seeds'])} seeds, {report['items']:,} active items, 95 % intervals"
    )
    head = ("method", "kind", *(f"{measure} {part}" for part, measure in columns), "coverage@10")
    print_table(title, head, rows)


def print_relation(relation: str, found: dict[str, Any]) -> None:
    """Recall@50 of one relation's lists, best method first, and which one finds it."""
    rows = [
        (name, *(interval(of["recall@50"][name]) for of in found.values()))
        for name in found["all"]["recall@50"]
    ]
    head = ("method", *(f"{part} ({of['lists']:,} lists)" for part, of in found.items()))
    print_table(f"Recall@50 of judged {relation}s", head, rows)
    for part, of in found.items():
        lead = of.get("lead")
        if lead is not None:
            mean, low, high = lead["difference"]
            click.echo(
                f"{relation}s, {part}: {of['best']} finds most, {mean:+.4f} "
                f"[{low:+.4f}, {high:+.4f}] over {lead['over']}"
            )


def print_looks(report: dict[str, Any]) -> None:
    """Precision@5 of neighbours by picture, and the gain over the frozen backbone."""
    print_notes_of(report)
    for pool, spaces in report["neighbours"].items():
        labels = list(next(iter(spaces.values())))
        rows = [
            (space, *(told_look(found[label]) for label in labels))
            for space, found in spaces.items()
        ]
        title = f"Neighbours by picture that share a label, precision@5, among {pool} items"
        print_table(title, ("space", *labels), rows)
    crossed = report["words and pictures"]
    rows = [
        (name, *(told_crossing(name, found[name]) for found in crossed.values()))
        for name in next(iter(crossed.values()))
    ]
    title = "Titles alone look for pictures alone among unseen items, and back: precision@5"
    print_table(title, ("by", *crossed), rows)


def told_crossing(name: str, values: list[float]) -> str:
    """An interval; of a gain with its sign."""
    if not name.startswith("gain"):
        return interval(values)
    return "{:+.4f} [{:+.4f}, {:+.4f}]".format(*values)


def told_look(found: dict[str, list[float]]) -> str:
    """`0.812 ±0.010 (+0.031 [+0.020, +0.042])`"""
    told = interval(found["precision@5"]) if "precision@5" in found else ""
    if "gain" not in found:
        return told
    mean, low, high = found["gain"]
    return f"{told} ({mean:+.4f} [{low:+.4f}, {high:+.4f}])".strip()


def line_of(verdict: dict[str, Any]) -> str:
    """`pass  merge leads the best simple baseline by 5 %: ...`"""
    mean, low, high = verdict["difference"]
    share = verdict["relative"]
    relative = "" if share is None else f" ({share[0]:+.1%} [{share[1]:+.1%}, {share[2]:+.1%}])"
    wanted = f" by {verdict['wanted']:.1%}" if verdict["wanted"] > 0 else ""
    return (
        f"{'pass' if verdict['passed'] else 'FAIL'}  {verdict['claim']}{wanted}: "
        f"{verdict['method']} - {verdict['against']}, {verdict['measure']} {mean:+.4f} "
        f"[{low:+.4f}, {high:+.4f}]{relative}"
    )
