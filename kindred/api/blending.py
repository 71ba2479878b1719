"""`kindred evaluate blend`, assembled: markets of known truth, and the workspace's own log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kindred.events.decisions import all_decisions
from kindred.experiments.blending.frontier import (
    BAND,
    EXPECTED,
    POWER,
    RAW_SCORE,
    SHIFTED,
    THRESHOLD,
)
from kindred.experiments.blending.logged import logged_lists
from kindred.experiments.blending.report import on_log, simulated
from kindred.experiments.drawing import Chart, Line, svg
from kindred.indexer.models import ModelStore
from kindred.rerank.artefact import from_artefact
from kindred.rerank.calibration import ALL
from kindred.schemas.errors import VersionMismatch
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

STAGE = "ranker"
DRAWN = (EXPECTED, POWER, RAW_SCORE, SHIFTED, BAND, THRESHOLD)
FARTHEST = -0.08
"""NDCG beyond which no point is drawn."""


def evaluate_blend(
    workspace: Workspace,
    settings: KindredSettings,
    progress: Progress,
    *,
    seeds: int,
    items: int,
    lists: int,
    training_lists: int,
    k: int,
) -> dict[str, Any]:
    """The report as plain data; without `seeds` only the log, which an empty workspace lacks."""
    report: dict[str, Any] = {
        "suite": "blend", "notes": list(settings.notes), "seed": settings.seed, "simulated": None,
        "logged": None, "ranker": None,
    }  # fmt: skip
    if seeds:
        report["simulated"] = simulated(
            settings, progress, seeds=[settings.seed + n for n in range(seeds)], items=items,
            lists=lists, training_lists=training_lists, k=k,
        )  # fmt: skip
    models = ModelStore(workspace.models)
    version = models.current(STAGE)
    ranker = calibration = None
    if version is not None:
        artefact = models.load(STAGE, version)
        try:
            ranker, calibration = from_artefact(artefact.arrays, artefact.texts)
        except VersionMismatch as error:
            # Lists that were logged with their probabilities need no ranker.
            report["notes"].append(str(error))
        metrics = artefact.card.metrics
        told = ("calibrated on", "expected_calibration_error", "calibration")
        kept = {name: metrics[name] for name in told if name in metrics}
        report["ranker"] = {"version": version, **kept}
    with progress.task("read decisions"):
        decisions = all_decisions(workspace.lake, workspace.decisions)
        found = logged_lists(decisions, lists, ranker, calibration)
    if found is not None:
        with progress.task("blend logged lists"):
            report["logged"] = on_log(found, settings.blend, k, settings.seed)
    return report


def picture(report: Mapping[str, Any]) -> str:
    """The frontiers and reliability diagrams of a report as SVG."""
    charts = []
    for part, title in (("simulated", "Simulated markets"), ("logged", "Logged lists")):
        if report[part] is not None:
            charts.append(frontier_chart(report[part]["frontier"], title))
    if report["simulated"] is not None:
        runs = report["simulated"]["runs"]
        curves = [(f"seed {run['seed']}", run["calibration"][ALL]) for run in runs]
        charts.append(reliability_chart(curves, "Reliability, simulated (cross-fitted)"))
    serving = (report["ranker"] or {}).get("calibration")
    if serving:
        charts.append(reliability_chart(list(serving.items()), "Reliability of the ranker in use"))
    return svg(charts)


def frontier_chart(rows: Sequence[Mapping[str, Any]], title: str) -> Chart:
    """Revenue earned over NDCG paid, in percent."""
    lines = []
    for family in DRAWN:
        mine = [r for r in rows if r["family"] == family and FARTHEST <= r["ndcg"][0] <= 1e-9]
        found = [(-100 * r["ndcg"][0], 100 * r["revenue"][0]) for r in mine]
        ours = family in (EXPECTED, POWER)
        labels = [f"{r['strength']:g}" for r in mine] if ours else []
        lines.append(Line(family, found, labels, dashed=not ours))
    return Chart(title, "NDCG paid, %", "revenue gained, %", [x for x in lines if x.points])


def reliability_chart(curves: Sequence[tuple[str, Mapping[str, Any]]], title: str) -> Chart:
    """Observed over predicted, with the diagonal."""
    lines = [
        Line(name, [(part["predicted"], part["observed"]) for part in of["reliability"]])
        for name, of in curves
        if of["reliability"]
    ]
    most = max((x for line in lines for pair in line.points for x in pair), default=1.0)
    ideal = Line("as predicted", [(0.0, 0.0), (most, most)], dashed=True)
    return Chart(title, "predicted", "observed", [ideal, *lines])
