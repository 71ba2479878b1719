"""The promise in small: recall@100 of at least 0.98 under every kind and width of filter."""

from __future__ import annotations

from pathlib import Path

import filtered_recall
import pytest
from clustered import Asker, Market

from kindred.schemas.settings import PlanSettings, StoreSettings

POINTS = 5000
STORE = StoreSettings(graph_from_kb=200, ef_construct=64)
"""A graph, though so few points would do without."""
ALL_PLANS = PlanSettings(scan_values=25_000, beam_rows=1, graph_share=0.5, oversampling=2.0)
"""Scans up to 250 rows only, so that the graph answers too."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recall")
    filtered_recall.build(str(folder), POINTS, filtered_recall.DIM, 7, STORE)
    return folder


@pytest.fixture(scope="module")
def asker() -> Asker:
    return Asker(Market.draw(POINTS, filtered_recall.DIM, 7), 24, 8)


@pytest.mark.parametrize("settings", [PlanSettings(), ALL_PLANS], ids=["default", "all plans"])
def test_recall_holds_under_every_filter(
    folder: Path, asker: Asker, settings: PlanSettings
) -> None:
    lines = list(filtered_recall.measure(folder, asker, 100, STORE, settings))
    assert len(lines) == 17
    poor = [str(line) for line in lines if line.planned.recall < 0.98 or line.planned.worst < 0.8]
    assert not poor
    if settings is ALL_PLANS:
        assert {plan for line in lines for plan in line.plans} == {"scan", "graph"}
