"""Markdown tables from the results in this folder: `python benchmarks/tables.py [NAME]`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import arrangement_tables
import ranking_tables

RESULTS = Path(__file__).parent / "results"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" + "--:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def read(name: str) -> dict[str, Any]:
    """One result file."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def interval(values: Sequence[float]) -> str:
    """`.1142 ± .0072`"""
    mean, low, high = values
    return f"{mean:.4f} ± {(high - low) / 2:.4f}"


def next_item(name: str) -> str:
    """Methods with hit rate and reciprocal rank, and the ranked answer's lead."""
    d = read(name)
    k = d["k"][0]
    rows = [
        (
            f"**{method}**" if method == d["served"] else method,
            m["kind"],
            interval(m[f"HR@{k}"]),
            interval(m[f"HR@{d['k'][1]}"]),
            interval(m[f"MRR@{k}"]),
            f"{m[f'coverage@{k}']:.4f}",
        )
        for method, m in d["methods"].items()
    ]
    head = ("method", "kind", f"HR@{k}", f"HR@{d['k'][1]}", f"MRR@{k}", f"coverage@{k}")
    leads = [
        f"{d['served']} − {label} ({x['method']}): HR@{k} {x[f'HR@{k}'][0]:+.4f} "
        f"[{x[f'HR@{k}'][1]:+.4f}, {x[f'HR@{k}'][2]:+.4f}], MRR@{k} {x[f'MRR@{k}'][0]:+.4f} "
        f"[{x[f'MRR@{k}'][1]:+.4f}, {x[f'MRR@{k}'][2]:+.4f}]"
        for label, x in d["differences"].items()
    ]
    about = (
        f"{d['queries']:,} sessions after {d['train_until']}, {d['training_events']:,} events "
        f"before it, {d['items']:,} active items, seed {d['seed']}; 95 % bootstrap over visitors."
    )
    return "\n\n".join([about, table(head, rows), "  \n".join(leads)])


def filtered_recall(name: str) -> str:
    """Recall and latency by kind of filter and selectivity, with the plan."""
    d = read(name)
    rows = [
        (
            line["kind"],
            f"{line['share']:.2%}",
            "/".join(line["plans"]),
            f"{line['planned']['recall']:.4f}",
            f"{line['planned']['worst']:.2f}",
            f"{line['planned']['ms_p50']:.2f}",
            f"{line['planned']['ms_p95']:.2f}",
        )
        for line in d["lines"]
    ]
    head = ("filter", "rows that pass", "plan", "recall@100", "worst question", "p50 ms", "p95 ms")
    return table(head, rows)


def similar(name: str) -> str:
    """The widget request by stage, beside the engine's parts alone."""
    d = read(name)
    of = d["latency"]
    parts = {
        "client": of["client"],
        "service": of["service"],
        **{f"… {s}": v for s, v in of["stages"].items() if s != "total"},
        "alone: ANN": of["parts"]["ann"],
        "alone: LightGBM": of["parts"]["lightgbm"],
        "alone: both": of["parts"]["parts"],
    }
    rows = [(n, *(f"{v[q]:.2f}" for q in ("p50", "p95", "p99"))) for n, v in parts.items()]
    return table(("ms", "p50", "p95", "p99"), rows)


def rerank(name: str) -> str:
    """Re-ranking by stage and group of features, beside the trees alone."""
    d = read(name)
    parts = {
        "re-ranking": d["rerank"],
        **{f"… {s}": v for s, v in d["stages"].items()},
        "alone: features": d["assembly"],
        **{f"… {g}": v for g, v in d["groups"].items()},
        "alone: the trees": d["trees_alone"],
        "alone: LightGBM on the same trees": d["lightgbm"],
        "re-ranking with LightGBM": d["lightgbm_rerank"],
    }
    rows = [(n, *(f"{v[q]:.2f}" for q in ("p50", "p95", "p99"))) for n, v in parts.items()]
    return table((f"ms, {d['clock']}", "p50", "p95", "p99"), rows)


