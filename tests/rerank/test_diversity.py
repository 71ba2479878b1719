"""Near-duplicates take one place, and a greedy pass spreads categories and sellers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import item
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kindred.indexer.columns import Columns
from kindred.indexer.store.tables import VectorTable
from kindred.rerank.arrange import arranged
from kindred.rerank.corpus import corpus_of
from kindred.rerank.diversity import greedy, spread
from kindred.rerank.duplicates import repeated
from kindred.rerank.trail import Trail
from kindred.retrieval.segments import offsets_of, unit
from kindred.schemas.ranking import Candidates
from kindred.schemas.settings import DiversitySettings, KindredSettings

TITLES = DiversitySettings(same_title=True)


def lists(*rows: list[int], values: Any = None) -> Candidates:
    """Candidates in order; `blend` falls by one from place to place unless told."""
    flat = np.concatenate([np.array(r, np.int64) for r in rows])
    held = Candidates(
        offsets=offsets_of(np.array([len(r) for r in rows])),
        rows=flat,
        sources=np.ones(len(flat), np.uint32),
        source_ranks=np.ones((len(flat), 1), np.uint16),
        source_scores=np.zeros((len(flat), 1), np.float32),
        merged=np.zeros(len(flat), np.float32),
    )
    falling = -held.ranks.astype(np.float64)
    return held.with_columns(blend=falling if values is None else np.array(values, np.float64))


def columns_of(*facts: dict[str, Any]) -> Columns:
    columns = Columns()
    columns.apply(np.arange(len(facts)), [item(**f) for f in facts])
    return columns


SAME = columns_of(
    {"title": "Red Chair, 4 legs", "seller_id": "a", "price_minor": 100},
    {"title": "red chair 4 LEGS", "seller_id": "b", "price_minor": 100},
    {"title": "red chair 4 legs", "seller_id": "a", "price_minor": 900},
    {"title": "red chair 5 legs", "seller_id": "a", "price_minor": 100},
    {"title": "red chair 4 legs", "seller_id": "c", "price_minor": 500},
    {"title": "", "seller_id": "a", "price_minor": 100},
    {"title": "", "seller_id": "a", "price_minor": 100},
    {"title": "red chair 4 legs", "seller_id": None, "price_minor": None, "currency": None},
    {"title": " ".join(f"w{n}" for n in range(20)), "seller_id": "a", "price_minor": 100},
    {"title": " ".join(f"w{n}" for n in range(20)), "seller_id": "a", "price_minor": 100},
)


def test_one_title_at_one_price_or_of_one_seller_is_one_listing() -> None:
    again = repeated(lists([*range(10)]), SAME, {}, TITLES)
    assert np.flatnonzero(again).tolist() == [1, 2]
    other_way = repeated(lists([*range(9, -1, -1)]), SAME, {}, TITLES)
    # The dear one of seller a meets nobody: the one of its seller stands behind it.
    assert [9 - n for n in np.flatnonzero(other_way).tolist()] == [0]


def test_each_question_has_its_own_duplicates() -> None:
    assert not repeated(lists([0], [1], [2]), SAME, {}, TITLES).any()
    assert repeated(lists([3, 0], [1, 4, 0]), SAME, {}, TITLES).tolist() == [
        False, False, False, False, True,
    ]  # fmt: skip


def test_only_the_first_are_looked_at_and_what_is_kept_is_kept() -> None:
    held = lists([0, 3, 1])
    few = DiversitySettings(first=2)
    assert not repeated(held, SAME, {}, few).any()
    keep = np.array([False, False, True])
    assert not repeated(held, SAME, {}, TITLES, keep).any()


def tables(count: int, seed: int = 1) -> dict[str, VectorTable]:
    """Text of all rows, pictures of the even ones; a third of the rows lies near another."""
    random = np.random.default_rng(seed)
    made = {}
    for space, rows in (("text", np.arange(count)), ("image", np.arange(0, count, 2))):
        raw = random.normal(size=(count, 8))
        raw[::3] = raw[0] + 0.1 * random.normal(size=raw[::3].shape)
        made[space] = VectorTable(8)
        made[space].set(rows, unit(raw[rows]))
    return made


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(range(30)), unique=True, max_size=12), min_size=1,
                max_size=40), st.sampled_from([0.3, 0.9, 0.99]))  # fmt: skip
def test_near_ones_are_found_as_pair_by_pair(asked: list[list[int]], least: float) -> None:
    made = tables(30)
    columns = columns_of(*({"title": f"t{n}"} for n in range(30)))
    settings = DiversitySettings(same_title=False, near_duplicates=least)
    got = repeated(lists(*asked), columns, made, settings)

    def near(a: int, b: int) -> bool:
        pairs = []
        for space in ("text", "image"):
            vectors, present = made[space].gather(np.array([a, b]))
            if present.all():
                pairs.append(float(vectors[0] @ vectors[1]))
        return all(cosine >= least for cosine in pairs)

    expected = [
        any(near(row, earlier) for earlier in rows[:at])
        for rows in asked
        for at, row in enumerate(rows)
    ]
    assert got.tolist() == expected


def by_hand(
    value: list[float], category: list[int], seller: list[int], prices: tuple[float, float]
) -> list[int]:
    """The greedy pass, one candidate at a time."""
    left, chosen = list(range(len(value))), []
    while left:

        def worth(n: int, chosen: list[int] = chosen) -> float:
            same = sum(category[m] == category[n] >= 0 for m in chosen)
            sold = sum(seller[m] == seller[n] >= 0 for m in chosen)
            return value[n] - prices[0] * same - prices[1] * sold

        best = max(left, key=lambda n: (worth(n), -n))
        left.remove(best)
        chosen.append(best)
    return chosen


@hypothesis_settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(-40, 0), st.integers(-1, 2), st.integers(-1, 2)), min_size=1,
                max_size=12), st.sampled_from([0.0, 0.5, 1.0, 7.0]),
       st.sampled_from([0.0, 0.25, 2.0]))  # fmt: skip
def test_the_greedy_pass_is_that_of_one_at_a_time(
    entries: list[tuple[int, int, int]], first: float, second: float
) -> None:
    value = [entry[0] / 4 for entry in entries]
    category, seller = [e[1] for e in entries], [e[2] for e in entries]
    prices = ((np.array([category]), first), (np.array([seller]), second))
    got = greedy(np.array([value]), prices, len(entries))
    assert got[0].tolist() == by_hand(value, category, seller, (first, second))


SHOP = columns_of(
    *({"category": ("home", c), "seller_id": s, "title": f"t{n}"}
      for n, (c, s) in enumerate(zip("aaaabbbc", "xxyyxyxz", strict=True)))
)  # fmt: skip


def test_a_price_spreads_the_first_k_and_leaves_the_rest() -> None:
    held = lists([*range(8)], values=-0.1 * np.arange(8))
    settings = DiversitySettings(category=1.0)
    order = spread(held, SHOP, held.blend, settings, k=3)
    assert order.tolist() == [0, 4, 7, 1, 2, 3, 5, 6]
    assert spread(held, SHOP, held.blend, DiversitySettings(), k=3).tolist() == [*range(8)]


def test_several_questions_are_each_spread() -> None:
    held = lists([0, 1, 4], [], [7, 2, 3, 5], values=[0, -0.1, -0.2, 0, -0.1, -0.2, -0.3])
    settings = DiversitySettings(category=1.0, seller=1.0)
    order = spread(held, SHOP, held.blend, settings, k=np.array([3, 6, 2]))
    assert held.rows[order].tolist() == [0, 4, 1, 7, 2, 3, 5]
    assert held.take(order).offsets.tolist() == held.offsets.tolist()
    three = spread(held, SHOP, held.blend, DiversitySettings(category=1.0), k=3)
    assert held.rows[three].tolist() == [0, 4, 1, 7, 2, 5, 3]


def test_what_is_past_the_sellers_cap_stays_behind() -> None:
    # Sellers x, x, y, y and, past a cap of 1, the second of each.
    held = lists([0, 2, 1, 3], values=[0.0, -0.1, -0.2, -0.3])
    settings = DiversitySettings(seller=5.0, category=5.0)
    order = spread(held, SHOP, held.blend, settings, k=4, seller_cap=1)
    assert held.rows[order].tolist() == [0, 2, 1, 3]


def test_arranging_drops_duplicates_and_tells_a_trail() -> None:
    corpus = corpus_of(SAME, {}, {}, KindredSettings())
    trail = Trail()
    done = arranged(lists([0, 3, 1, 4]), corpus, TITLES, 4, trail=trail)
    assert done.candidates.rows.tolist() == [0, 3, 4]
    assert done.entries.tolist() == [0, 1, 3]
    assert done.left_out == {"duplicates": 1}
    step = trail.step("duplicates")
    assert step is not None
    assert step.lost_to(1) == "duplicates"
    plain = arranged(lists([0, 3, 1, 4]), corpus, None, 4)
    assert plain.candidates.rows.tolist() == [0, 3, 1, 4]


def test_nothing_is_spread_without_a_probability() -> None:
    corpus = corpus_of(SHOP, {}, {}, KindredSettings())
    settings = DiversitySettings(category=9.0)
    held = lists([*range(8)])
    assert held.blend is not None
    spread_out = arranged(held, corpus, settings, 3).candidates.rows
    assert spread_out.tolist() != held.rows.tolist()
    merged = arranged(held.with_columns(blend=None), corpus, settings, 3).candidates.rows
    assert merged.tolist() == held.rows.tolist()


@pytest.mark.parametrize("price", [0.0, 0.3, 3.0])
def test_nothing_is_lost_or_told_twice(price: float) -> None:
    random = np.random.default_rng(5)
    held = lists(*(random.permutation(8).tolist() for _ in range(20)))
    settings = DiversitySettings(category=price, seller=price)
    assert held.blend is not None
    order = spread(held, SHOP, held.blend, settings, k=4, seller_cap=2)
    assert sorted(order.tolist()) == list(range(len(held)))
    assert held.queries[order].tolist() == held.queries.tolist()
