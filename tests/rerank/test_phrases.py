"""Every reason has words: each source, feature, condition, stage and cause."""

from __future__ import annotations

import math

import msgspec
import pytest

from kindred.rerank.features import FEATURES, GROUPS
from kindred.rerank.phrases import (
    FEATURE_WORDS,
    SILENT,
    SOURCE_WORDS,
    feature_words,
    group_of,
    move_words,
    percent,
    sentence,
)
from kindred.rerank.why_words import CONDITION_WORDS, WHY_WORDS, why_words
from kindred.rerank.whynot import Lost
from kindred.retrieval.sources import SOURCES
from kindred.schemas.query import Filters
from kindred.schemas.why import LostAt


def test_every_source_condition_and_stage_has_words():
    assert set(SOURCE_WORDS) == set(SOURCES)
    assert set(CONDITION_WORDS) == {f.name for f in msgspec.structs.fields(Filters)}
    assert set(WHY_WORDS) == set(LostAt)


def test_phrases_are_of_features_that_there_are():
    assert set(FEATURE_WORDS) <= set(FEATURES)
    assert {g.name for g in GROUPS} >= SILENT


@pytest.mark.parametrize("feature", FEATURES)
def test_every_feature_says_something_whatever_its_value_and_sign(feature: str):
    for value in (-30.0, 0.0, 0.5, 1.0, 3.0, 1e6):
        for adds, beside in ((-1.0, math.inf), (1.0, -math.inf), (1.0, math.nan)):
            said = feature_words(feature, value, adds, beside)
            assert (said is None) == (group_of(feature) in SILENT)
    assert feature_words(feature, math.nan, 1.0, 0.0) is None


def test_a_rating_is_told_by_what_it_is_worth_and_a_fact_as_it_is():
    assert feature_words("purchase_rate", 0.2, 0.3, beside=0.1) == "often bought once seen"
    assert feature_words("purchase_rate", 0.2, -0.3, beside=0.4) == "seldom bought once seen"
    assert feature_words("same_brand", 1.0, -0.3, beside=1.0) == "same brand"


def test_a_ranker_that_likes_an_item_for_little_is_not_put_into_false_words():
    assert feature_words("popularity", 3.0, 0.3, beside=100.0) is None
    assert feature_words("popularity", 300.0, -0.3, beside=100.0) is None


def test_the_sentence_of_the_brief():
    said = sentence([SOURCE_WORDS["pairs"], "same brand"], [move_words("rate", 4, 2, percent(500))])
    assert said == (
        "Often together with the seed in one visit, same brand; "
        "moved from 4 to 2 by its ad rate of 5 %."
    )
    assert move_words("rule:summer", 9, 1, "") == "moved from 9 to 1 by the rule summer"
    assert sentence([], []) == ""


@pytest.mark.parametrize("stage", list(LostAt))
def test_every_stage_makes_a_sentence_of_whatever_is_known(stage: LostAt):
    said = why_words(Lost(stage=stage), 6)
    assert said.endswith(".")
    assert "{" not in said
