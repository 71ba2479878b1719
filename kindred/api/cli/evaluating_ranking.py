"""`kindred evaluate ranking`: graded judgments, simulated clicks, and few purchases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kindred.api.cli.measuring import many, opened, print_notes_of, report_options, tell
from kindred.api.cli.output import print_table, terminal_progress

sizes_of = many(int, lambda size: size >= 1, such_as="30,100", must="must be at least 1")


def rising(context: click.Context, option: click.Parameter, value: str) -> tuple[int, ...]:
    """Sizes in order, each once."""
    return tuple(sorted(set(sizes_of(context, option, value))))


@click.command("ranking")
@click.option(
    "--suite", type=click.Choice(["chorus", "positions", "curve", "all"]), default="all",
    show_default=True, help="What to measure.",
)  # fmt: skip
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default="../shared/data",
    show_default=True, help="Folder of `chorus` and `lightgbm_lambdarank`.",
)  # fmt: skip
@click.option(
    "--seeds", type=click.IntRange(1, 100), default=5, show_default=True,
    help="chorus: splits of the queries into five folds.",
)  # fmt: skip
@click.option(
    "--documents", type=click.IntRange(1),
    help="chorus: documents of the catalogue at most; those judged stay (default: all).",
)  # fmt: skip
@click.option(
    "--click-seeds", type=click.IntRange(2, 1000), default=20, show_default=True,
    help="positions: draws of simulated clicks.",
)  # fmt: skip
@click.option(
    "--users", default="1,10", show_default=True, callback=rising,
    help="positions: users who click through each query.",
)  # fmt: skip
@click.option(
    "--purchases", default="30,100,300,1000", show_default=True, callback=rising,
    help="curve: purchases to learn from.",
)  # fmt: skip
@click.option(
    "--markets", type=click.IntRange(1, 20), default=3, show_default=True,
    help="curve: simulated markets, kept in the workspace.",
)  # fmt: skip
@click.option(
    "--impressions", type=click.IntRange(1_000), default=1_500_000, show_default=True,
    help="curve: items shown in each market.",
)  # fmt: skip
@click.option(
    "--draws", type=click.IntRange(1, 100), default=8, show_default=True,
    help="curve: draws of the lists to learn from, for each market and size; fewer where they "
    "would overlap, two at least.",
)  # fmt: skip
@click.option(
    "--tuned-draws", type=click.IntRange(0, 100), default=1, show_default=True,
    help="curve: of these, those whose weights are tuned too.",
)  # fmt: skip
@click.option(
    "--tuned-up-to", type=click.IntRange(1), default=300, show_default=True,
    help="curve: purchases up to which they are; it takes thirty rankers for each draw.",
)  # fmt: skip
@report_options
@click.pass_obj
def ranking(
    context: dict[str, Path],
    /,
    suite: str,
    data: Path,
    users: tuple[int, ...],
    output: Path | None,
    as_json: bool,
    **sizes: Any,
) -> None:
    """Measure the ranker where its answers are known; print verdicts with their intervals.

    chorus: a committee of rankers against BM25, text similarity and crosses of both on graded
    judgments, by query, in five folds. positions: LightGBM's own sample under simulated clicks,
    with and without `position`. curve: binary, graded, pairs and ensemble at 30 to 1,000 purchases
    on simulated markets, by platform. What is simulated says so. The workspace keeps encodings,
    markets and the draws that were judged, so that a run that was stopped carries on.
    """
    from kindred.api.ranking import SUITES, Sizes, evaluate_ranking

    workspace, settings = opened(context)
    report = evaluate_ranking(
        workspace, settings, terminal_progress(), data=data, sizes=Sizes(users=users, **sizes),
        suites=[name for name in SUITES if suite in (name, "all")],
    )  # fmt: skip
    tell(report, output, as_json, print_ranking)


def print_ranking(report: dict[str, Any]) -> None:
    """Each suite's tables, then its verdicts."""
    show = {"chorus": print_chorus, "positions": print_positions, "curve": print_curve}
    print_notes_of(report)
    for name, found in report["suites"].items():
        print_notes_of(found)
        show[name](found)
        for verdict in found["verdicts"]:
            click.echo(verdict_line(verdict))


