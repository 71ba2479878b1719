"""Objectives side by side: each is trained, all are measured alike, one of them serves."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from shown_lists import ITEMS, joined, shown_log

from kindred.rerank.alternatives import choose, together, try_objectives
from kindred.rerank.fitting import ranking_set
from kindred.rerank.joined_training import refitted, train_on_lists
from kindred.rerank.judged import Parts, known_lists, split_lists
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.training import TooLittle
from kindred.schemas.ranking import Doubles, Floats
from kindred.schemas.settings import JoinSettings, RankerSettings

SETTINGS = RankerSettings(trees=25, learning_rate=0.15, min_data_in_leaf=20)


def having(**changes) -> RankerSettings:
    return msgspec.structs.replace(SETTINGS, **changes)


@pytest.fixture(scope="module")
def parts() -> Parts:
    held = joined(shown_log(2500))
    end = held.shown.newest + 1
    return split_lists(held, end, ITEMS, SETTINGS, JoinSettings(), seed=1)


def unsold(parts: Parts, left: int) -> Parts:
    """The same lists with `left` purchases to learn from."""
    part = parts.training
    bought = part.bought & (np.cumsum(part.bought) <= left)
    return replace(parts, training=replace(part, bought=bought))


def test_auto_trains_all_and_the_card_says_what_each_was_worth(parts: Parts):
    trained = train_on_lists(parts, SETTINGS, seed=1)
    assert trained.passed, trained.reason
    told = trained.metrics["objective"]
    assert set(told["stopping part"]) == {"binary", "graded", "pairs", "ensemble"}
    assert told["served"] == "ensemble"
    assert told["measured by"] == "purchases"
    for name, found in told["stopping part"].items():
        assert 1 < found["rank"] < 4.5
        assert (found["less ensemble"] is None) == (name == "ensemble")
    assert [m.name for m in trained.ranker.members] == ["binary", "graded"]
    assert set(trained.metrics["members"]) == {"binary", "graded"}
    assert trained.metrics["trees"] == trained.ranker.trees


@pytest.mark.parametrize("objective", ["binary", "graded", "pairs"])
def test_what_is_asked_for_serves_alone_and_passes_the_same_gate(parts: Parts, objective: str):
    trained = train_on_lists(parts, having(objective=objective), seed=1)
    assert trained.passed, trained.reason
    assert [m.name for m in trained.ranker.members] == [objective]
    assert set(trained.metrics["objective"]["stopping part"]) == {objective}
    fair = trained.metrics["compared"]["randomised"]["ranker - merge"]
    assert fair[0] < 0


@pytest.mark.parametrize("objective", ["auto", "binary", "graded", "pairs", "ensemble"])
def test_no_objective_passes_where_chance_alone_acts(objective: str):
    held = joined(shown_log(1200, learnable=False))
    settings = having(objective=objective)
    chance = split_lists(held, held.shown.newest + 1, ITEMS, settings, JoinSettings(), seed=1)
    assert not train_on_lists(chance, settings, seed=1).passed


def test_the_ensemble_is_the_mean_of_its_standardised_members(parts: Parts):
    tried = try_objectives(parts, SETTINGS, seed=1)
    features = parts.stopping.lists.features
    z = []
    for goal in ("binary", "graded"):
        scores = tried.rankers[goal].score(features)
        z.append((scores - scores.mean()) / scores.std())
    np.testing.assert_allclose(tried.rankers["ensemble"].score(features), np.mean(z, axis=0))
    two = try_objectives(parts, having(objective="ensemble", ensemble=("binary", "pairs")), seed=1)
    assert [m.name for m in two.ranker.members] == ["binary", "pairs"]
    assert set(two.rankers) == {"binary", "pairs", "ensemble"}
    same = two.rankers["binary"].score(features)
    np.testing.assert_array_equal(same, tried.rankers["binary"].score(features))


def test_the_ensemble_that_serves_is_made_anew_of_all_that_is_known(parts: Parts):
    held = joined(shown_log(2500))
    trained = train_on_lists(parts, SETTINGS, seed=1)
    known = known_lists(held, held.shown.newest + 1, ITEMS, SETTINGS, JoinSettings())
    served = refitted(trained, known, SETTINGS, seed=1)
    assert [m.name for m in served.ranker.members] == ["binary", "graded"]
    told = served.metrics["refitted on"]["members"]
    assert told["graded"]["lists"] == len(known.lists.lists)
    assert told["binary"]["lists"] == known.lists.bought_lists
    scores = served.ranker.apart(known.lists.lists.features)
    for i, member in enumerate(served.ranker.members):
        assert member.mean == pytest.approx(scores[:, i].mean())
        assert member.std == pytest.approx(scores[:, i].std())


def test_of_too_few_purchases_grades_alone_are_learned(parts: Parts):
    few = unsold(parts, 8)
    tried = try_objectives(few, SETTINGS, seed=1)
    assert list(tried.rankers) == ["graded"]
    assert "few purchases" in tried.report["why"]
    with pytest.raises(TooLittle, match=r"purchase: the objective pairs takes 10"):
        try_objectives(few, having(objective="pairs"), seed=1)


class Fixed(Ranker):
    """Scores that are told."""

    scores: Doubles

    def score(self, features: Floats) -> Doubles:
        return self.scores


def fixed(scores: Doubles) -> Ranker:
    ranker = Fixed((), ())
    object.__setattr__(ranker, "scores", scores)
    return ranker


def test_another_one_serves_where_its_lead_is_clear_and_only_there(parts: Parts):
    part = parts.stopping.labelled()
    rng = np.random.default_rng(3)
    noise = rng.normal(size=len(part.labels))
    knows = 3.0 * part.bought
    rankers = {"graded": fixed(noise + knows), "ensemble": fixed(noise), "binary": fixed(noise)}
    served, report = choose(rankers, parts, SETTINGS)
    assert served == "graded"
    mean, low, high = report["stopping part"]["graded"]["less ensemble"]
    assert low < mean < high < 0
    hardly = noise.copy()
    one = part.lists.owners == part.lists.owners[part.bought][0]
    hardly[one & part.bought] += 10
    rankers["graded"] = fixed(hardly)
    served, report = choose(rankers, parts, SETTINGS)
    assert report["stopping part"]["graded"]["rank"] < report["stopping part"]["ensemble"]["rank"]
    assert served == "ensemble"
    asked, report = choose(rankers, parts, having(objective="binary"))
    assert (asked, report["why"]) == ("binary", "the settings ask for it")


def test_few_purchases_choose_nothing(parts: Parts):
    stopping = parts.stopping
    some = stopping.bought & (np.cumsum(stopping.bought) <= 19)
    few = replace(parts, stopping=replace(stopping, bought=some))
    part = few.stopping.labelled()
    noise = np.random.default_rng(3).normal(size=len(part.labels))
    rankers = {"graded": fixed(noise + 3.0 * (part.labels > 0)), "ensemble": fixed(noise)}
    served, report = choose(rankers, few, SETTINGS)
    assert served == "ensemble"
    assert report["why"] == "19 purchases to choose by, 20 needed"


def test_in_the_first_phase_middle_actions_count_as_clicks(parts: Parts):
    whole, first = (
        ranking_set(parts.training, parts.order, having(middle_actions=on), "graded")
        for on in (True, False)
    )
    assert set(whole.grades.tolist()) == {0, 1, 2, 3, 6}
    assert set(first.grades.tolist()) == {0, 1, 6}
    np.testing.assert_array_equal(first.grades > 0, whole.grades > 0)
    assert set(first.weights.tolist()) == {1.0, 15.0}


def test_pairs_are_worth_the_purchases_that_follow(parts: Parts):
    part, order = parts.training, parts.order
    rows = ranking_set(part, order, SETTINGS, "pairs")
    assert rows.weights is None
    assert rows.values[rows.grades == 0].max() == 0
    assert set(rows.values[part.bought].tolist()) == {1.0}
    click = rows.values[rows.grades == 1]
    np.testing.assert_allclose(click, order.values["click"], rtol=1e-6)


def test_a_member_that_tells_nothing_apart_adds_nothing(parts: Parts):
    ranker = try_objectives(parts, having(objective="graded"), seed=1).ranker
    features = parts.stopping.lists.features[:1]
    one = together([ranker, ranker], features)
    assert one.score(features) == pytest.approx(0.0)
