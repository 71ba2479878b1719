"""`kindred evaluate blend`: what ads in the order cost, and what they earn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from kindred.api.cli.measuring import opened, print_notes_of, tell
from kindred.api.cli.output import json_option, print_table, terminal_progress


@click.command("blend")
@click.option(
    "--seeds", type=click.IntRange(0, 20), default=3, show_default=True,
    help="Simulated markets, in which the truth is known; 0 leaves them out.",
)  # fmt: skip
@click.option(
    "--items", type=click.IntRange(500), default=3_000, show_default=True,
    help="Listings of a simulated market.",
)  # fmt: skip
@click.option(
    "--training-lists", type=click.IntRange(200), default=6_000, show_default=True,
    help="Shown lists from which each market's ranker learns; as many calibrate it.",
)  # fmt: skip
@click.option(
    "--lists", type=click.IntRange(50), default=2_000, show_default=True,
    help="Lists that are blended: of each market, and of the log at most.",
)  # fmt: skip
@click.option(
    "-k", "k", type=click.IntRange(2, 20), default=6, show_default=True, help="Items shown."
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON to write.")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="SVG to write.")
@json_option
@click.pass_obj
def blend(
    context: dict[str, Path],
    /,
    output: Path | None,
    picture: Path | None,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Draw revenue against NDCG for strengths of the ad rate, and name the one to keep.

    Beside both formulas on calibrated probabilities stand the raw-score blend and bands in which
    the rate decides. On simulated markets chances to buy are known; on the workspace's own
    decisions they are what the ranker expects. Changes are against the order by probability alone,
    with 95 % bootstrap intervals over visitors.
    """
    from kindred.api.blending import evaluate_blend

    workspace, settings = opened(context)
    report = evaluate_blend(workspace, settings, terminal_progress(), **wanted)
    if picture is not None:
        from kindred.api.blending import picture as drawn

        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_text(drawn(report))
    tell(report, output, as_json, print_blend)


def print_blend(report: Mapping[str, Any]) -> None:
    """A table and verdicts for each part that there is."""
    print_notes_of(report)
    for part in ("simulated", "logged"):
        found = report[part]
        if found is None:
            continue
        rows = [
            (r["family"], f"{r['strength']:g}", *(percent(r[m]) for m in MEASURES))
            for r in found["frontier"]
        ]
        title = (
            f"Blends, {part}: {found['lists']:,} lists, first {found['k']}; changes in % against "
            f"no rate, 95 % intervals. {found['note']}"
        )
        print_table(title, ("order", "strength", *MEASURES), rows)
        for line in verdict_lines(found["verdicts"]):
            click.echo(line)
        if "repriced" in found:
            print_repriced(found["repriced"])
        for run in found.get("runs", ()):
            error = run["calibration"]["all"]["expected error"]
            click.echo(f"seed {run['seed']}: expected calibration error {error}, cross-fitted")
    if report["logged"] is None:
        click.echo("No logged list can be blended: none has probabilities or today's features.")
    if report["ranker"] is not None and "calibrated on" in report["ranker"]:
        told = report["ranker"]
        click.echo(
            f"ranker {told['version']}: expected calibration error "
            f"{told['expected_calibration_error']} ({told['calibrated on']})"
        )


def print_repriced(rows: Sequence[Mapping[str, Any]]) -> None:
    """What another price of one sponsored item does to it, by order."""
    names = [name for name in rows[0] if name not in ("order", "price")]
    told = [
        (row["order"], f"x {row['price']:g}", *(percent(row[name]) for name in names))
        for row in rows
    ]
    title = "One sponsored item of each list at another price; changes in % against its own price"
    print_table(title, ("order", "price", *names), told)


MEASURES = ("ndcg", "purchases", "revenue")


def verdict_lines(verdicts: Mapping[str, Any]) -> list[str]:
    """What the report concludes, a line each."""
    lines = []
    for name, told in verdicts.items():
        if name == "purchases kept":
            for family, kept in told.items():
                sure = kept["strength, with 95 % confidence"]
                lines.append(
                    f"{family}: {kept['strength']:g} keeps 99 % of the expected purchases"
                    + ("" if sure is None else f" ({sure:g} surely)")
                )
        elif "verdict" in told:
            lines.append(
                f"{name}: {told['verdict']} (it earns more at {told['ahead']} of "
                f"{told['points']} points, less at {told['behind']})"
            )
        else:
            lines.append(f"{name}: {'passed' if told['passed'] else 'FAILED'}")
            lines += [f"  {m} {percent(told[m])} %" for m in ("revenue", "ndcg") if m in told]
    return lines


def percent(values: Sequence[float]) -> str:
    """`+8.21 [+7.90, +8.55]`"""
    mean, low, high = (100 * v for v in values)
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
