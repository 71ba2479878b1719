"""The evaluation of representations: what training may see, what ranks mean, what verdicts say."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from scipy.sparse import csr_matrix
from small_market import FAMILIES, small_events, small_items

from kindred.api.cli import main
from kindred.api.material import read_material
from kindred.api.settings_text import write_settings
from kindred.events.contract import event_columns
from kindred.events.lake import Lake
from kindred.experiments.representations.ablations import Tried, ablation_verdicts, each_once
from kindred.experiments.representations.answers import (
    Ranking,
    by_concatenation,
    by_space,
    rank_all,
    rank_entries,
)
from kindred.experiments.representations.clusters import Clusters
from kindred.experiments.representations.methods import MERGED, Answered, asker, funnel_of_split
from kindred.experiments.representations.relations import (
    Found,
    judged_lists,
    relation_tables,
    top_rows,
)
from kindred.experiments.representations.report import Asked, tables, verdicts
from kindred.experiments.representations.simple import (
    by_known_visitor,
    by_tfidf,
    choose_ease,
    tfidf_table,
    train_implicit,
)
from kindred.experiments.representations.split import Split, make_split, next_of_history
from kindred.experiments.representations.training import learn
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.columns import Columns
from kindred.indexer.models import ModelStore
from kindred.indexer.store.tables import VectorTable
from kindred.rerank.examples import Examples
from kindred.rerank.metrics import MISSED, paired_interval
from kindred.retrieval.queries import Queries, make_queries
from kindred.retrieval.sources import Entries
from kindred.schemas.clock import DAY
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import (
    EncoderSettings,
    KindredSettings,
    RepresentationSettings,
)
from kindred.schemas.workspace import Workspace

NAMES = [f"item/{n}" for n in range(300)]
SETTINGS = KindredSettings(
    encoders=EncoderSettings(spaces=("attributes",)),
    representations=RepresentationSettings(stages=("signals",)),
)
QUIET = SilentProgress()


def history(*events: tuple[int, int, int], session: str = "subject") -> Interactions:
    """Actions from (day, visitor, row); a visitor is one visit, or each day of theirs is."""
    ordered = sorted(events)
    day, who, row = (np.array(column) for column in zip(*ordered, strict=True))
    visit = who if session == "subject" else who * 10_000 + day
    return Interactions(
        subject=who.astype(np.int32),
        session=visit.astype(np.int32),
        row=row.astype(np.int64),
        action=np.zeros(len(ordered), np.int16),
        ts=day.astype(np.int64) * DAY,
        subjects=np.arange(who.max() + 1, dtype=np.uint64),
    )


def random_history(seed: int, rows: int = 40) -> Interactions:
    random = np.random.default_rng(seed)
    return history(
        *(
            (int(random.integers(100)), int(random.integers(25)), int(random.integers(rows)))
            for _ in range(900)
        )
    )


def questions(seeds: list[list[int]], answers: list[int]) -> Examples:
    lengths = [len(s) for s in seeds]
    return Examples(
        offsets=np.append(0, np.cumsum(lengths)),
        seeds=np.concatenate([np.array(s, np.int64) for s in seeds]),
        actions=np.zeros(sum(lengths), np.int16),
        followed_offsets=np.arange(len(answers) + 1),
        followed=np.array(answers, np.int64),
        grades=np.ones(len(answers), np.int8),
        now=np.zeros(len(answers), np.int64),
        subject=np.arange(len(answers), dtype=np.int32),
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    held = Workspace(tmp_path_factory.mktemp("represented"))
    write_settings(
        held.settings,
        {
            "encoders": {"spaces": ["attributes"]},
            "representations": {"stages": ["signals"]},
        },
    )
    catalogue = Catalogue.open(held.catalogue)
    catalogue.upsert(small_items(NAMES))
    catalogue.close()
    rows = [msgspec.to_builtins(event) for event in small_events(NAMES, users=250)]
    Lake(held.lake).append(event_columns(pl.DataFrame(rows)))
    return held


def test_training_sees_nothing_of_cold_items_and_nothing_after_the_split() -> None:
    log = random_history(1)
    moment = 80 * DAY
    split = make_split(log, np.ones(40, bool), moment, seed=3, questions=500)
    assert split.held_out.sum() == 4
    assert split.log.ts.max() < moment
    assert not split.held_out[split.log.row].any()
    before = log.before(moment)
    assert len(split.log) == (~split.held_out[before.row]).sum()
    np.testing.assert_array_equal(split.cold, split.held_out[split.questions.followed])
    assert split.cold.any()
    assert not split.cold.all()


def test_held_out_items_follow_the_seed() -> None:
    log = random_history(1)

    def drawn(seed: int) -> Split:
        return make_split(log, np.ones(40, bool), 80 * DAY, seed=seed, questions=500)

    np.testing.assert_array_equal(drawn(3).held_out, drawn(3).held_out)
    assert (drawn(3).held_out != drawn(4).held_out).any()
    assert drawn(3).digest != drawn(4).digest


def test_no_stage_knows_a_cold_item(workspace: Workspace) -> None:
    material = read_material(workspace, SETTINGS, QUIET)
    active = material.columns.active[: material.columns.size]
    log = material.log.counted(SETTINGS.signals)
    moment = int(log.ts[int(0.9 * len(log))])
    split = make_split(log, active, moment, seed=7, questions=100)
    store = ModelStore(workspace.models)
    trained = learn(
        material.content, split, material.inputs, SETTINGS, store, seed=7, suffix="_seen7",
        progress=QUIET, clock=lambda: 0,
    )  # fmt: skip
    cold = np.flatnonzero(split.held_out)
    assert len(cold) > 10
    assert not trained.artefacts["als"].arrays["present"][cold].any()
    assert not trained.artefacts["pairs"].arrays["support"][cold].any()
    assert not np.isin(trained.artefacts["pairs"].arrays["rows"], cold).any()
    assert not trained.artefacts["history"].arrays["popularity"][cold].any()
    assert (trained.artefacts["pairs"].arrays["support"] > 0).sum() > 200
    again = learn(
        material.content, split, material.inputs, SETTINGS, store, seed=7, suffix="_seen7",
        progress=QUIET, clock=lambda: 0,
    )  # fmt: skip
    assert {row.state for row in again.rows} <= {"fresh", "failed its gate"}
    assert [row.version for row in again.rows] == [row.version for row in trained.rows]
    other = make_split(log, active, moment, seed=8, questions=100)
    differing = learn(
        material.content, other, material.inputs, SETTINGS, store, seed=8, suffix="_seen7",
        progress=QUIET, clock=lambda: 0,
    )  # fmt: skip
    assert "trained" in {row.state for row in differing.rows}


def test_each_later_event_is_asked_from_what_its_visitor_did_before() -> None:
    log = history(
        (0, 0, 1), (1, 0, 2), (5, 0, 3), (6, 0, 1), (7, 0, 4), (6, 1, 5), (7, 1, 2)
    )  # fmt: skip
    asked = next_of_history(log, 5 * DAY)
    told = {
        (int(asked.subject[q]), int(asked.followed[q])): asked.seeds[
            asked.offsets[q] : asked.offsets[q + 1]
        ].tolist()
        for q in range(len(asked))
    }
    assert told == {(0, 3): [1, 2], (0, 4): [1, 2, 3, 1], (1, 2): [5]}


def test_a_life_that_is_one_visit_is_asked_from_history_and_a_basket_from_the_rest_of_it() -> None:
    active = np.ones(40, bool)
    long = random_history(2)
    assert make_split(long, active, 80 * DAY, seed=1, questions=9).asking == "history"
    random = np.random.default_rng(5)
    baskets = history(
        *((d, w, int(r)) for d in range(20) for w in range(4) for r in random.integers(0, 40, 5)),
        session="day",
    )
    split = make_split(baskets, active, 15 * DAY, seed=1, questions=900)
    assert split.asking == "visit"
    assert split.questions.now.min() >= 15 * DAY


def test_equal_scores_put_the_answer_in_their_middle() -> None:
    scores = np.array([[9, 5, 5, 5, 5, 5, 1], [0, 0, 0, 0, 0, 0, 0]], np.float32)
    asked = questions([[6], [6]], [3, 0])
    found = rank_all(
        lambda low, high: (scores[low:high].copy(), np.ones(high - low, bool)),
        asked,
        np.ones(7, bool),
    )
    assert found.ranks.tolist() == [4, 3]


def test_seeds_withdrawn_items_and_unscored_answers_take_no_place() -> None:
    scores = np.array([[9, 8, 7, -np.inf], [9, 8, 7, -np.inf], [1, 2, 3, 4]], np.float32)
    asked = questions([[0], [0], [0]], [2, 3, 1])
    found = rank_all(
        lambda low, high: (scores[low:high].copy(), np.array([True, True, False])[low:high]),
        asked,
        np.array([True, False, True, True]),
    )
    assert found.ranks.tolist() == [1, MISSED, MISSED]


def test_lists_and_whole_scores_rank_alike() -> None:
    random = np.random.default_rng(2)
    scores = random.integers(0, 6, (30, 25)).astype(np.float32)
    asked = questions([[24]] * 30, random.integers(0, 24, 30).tolist())
    whole = rank_all(
        lambda low, high: (scores[low:high].copy(), np.ones(high - low, bool)),
        asked,
        np.ones(25, bool),
    )
    owners, rows = np.repeat(np.arange(30), 24), np.tile(np.arange(24), 30)
    values = scores[owners, rows]
    order = np.lexsort((-values, owners))
    entries = Entries(owners[order], rows[order], values[order])
    listed = rank_entries(entries, asked, 25, ordered=False)
    np.testing.assert_array_equal(whole.ranks, listed.ranks)


def test_ease_is_chosen_without_the_questions_of_the_test(workspace: Workspace) -> None:
    material = read_material(workspace, SETTINGS, QUIET)
    active = material.columns.active[: material.columns.size]
    log = material.log.counted(SETTINGS.signals)
    split = make_split(log, active, int(log.ts[int(0.9 * len(log))]), seed=7, questions=300)
    trained = learn(
        material.content, split, material.inputs, SETTINGS, ModelStore(workspace.models), seed=7,
        suffix="_seen7", progress=QUIET, clock=lambda: 0,
    )  # fmt: skip
    ask = asker(funnel_of_split(material.content, trained, SETTINGS, "_seen7"), SETTINGS)
    ease, facts = choose_ease(split.log, active, split.asking, ask, seed=7, penalties=(10.0, 1e7))
    assert facts["tried"] == 8
    assert not split.held_out[ease.items].any()
    ranks = rank_all(ease.scores(ask(split.questions), len(active)), split.questions, active).ranks
    assert (ranks[~split.cold] <= 10).mean() > 0.4
    assert (ranks[split.cold] == MISSED).all()


def test_a_known_visitor_is_answered_as_the_library_does_and_others_are_not() -> None:
    log = random_history(4)
    log = log.take(log.subject % 3 != 1)
    model = train_implicit(log, 40, seed=7)
    known = np.bincount(log.row, minlength=40) > 0
    scores, has = by_known_visitor(log, np.array([2, 1, 24]), model, known)(0, 3)
    assert has.tolist() == [True, False, True]
    names = np.unique(log.subject).tolist()
    for asked, visitor in ((0, 2), (2, 24)):
        none = csr_matrix((1, 40), dtype=np.float32)
        best, _ = model.recommend(
            names.index(visitor), none, N=10, filter_already_liked_items=False
        )
        assert np.argsort(-scores[asked])[:10].tolist() == best.tolist()


def test_side_by_side_is_the_cosine_of_the_vectors_put_together() -> None:
    random = np.random.default_rng(4)

    def table(width: int, absent: int) -> VectorTable:
        made, rows = VectorTable(width), np.delete(np.arange(12), absent)
        vectors = random.normal(size=(11, width))
        made.set(rows, (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float32))
        return made

    spaces = {"one": table(5, 3), "two": table(7, 8)}
    asked = questions([[0], [3], [8]], [1, 1, 1])
    market = small_queries(asked)
    scores, has = by_concatenation(market, spaces, 12)(0, 3)
    joint = np.concatenate([t.gather(np.arange(12))[0] for t in spaces.values()], axis=1)
    joint /= np.linalg.norm(joint, axis=1)[:, None]
    expected = joint[asked.seeds] @ joint.T
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert has.all()
    own, there = by_space(market, "one", spaces["one"], 12)(0, 3)
    assert there.tolist() == [True, False, True]
    assert np.isneginf(own[:, 3]).all()


def small_queries(asked: Examples) -> Queries:
    """The questions, over a catalogue of a dozen items."""
    columns = Columns()
    columns.apply(np.arange(12), small_items(NAMES[:12]))
    return make_queries(columns, asked.offsets, asked.seeds, now=asked.now, half_life=3.0)


def test_rare_common_words_find_each_other() -> None:
    texts = ["red oak table", "blue oak table", "piano stool", "elevator piano", *[""] * 8]
    table = tfidf_table(texts)
    assert table is not None
    scores, has = by_tfidf(small_queries(questions([[0], [2], [5]], [1, 3, 1])), table)(0, 3)
    assert has.tolist() == [True, True, False]
    assert scores[0, 1] == scores[0, [1, 2, 3]].max()
    assert scores[1, 3] > 0 > scores[1, 5] == -np.inf
    assert tfidf_table([""] * 3) is None


def test_intervals_draw_visitors() -> None:
    random = np.random.default_rng(6)
    subject = random.integers(0, 40, 500).astype(np.int32)
    values = random.random(500) + subject / 40
    mine = Clusters(subject, 3).interval(values)
    np.testing.assert_allclose(mine, paired_interval(values, subject, 3), atol=0.02)


def planted(hits: dict[str, tuple[str, float]], count: int = 4000) -> Asked:
    """Methods that hit with a given chance, alike on warm and cold."""
    random = np.random.default_rng(8)
    luck = random.random(count)
    answered = {
        name: Answered(kind, Ranking(np.where(luck < rate, 5, MISSED), 10))  # type: ignore[arg-type]
        for name, (kind, rate) in hits.items()
    }
    return Asked((np.arange(count) // 4).astype(np.int32), np.arange(count) % 10 == 0, answered)


def test_verdicts_hold_the_figures_to_their_thresholds() -> None:
    asked = planted({
        "text": ("input", 0.20), "als": ("input", 0.25), "hybrid": ("hybrid", 0.30),
        "linear concat (trained)": ("control", 0.295), MERGED: ("funnel", 0.31),
        "popularity": ("baseline", 0.10), "EASE": ("baseline", 0.30),
        "implicit ALS (similar items)": ("baseline", 0.20),
    })  # fmt: skip
    told = {v["claim"]: v for v in verdicts([asked], 1)}
    assert told["hybrid beats its best single input"]["against"] == "als"
    assert told["hybrid beats its best single input"]["passed"]
    assert not told["hybrid leads the trained linear concat"]["passed"]
    assert told["hybrid holds the linear concat's warm items"]["passed"]
    best = told["merge leads the best simple baseline"]
    assert best["against"] == "EASE"
    assert not best["passed"]
    assert best["excludes zero"]
    assert told["merge leads implicit's ALS"]["passed"]
    figures = tables([asked], 100, 1)
    assert figures["all"]["questions"] == 4000
    assert figures["cold"]["questions"] == 400
    assert figures["all"]["methods"]["EASE"]["HR@10"][0] == pytest.approx(0.3, abs=0.02)


def test_a_market_of_families_is_told_right(workspace: Workspace, tmp_path: Path) -> None:
    output = tmp_path / "out" / "report.json"
    result = CliRunner().invoke(
        main,
        ["-w", str(workspace.root), "evaluate", "representations", "--seeds", "2",
         "--queries", "400", "--output", str(output), "--json"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(output.read_text())
    assert json.loads(result.stdout) == report
    warm, cold = (report["slices"][part]["methods"] for part in ("warm", "cold"))
    chance = 10 / len(NAMES)
    assert warm["als"]["HR@10"][0] > 5 * chance
    assert cold["als"]["HR@10"][0] == 0
    assert cold["EASE"]["HR@10"][0] == 0
    # A family is a category, which the attributes tell of cold items too.
    assert cold["attributes"]["HR@10"][0] > chance * len(FAMILIES) / 3
    told = {v["claim"]: v for v in report["verdicts"]}
    assert told["merge leads implicit's ALS"]["relative"][0] > 0
    assert {s["seed"] for s in report["splits"]} == set(report["seeds"])
    assert all(s["cold"] and s["cold"] == s["cold and held out"] for s in report["splits"])


def test_the_table_ends_with_verdicts(workspace: Workspace) -> None:
    result = CliRunner().invoke(
        main,
        ["-w", str(workspace.root), "evaluate", "representations", "--seeds", "1",
         "--queries", "200", "--part", "development"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "concat (untrained)" in result.output
    assert "merge leads the best simple baseline" in result.output


def test_recall_of_a_judged_list_is_its_share_among_the_nearest() -> None:
    frame = pl.DataFrame(
        {
            "item_id": ["a", "a", "a", "b", "b", "c"],
            "relation": ["substitute"] * 5 + ["complement"],
            "other": ["b", "c", "gone", "c", "b", "a"],
        }
    )
    row_of = pl.DataFrame({"item_id": ["a", "b", "c", "d"], "row": [0, 1, 2, 3]})
    complement, substitute = judged_lists(frame, row_of, np.array([True, True, True, False]))
    assert (complement.relation, substitute.relation) == ("complement", "substitute")
    assert substitute.rows.tolist() == [0, 1]
    assert substitute.others.tolist() == [1, 2, 2]  # not what is gone, nor the item itself
    found = substitute.recall(np.array([0, 0, 1]), np.array([1, 3, 0]), 4)
    assert found.tolist() == [0.5, 0.0]


def test_nearest_rows_leave_out_the_item_itself_and_draw_among_equals() -> None:
    scores = np.tile(np.array([3, 2, 1, 1, 1, 1, 1, 1], np.float32), (2, 1))

    def nearest(seed: int) -> list[list[int]]:
        queries, rows = top_rows(
            lambda low, high: (scores[low:high].copy(), np.ones(high - low, bool)),
            2, np.array([0, 1]), np.ones(8, bool), seed, depth=3,
        )  # fmt: skip
        return [sorted(rows[queries == q].tolist()) for q in (0, 1)]

    assert all(1 in nearest(seed)[0] and 0 in nearest(seed)[1] for seed in range(5))
    assert all(0 not in nearest(seed)[0] for seed in range(5))
    assert len({tuple(nearest(seed)[0]) for seed in range(10)}) > 3


def test_the_space_that_finds_a_relation_is_named() -> None:
    random = np.random.default_rng(9)
    good = random.random(200)
    found = Found(
        np.arange(200), np.arange(200) % 4 == 0, {"als": good * 0.2, "air": good, "text": good / 2}
    )
    told = relation_tables({"substitute": [found, found]}, 1)["substitute"]
    assert told["all"]["best"] == "air"
    assert told["all"]["lead"]["over"] == "text"
    assert told["all"]["lead"]["difference"][1] > 0
    assert (told["all"]["lists"], told["cold"]["lists"]) == (400, 100)


def test_the_same_stage_trained_otherwise_is_held_to_its_part() -> None:
    random = np.random.default_rng(3)
    luck = random.random(3000)

    def ranking(rate: float) -> Ranking:
        return Ranking(np.where(luck < rate, 50, MISSED), 1)

    tail = np.arange(3000) % 2 == 0
    better_on_tail = Ranking(np.where(luck < np.where(tail, 0.4, 0.29), 50, MISSED), 1)
    tried = Tried(
        np.arange(3000) // 3,
        tail,
        {"air": better_on_tail, "air, triplets": ranking(0.2), "air, no correction": ranking(0.3)},
    )
    told = {v["claim"]: v for v in ablation_verdicts([tried], 1)}
    assert told["AIR's corrected softmax leads triplets"]["passed"]
    assert told["the correction helps rare items"]["passed"]
    assert not told["the correction holds frequent items"]["passed"]
    assert "counts as confidence lead cells alike" not in told


def test_each_once_makes_every_cell_count_the_same() -> None:
    log = history((0, 0, 1), (1, 0, 1), (2, 0, 2), (3, 1, 1), (4, 1, 1))
    once = each_once(log)
    assert list(zip(once.subject, once.row, once.ts // DAY, strict=True)) == [
        (0, 1, 0), (0, 2, 2), (1, 1, 3)
    ]  # fmt: skip
