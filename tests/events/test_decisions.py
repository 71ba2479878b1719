"""Decisions read back whole, each once, wherever they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from logged_decisions import FEATURES, NOW, decided, log_all

from kindred.events.decision_log import LoggedDecision
from kindred.events.decisions import all_decisions, closed_rows, delete, find, newest
from kindred.events.feature_names import feature_names, keep_feature_names
from kindred.events.lake import Lake
from kindred.events.shown import DECISIONS
from kindred.schemas.errors import ArtefactError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.sqlite"


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def test_a_decision_reads_back_the_same_from_the_log_and_from_the_lake(
    path: Path, lake: Path
) -> None:
    without = decided("bare", NOW + 1, candidates=None, feature_spec=None)
    log_all(path, [decided("one"), LoggedDecision("bare", NOW + 1, without.build)])
    logged = find(lake, path, "one")
    assert logged is not None
    assert logged.decision == decided("one").build("w0.1", 1)
    assert logged.features is not None
    np.testing.assert_array_equal(logged.features, FEATURES)
    rows = closed_rows(path, NOW + 10)
    assert Lake(lake, DECISIONS).append(rows).new == 2
    delete(path, rows["decision_id"])
    assert closed_rows(path, NOW + 10).is_empty()
    for name in ("one", "bare"):
        rolled = find(lake, path, name)
        assert rolled is not None
        expected = decided("one") if name == "one" else without
        assert rolled.decision == expected.build("w0.1", 1 if name == "one" else 2)
    rolled = find(lake, path, "one")
    assert rolled is not None
    assert rolled.features is not None
    assert rolled.features.tobytes() == FEATURES.tobytes()
    assert find(lake, path, "another") is None


def test_each_decision_is_read_once_while_it_moves(path: Path, lake: Path) -> None:
    log_all(path, [decided(f"d{n}", NOW + n) for n in range(6)])
    names = [f"d{n}" for n in range(6)]
    table = Lake(lake, DECISIONS)

    def read(frame: pl.LazyFrame) -> list[str]:
        return sorted(frame.collect()["decision_id"])

    before = all_decisions(lake, path)
    assert read(before) == names
    table.append(closed_rows(path, NOW + 3))
    during = all_decisions(lake, path)
    assert read(during) == names
    assert newest(lake, path, 4)["decision_id"].to_list() == ["d5", "d4", "d3", "d2"]
    delete(path, names[:3])
    table.append(closed_rows(path, NOW + 5))
    delete(path, names[3:5])
    assert read(before) == read(during) == read(all_decisions(lake, path)) == names
    part = all_decisions(lake, path, NOW + 2, NOW + 5)
    assert read(part) == ["d2", "d3", "d4"]
    few = all_decisions(lake, path).filter(pl.col("sequence") > 4).select("features", "writer")
    assert few.collect()["features"].to_list() == [FEATURES.tobytes()] * 2


def test_the_names_of_features_stay_what_they_were(lake: Path) -> None:
    keep_feature_names(lake, "s", ("price", "rank"))
    keep_feature_names(lake, "s", ("other",))
    assert feature_names(lake, "s") == ("price", "rank")
    with pytest.raises(ArtefactError, match=r"t\.json"):
        feature_names(lake, "t")
