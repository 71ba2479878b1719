"""The merge's stage: it asks what nothing has seen, and says what it is worth."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from builders import item

from kindred.indexer.behaviour.holdout import gate_questions, without_targets
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.behaviour.stages import behaviour_stages
from kindred.indexer.columns import Columns
from kindred.indexer.models import Artefact, ModelStore
from kindred.indexer.stage_run import run_stages
from kindred.rerank.corpus import corpus_of
from kindred.rerank.examples import MAX_SEEDS
from kindred.rerank.merge_stage import Market, as_examples, merge_stages, read_by_recall
from kindred.rerank.merging import learned_weights
from kindred.schemas.clock import DAY, MINUTE
from kindred.schemas.event import ACTION_CODE
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import KindredSettings, RepresentationSettings

ITEMS = 400
BUY = ACTION_CODE["purchase"]
SETTINGS = KindredSettings(representations=RepresentationSettings(stages=()))


def log_of(visits: np.ndarray) -> Interactions:
    """A visitor's visits are every tenth, a minute between items, a visit an hour."""
    count, length = visits.shape
    start = 20_000 * DAY + np.arange(count) * 60 * MINUTE
    return Interactions(
        subject=np.repeat(np.arange(count) % 150, length).astype(np.int32),
        session=np.repeat(np.arange(count), length).astype(np.int32),
        row=visits.ravel().astype(np.int64),
        action=np.full(visits.size, BUY, np.int16),
        ts=(start[:, None] + np.arange(length) * MINUTE).ravel(),
        subjects=np.arange(150, dtype=np.uint64),
    )


def at_random(count: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.stack([rng.choice(ITEMS, 4, replace=False) for _ in range(count)])


def in_families(count: int) -> np.ndarray:
    """Items n, n + 100, n + 200 and n + 300 go together."""
    rng = np.random.default_rng(2)
    first = rng.integers(0, 100, count)
    family = first[:, None] + 100 * np.argsort(rng.random((count, 4)), axis=1)
    other = rng.integers(0, ITEMS, count)
    return np.column_stack([family[:, :2], other, family[:, 2]])


def market_of(log: Interactions, settings: KindredSettings = SETTINGS) -> Market:
    columns = Columns()
    columns.apply(np.arange(ITEMS), [item(item_id=f"item-{n}") for n in range(ITEMS)])
    return Market(log=log, columns=columns, tables={}, until=int(log.ts[-1]) + 1, settings=settings)


def trained(market: Market, root: Path, suffix: str = "") -> dict[str, Artefact]:
    """All stages of behaviour and the merge, by full name."""
    inputs = {"catalogue": "c", "events": "e"}
    stages = behaviour_stages(
        market.log, ITEMS, market.until, market.settings, inputs, suffix=suffix, threads=1
    )
    merging = merge_stages(market, inputs, read_by_recall(stages, suffix), suffix=suffix)
    store = ModelStore(root)
    rows = run_stages(
        [*stages, *merging], store, seed=7, progress=SilentProgress(), clock=lambda: 1
    )
    return {row.stage: store.load(row.stage, row.version) for row in rows}


def test_what_cannot_be_known_is_not_known(tmp_path: Path) -> None:
    """Each pair occurs about once: tables that had seen the answers would give them away."""
    made = trained(market_of(log_of(at_random(2_000))), tmp_path)["merge"]
    assert made.card.metrics["questions"] == 400
    assert made.card.metrics["HR@10"]["settings"] < 0.08
    assert made.card.metrics["HR@10"]["learned"] < 0.08
    assert not made.card.gate.passed


def test_the_learned_merge_finds_families_and_serves(tmp_path: Path) -> None:
    market = market_of(log_of(in_families(2_500)))
    artefacts = trained(market, tmp_path, "_past")
    made = artefacts["merge_past"]
    hits = made.card.metrics["HR@10"]
    assert hits["learned"] >= hits["settings"] > 0.5
    # There are no pictures and no words: nothing is said of sources that found nothing.
    assert set(made.card.metrics["weights"]) <= {
        "pairs", "forward", "ease", "als", "popular", "fresh", "user"
    }  # fmt: skip
    assert made.card.metrics["weights"]
    assert made.card.metrics["answers found"] > 0.9
    assert "against the weights of the settings" in made.card.gate.reason
    served = learned_weights(SETTINGS.recall, made)
    assert (served is not None) == made.card.gate.passed
    corpus = corpus_of(market.columns, {}, artefacts, SETTINGS, suffix="_past")
    assert corpus.ease is not None


def test_few_questions_teach_nothing(tmp_path: Path) -> None:
    made = trained(market_of(log_of(in_families(300))), tmp_path)["merge"]
    assert not made.card.gate.passed
    assert made.card.gate.reason == "60 questions; it takes 200"


def test_turned_off_there_is_no_stage() -> None:
    recall = msgspec.structs.replace(SETTINGS.recall, learned_merge=False)
    market = market_of(log_of(at_random(5)), msgspec.structs.replace(SETTINGS, recall=recall))
    assert merge_stages(market, {}, ["pairs"]) == []


def test_questions_are_asked_as_recall_is_asked() -> None:
    rng = np.random.default_rng(4)
    log = log_of(rng.integers(0, ITEMS, (300, 30)))
    questions = gate_questions(log, ITEMS)
    asked = as_examples(log, questions)
    assert len(asked) == len(questions) > 100
    for q in range(0, len(asked), 17):
        event = int(questions.events[q])
        mine = np.flatnonzero((log.session == log.session[event]) & (log.row != log.row[event]))
        at = slice(int(asked.offsets[q]), int(asked.offsets[q + 1]))
        assert asked.seeds[at].tolist() == log.row[mine][-MAX_SEEDS:].tolist()
        assert asked.followed[q] == log.row[event]
        assert asked.now[q] == log.ts[mine[-1]]
        assert asked.subject[q] == log.subject[event]


def test_answers_leave_another_log_of_the_same_visits() -> None:
    """Actions that do not count lie between, so positions are not those of the questions."""
    log = log_of(at_random(600))
    counted = log.take(np.arange(len(log)) % 4 != 1)
    questions = gate_questions(counted, ITEMS)
    rest = without_targets(log, questions, counted)
    assert len(rest) == len(log) - len(questions)
    gone = set(zip(log.session.tolist(), log.row.tolist(), strict=True)) - set(
        zip(rest.session.tolist(), rest.row.tolist(), strict=True)
    )
    sessions = counted.session[questions.events].tolist()
    assert gone == set(zip(sessions, questions.targets.tolist(), strict=True))


@pytest.mark.parametrize("suffix", ["", "_past"])
def test_what_recall_reads(suffix: str) -> None:
    log = log_of(at_random(5))
    stages = behaviour_stages(log, ITEMS, 1, SETTINGS, {}, suffix=suffix)
    read = read_by_recall(stages, suffix)
    assert {f"{n}{suffix}" for n in ("pairs", "ease", "als", "history")} <= set(read)
