"""Markdown tables of `kindred evaluate blend` and `kindred evaluate diversity`, for `tables.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

Table = Callable[[Sequence[str], Iterable[Sequence[object]]], str]

FARTHEST = -0.05
"""NDCG beyond which a point stays in the file."""
MEASURES = ("ndcg", "purchases", "revenue")


def blend(report: dict[str, Any], table: Table) -> str:
    """The frontier of each part of a report, and its verdicts."""
    parts = []
    for part in ("simulated", "logged"):
        found = report[part]
        if found is None:
            continue
        of = f"{found['lists']:,} lists, first {found['k']}"
        if "seeds" in found:
            of = f"{len(found['seeds'])} markets of {found['items']:,} listings, {of}"
        parts.append(
            f"{part.capitalize()}: {of}; changes in % against the order by probability without "
            "hard rules; 95 % bootstrap over visitors. Points that lose more than "
            f"{-FARTHEST:.0%} of NDCG are in the file."
        )
        rows = [
            (row["family"], f"{row['strength']:g}", *(percent(row[m]) for m in MEASURES))
            for row in found["frontier"]
            if FARTHEST <= row["ndcg"][0] <= 0 and any(row["revenue"])
        ]
        parts += [table(("order", "strength", *MEASURES), rows), verdicts(found, table)]
        if "repriced" in found:
            parts.append(repriced(found["repriced"], table))
    return "\n\n".join(parts)


def repriced(rows: list[dict[str, Any]], table: Table) -> str:
    """What a changed price of one sponsored item does, by order."""
    names = [name for name in rows[0] if name not in ("order", "price")]
    about = (
        "One sponsored item of each list at another price, all else as it is; changes in % against "
        "its own price in the same order."
    )
    told = [
        (row["order"], f"x {row['price']:g}", *(percent(row[name]) for name in names))
        for row in rows
        if row["price"] != 1
    ]
    return f"{about}\n\n{table(('order', 'price', *names), told)}"


def verdicts(found: dict[str, Any], table: Table) -> str:
    """Claims, and the strengths that keep the purchases."""
    rows: list[tuple[object, ...]] = []
    for claim, told in found["verdicts"].items():
        if claim == "purchases kept":
            rows += [
                (
                    f"{family}: strength that keeps 99 % of the purchases",
                    f"{kept['strength']:g}, surely {kept['strength, with 95 % confidence']:g}",
                )
                for family, kept in told.items()
            ]
        elif "verdict" in told:
            at = f"ahead at {told['ahead']}, behind at {told['behind']} of {told['points']}"
            rows.append((claim, f"{told['verdict']}: {at}"))
        else:
            rows.append((claim, "pass" if told["passed"] else "**fail**"))
    return table(("claim", "verdict"), rows)


def diversity(report: dict[str, Any], table: Table) -> str:
    """What each way to arrange an answer costs and gives."""
    names = list(report["rows"][0]["mean"])
    about = (
        f"{report['queries']:,} sessions after {report['train_until']}, first {report['k']}; "
        f"{report['training_events']:,} events before it; the difference to the order as it is, "
        "with its 95 % bootstrap interval over visitors. What moved nothing is left out."
    )
    rows = [
        (
            row["kind"],
            f"{row['strength']:g}" if row["strength"] else "",
            *(
                signed(row["difference"][name]) if row["difference"] else f"{row['mean'][name]:.4f}"
                for name in names
            ),
        )
        for row in report["rows"]
        if not row["difference"] or any(any(d) for d in row["difference"].values())
    ]
    return f"{about}\n\n{table(('arranged by', 'strength', *names), rows)}"


def percent(values: Sequence[float]) -> str:
    """`-0.54 [-0.78, -0.35]`"""
    mean, low, high = (100 * v for v in values)
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"


def signed(values: Sequence[float]) -> str:
    """`-.0012 [-.0020, -.0004]`"""
    mean, low, high = values
    return f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"
