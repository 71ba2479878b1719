"""Stages are trained once from the same inputs, in order, and carry on after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import numpy as np
import pytest

from kindred.indexer.models import Artefact, ModelStore
from kindred.indexer.stage_run import run_stages
from kindred.indexer.stages import Made, Stage, StageRow
from kindred.schemas.errors import InputError
from kindred.schemas.model import Card, Gate
from kindred.schemas.progress import Progress, SilentProgress


class Shop:
    """Stages that note what they are trained with."""

    def __init__(self, root: Path) -> None:
        self.store = ModelStore(root)
        self.trained: list[str] = []
        self.failing: set[str] = set()
        self.seen: dict[str, dict[str, str]] = {}

    def stage(self, name: str, **fields: Any) -> Stage:
        def make(artefacts: Mapping[str, Artefact], progress: Progress) -> Made:
            self.trained.append(name)
            self.seen[name] = {n: a.version for n, a in artefacts.items()}
            failed = name in self.failing
            return Made(
                arrays={"x": np.arange(3)},
                metrics={"hit_rate": 0.5},
                passed=not failed,
                reason="HR@10 fell" if failed else "good",
                summary=name,
            )

        given = {"code": 1, "make": make, "inputs": {"events": "e1"}, "settings": {"size": 3}}
        return Stage(name=name, **(given | fields))

    def run(self, *stages: Stage, seed: int = 7, **kw: Any) -> dict[str, StageRow]:
        self.trained.clear()
        progress = SilentProgress()
        rows = run_stages(stages, self.store, seed=seed, clock=lambda: 5, progress=progress, **kw)
        return {r.stage: r for r in rows}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "models")


def states(rows: Mapping[str, StageRow]) -> dict[str, str]:
    return {name: row.state for name, row in rows.items()}


def test_the_same_inputs_are_trained_once(shop: Shop):
    stages = shop.stage("als"), shop.stage("ranker", needs=("als",))
    first = shop.run(*stages)
    assert states(first) == {"als": "trained", "ranker": "trained"}
    second = shop.run(*stages)
    assert states(second) == {"als": "fresh", "ranker": "fresh"}
    assert shop.trained == []
    assert second["als"].metrics == {"hit_rate": 0.5, "summary": "als"}
    assert second["als"].version == first["als"].version


@pytest.mark.parametrize(
    "change",
    [
        lambda s: replace(s, code=2),
        lambda s: replace(s, inputs={"events": "e2"}),
        lambda s: replace(s, settings={"size": 4}),
    ],
)
def test_a_change_makes_the_stage_and_what_builds_on_it_stale(
    shop: Shop, change: Callable[[Stage], Stage]
):
    als, other = shop.stage("als"), shop.stage("other")
    ranker = shop.stage("ranker", needs=("als",))
    shop.run(als, other, ranker)
    rows = shop.run(change(als), other, ranker)
    assert states(rows) == {"als": "trained", "other": "fresh", "ranker": "trained"}
    assert shop.seen["ranker"] == {"als": "000002"}


def test_another_seed_is_another_model(shop: Shop):
    shop.run(shop.stage("als"))
    shop.run(shop.stage("als"), seed=8)
    assert shop.trained == ["als"]
    assert shop.store.versions("als") == ["000001", "000002"]


def test_the_order_of_a_settings_table_changes_nothing(shop: Shop):
    shop.run(shop.stage("als", settings={"a": 1, "b": {"c": 1, "d": 2}}))
    rows = shop.run(shop.stage("als", settings={"b": {"d": 2, "c": 1}, "a": 1}))
    assert states(rows) == {"als": "fresh"}


def test_an_unknown_stage_is_refused_by_name(shop: Shop):
    with pytest.raises(InputError, match=r"'alss'.*als"):
        shop.run(shop.stage("als"), only=["alss"])


def test_a_named_stage_comes_with_what_it_needs_and_nothing_else(shop: Shop):
    stages = shop.stage("als"), shop.stage("pairs"), shop.stage("ranker", needs=("als",))
    assert list(shop.run(*stages, only=["ranker"])) == ["als", "ranker"]
    assert shop.trained == ["als", "ranker"]


def test_a_failed_gate_is_kept_reported_and_not_tried_again(shop: Shop):
    shop.failing.add("als")
    assert shop.run(shop.stage("als"))["als"].state == "failed its gate"
    assert shop.store.current("als") is None
    assert shop.store.card("als", "000001").gate.reason == "HR@10 fell"
    again = shop.run(shop.stage("als"))["als"]
    assert (again.state, shop.trained) == ("failed its gate", [])


def test_a_failed_gate_leaves_the_version_before_in_use(shop: Shop):
    shop.run(shop.stage("als"))
    shop.failing.add("als")
    shop.run(shop.stage("als", inputs={"events": "e2"}))
    assert shop.store.current("als") == "000001"


def test_a_gate_may_compare_with_the_version_in_use(shop: Shop):
    seen: list[str | None] = []

    def judge(made: Made, in_use: Card | None) -> Gate:
        seen.append(in_use.version if in_use else None)
        return Gate(passed=in_use is None, reason="only the first")

    for events in ("e1", "e2", "e3"):
        shop.run(shop.stage("als", inputs={"events": events}, judge=judge))
    assert seen == [None, "000001", "000001"]
    assert shop.store.current("als") == "000001"


def test_an_interrupted_run_carries_on(shop: Shop):
    def interrupted(artefacts: Mapping[str, Artefact], progress: Progress) -> Made:
        raise KeyboardInterrupt

    ranker = shop.stage("ranker", needs=("als",))
    with pytest.raises(KeyboardInterrupt):
        shop.run(shop.stage("als"), replace(ranker, make=interrupted))
    rows = shop.run(shop.stage("als"), ranker)
    assert states(rows) == {"als": "fresh", "ranker": "trained"}


def test_a_damaged_version_is_trained_again(shop: Shop):
    shop.run(shop.stage("als"))
    (shop.store.root / "als" / "000001" / "x.npy").write_bytes(b"")
    assert states(shop.run(shop.stage("als"))) == {"als": "trained"}
    assert shop.store.load("als").version == "000002"


def test_settings_put_back_bring_the_old_version_back(shop: Shop):
    old, new = shop.stage("als"), shop.stage("als", settings={"size": 9})
    shop.run(old)
    shop.run(new)
    assert shop.store.current("als") == "000002"
    assert states(shop.run(old)) == {"als": "fresh"}
    assert shop.store.current("als") == "000001"


def test_a_rolled_back_version_does_not_come_back_by_itself(shop: Shop):
    shop.run(shop.stage("als", settings={"size": 9}))
    shop.run(shop.stage("als"))
    shop.store.rollback("als")
    assert states(shop.run(shop.stage("als"))) == {"als": "withdrawn"}
    assert shop.trained == []
    assert shop.store.current("als") == "000001"


def test_two_runs_at_once_train_once(shop: Shop):
    start = Barrier(2)

    def run() -> None:
        start.wait()
        run_stages([stage], shop.store, seed=1, clock=lambda: 0, progress=SilentProgress())

    stage = shop.stage("als")
    threads = [Thread(target=run) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert shop.trained == ["als"]
