"""Markdown tables of `kindred evaluate ranking`, for `tables.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

Table = Callable[[Sequence[str], Iterable[Sequence[object]]], str]


def ranking(report: dict[str, Any], table: Table) -> str:
    """Every suite of a report with its verdicts."""
    show = {"chorus": chorus, "positions": positions, "curve": curve}
    parts = []
    for name, found in report["suites"].items():
        parts += [*found.get("notes", []), *show[name](found, table)]
        parts.append(verdicts(found["verdicts"], table))
    return "\n\n".join(parts)


def chorus(found: dict[str, Any], table: Table) -> list[str]:
    """Methods on both lists, a column each."""
    lists = found["lists"]
    about = (
        f"{found['queries']} queries, {found['judgments']:,} judgments, {found['documents']:,} "
        f"documents; {len(found['seeds'])} seeds of {found['folds']} folds; 95 % bootstrap over "
        "queries."
    )
    meaning = [f"{name}: {told['ranked']}." for name, told in lists.items()]
    methods = next(iter(lists.values()))["NDCG@10"]
    rows = [(m, *(plain(told["NDCG@10"][m]) for told in lists.values())) for m in methods]
    return ["  \n".join([about, *meaning]), table(("NDCG@10", *lists), rows)]


def positions(found: dict[str, Any], table: Table) -> list[str]:
    """Rankers by way of growing trees, click model, users and depth."""
    rows = [
        (
            row["trees"],
            row["clicks"],
            row["users of each query"],
            depth,
            *(f"{row['means'][name][depth]:.4f}" for name in row["means"]),
            signed(lead),
            f"{row['wins'][depth]:.0%}",
        )
        for row in found["rows"]
        for depth, lead in row["lead"].items()
    ]
    means = list(found["rows"][0]["means"])
    about = (
        f"{found['queries']['training']} training and {found['queries']['test']} test queries, "
        f"{len(found['seeds'])} seeds, {found['trees']} trees; 95 % bootstrap over seeds."
    )
    head = ("trees as of", "clicks", "users", "measure", *means, "position − plain", "seeds won")
    return [about, table(head, rows)]


def curve(found: dict[str, Any], table: Table) -> list[str]:
    """Alternatives by size, for all lists and each platform; then how they stand."""
    sizes = found["sizes"]
    seeds = ", ".join(str(market["seed"]) for market in found["markets"])
    draws = ", ".join(f"{told['draws']} at {size}" for size, told in sizes.items())
    parts = [
        f"{len(found['markets'])} markets of {found['impressions']:,} impressions (seeds {seeds}); "
        f"draws of all markets: {draws}; purchase rank relative to binary by purchases learned "
        "from, less is better."
    ]
    for part in dict.fromkeys(p for told in sizes.values() for p in told["slices"]):
        shown = {size: told["slices"][part] for size, told in sizes.items()}
        names = next(iter(shown.values()))["alternatives"]
        rows = [
            (
                name,
                *(share(told["alternatives"][name]["relative to binary"])
                  for told in shown.values()),
            )
            for name in names
        ]  # fmt: skip
        lists = max(told["judging lists with a purchase"] for told in shown.values())
        parts.append(table((f"{part}: {lists:,} bought lists", *shown), rows))
    parts.append(table(("of the draws", *sizes), choices(sizes)))
    claims = dict.fromkeys(claim for told in sizes.values() for claim in beside(told))
    rows = [
        (claim, *(share(b[claim]) if claim in b else "–" for b in map(beside, sizes.values())))
        for claim in claims
    ]
    parts.append(table(("against each other", *sizes), rows))
    rows = [
        (name, *cross["stands"].values(), cross["loses its lead at"] or "–")
        for name, cross in found["crossover"].items()
    ]
    parts.append(table(("against binary", *sizes, "loses its lead at"), rows))
    return parts


def beside(told: dict[str, Any]) -> dict[str, list[float]]:
    """What alternatives are worth to each other at one size, tuned weights among them."""
    tuned = told["tuned"] or {"effects": {}}
    return {**told["slices"]["all"]["against each other"], **tuned["effects"]}


def choices(sizes: dict[str, Any]) -> list[tuple[str, ...]]:
    """What `auto` chose and by how many purchases, and what tuning found."""
    by = [told["purchases to choose by"] for told in sizes.values()]
    chose = [told["auto chose"].items() for told in sizes.values()]
    tuned = [told["tuned"] for told in sizes.values()]
    return [
        ("purchases to choose by", *(f"{min(b)} to {max(b)}" for b in by)),
        ("`auto` chose", *(", ".join(f"{name} {count}" for name, count in c) for c in chose)),
        ("weights tuned", *("–" if t is None else f"{sum(map(bool, t['trials']))} of {t['draws']}"
                            for t in tuned)),
    ]  # fmt: skip


def verdicts(found: Sequence[dict[str, Any]], table: Table) -> str:
    """Claims with what was wanted."""
    rows = [
        (v["claim"], signed(v["difference"]), v["wanted"], "pass" if v["passed"] else "**fail**")
        for v in found
    ]
    return table(("claim", "difference", "wanted", "verdict"), rows)


def plain(values: Sequence[float]) -> str:
    """`.9402 [.8979, .9731]`"""
    mean, low, high = values
    return f"{mean:.4f} [{low:.4f}, {high:.4f}]"


def signed(values: Sequence[float]) -> str:
    """`+.0480 [+.0208, +.0800]`"""
    first, *rest = values
    return f"{first:+.4f} [{', '.join(f'{x:+.4f}' for x in rest)}]"


def share(values: Sequence[float]) -> str:
    """`-5.2 % [-8.1, -2.0]`"""
    mean, low, high = values
    return f"{100 * mean:+.1f} % [{100 * low:+.1f}, {100 * high:+.1f}]"
