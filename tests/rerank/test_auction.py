"""Auction places: who may stand there, with which chance, and what it moves."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import msgspec
import numpy as np
import pytest
from builders import item
from hypothesis import given, settings
from hypothesis import strategies as st

from kindred.indexer.columns import Columns
from kindred.indexer.store.exact import ExactStore
from kindred.indexer.store.tables import VectorTable
from kindred.rerank.auction import Drawn, draw, marginals, placed, scored, seated, with_pool
from kindred.rerank.auction_pool import Deliveries, Pool, needs, pooled
from kindred.rerank.explore import as_ordered, explored
from kindred.rerank.funnel import Ranked
from kindred.retrieval.plan import FilterPlanner
from kindred.retrieval.queries import Queries, make_queries
from kindred.retrieval.segments import offsets_of, places_in_runs
from kindred.retrieval.sources import Corpus
from kindred.schemas.clock import HOUR
from kindred.schemas.item import Campaign, Format, Item
from kindred.schemas.query import Filters
from kindred.schemas.ranking import Candidates
from kindred.schemas.settings import AuctionSettings, PlanSettings

NOW = 1_700_000_000_000_000
SIZE = 1000
EVERYTHING = Filters()
NEED_ALONE = AuctionSettings(places=(2, 4), need_weight=1, bid_weight=0, similarity_weight=0)


def auctioned(views: int | None = 100, **fields: object) -> Item:
    return item(
        **{
            "campaign": Campaign.PLX, "target_views": views, "flat_fee_minor": 500,
            "formats": (Format.AUCTION,), "auction_end": NOW + HOUR, **fields,
        }
    )  # fmt: skip


def corpus_of(items: list[Item]) -> Corpus:
    """Item i points to the angle i / 10."""
    columns = Columns()
    columns.apply(np.arange(len(items)), items)
    words = VectorTable(2)
    angle = np.arange(len(items)) / 10
    words.set(np.arange(len(items)), np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32))
    exact = ExactStore(columns, {"text": words})
    planner = FilterPlanner(columns, PlanSettings(), 64)
    return Corpus(
        columns=columns, tables={"text": words}, store=exact, exact=exact, planner=planner
    )


def asked(corpus: Corpus, *seeds: int, filters: Filters = EVERYTHING) -> Queries:
    """One query for each seed."""
    return make_queries(
        corpus.columns, np.arange(len(seeds) + 1), np.array(seeds), now=NOW, half_life=3.0,
        filters=(filters,),
    )  # fmt: skip


def pool_of(*needs: list[float]) -> Pool:
    """One query for each list; rows 500, 501, … of needs."""
    lengths = [len(n) for n in needs]
    n = sum(lengths)
    owners = np.repeat(np.arange(len(needs)), lengths)
    rows = 500 + np.concatenate([np.arange(length) for length in lengths])
    flat = np.array([x for need in needs for x in need])
    return Pool(owners, rows, flat, np.full(n, 5.0), np.zeros(n, np.float32))


def lists(*lengths: int) -> Candidates:
    """Rows 0, 1, 2, … best first in each list."""
    n = sum(lengths)
    rows = np.concatenate([np.arange(length) for length in lengths])
    return Candidates(
        offsets=offsets_of(np.array(lengths)),
        rows=rows.astype(np.int64),
        sources=np.ones(n, np.uint32),
        source_ranks=np.ones((n, 2), np.uint16),
        source_scores=np.zeros((n, 2), np.float32),
        merged=np.zeros(n, np.float32),
        score=-rows.astype(float),
        probability=0.1 / (rows + 1.0),
        blend=-rows.astype(float),
    )


def test_need_is_the_views_still_owed_for_each_second_left() -> None:
    corpus = corpus_of(
        [
            auctioned(100), auctioned(100, auction_end=NOW - 1),
            auctioned(100, formats=(Format.BUY_NOW,), auction_end=None), auctioned(30),
        ]
    )  # fmt: skip
    rows = np.arange(4)
    views = np.array([40, 0, 10, 30])
    found = needs(corpus.columns, rows, views, np.full(4, NOW), days=2)
    assert found == pytest.approx([60 / 3600, 0, 90 / (2 * 86_400), 0])


def test_the_pool_is_what_is_on_sale_owed_views_let_through_and_near() -> None:
    corpus = corpus_of(
        [
            item(), auctioned(), item(campaign=Campaign.PLS, ad_rate_bp=500), auctioned(None),
            auctioned(price_minor=99_000), auctioned(category=("garden", "pots")), auctioned(),
            auctioned(50),
        ]
    )  # fmt: skip
    held = Deliveries()
    held.tell(corpus.columns, {corpus.columns.item_ids[7]: 50, "gone": 3})
    all_of = pooled(asked(corpus, 0), corpus, held, AuctionSettings())
    assert sorted(all_of.rows.tolist()) == [1, 4, 6]
    assert all_of.bid == pytest.approx([5.0] * 3)
    cheap = asked(corpus, 0, filters=Filters(price_max_minor=20_000))
    assert sorted(pooled(cheap, corpus, held, AuctionSettings()).rows.tolist()) == [1, 6]
    one = pooled(asked(corpus, 0), corpus, held, AuctionSettings(pool=1))
    assert one.rows.tolist() == [1], "the nearest"
    assert one.similarity[0] == pytest.approx(np.cos(0.1), abs=1e-6)
    own = pooled(asked(corpus, 1, 4), corpus, held, AuctionSettings())
    assert sorted(zip(own.queries.tolist(), own.rows.tolist(), strict=True)) == [
        (0, 4), (0, 6), (1, 1), (1, 6),
    ]  # fmt: skip
    corpus.columns.apply(np.array([6]), [auctioned(campaign=Campaign.NONE)])
    assert sorted(pooled(asked(corpus, 0), corpus, held, AuctionSettings()).rows.tolist()) == [1, 4]


def test_views_are_counted_by_row_whoever_tells_them() -> None:
    held = Deliveries()
    held.add(np.array([3, 3, 1]))
    assert held.of(np.array([0, 1, 3, 9])).tolist() == [0, 1, 2, 0]
    corpus = corpus_of([auctioned(), auctioned()])
    held.tell(corpus.columns, {corpus.columns.item_ids[1]: 7})
    assert held.of(np.array([0, 1, 5])).tolist() == [0, 7, 0]


def test_the_score_weighs_standardised_need_bid_and_similarity() -> None:
    pool = Pool(
        np.array([0, 0, 0, 1]), np.arange(4), np.array([1.0, 2.0, 3.0, 9.0]),
        np.array([1.0, np.e**2, np.nan, 4.0]), np.zeros(4, np.float32),
    )  # fmt: skip
    chosen = AuctionSettings(need_weight=2, bid_weight=1, similarity_weight=0.5)
    near = np.array([0.1, 0.3, 0.2, 0.9])
    z = (np.array([1, 2, 3]) - 2) / np.sqrt(2 / 3)
    found = scored(pool, near, chosen)
    assert found[:3] == pytest.approx(
        2 * z + np.array([-1, 1, 0]) + 0.5 * np.array([z[0], z[2], z[1]])
    )
    assert found[3] == 0, "alone, it is its pool's mean"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.01, 50), min_size=1, max_size=5), st.integers(1, 3))
def test_chances_are_those_counted_over_all_orders_of_the_draw(weights, draws) -> None:
    exact = np.zeros((draws, len(weights)))
    for order in permutations(range(len(weights)), min(draws, len(weights))):
        chance, left = 1.0, sum(weights)
        for i in order:
            chance *= weights[i] / left
            left = max(left - weights[i], 1e-12)
        for place, i in enumerate(order):
            exact[place, i] += chance
    padded = np.array([[*weights, 0.0], [0.0] * (len(weights) + 1)])
    found = marginals(padded, draws)
    np.testing.assert_allclose(found[0, :, :-1], exact, rtol=1e-6, atol=1e-9)
    assert not found[0, :, -1].any()
    assert not found[1].any()


def test_items_come_up_as_often_as_their_chance_says_and_those_behind_more() -> None:
    queries = 40_000
    need = [1.0, 4.0, 3.0, 2.0]
    pool = pool_of(*[need] * queries)
    flat = msgspec.structs.replace(NEED_ALONE, need_weight=0)
    drawn = draw(pool, np.zeros(len(pool)), 6, flat, np.random.default_rng(1), queries)
    exact = marginals(np.array([need]), 2)[0]
    for number, place in enumerate((1, 3)):
        at = drawn.places == place
        share = np.bincount(drawn.rows[at] - 500, minlength=4) / queries
        np.testing.assert_allclose(share, exact[number], atol=0.01)
        np.testing.assert_allclose(drawn.chance[at], exact[number][drawn.rows[at] - 500])
    assert exact[0].tolist() == [0.1, 0.4, 0.3, 0.2]


def test_the_best_of_the_score_alone_are_drawn_and_only_at_places_of_the_list() -> None:
    pool = pool_of([1.0] * 8, [1.0])
    best = msgspec.structs.replace(NEED_ALONE, drawn_from=2)
    score = np.array([0, 5, 1, 0, 4, 0, 0, 0, 0], float)
    drawn = draw(pool, score, np.array([6, 3]), best, np.random.default_rng(2), 2)
    assert set(drawn.rows[drawn.queries == 0].tolist()) == {501, 504}
    assert drawn.places.tolist() == [1, 3, 1], "one item in the second pool, for one place"
    assert drawn.chance[2] == 1
    short = draw(pool, score, 1, best, np.random.default_rng(2), 2)
    assert not len(short), "a list of one has no second place"
    none = msgspec.structs.replace(best, places=())
    assert not len(draw(pool, score, 6, none, np.random.default_rng(2), 2))


def placed_by_hand(rows: list[int], fixed: list[bool], drawn: dict[int, int]) -> list[int]:
    """place -> row, one at a time: pins stay, draws take their places, the rest fills up."""
    seats = {p: r for p, (r, f) in enumerate(zip(rows, fixed, strict=True)) if f}
    seats |= drawn
    rest = [r for r, f in zip(rows, fixed, strict=True) if not f and r not in drawn.values()]
    out: list[int] = []
    place = 0
    while rest or any(p >= place for p in seats):
        if place in seats:
            out.append(seats[place])
        elif rest:
            out.append(rest.pop(0))
        place += 1
    return out


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=3), st.data(),
)  # fmt: skip
def test_drawn_items_take_their_places_pins_keep_theirs_and_the_rest_moves_back(
    lengths, data
) -> None:
    listed = lists(*lengths)
    fixed = np.array(data.draw(st.lists(st.booleans(), min_size=len(listed), max_size=len(listed))))
    fixed = fixed.astype(bool)
    queries, rows, places = [], [], []
    for q, length in enumerate(lengths):
        pins = fixed[listed.queries == q]
        free = [r for r in (*range(length), 500, 501, 502) if r >= length or not pins[r]]
        chosen = data.draw(st.lists(st.sampled_from(free), max_size=3, unique=True))
        at = sorted(data.draw(st.lists(st.integers(0, 11), min_size=len(chosen),
                                       max_size=len(chosen), unique=True)))  # fmt: skip
        queries += [q] * len(chosen)
        rows += chosen
        places += at
    all_of = Drawn(*(np.array(x, np.int64) for x in (queries, rows, places)),
                   np.full(len(rows), 0.5))  # fmt: skip
    drawn = seated(listed, fixed, all_of)
    pinned = {(int(q), int(r)) for q, r in zip(listed.queries[fixed], listed.ranks[fixed],
                                               strict=True)}  # fmt: skip
    expected = [(q, p) for q, p in zip(queries, places, strict=True) if (q, p) not in pinned]
    assert list(zip(drawn.queries.tolist(), drawn.places.tolist(), strict=True)) == expected
    counts = np.bincount(drawn.queries, minlength=len(lengths))
    chosen_entries = replace(
        lists(*([1] * len(lengths))).take(np.arange(0)), offsets=offsets_of(counts)
    )
    n = len(drawn)
    chosen_entries = chosen_entries.with_columns(
        rows=drawn.rows, sources=np.zeros(n, np.uint32), merged=np.zeros(n, np.float32),
        source_ranks=np.zeros((n, 2), np.uint16), source_scores=np.zeros((n, 2), np.float32),
        score=np.zeros(n), probability=np.ones(n), blend=np.zeros(n),
    )  # fmt: skip
    after, origin = placed(listed, fixed, chosen_entries, drawn, SIZE)
    for q, length in enumerate(lengths):
        part = slice(after.offsets[q], after.offsets[q + 1])
        mine = drawn.queries == q
        seats = dict(zip(drawn.places[mine].tolist(), drawn.rows[mine].tolist(), strict=True))
        by_hand = placed_by_hand(list(range(length)), fixed[listed.queries == q].tolist(), seats)
        assert after.rows[part].tolist() == by_hand
    whole = np.concatenate([listed.rows, drawn.rows])
    np.testing.assert_array_equal(whole[origin], after.rows)


def test_the_pool_enters_behind_the_candidates_and_what_was_found_enters_once() -> None:
    listed = lists(3, 2)
    pool = Pool(
        np.array([0, 0, 1]), np.array([1, 700, 701]), np.ones(3), np.ones(3),
        np.zeros(3, np.float32),
    )  # fmt: skip
    bare = listed.with_columns(score=None, probability=None, blend=None)
    both, only = with_pool(bare, pool, SIZE)
    assert both.rows.tolist() == [0, 1, 2, 700, 0, 1, 701]
    assert only.tolist() == [700, SIZE + 701]
    assert both.sources[[3, 6]].tolist() == [0, 0]


def test_chance_leaves_auction_places_alone_and_tells_the_chance_of_their_draw() -> None:
    listed = lists(6, 6)
    drawn = np.full(12, np.nan)
    drawn[[2, 8]] = [0.25, 0.5]
    ranked = Ranked(
        candidates=listed, sponsored=~np.isnan(drawn), fixed=~np.isnan(drawn), drawn=drawn,
        plans={}, ms={},
    )  # fmt: skip
    still = as_ordered(ranked, 4)
    assert still.propensity[:4].tolist() == [1, 1, 0.25, 1]
    assert np.isnan(still.propensity[4:6]).all()
    mixed = explored(ranked, 4, 1.0, np.random.default_rng(3))
    rows = mixed.ranked.candidates.rows
    assert (rows[2], rows[8]) == (2, 2)
    assert mixed.propensity[:4] == pytest.approx([1 / 3, 1 / 3, 0.25, 1 / 3])
    assert mixed.propensity[8] == 0.5
    assert places_in_runs(mixed.ranked.candidates.queries).max() == 5
