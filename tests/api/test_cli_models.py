"""`kindred models`: what is there, what is in use, and the way back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from kindred.api.cli import main
from kindred.indexer.models import ModelStore
from kindred.schemas.model import Card, Gate, Start
from kindred.schemas.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Three versions of one stage: good, good and refused."""
    store = ModelStore(Workspace(tmp_path).models)
    for hit_rate, passed in ((0.1, True), (0.2, True), (0.05, False)):
        card = Card(
            stage="als",
            key=str(hit_rate),
            code=1,
            metrics={"hit_rate_10": hit_rate, "by_source": {"als": 0.5}},
            settings={"embedding_size": 8},
            gate=Gate(passed=passed, reason="better than before" if passed else "worse"),
            created=1_700_000_000_000_000,
            seconds=1.25,
        )
        store.publish("als", card, arrays={"items": np.zeros((2, 8), np.float32)})
    return tmp_path


def kindred(workspace: Path, *arguments: str) -> Any:
    done = CliRunner().invoke(main, ["-w", str(workspace), "models", *arguments, "--json"])
    return done.exit_code, json.loads(done.stdout)


def states(workspace: Path) -> list[str]:
    return [v["state"] for v in kindred(workspace, "list")[1]]


def test_list_says_which_version_is_in_use_and_why_others_are_not(workspace: Path) -> None:
    code, listed = kindred(workspace, "list", "als")
    assert code == 0
    assert [(v["version"], v["state"]) for v in listed] == [
        ("000001", "kept"), ("000002", "current"), ("000003", "refused"),
    ]  # fmt: skip
    assert listed[2]["reason"] == "worse"


def test_show_falls_back_to_the_newest_version_where_none_is_in_use(tmp_path: Path) -> None:
    store = ModelStore(Workspace(tmp_path).models)
    for reason in ("worse", "10 lists; it takes 20"):
        gate = Gate(passed=False, reason=reason)
        store.publish("ranker", Card(stage="ranker", key=reason, code=1, gate=gate, created=1))
    asked = ["-w", str(tmp_path), "models", "show", "ranker"]
    done = CliRunner().invoke(main, [*asked, "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["gate"]["reason"] == "10 lists; it takes 20"
    assert (
        done.stderr.strip()
        == "No version of ranker is in use. This is the newest, 000002: refused."
    )
    never = CliRunner().invoke(main, [*asked[:-1], "als"])
    assert never.exit_code != 0
    assert "kindred train als" in never.output


def test_rollback_goes_back_and_use_goes_forward(workspace: Path) -> None:
    went = {"stage": "als", "before": "000002", "now": "000001"}
    assert kindred(workspace, "rollback", "als") == (0, went)
    assert states(workspace) == ["current", "withdrawn", "refused"]
    assert kindred(workspace, "use", "als", "000002")[0] == 0
    assert states(workspace) == ["kept", "current", "refused"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("use", "als", "000003"), "failed its gate"),
        (("use", "als", "000009"), "no version 000009"),
        (("show", "pairs"), "kindred train pairs"),
        (("rollback", "pairs"), "no earlier version"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    workspace: Path, arguments: tuple[str, ...], says: str
) -> None:
    code, problem = kindred(workspace, *arguments)
    assert code == 2
    assert says in problem["detail"]


def test_show_gives_the_card(workspace: Path) -> None:
    assert kindred(workspace, "show", "als", "000001")[1]["metrics"]["hit_rate_10"] == 0.1
    text = CliRunner().invoke(main, ["-w", str(workspace), "models", "show", "als"]).stdout
    for word in ("000002", "metrics.by_source.als", "settings.embedding_size", "files.items.npy"):
        assert word in text


def test_the_table_and_an_empty_workspace_are_readable(workspace: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    wide = {"COLUMNS": "160"}
    text = run(main, ["-w", str(workspace), "models", "list"], env=wide).stdout
    assert "hit_rate_10 0.2" in text
    assert "2023-11-14 22:13" in text
    assert "kindred train" in run(main, ["-w", str(tmp_path / "none"), "models", "list"]).stdout


def test_nested_metrics_and_a_warm_start_are_readable(tmp_path: Path) -> None:
    measured = {"text": {"HR@10": 0.125, "error": 0.0107, "asked": 960}, "layers": [64, 32]}
    card = Card(
        stage="hybrid",
        key="k",
        code=1,
        inputs={"until": "1700000000000000"},
        metrics={"summary": "good", "cold items": measured},
        gate=Gate(passed=True, reason="good"),
        created=1_700_000_000_000_000,
        start=Start(version="000001", cold_key="c", anew=1_699_900_000_000_000),
    )
    ModelStore(Workspace(tmp_path).models).publish("hybrid", card)
    run, wide = CliRunner().invoke, {"COLUMNS": "200"}
    shown = run(main, ["-w", str(tmp_path), "models", "show", "hybrid"], env=wide).stdout
    told = {line.rsplit("  ", 1)[0].strip(): line.rsplit("  ", 1)[-1] for line in lines_of(shown)}
    assert told["metrics.cold items.text.HR@10"] == "0.125 ± 0.011"
    assert told["metrics.cold items.text.asked"] == "960"
    assert told["metrics.cold items.layers"] == "64, 32"
    assert told["inputs.until"] == "2023-11-14 22:13"
    assert told["start"] == "from version 000001; last trained anew 2023-11-13 18:26"
    listed = run(main, ["-w", str(tmp_path), "models", "list"], env=wide).stdout
    assert "cold items.text.HR@10 0.125 ± 0.011" in listed
    assert kindred(tmp_path, "list")[1][0]["start"] == "000001"


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def test_stages_of_the_past_are_listed_last(workspace: Path) -> None:
    store = ModelStore(Workspace(workspace).models)
    gate = Gate(passed=True, reason="good")
    for stage in ("air_past", "words", "air_before"):
        store.publish(stage, Card(stage=stage, key="k", code=1, gate=gate, created=1))
    listed = [v["stage"] for v in kindred(workspace, "list")[1]]
    assert list(dict.fromkeys(listed)) == ["als", "words", "air_before", "air_past"]
