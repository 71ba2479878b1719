"""A ranker of several members: one score, kept and read back, taken apart exactly."""

from dataclasses import replace

import lightgbm
import numpy as np
import pytest

from kindred.rerank.lambdamart import Member, Ranker, RankingSet, fit_ranker
from kindred.schemas.settings import RankerSettings

NAMES = ("a", "b", "c")
SETTINGS = RankerSettings(trees=12, min_data_in_leaf=10, leaves=7)


def rows(lists: int, seed: int) -> RankingSet:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(lists * 6, 3)).astype(np.float32)
    features[rng.random(features.shape) < 0.1] = np.nan
    force = np.nan_to_num(features[:, 0]) + 0.5 * np.nan_to_num(features[:, 1])
    grades = np.where(force + rng.normal(size=len(force)) > 1.2, 6, 0).astype(np.int8)
    return RankingSet(features, grades, np.full(lists, 6))


def booster(seed: int) -> lightgbm.Booster:
    ranker, _ = fit_ranker(
        rows(150, seed), rows(60, seed + 50), NAMES, SETTINGS, seed=seed, on_tree=lambda n: None
    )
    return ranker.members[0].booster


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    members = (
        Member(name="graded", booster=booster(1), weight=0.5, mean=0.3, std=0.7),
        Member(name="binary", booster=booster(2), weight=0.5, mean=-0.1, std=2.0),
    )
    return Ranker(members, NAMES, depth=40)


def test_a_score_is_the_weighted_sum_of_standardised_members(ranker: Ranker):
    asked = rows(30, 9).features
    one, two = (m.booster.predict(asked) for m in ranker.members)
    expected = 0.5 * (one - 0.3) / 0.7 + 0.5 * (two + 0.1) / 2.0
    np.testing.assert_allclose(ranker.score(asked), expected, atol=1e-12)
    alone = np.concatenate([ranker.score(asked[i : i + 1]) for i in range(len(asked))])
    np.testing.assert_allclose(alone, ranker.score(asked), atol=1e-12)  # its row's alone
    assert ranker.trees == sum(m.booster.num_trees() for m in ranker.members)
    assert not len(ranker.score(asked[:0]))


def test_contributions_sum_to_the_score(ranker: Ranker):
    asked = rows(20, 5).features
    found = ranker.contributions(asked)
    assert found.shape == (len(asked), len(NAMES) + 1)
    np.testing.assert_allclose(found.sum(axis=1), ranker.score(asked), atol=1e-9)
    assert ranker.contributions(asked[:0]).shape == (0, len(NAMES) + 1)


def test_what_was_kept_scores_the_same(ranker: Ranker):
    arrays, texts = ranker.to_artefact()
    back = Ranker.from_artefact(arrays, texts)
    asked = rows(30, 9).features
    np.testing.assert_array_equal(back.score(asked), ranker.score(asked))
    assert back.depth == 40
    assert [m.name for m in back.members] == ["graded", "binary"]
    assert back.features == NAMES


def test_a_lone_booster_kept_before_members_is_still_read(ranker: Ranker):
    lone = ranker.members[0].booster
    back = Ranker.from_artefact({}, {"booster": lone.model_to_string(), "features": "a\nb\nc"})
    asked = rows(30, 9).features
    np.testing.assert_array_equal(back.score(asked), lone.predict(asked))


def test_importance_is_a_share_by_weight(ranker: Ranker):
    shares = ranker.importance()
    assert set(shares) == set(NAMES)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
    assert next(iter(shares)) == "a"
    heavy = Ranker((replace(ranker.members[0], weight=1.0),), NAMES).importance()
    assert heavy != shares