def print_chorus(found: dict[str, Any]) -> None:
    """Methods on both lists."""
    for name, table in found["lists"].items():
        title = (
            f"NDCG@10 on Chorus, {name}: {table['queries with a relevant document']} queries, "
            f"{table['documents a query']:g} documents each, {len(found['seeds'])} seeds of "
            f"{found['folds']} folds, 95 % intervals over queries"
        )
        rows = [(method, interval(value)) for method, value in table["NDCG@10"].items()]
        print_table(title, ("method", "NDCG@10"), rows)
        click.echo(f"Ranked: {table['ranked']}.")


def print_positions(found: dict[str, Any]) -> None:
    """Both click models by way of growing trees and number of users."""
    rows = []
    for row in found["rows"]:
        for depth, lead in row["lead"].items():
            means = [row["means"][name][depth] for name in row["means"]]
            wins = f"{row['wins'][depth]:.0%}"
            about = (row["trees"], row["clicks"], row["users of each query"])
            rows.append((*about, depth, *means, signed(lead), wins))
    names = list(found["rows"][0]["means"])
    title = f"LightGBM's sample under simulated clicks, {len(found['seeds'])} seeds"
    head = ("trees as of", "clicks", "users", "measure", *names, "position - plain", "wins")
    print_table(title, head, rows)


def print_curve(found: dict[str, Any]) -> None:
    """One table a platform: alternatives by size; then how they stand to purchases alone."""
    sizes = found["sizes"]
    if found["not reached"]:
        short = ", ".join(map(str, found["not reached"]))
        click.echo(f"No market has {short} purchases to learn from: raise --impressions.")
    for part in dict.fromkeys(p for table in sizes.values() for p in table["slices"]):
        shown = {s: t["slices"][part] for s, t in sizes.items() if part in t["slices"]}
        names = next(iter(shown.values()))["alternatives"]
        rows = [
            (name, *(relative(t["alternatives"][name]) for t in shown.values())) for name in names
        ]
        title = f"Simulated: purchase rank relative to binary by purchases learned from, {part}"
        head = (
            f"{size} ({sizes[size]['draws']} draws, {t['judging lists with a purchase']} lists)"
            for size, t in shown.items()
        )
        print_table(title, ("alternative", *head), rows)
    rows = [
        (claim, size, signed(effect))
        for size, table in sizes.items()
        for claim, effect in beside(table).items()
    ]
    print_table("Simulated: purchase rank relative to each other", ("", "purchases", ""), rows)
    for size, table in sizes.items():
        chose = ", ".join(f"{name} {count}" for name, count in table["auto chose"].items())
        by = table["purchases to choose by"]
        click.echo(f"At {size} purchases, by {min(by)} to {max(by)} others, auto chose: {chose}.")
    rows = [
        (name, *cross["stands"].values(), cross["loses its lead at"])
        for name, cross in found["crossover"].items()
    ]
    print_table(
        "Simulated: against binary", ("alternative", *sizes, "loses its lead at purchases"), rows
    )


def beside(table: dict[str, Any]) -> dict[str, list[float]]:
    """What alternatives are worth to each other at one size, tuned weights among them."""
    tuned: dict[str, Any] = table["tuned"] or {"effects": {}}
    return {**table["slices"]["all"]["against each other"], **tuned["effects"]}


def relative(figures: dict[str, Any]) -> str:
    """`-5.2% [-8.1%, -2.0%]`"""
    mean, low, high = figures["relative to binary"]
    return f"{mean:+.1%} [{low:+.1%}, {high:+.1%}]"


def verdict_line(verdict: dict[str, Any]) -> str:
    """`pass  the ranker beats bm25: +0.0480 [+0.0208, +0.0800], wanted > 0`"""
    told = signed(verdict["difference"])
    return (
        f"{'pass' if verdict['passed'] else 'FAIL'}  {verdict['claim']}: {told}, wanted "
        f"{verdict['wanted']}"
    )


def signed(values: list[float]) -> str:
    """`+0.0480 [+0.0208, +0.0800]`"""
    first, *rest = values
    return f"{first:+.4f} [{', '.join(f'{x:+.4f}' for x in rest)}]"


def interval(values: list[float]) -> str:
    """`0.9402 [0.8979, 0.9731]`"""
    mean, low, high = values
    return f"{mean:.4f} [{low:.4f}, {high:.4f}]"