def tree_walkers(name: str) -> str:
    """The same trees by several evaluators."""
    rows = [
        (walker, f"{v['ms']:.2f}", f"{v['times lightgbm']:.2f}", f"{v['largest error']:.0e}")
        for walker, v in read(name)["walkers"].items()
    ]
    return table(("", "ms, cpu", "times as fast as LightGBM", "largest error"), rows)


def spread(values: dict[str, float]) -> tuple[str, ...]:
    """p50, p95, p99 with two decimals."""
    return tuple(f"{values[q]:.2f}" for q in ("p50", "p95", "p99"))


def events(name: str) -> str:
    """Acknowledged events a second by what they are and how many come at once."""
    d = read(name)
    rows = [
        (
            r["mix"],
            r["batch"],
            f"{r['per_second']:,.0f}",
            *(f"{r['ms'][q]:.1f}" for q in ("p50", "p95")),
            f"{r['cores']:.2f}",
        )
        for r in d["rounds"]
    ]
    head = ("events", "in a request", "acknowledged/s", "p50 ms", "p95 ms", "cores of the service")
    return table(head, rows)


def freshness(name: str) -> str:
    """From an event's first byte to answers that know of it, and a session's reading."""
    d = read(name)
    rows = [("acknowledged", *spread(d["acknowledged"]))]
    rows += [(f"in the answers of {who}", *spread(ms)) for who, ms in d["seen"].items()]
    rows += [
        (f"reading a session of {r['mean_actions']:g} actions, log of {r['events']:,}",
         *(f"{r['ms'][q]:.3f}" for q in ("p50", "p95", "p99")))
        for r in d["reads"]
    ]  # fmt: skip
    return table(("ms", "p50", "p95", "p99"), rows)


def shown_lists(name: str) -> str:
    """Orders of later lists by purchase rank and NDCG, with the ranker's paired leads."""
    d = read(name)
    parts = []
    for which, part in d["slices"].items():
        metrics = next(iter(part["methods"].values()))
        rows = [(m, *(interval(v) for v in of.values())) for m, of in part["methods"].items()]
        about = (
            f"**{which} lists**: {part['lists']:,} after {d['train_until']}, "
            f"{part['lists with a purchase']:,} with a purchase; seeds {d['seeds']}, 95 % "
            "bootstrap over visitors. Simulated."
        )
        leads = [
            f"ranker − {other}: purchase rank {x['purchase rank'][0]:+.3f} "
            f"[{x['purchase rank'][1]:+.3f}, {x['purchase rank'][2]:+.3f}] (less is better)"
            for other, x in part["differences"].items()
        ]
        parts += [about, table(("order", *metrics), rows), "  \n".join(leads)]
    return "\n\n".join(parts)


def representations(name: str) -> str:
    """Methods by slice, then the verdicts; recall of judged relations where there are any."""
    d = read(name)
    if not d["slices"]:
        return looks(d["looks"])
    slices = {part: d["slices"][part] for part in ("all", "warm", "cold") if part in d["slices"]}
    order = sorted(slices["all"]["methods"].items(), key=lambda kv: -kv[1]["HR@10"][0])
    rows = [
        (
            f"**{method}**" if of["kind"] in ("hybrid", "funnel") else method,
            of["kind"],
            *(interval(part["methods"][method]["HR@10"]) for part in slices.values()),
            interval(of["HR@50"]),
            interval(of["MRR"]),
            f"{of['coverage@10']:.3f}",
        )
        for method, of in order
    ]
    head = ("method", "kind", *(f"HR@10 {p}" for p in slices), "HR@50 all", "MRR all", "coverage")
    asked = ", ".join(f"{of['questions']:,} {part}" for part, of in slices.items())
    about = (
        f"{asked} questions after {d['train_until']}, {d['training_events']:,} events before it, "
        f"{d['items']:,} active items, seeds {d['seeds']}; 95 % bootstrap over visitors."
    )
    parts = [about, table(head, rows), verdict_table(d["verdicts"])]
    if d["ablations"]:
        parts.append(verdict_table(d["ablations"]))
    for relation, found in d["relations"].items():
        methods = found["all"]["recall@50"]
        lines = [(m, *(interval(of["recall@50"][m]) for of in found.values())) for m in methods]
        head = (f"recall@50 of {relation}s", *(f"{p} ({of['lists']:,})" for p, of in found.items()))
        parts.append(table(head, lines))
    return "\n\n".join(parts)


