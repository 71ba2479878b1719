"""Features: what each says by hand, in a batch as alone, and what none of them may know."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from builders import item
from feature_market import NOW, N, bare, found, items, questions, whole_corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from kindred.indexer.behaviour.tastes import Tastes
from kindred.indexer.behaviour.users import user_key, user_keys
from kindred.indexer.traits import WordWeights, title_words
from kindred.rerank.features import FEATURES, GROUPS, Context, assemble
from kindred.retrieval.queries import Anchor, Queries, make_queries
from kindred.retrieval.sources import Corpus
from kindred.schemas.item import Item
from kindred.schemas.ranking import Candidates, Floats

ALWAYS = {"seeds", "hour", "weekday", "found_by", "merged"}
"""Known of every candidate of every question."""


def part(queries: Queries, corpus: Corpus, q: int) -> Queries:
    """One question of a batch, asked alone."""
    seeds = slice(queries.offsets[q], queries.offsets[q + 1])
    alone = make_queries(
        corpus.columns, np.array([0, seeds.stop - seeds.start]), queries.seeds[seeds],
        now=queries.now[[q]], half_life=3.0, users=None,
    )  # fmt: skip
    assert queries.users is not None
    return replace(alone, lat=queries.lat[[q]], lon=queries.lon[[q]], users=queries.users[[q]])


def column(features: Floats, name: str) -> Floats:
    return features[:, FEATURES.index(name)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_a_batch_says_of_each_question_what_it_says_alone(seed: int) -> None:
    draw = np.random.default_rng(seed)
    corpus = whole_corpus(seed)
    queries = questions(corpus, draw, 5)
    candidates = found(draw, draw.integers(1, 9, 5))
    together = assemble(Context(queries, candidates, corpus))
    for q in range(5):
        mine = candidates.queries == q
        alone = replace(candidates.take(mine), offsets=np.array([0, int(mine.sum())]))
        features = assemble(Context(part(queries, corpus, q), alone, corpus))
        np.testing.assert_allclose(together[mine], features, rtol=2e-5, atol=2e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_ad_rate_campaign_and_place_in_the_list_change_no_feature(seed: int) -> None:
    draw = np.random.default_rng(seed)
    corpus = whole_corpus(seed)
    queries = questions(corpus, draw, 3)
    candidates = found(draw, np.array([7, 1, 5]))
    before = assemble(Context(queries, candidates, corpus))
    corpus.columns.campaign[:] = draw.integers(-1, 3, N)
    corpus.columns.ad_rate_bp[:] = draw.integers(0, 10_000, N)
    np.testing.assert_array_equal(assemble(Context(queries, candidates, corpus)), before)
    order = np.concatenate([draw.permutation(7), [7], 8 + draw.permutation(5)])
    moved = candidates.with_columns(
        score=draw.random(13), probability=draw.random(13), blend=draw.random(13)
    ).take(order)
    np.testing.assert_allclose(
        assemble(Context(queries, moved, corpus)), before[order], rtol=1e-5, atol=1e-6
    )


def test_nothing_sold_is_named_a_feature() -> None:
    for feature in (f for g in GROUPS for f in g.features):
        for word in ("position", "ad_rate", "campaign", "sponsored", "slot"):
            assert word not in feature.name
            assert word not in feature.reads


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_what_is_unknown_is_nan_and_never_zero_by_accident(seed: int) -> None:
    draw = np.random.default_rng(seed)
    nothing = [Item(item_id=f"i{n}", created_at=None) for n in range(N)]
    corpus = bare(whole_corpus(seed, nothing))
    queries = questions(corpus, draw, 4)
    candidates = found(draw, draw.integers(1, 9, 4))
    candidates = candidates.with_columns(
        source_ranks=np.zeros_like(candidates.source_ranks),
        source_scores=np.full_like(candidates.source_scores, np.nan),
    )
    features = assemble(Context(queries, candidates, corpus))
    for name in set(FEATURES) - ALWAYS:
        assert np.isnan(column(features, name)).all(), name
    for name in ALWAYS:
        assert not np.isnan(column(features, name)).any(), name


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_a_candidate_of_which_nothing_is_stated_compares_with_nothing(seed: int) -> None:
    draw = np.random.default_rng(seed)
    listings = items(draw)
    silent = draw.random(N) < 0.5
    listings = [
        Item(item_id=f"i{n}", created_at=None) if silent[n] else listing
        for n, listing in enumerate(listings)
    ]
    corpus = whole_corpus(seed, listings)
    queries = questions(corpus, draw, 4)
    candidates = found(draw, draw.integers(5, 20, 4))
    features = assemble(Context(queries, candidates, corpus))[silent[candidates.rows]]
    groups = {g.name: [f.name for f in g.features] for g in GROUPS}
    facts = {"age_days", "user_top_category", "user_leaf_category", "user_brand", "user_seller",
             "user_price_gap"}  # fmt: skip
    for name in {*groups["relation"], *groups["attributes"], *groups["title"], *facts}:
        assert np.isnan(column(features, name)).all(), name


def listed(**facts: object) -> Item:
    return item(**{"title": "", "category": (), "price_minor": None, "currency": None, **facts})


def features_of(listings: list[Item], seeds: list[int], **asked: object) -> Floats:
    """Features of all listings for a question from some of them; nothing is trained."""
    corpus = whole_corpus(1, listings)
    corpus = replace(bare(corpus), word_weights=WordWeights.of(corpus.columns.words))
    queries = make_queries(
        corpus.columns, np.array([0, len(seeds)]), np.array(seeds, np.int64), now=NOW,
        half_life=1.0, **asked,
    )  # fmt: skip
    return assemble(Context(queries, everything(len(listings)), corpus))


def everything(count: int) -> Candidates:
    return replace(
        found(np.random.default_rng(1), np.array([count])), rows=np.arange(count, dtype=np.int64)
    )


def test_attributes_agree_differ_or_cannot_be_compared() -> None:
    seed = listed(attributes={"Size": "L", "power": 100, "plug": "EU"}, materials=("oak", "steel"))
    same = listed(attributes={"size": "l ", "power": 101.0, "plug": "EU"}, materials=("Steel",))
    other = listed(attributes={"size": "M", "age": "3"}, materials=("glass",))
    features = features_of([seed, same, other, listed()], [0])
    np.testing.assert_allclose(column(features, "attributes_jaccard"), [1, 1, 0, np.nan])
    np.testing.assert_allclose(column(features, "attributes_shared"), [3, 3, 1, np.nan])
    np.testing.assert_allclose(column(features, "attributes_agreeing"), [1, 1, 0, np.nan])
    np.testing.assert_allclose(column(features, "materials_jaccard"), [1, 0.5, 0, np.nan])
    without = features_of([seed, same, other, listed()], [3])
    for name in ("attributes_jaccard", "attributes_shared", "materials_jaccard"):
        assert np.isnan(column(without, name)).all()


def test_titles_are_compared_by_rarity() -> None:
    titles = ["Red oak table", "oak-table, old", "red lamp", "", "lamp"]
    features = features_of([listed(title=title) for title in titles], [0])
    said = [["red", "oak", "table"], ["oak", "table", "old"], ["red", "lamp"], [], ["lamp"]]
    titled = sum(map(bool, said))
    mean = sum(map(len, said)) / titled

    def idf(word: str) -> float:
        n = sum(word in words for words in said)
        return math.log(1 + (titled - n + 0.5) / (n + 0.5))

    for row, words in enumerate(said):
        both = sum(idf(w) for w in words if w in said[0])
        either = sum(map(idf, {*words, *said[0]}))
        known = bool(words)
        bm25 = both * 2.2 / (1 + 1.2 * (0.25 + 0.75 * len(words) / mean))
        assert column(features, "title_bm25")[row] == pytest.approx(
            bm25 if known else np.nan, rel=1e-5, nan_ok=True
        )
        assert column(features, "title_overlap")[row] == pytest.approx(
            both / either if known else np.nan, rel=1e-5, nan_ok=True
        )
    session = column(features_of([listed(title=title) for title in titles], [2, 3, 0]),
                     "title_session")  # fmt: skip
    # The newest seed weighs 1, the one two steps back a quarter; one without a title says nothing.
    share = {"red": 1.0, "oak": 0.8, "table": 0.8, "lamp": 0.2}
    expected = sum(idf(w) * share[w] for w in said[2]) / sum(map(idf, said[2]))
    assert session[2] == pytest.approx(expected, rel=1e-5)
    assert session[4] == pytest.approx(0.2, rel=1e-5)
    assert np.isnan(session[3])


def test_words_past_the_sixteenth_and_the_order_of_words_do_not_count() -> None:
    many = " ".join(f"word{n}" for n in range(30))
    assert len(title_words(many)) == 16
    assert title_words("Ännu en LAMPA, lampa") == title_words("ännu en lampa")


def test_seeds_of_which_a_fact_is_unknown_do_not_count_against_it() -> None:
    listings = [listed(brand="a"), listed(), listed(brand="b"), listed(brand="a")]
    shares = column(features_of(listings, [2, 1, 0]), "seeds_of_brand")
    np.testing.assert_allclose(shares, [0.8, np.nan, 0.2, 0.8], rtol=1e-6)
    assert np.isnan(column(features_of(listings, [1]), "seeds_of_brand")).all()


def test_prices_are_compared_with_the_newest_seed_and_with_the_session() -> None:
    listings = [listed(price_minor=p, currency="EUR") for p in (100, 400, 1600)] + [listed()]
    features = features_of(listings, [0, 1])
    np.testing.assert_allclose(
        column(features, "price_ratio"), np.log([0.25, 1, 4, np.nan]), rtol=1e-5
    )
    mean = (math.log(400) + 0.5 * math.log(100)) / 1.5
    np.testing.assert_allclose(
        column(features, "session_price_gap"), np.log([100, 400, 1600, np.nan]) - mean, rtol=1e-5
    )


def test_an_inline_item_is_compared_like_a_listed_one() -> None:
    listings = [
        listed(title="red oak table", brand="a", attributes={"size": "L"}, materials=("oak",)),
        listed(title="oak table", brand="b", attributes={"size": "L"}, materials=("oak",)),
    ]
    corpus = whole_corpus(1, listings)
    corpus = replace(bare(corpus), word_weights=WordWeights.of(corpus.columns.words))
    none = np.zeros(0, np.int64)
    queries = make_queries(corpus.columns, np.zeros(2, np.int64), none, now=NOW, half_life=1.0)
    queries = replace(queries, anchor=Anchor.of_item(corpus.columns, listings[0]))
    inline = assemble(Context(queries, everything(2), corpus))
    of_row = features_of(listings, [0])
    for name in ("title_bm25", "title_overlap", "attributes_jaccard", "materials_jaccard",
                 "same_brand"):  # fmt: skip
        np.testing.assert_array_equal(column(inline, name), column(of_row, name))
        assert not np.isnan(column(inline, name)).any()


def test_what_a_user_cared_about_is_read_from_the_catalogue_of_now() -> None:
    listings = [
        listed(brand="a", seller_id="s", category=("home", "lamps"), price_minor=100,
               currency="EUR"),
        listed(brand="b", seller_id="t", category=("home", "chairs"), price_minor=400,
               currency="EUR"),
        listed(brand="a", category=("cars",)),
    ]  # fmt: skip
    corpus = bare(whole_corpus(1, listings))
    corpus = replace(
        corpus,
        tastes=Tastes(
            keys=np.array([user_key("ann")], np.uint64), indptr=np.array([0, 2]),
            rows=np.array([0, 1], np.int32), weights=np.array([3, 1], np.float32),
        ),
    )  # fmt: skip
    none = np.zeros(0, np.int64)

    def asked(name: str | None) -> Floats:
        queries = make_queries(corpus.columns, np.zeros(2, np.int64), none, now=NOW,
                               half_life=1.0, users=user_keys([name]))  # fmt: skip
        return assemble(Context(queries, everything(3), corpus))

    features = asked("ann")
    expected = {
        "user_items": [2, 2, 2],
        "user_item": [0.75, 0.25, 0],
        "user_brand": [0.75, 0.25, 0.75],
        "user_seller": [0.75, 0.25, np.nan],
        "user_top_category": [1, 1, 0],
        "user_leaf_category": [0.75, 0.25, 0],
        "user_price_gap": [-math.log(4) / 4, 3 * math.log(4) / 4, np.nan],
        "user_product": [np.nan] * 3,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(column(features, name), values, rtol=1e-5, err_msg=name)
    for name in (None, "stranger"):
        for column_name in expected:
            assert np.isnan(column(asked(name), column_name)).all()


def test_every_feature_says_what_it_is_and_why() -> None:
    features = [f for g in GROUPS for f in g.features]
    assert len({f.name for f in features}) == len(features) == len(FEATURES)
    for f in features:
        assert all((f.meaning.strip(), f.unit.strip(), f.reads.strip(), f.why.strip())), f.name
