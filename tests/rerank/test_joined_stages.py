"""The stages over shown lists: found weights reach the ranker, auction places have their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from shown_lists import APPEAL, ITEMS, LENGTH, ShownLog, joined, shown_log

from kindred.indexer.models import ModelStore
from kindred.indexer.stage_run import run_stages
from kindred.indexer.stages import StageRow
from kindred.rerank import joined_stages as stages
from kindred.rerank.features import FEATURES
from kindred.rerank.joined_stages import AUCTION, RANKER, WEIGHTS, Shown, joined_stages
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.logged import JoinedLog
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import KindredSettings, RankerSettings

SETTINGS = KindredSettings(
    ranker=RankerSettings(
        trees=10, learning_rate=0.3, min_data_in_leaf=20, early_stopping=10, tune_trials=3
    )
)
AUCTION_PLACES = (3, 6)
SIMILARITY = FEATURES.index("cos_text_session")


def having(**changes) -> KindredSettings:
    ranker = msgspec.structs.replace(SETTINGS.ranker, **changes)
    return msgspec.structs.replace(SETTINGS, ranker=ranker)


def shown(log: JoinedLog, settings: KindredSettings, **more) -> Shown:
    return Shown(
        log=log, until=log.shown.newest + 1, size=ITEMS, settings=settings, threads=1, **more
    )


def run(what: Shown, root: Path) -> tuple[ModelStore, dict[str, StageRow]]:
    store = ModelStore(root)
    rows = run_stages(
        joined_stages(what), store, seed=7, progress=SilentProgress(), clock=lambda: 1
    )
    return store, {row.stage: row for row in rows}


@pytest.fixture(scope="module")
def log() -> ShownLog:
    return shown_log(1500)


def auctions_of(log: ShownLog, places: tuple[int, ...] = AUCTION_PLACES) -> JoinedLog:
    """The same lists with what stood at `places` drawn by an auction; all that looks alike is
    similar by chance."""
    at = pl.col("position").is_in(list(places))
    campaign = pl.when(at).then(pl.lit("plx")).otherwise(pl.lit(None))
    rng = np.random.default_rng(1)

    def with_similarity(features: bytes) -> bytes:
        rows = np.frombuffer(features, "<f4").reshape(LENGTH, -1).copy()
        rows[:, SIMILARITY] = rng.normal(size=LENGTH)
        return rows.tobytes()

    decisions = log.decisions.with_columns(
        features=pl.Series([with_similarity(f) for f in log.decisions["features"]])
    )
    return joined(ShownLog(decisions, log.joined.with_columns(campaign=campaign)))


def test_without_trials_and_auctions_there_is_the_ranker_alone(log: ShownLog):
    assert [s.name for s in joined_stages(shown(joined(log), SETTINGS))] == [RANKER]
    past = joined_stages(shown(joined(log), having(tune=True), suffix="_past"))
    assert [s.name for s in past] == [WEIGHTS + "_past", RANKER + "_past"]
    assert past[1].needs == (WEIGHTS + "_past",)


@pytest.mark.parametrize("clear", [True, False])
def test_found_weights_serve_where_they_lead_clearly_and_the_card_says_so(
    log: ShownLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clear: bool
):
    pytest.importorskip("optuna", reason="the extra `tune` is not installed")
    settings = having(tune=True, objective="graded")
    what = shown(joined(log), settings, studies=tmp_path / "studies")
    tune = stages.tune_weights
    monkeypatch.setattr(
        stages, "tune_weights", lambda *a, **kw: replace(tune(*a, **kw), clear=clear)
    )
    store, rows = run(what, tmp_path / "models")
    card = store.load(WEIGHTS, rows[WEIGHTS].version).card
    assert card.gate.passed is clear
    table = card.metrics["trials"]
    assert len(table["rows"]) == 3
    assert min(row[1] for row in table["rows"]) == card.metrics["purchase rank"]
    ranker = store.load(RANKER, rows[RANKER].version).card
    given = settings.ranker.weights
    expected = {**given, **card.metrics["weights"]} if clear else given
    assert ranker.metrics["weights"] == expected
    source = ranker.metrics["weights from"]
    assert source == f"ranker_weights {card.version}" if clear else "those stay" in source
    assert len(list((tmp_path / "studies" / WEIGHTS).glob("*.jsonl"))) == 1


def test_a_killed_search_for_weights_carries_on_in_the_next_run(
    log: ShownLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("optuna", reason="the extra `tune` is not installed")
    what = shown(joined(log), having(tune=True, objective="graded"), studies=tmp_path / "studies")
    tune = stages.tune_weights

    class KilledError(Exception):
        pass

    def killed(*args, **kw):
        done = []

        def on_trial(number: int) -> None:
            done.append(number)
            if sum(done) == 2:
                raise KilledError

        return tune(*args, **{**kw, "on_trial": on_trial})

    monkeypatch.setattr(stages, "tune_weights", killed)
    with pytest.raises(KilledError):
        run(what, tmp_path / "models")
    counted = []

    def counting(*args, **kw):
        return tune(*args, **{**kw, "on_trial": counted.append})

    monkeypatch.setattr(stages, "tune_weights", counting)
    store, rows = run(what, tmp_path / "models")
    assert counted == [2, 1]
    resumed = store.load(WEIGHTS, rows[WEIGHTS].version).card.metrics
    monkeypatch.setattr(stages, "tune_weights", tune)
    store, rows = run(replace(what, studies=None), tmp_path / "whole")
    assert store.load(WEIGHTS, rows[WEIGHTS].version).card.metrics == resumed


def test_auction_places_are_learned_apart_and_judged_against_similarity(
    log: ShownLog, tmp_path: Path
):
    held = auctions_of(log)
    store, rows = run(shown(held, having(joined_from=20)), tmp_path)
    auction = store.load(AUCTION, rows[AUCTION].version)
    told = auction.card.metrics
    assert auction.card.gate.passed, auction.card.gate.reason
    assert "against the similarity in text" in auction.card.gate.reason
    assert next(iter(told["importance"])) == APPEAL
    assert told["learned from"] == "auction places"
    ranker = Ranker.from_artefact(auction.arrays, auction.texts)
    assert ranker.depth == 0
    two = np.zeros((2, len(FEATURES)), np.float32)
    two[1, FEATURES.index(APPEAL)] = 2.0
    low, high = ranker.score(two)
    assert high > low


def test_only_auction_places_teach_their_ranker_and_none_teaches_the_other(log: ShownLog):
    held = auctions_of(log)
    what = shown(held, having(joined_from=20))
    quiet = SilentProgress()
    ranked = what.parts(what.settings.ranker, quiet)
    drawn = replace(what, log=replace(held, auctions=True)).parts(what.settings.ranker, quiet)
    for part in (drawn.training, drawn.stopping, drawn.judging):
        places = held.shown.position[part.lists.at]
        assert set(places.tolist()) == set(AUCTION_PLACES)
        assert set(np.diff(part.lists.offsets)) == {2}
    places = held.shown.position[ranked.training.lists.at]
    assert not set(places.tolist()) & set(AUCTION_PLACES)
    some = np.bincount(drawn.training.lists.owners, drawn.training.labels > 0)
    assert some.min() >= 1


@pytest.mark.parametrize("places", [(3,), AUCTION_PLACES])
def test_of_too_few_auction_lists_none_is_made_and_the_card_says_why(
    log: ShownLog, tmp_path: Path, places: tuple[int, ...]
):
    """One place alone has nothing beside it to be compared with."""
    held = auctions_of(log, places)
    store, rows = run(shown(held, having(joined_from=900)), tmp_path)
    card = store.load(AUCTION, rows[AUCTION].version).card
    assert not card.gate.passed
    assert "of which something came at one of several auction places; it takes 900" in (
        card.gate.reason
    )
    assert (card.gate.reason.startswith("0 ")) == (len(places) == 1)
    assert store.current(AUCTION) is None