def looks(d: dict[str, Any]) -> str:
    """Precision@5 of neighbours by picture, with the gain over the frozen backbone."""
    parts = []
    for pool, spaces in d["neighbours"].items():
        labels = list(next(iter(spaces.values())))
        rows = []
        for space, found in spaces.items():
            cells = []
            for label in labels:
                told = found[label]
                cell = interval(told["precision@5"]) if "precision@5" in told else ""
                if "gain" in told:
                    mean, low, high = told["gain"]
                    cell += f" ({mean:+.4f} [{low:+.4f}, {high:+.4f}])"
                cells.append(cell.strip())
            rows.append((space, *cells))
        parts += [f"Neighbours among {pool} items", table(("precision@5", *labels), rows)]
    crossed = d["words and pictures"]
    rows = []
    for how in next(iter(crossed.values())):
        cells = (found[how] for found in crossed.values())
        signed = how.startswith("gain")
        told = ("{:+.4f} [{:+.4f}, {:+.4f}]".format(*c) if signed else interval(c) for c in cells)
        rows.append((how, *told))
    parts += [
        "Titles alone look for pictures alone, and back",
        table(("precision@5", *crossed), rows),
    ]
    return "\n\n".join(parts)


def verdict_table(verdicts: Sequence[dict[str, Any]]) -> str:
    """Claims with their figures."""
    rows = []
    for v in verdicts:
        mean, low, high = v["difference"]
        share = v["relative"]
        told = "" if share is None else f"{share[0]:+.1%} [{share[1]:+.1%}, {share[2]:+.1%}]"
        wanted = "beyond 0" if v["wanted"] == 0 else f"≥ {v['wanted']:+.1%}"
        rows.append(
            (
                f"{v['claim']} ({v['against']}, {v['measure']}, {v['slice']})",
                f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]",
                told,
                wanted,
                "pass" if v["passed"] else "**fail**",
            )
        )
    return table(("claim", "difference", "relative", "wanted", "verdict"), rows)


def ranking(name: str) -> str:
    """Graded documents, simulated clicks, the learning curve."""
    return ranking_tables.ranking(read(name), table)


def blend(name: str) -> str:
    """Frontiers of ads in the order."""
    return arrangement_tables.blend(read(name), table)


def diversity(name: str) -> str:
    """Variety, near-duplicates and caps."""
    return arrangement_tables.diversity(read(name), table)


MAKERS = {
    "blend": blend,
    "diversity": diversity,
    "ranking": ranking,
    "representations": representations,
    "next_item": next_item,
    "filtered_recall": filtered_recall,
    "similar": similar,
    "rerank": rerank,
    "tree_walkers": tree_walkers,
    "events": events,
    "freshness": freshness,
    "shown_lists": shown_lists,
}


def main() -> None:
    """Print the tables whose file names begin with the arguments (all without one)."""
    wanted = sys.argv[1:] or [""]
    for path in sorted(RESULTS.glob("*.json")):
        for kind, make in MAKERS.items():
            if path.stem.startswith(kind) and any(path.stem.startswith(w) for w in wanted):
                print(f"### {path.stem}\n\n{make(path.stem)}\n")


if __name__ == "__main__":
    main()
