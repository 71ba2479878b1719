"""Tables of what a card tells in columns: the order of labels, objectives, slices, trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class CardTable(NamedTuple):
    """One table."""

    title: str
    columns: list[str]
    rows: list[list[Any]]


def card_tables(metrics: Mapping[str, Any]) -> tuple[list[CardTable], dict[str, Any]]:
    """(tables, the metrics that are in none of them)."""
    tables = list(_tables(metrics))
    told = {"label order", "compared"} & set(metrics)
    told |= {name for name, value in metrics.items() if _is_table(value)}
    rest = {name: value for name, value in metrics.items() if name not in told}
    if isinstance(chosen := rest.get("objective"), dict):
        rest["objective"] = {k: v for k, v in chosen.items() if k != "stopping part"}
    return tables, rest


def _tables(metrics: Mapping[str, Any]) -> Iterator[CardTable]:
    if order := metrics.get("label order"):
        yield _label_order(order)
    chosen = metrics.get("objective")
    if isinstance(chosen, dict) and chosen.get("stopping part"):
        yield _objectives(chosen)
    if compared := metrics.get("compared"):
        yield _compared(compared)
    for name, value in metrics.items():
        if _is_table(value):
            yield CardTable(name, list(value["columns"]), [list(row) for row in value["rows"]])


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"columns", "rows"}


def _label_order(order: Mapping[str, Any]) -> CardTable:
    """Formats with their order, and of each action how many purchases followed how many."""
    actions = list(next(iter(order.values()))["purchases after"])
    rows = [
        [
            name,
            " < ".join(["click", *found["order"], "purchase"]),
            *(_share(*found["purchases after"][action]) for action in actions),
        ]
        for name, found in order.items()
    ]
    title = "Label order, from purchases after each action"
    return CardTable(title, ["listing format", "order", *actions], rows)


def _share(hits: int, tries: int) -> str:
    return f"{hits:,} of {tries:,} ({hits / tries:.1%})" if tries else "-"


def _objectives(chosen: Mapping[str, Any]) -> CardTable:
    """Objectives by their rank on the stopping part, with their leads."""
    rows = []
    for name, found in chosen["stopping part"].items():
        lead = next((v for k, v in found.items() if k.startswith("less ")), None)
        served = "serves" if name == chosen["served"] else ""
        rows.append([name, f"{found['rank']:.4f}", _interval(lead), served])
    rows.sort(key=lambda row: float(row[1]))
    title = (
        f"Objectives on the stopping part: the mean rank of {chosen['rows measured']:,} rows by "
        f"{chosen['measured by']} (less is better); {chosen['served']} serves: {chosen['why']}"
    )
    first = next((k for v in chosen["stopping part"].values() for k in v if k != "rank"), "lead")
    return CardTable(title, ["objective", "rank", first, ""], rows)


def _compared(compared: Mapping[str, Any]) -> CardTable:
    """Slices with the mean rank by order, and the ranker's lead."""
    orders = list(next(iter(compared.values()))["rank"])
    rows = [
        [
            name, found["lists"], found["judged lists"],
            *(found["rank"][order] for order in orders), _interval(found["ranker - merge"]),
        ]
        for name, found in compared.items()
    ]  # fmt: skip
    columns = ["slice", "lists", "judged", *orders, "ranker - merge"]
    return CardTable("Mean rank on the judging part (less is better)", columns, rows)


def _interval(lead: list[float] | None) -> str:
    return "-" if lead is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*lead)
