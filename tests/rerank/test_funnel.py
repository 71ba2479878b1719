"""How far a batch goes down the funnel, and what is told of each stage on the way."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
from builders import item

from kindred.indexer.columns import Columns
from kindred.rerank.calibration import Calibration
from kindred.rerank.corpus import corpus_of
from kindred.rerank.features import FEATURES
from kindred.rerank.funnel import Asked, Funnel, Ranked, Stage, order
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.trail import Trail
from kindred.retrieval.queries import make_queries
from kindred.retrieval.sources import SOURCES
from kindred.schemas.ranking import Candidates
from kindred.schemas.settings import DiversitySettings, KindredSettings

ROWS = 40
NOW = 1_800_000_000_000_000


@pytest.fixture(scope="module")
def columns() -> Columns:
    made = Columns()
    items = [item(item_id=f"i{n}", title=f"thing {n}", seller_id="ann") for n in range(ROWS)]
    made.apply(np.arange(ROWS), items)
    return made


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    import lightgbm

    random = np.random.default_rng(1)
    rows = random.normal(size=(400, len(FEATURES))).astype(np.float32)
    data = lightgbm.Dataset(
        rows, random.integers(0, 3, 400), group=[40] * 10, feature_name=list(FEATURES)
    )
    params = {"objective": "lambdarank", "verbosity": -1, "num_threads": 1, "seed": 1}
    return Ranker.of(lightgbm.train(params, data, 5))


def answered(
    columns: Columns, ranker: Ranker | None, until: Stage = "blend", **how: Any
) -> tuple[Ranked, Trail]:
    settings, trail = KindredSettings(), Trail()
    funnel = Funnel(
        corpus=corpus_of(columns, {}, {}, settings),
        recall=settings.recall,
        blend=settings.blend,
        ranker=ranker,
        calibration=None if ranker is None else Calibration(np.array([-1, 1]), np.array([0.1, 1])),
        diversity=DiversitySettings(),
    )
    n = ROWS - 1
    merged = np.linspace(1, 0, n).astype(np.float32)
    candidates = Candidates.unfound(
        np.array([0, n]), np.arange(1, ROWS), len(SOURCES), merged=merged
    )
    question = make_queries(columns, np.array([0, 1]), np.array([0]), now=NOW, half_life=3.0)
    ticks = count()
    asked = Asked(leave_out={"bought": np.array([3, 4])})
    ranked = order(
        funnel, question, candidates, k=6, until=until, asked=asked, trail=trail,
        clock=lambda: float(next(ticks)), **how,
    )  # fmt: skip
    return ranked, trail


@pytest.mark.parametrize(
    ("until", "timed"),
    [
        ("recall", []),
        ("rank", ["features", "rank"]),
        ("blend", ["features", "rank", "blend", "arrange"]),
    ],
)
def test_a_batch_goes_as_far_as_it_is_asked_to(
    columns: Columns, ranker: Ranker, until: Stage, timed: list[str]
) -> None:
    ranked, trail = answered(columns, ranker, until)
    assert list(ranked.ms) == timed
    assert set(ranked.ms.values()) <= {1000.0}, "each from the end of the one before"
    steps = [step.stage for step in trail.steps]
    assert steps[0] == "exclude"
    assert ("rank" in steps, "blend" in steps) == (until != "recall", until == "blend")
    assert ranked.left_out["bought"] == 2
    assert not np.isin([3, 4], ranked.candidates.rows).any()
    assert (ranked.candidates.score is None) == (until == "recall")
    assert (ranked.candidates.probability is None) == (until != "blend")
    assert (ranked.fixed is None) == (until != "blend")


def test_past_the_deadline_the_merge_order_is_arranged_and_said_to_be_it(
    columns: Columns, ranker: Ranker
) -> None:
    ranked, trail = answered(columns, ranker, late=True)
    assert ranked.degraded == ("rank: merge order (past the deadline)",)
    assert list(ranked.ms) == ["arrange"]
    assert [step.stage for step in trail.steps] == ["exclude"]
    assert ranked.candidates.features is None
    assert (np.diff(ranked.candidates.merged) <= 0).all()


def test_without_a_ranker_features_are_made_for_the_first_one_to_learn_from(
    columns: Columns,
) -> None:
    ranked, _ = answered(columns, None)
    assert ranked.degraded == ("rank: merge order (no ranker serves)",)
    assert ranked.candidates.features is not None
    assert (np.diff(ranked.candidates.merged) <= 0).all()


def test_what_a_ranker_never_saw_is_cut_off_but_not_what_fills_the_answer(
    columns: Columns, ranker: Ranker
) -> None:
    shallow, trail = answered(columns, replace(ranker, depth=2))
    step = trail.step("depth")
    assert step is not None
    assert len(step.rows) == len(shallow.candidates) == 6
    assert answered(columns, replace(ranker, depth=20))[1].step("depth").rows.size == 20
