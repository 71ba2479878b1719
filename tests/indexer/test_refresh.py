"""What a daily refresh is spared, and when it is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kindred.indexer.models import Artefact, ModelStore
from kindred.indexer.stage_run import run_stages
from kindred.indexer.stages import Made, Stage, StageRow, in_order
from kindred.schemas.clock import DAY
from kindred.schemas.errors import InputError
from kindred.schemas.progress import Progress, SilentProgress

WEEK = 7 * DAY


@dataclass
class Days:
    """One workspace's models, day after day."""

    store: ModelStore
    day: int = 0
    passes: bool = True
    arrays: bool = True
    trained: list[str] = field(default_factory=list)
    started: dict[str, str | None] = field(default_factory=dict)

    def stage(self, name: str, **fields: Any) -> Stage:
        """Its inputs move with the days."""

        def make(artefacts: Mapping[str, Artefact], _: Progress) -> Made:
            self.trained.append(name)
            start = artefacts.get(name)
            self.started[name] = None if start is None else start.version
            arrays = {"x": np.arange(3)} if self.arrays else {}
            return Made(arrays=arrays, passed=self.passes, reason="as told")

        read = {
            "catalogue": str(self.day), "encoders": "a", "until": str(100 * DAY + self.day * DAY),
        }  # fmt: skip
        given = {"code": 1, "make": make, "inputs": read, "settings": {"size": 3, "of": (1, 2)}}
        return Stage(name=name, **(given | fields))

    def run(self, *stages: Stage, seed: int = 7, anew: bool = False) -> dict[str, StageRow]:
        self.trained.clear()
        rows = run_stages(
            stages, self.store, seed=seed, anew=anew, progress=SilentProgress(),
            clock=lambda: 1000 * DAY + self.day * DAY,
        )  # fmt: skip
        return {row.stage: row for row in rows}


@pytest.fixture
def days(tmp_path: Path) -> Days:
    return Days(ModelStore(tmp_path))


def test_a_version_is_kept_for_days_though_the_catalogue_moved(days: Days):
    first = days.run(days.stage("air", keep_for=WEEK))
    days.day = 6
    kept = days.run(days.stage("air", keep_for=WEEK))["air"]
    assert (kept.state, kept.version, days.trained) == ("kept", first["air"].version, [])
    days.day = 7
    assert days.run(days.stage("air", keep_for=WEEK))["air"].state == "trained"


def test_what_builds_on_a_kept_version_is_fresh_and_names_it(days: Days):
    built = days.stage("report", needs=("air",), inputs={"encoders": "a"})
    days.run(days.stage("air", keep_for=WEEK), built)
    days.day = 1
    rows = days.run(days.stage("air", keep_for=WEEK), built)
    assert {name: row.state for name, row in rows.items()} == {"air": "kept", "report": "fresh"}
    assert days.store.card("report").inputs["air"] == days.store.current("air")


@pytest.mark.parametrize(
    "change",
    [
        lambda s: replace(s, code=2),
        lambda s: replace(s, settings={"size": 4, "of": (1, 2)}),
        lambda s: replace(s, inputs={**s.inputs, "encoders": "b"}),
        lambda s: replace(s, inputs={**s.inputs, "another": "input"}),
    ],
)
@pytest.mark.parametrize("way", ["keep_for", "start_for"])
def test_only_data_may_move(days: Days, change: Callable[[Stage], Stage], way: str):
    days.run(days.stage("air", **{way: WEEK}))
    days.day = 1
    row = days.run(change(days.stage("air", **{way: WEEK})))["air"]
    assert (row.state, row.start) == ("trained", None)


def test_a_version_of_much_older_events_is_not_kept_however_young_it_is(days: Days):
    stage = days.stage("air", keep_for=WEEK)
    days.run(stage)
    later = replace(stage, inputs={**stage.inputs, "until": str(107 * DAY)})
    assert days.run(later)["air"].state == "trained"


@pytest.mark.parametrize("way", ["keep_for", "start_for"])
def test_another_seed_is_another_model(days: Days, way: str):
    days.run(days.stage("air", **{way: WEEK}))
    days.day = 1
    row = days.run(days.stage("air", **{way: WEEK}), seed=8)["air"]
    assert (row.state, row.start) == ("trained", None)


@pytest.mark.parametrize("way", ["keep_for", "start_for"])
def test_a_run_of_the_past_takes_nothing_that_has_seen_later_events(days: Days, way: str):
    days.run(days.stage("air_past", **{way: WEEK}))
    days.day = 1
    stage = days.stage("air_past", **{way: WEEK})
    row = days.run(replace(stage, inputs={**stage.inputs, "until": str(99 * DAY)}))["air_past"]
    assert (row.state, row.start) == ("trained", None)


def test_a_version_is_not_kept_on_another_version_of_what_it_needs(days: Days):
    def stages(size: int) -> tuple[Stage, Stage]:
        words = days.stage("words", keep_for=WEEK, settings={"size": size})
        return words, days.stage("classifier", keep_for=WEEK, needs=("words",))

    days.run(*stages(3))
    days.day = 1
    rows = days.run(*stages(4))
    assert [row.state for row in rows.values()] == ["trained", "trained"]
    assert days.store.card("classifier").inputs["words"] == "000002"


def test_a_refused_version_is_not_tried_daily_unless_it_had_nothing_to_learn_from(days: Days):
    days.passes = False
    days.run(days.stage("air", keep_for=WEEK))
    days.day = 1
    assert days.run(days.stage("air", keep_for=WEEK))["air"].state == "failed its gate"
    assert days.trained == []
    days.arrays = False
    days.run(days.stage("image", keep_for=WEEK))
    days.day = 2
    days.run(days.stage("image", keep_for=WEEK))
    assert days.trained == ["image"]


def test_a_refused_version_is_tried_again_where_the_stage_says_so(days: Days):
    days.passes = False
    days.run(days.stage("ranker", keep_for=WEEK, keep_refused=False))
    days.day = 1
    days.run(days.stage("ranker", keep_for=WEEK, keep_refused=False))
    assert days.trained == ["ranker"]
    days.passes = True
    days.day = 2
    days.run(days.stage("ranker", keep_for=WEEK, keep_refused=False))
    days.day = 3
    row = days.run(days.stage("ranker", keep_for=WEEK, keep_refused=False))["ranker"]
    assert (row.state, days.trained) == ("kept", [])


def test_a_need_without_data_keeps_nobody_from_a_refresh(days: Days):
    def stages() -> tuple[Stage, Stage, Stage]:
        days.arrays = True
        return (
            days.stage("image", keep_for=WEEK, make=no_data),
            days.stage("hybrid", start_for=WEEK, needs=("image",)),
            days.stage("hybrid_past", keep_for=WEEK, needs=("image",)),
        )

    def no_data(_: Mapping[str, Artefact], __: Progress) -> Made:
        return Made(passed=False, reason="no item has a picture")

    days.run(*stages())
    days.day = 1
    rows = days.run(*stages())
    assert rows["image"].version == "000002"
    assert rows["hybrid"].start == "000001"
    assert rows["hybrid_past"].state == "kept"


def test_a_warm_start_is_on_the_card_and_in_the_key(days: Days):
    days.run(days.stage("hybrid", start_for=WEEK))
    days.day = 1
    today = days.stage("hybrid", start_for=WEEK)
    row = days.run(today)["hybrid"]
    assert (row.state, row.start, days.started["hybrid"]) == ("trained", "000001", "000001")
    card, first = days.store.card("hybrid"), days.store.card("hybrid", "000001")
    assert card.start is not None
    assert (card.start.version, card.start.anew) == ("000001", first.created)
    assert days.run(today)["hybrid"].state == "fresh"
    cold = days.run(today, anew=True)["hybrid"]
    assert (cold.state, cold.start, days.started["hybrid"]) == ("trained", None, None)
    anew = days.store.card("hybrid")
    assert anew.start is None
    assert anew.key == card.start.cold_key != card.key
    assert days.run(today)["hybrid"].version == anew.version


def test_what_builds_on_a_warm_start_is_stale_once_it_is_trained_anew(days: Days):
    days.run(days.stage("hybrid", start_for=WEEK))
    days.day = 1
    stages = days.stage("hybrid", start_for=WEEK), days.stage("ranker", needs=("hybrid",))
    days.run(*stages)
    assert days.run(*stages, anew=True)["ranker"].state == "trained"


def test_starts_end_with_the_days_since_the_last_training_from_nothing(days: Days):
    starts = []
    for day in range(9):
        days.day = day
        starts.append(days.run(days.stage("hybrid", start_for=WEEK))["hybrid"].start)
    assert starts == [None, *(f"{n:06d}" for n in range(1, 7)), None, "000008"]


def test_training_starts_from_a_refused_version_too_which_spares_the_same_time(days: Days):
    days.passes = False
    days.run(days.stage("hybrid", start_for=WEEK))
    days.day = 1
    assert days.run(days.stage("hybrid", start_for=WEEK))["hybrid"].start == "000001"


def test_training_does_not_start_from_vectors_that_mean_something_else_now(days: Days):
    def stages(size: int) -> tuple[Stage, Stage, Stage]:
        air = days.stage("air", keep_for=WEEK, settings={"size": size})
        return air, days.stage("als"), days.stage("hybrid", start_for=WEEK, needs=("air", "als"))

    days.run(*stages(3))
    days.day = 1
    assert days.run(*stages(3))["hybrid"].start == "000001"  # als is trained daily
    days.day = 2
    assert days.run(*stages(4))["hybrid"].start is None


def test_anew_keeps_nothing_of_other_inputs(days: Days):
    days.run(days.stage("air", keep_for=WEEK))
    days.day = 1
    today = days.stage("air", keep_for=WEEK)
    assert days.run(today, anew=True)["air"].state == "trained"
    assert days.run(today, anew=True)["air"].state == "fresh"


def test_a_row_says_what_was_in_use_before_and_is_now(days: Days):
    first = days.run(days.stage("als"))["als"]
    assert (first.before, first.now) == (None, "000001")
    days.day, days.passes = 1, False
    second = days.run(days.stage("als"))["als"]
    assert (second.version, second.before, second.now) == ("000002", "000001", "000001")
    assert second.gate == "as told"


def test_stages_are_put_after_what_they_need_and_listed_once(days: Days):
    als = days.stage("als", needs=("signals",))
    listed = [als, days.stage("pairs"), days.stage("signals"), replace(als, code=9)]
    assert [(s.name, s.code) for s in in_order(listed)] == [
        ("pairs", 1), ("signals", 1), ("als", 1),
    ]  # fmt: skip
    with pytest.raises(InputError, match="a, b"):
        in_order([days.stage("a", needs=("b",)), days.stage("b", needs=("a",))])
