"""What rules do to a list, beside a reading of the same rules one item at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from builders import item
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kindred.indexer.columns import Columns
from kindred.rerank.blend import blend
from kindred.rerank.corpus import corpus_of
from kindred.rerank.funnel import Asked, Funnel, Ranked, order
from kindred.rerank.rules import RuleBook
from kindred.rerank.trail import Trail
from kindred.retrieval.queries import Queries, make_queries
from kindred.retrieval.segments import offsets_of
from kindred.retrieval.sources import SOURCES
from kindred.schemas.item import Item, Status
from kindred.schemas.query import Filters
from kindred.schemas.ranking import Candidates
from kindred.schemas.rule import Effect, Match, Rule, SeedScope
from kindred.schemas.settings import BlendSettings, KindredSettings

NOW = 1000
SELLERS, BRANDS = ("ann", "bob", None), ("acme", "zenith", None)
CATEGORIES = (("home",), ("home", "sofas"), ("home", "sofas", "beds"), ("garden",), ())
MATERIALS = ("oak", "steel", None)
COUNT = 24
NO_FILTERS = Filters()
FACTOR = 3.0


def market() -> list[Item]:
    """Every third row is about something else in each respect; row 5 has ended."""
    random = np.random.default_rng(3)
    items = []
    for n in range(COUNT):
        material = MATERIALS[random.integers(3)]
        items.append(
            item(
                item_id=f"i{n}",
                seller_id=SELLERS[random.integers(3)],
                brand=BRANDS[random.integers(3)],
                category=CATEGORIES[random.integers(5)],
                attributes={} if material is None else {"material": material, "n": float(n)},
                status=Status.ENDED if n == 5 else Status.ACTIVE,
            )
        )
    return items


ITEMS = market()


def columns_of(items: Sequence[Item]) -> Columns:
    columns = Columns()
    columns.apply(np.arange(len(items)), items)
    return columns


COLUMNS = columns_of(ITEMS)


def rule(number: int, effect: Effect, **facts: Any) -> Rule:
    told: dict[str, Any] = {"match": Match(items=("i1",)), "author": "ann", "reason": "so"}
    told |= {"place": facts.pop("place", 1)} if effect is Effect.PIN else {}
    told |= {"factor": FACTOR} if effect is Effect.BOOST else {}
    return Rule(rule_id=f"r{number}", effect=effect, **{**told, **facts})


def queries(seeds: Sequence[int], filters: Filters = NO_FILTERS) -> Queries:
    """One question about each seed."""
    return make_queries(
        COLUMNS, np.arange(len(seeds) + 1), np.array(seeds), now=NOW, half_life=3.0,
        filters=(filters,),
    )  # fmt: skip


def found(lists: Sequence[Sequence[int]]) -> Candidates:
    """Candidates in the order of the merge."""
    n = sum(map(len, lists))
    return Candidates(
        offsets=offsets_of(np.array([len(rows) for rows in lists])),
        rows=np.array([row for rows in lists for row in rows], np.int64),
        sources=np.ones(n, np.uint32),
        source_ranks=np.ones((n, len(SOURCES)), np.uint16),
        source_scores=np.zeros((n, len(SOURCES)), np.float32),
        merged=np.concatenate([np.linspace(2, 1, len(rows)) for rows in lists]).astype(np.float32),
    )


def answered(
    rules: Sequence[Rule],
    lists: Sequence[Sequence[int]],
    seeds: Sequence[int],
    *,
    k: int = 6,
    trail: Trail | None = None,
    filters: Filters = NO_FILTERS,
    **asked: Any,
) -> Ranked:
    settings = KindredSettings()
    funnel = Funnel(
        corpus=corpus_of(COLUMNS, {}, {}, settings),
        recall=settings.recall,
        blend=settings.blend,
        rules=RuleBook(rules, COLUMNS),
    )
    return order(
        funnel, queries(seeds, filters), found(lists), k=k, until="blend", asked=Asked(**asked),
        trail=trail,
    )  # fmt: skip


def rows_of(ranked: Ranked) -> list[list[int]]:
    held = ranked.candidates
    return [held.rows[a:b].tolist() for a, b in zip(held.offsets, held.offsets[1:], strict=False)]


def under(category: tuple[str, ...], paths: Sequence[tuple[str, ...]]) -> bool:
    return any(category[: len(path)] == path for path in paths)


def matches(rule: Rule, item: Item) -> bool:
    """A rule's conditions, read one by one."""
    m = rule.match
    return (
        (not m.items or item.item_id in m.items)
        and (not m.sellers or item.seller_id in m.sellers)
        and (not m.brands or item.brand in m.brands)
        and (not m.categories or under(item.category, m.categories))
        and all(item.attributes.get(name) == value for name, value in m.attributes.items())
    )


def acts(rule: Rule, seed: Item, surface: str) -> bool:
    scope = rule.seeds
    about = scope is None or seed.item_id in scope.items or under(seed.category, scope.categories)
    return about and rule.active(NOW) and rule.stands_on(surface)


def words(*values: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from([*values]), max_size=2, unique=True).map(tuple)


PATHS = words(("home",), ("home", "sofas"), ("garden",), ("no", "such"))
NAMES = words(*(f"i{n}" for n in range(COUNT)), "unheard of")
SCOPES = st.none() | st.builds(SeedScope, items=NAMES, categories=PATHS).filter(
    lambda s: bool(s.items or s.categories)
)
MATCHES = st.builds(
    Match,
    items=st.just(()) | NAMES,
    sellers=words("ann", "bob", "nobody"),
    brands=words("acme", "zenith"),
    categories=PATHS,
    attributes=st.sampled_from([{}, {"material": "oak"}, {"material": "steel"}, {"colour": "x"}]),
).filter(lambda m: not m.empty)
TIMES = {
    "starts": st.sampled_from([None, NOW, NOW + 1]),
    "ends": st.sampled_from([None, NOW, NOW + 9]),
    "surfaces": words("view_item", "home"),
    "seeds": SCOPES,
}


@st.composite
def rulebooks(draw: st.DrawFn) -> list[Rule]:
    rules = []
    for number in range(draw(st.integers(0, 12))):
        effect = draw(st.sampled_from([*Effect]))
        facts = {name: draw(values) for name, values in TIMES.items()}
        if effect is Effect.PIN:
            name = draw(st.sampled_from([f"i{n}" for n in range(COUNT)]))
            facts |= {"match": Match(items=(name,)), "place": draw(st.integers(1, 8))}
        else:
            facts["match"] = draw(MATCHES)
        rules.append(rule(number, effect, **facts))
    return rules


LISTS = st.lists(st.sampled_from(range(COUNT)), max_size=14, unique=True)


@hypothesis_settings(max_examples=300, deadline=None)
@given(rulebooks(), LISTS, LISTS, st.sampled_from(["view_item", "home", "elsewhere"]))
def test_rules_do_what_one_item_at_a_time_would(
    rules: list[Rule], first: list[int], second: list[int], surface: str
) -> None:
    seeds = (0, 7)
    lists = [
        [r for r in rows if r not in (5, seed)]
        for rows, seed in zip((first, second), seeds, strict=True)
    ]
    ranked = answered(rules, lists, seeds, surface=surface)
    assert ranked.fixed is not None
    fixed = np.split(ranked.fixed, ranked.candidates.offsets[1:-1])
    for got, held, asked, seed in zip(rows_of(ranked), fixed, lists, seeds, strict=True):
        acting = [r for r in rules if acts(r, ITEMS[seed], surface)]

        def hit(effect: Effect, row: int, acting: list[Rule] = acting) -> bool:
            return any(r.effect is effect and matches(r, ITEMS[row]) for r in acting)

        left = [row for row in asked if not hit(Effect.EXCLUDE, row)]
        pins: dict[int, int] = {}
        order_of = [r for r in acting if r.effect is Effect.PIN]
        for r in sorted(order_of, key=lambda r: (r.place, r.seeds is None, r.rule_id)):
            row = int(r.match.items[0][1:])
            if row not in pins and row not in (5, seed) and not hit(Effect.EXCLUDE, row):
                pins[row] = max((r.place or 0) - 1, max(pins.values(), default=-1) + 1)
        size = len({*left, *pins})
        assert sorted(got) == sorted({*left, *pins})
        assert {row for row, pinned in zip(got, held, strict=True) if pinned} == {*pins}
        for nth, (row, place) in enumerate(pins.items()):
            assert got.index(row) == min(place, size - len(pins) + nth)
        boost = {row: sum(r.effect is Effect.BOOST and matches(r, ITEMS[row]) for r in acting)
                 for row in left}  # fmt: skip
        score = {
            row: merged * FACTOR ** boost.get(row, 0)
            for row, merged in zip(asked, np.linspace(2, 1, len(asked)), strict=True)
        }
        free = [row for row in left if row not in pins]
        expected = sorted(free, key=lambda row: (hit(Effect.BURY, row), -score[row]))
        assert [row for row in got if row not in pins] == expected


def test_exclusions_are_counted_by_rule_and_told_to_a_trail() -> None:
    rules = [
        rule(0, Effect.EXCLUDE, match=Match(items=("i1", "i2"))),
        rule(1, Effect.EXCLUDE, match=Match(items=("i2", "i3"))),
    ]
    trail = Trail()
    ranked = answered(rules, [[1, 2, 3, 4]], [0], trail=trail)
    assert ranked.left_out == {"rule:r0": 2, "rule:r1": 1}
    assert rows_of(ranked) == [[4]]
    step = trail.step("exclude")
    assert step is not None
    assert {name: rows.tolist() for name, rows in step.lost.items()} == {
        "rule:r0": [1, 2], "rule:r1": [3],
    }  # fmt: skip


def test_a_trail_names_the_rules_that_moved_an_item() -> None:
    rules = [
        rule(0, Effect.PIN, match=Match(items=("i9",)), place=2),
        rule(1, Effect.BURY, match=Match(items=("i1",))),
    ]
    trail = Trail()
    ranked = answered(rules, [[1, 2, 3, 4]], [0], trail=trail)
    assert rows_of(ranked) == [[2, 9, 3, 4, 1]]
    step = trail.step("rules")
    assert step is not None
    assert (step.lost_to(9), step.lost_to(1), step.lost_to(3)) == ("rule:r0", "rule:r1", None)


def test_what_the_visitor_sells_or_bought_does_not_come_back() -> None:
    own = [row for row in range(1, COUNT) if ITEMS[row].seller_id == "ann" and row != 5]
    other = [row for row in range(1, COUNT) if ITEMS[row].seller_id != "ann" and row != 5]
    bought = {"bought": np.array([other[0], 77])}
    ranked = answered([], [[*own, *other]], [0], visitor="ann", leave_out=bought)
    assert ranked.left_out == {"own": len(own), "bought": 1}
    assert rows_of(ranked) == [other[1:]]
    pinned = [rule(0, Effect.PIN, match=Match(items=(f"i{own[0]}",)))]
    assert rows_of(answered(pinned, [other], [0], visitor="ann")) == [other]
    assert answered([], [[*own, *other]], [0], visitor="a stranger").left_out == {}


def test_a_pin_stands_only_where_the_request_allows_its_item() -> None:
    pin = [rule(0, Effect.PIN, match=Match(items=("i9",)))]
    refuses = Filters(not_sellers=(str(ITEMS[9].seller_id),), price_min_minor=12_501)
    assert rows_of(answered(pin, [[1, 2]], [0], filters=refuses)) == [[1, 2]]
    assert rows_of(answered(pin, [[1, 2]], [9])) == [[1, 2]]
    ended = [rule(0, Effect.PIN, match=Match(items=("i5",)))]
    assert rows_of(answered(ended, [[1, 2]], [0])) == [[1, 2]]
    assert rows_of(answered(pin, [[]], [0])) == [[9]]


def test_a_pinned_item_that_nobody_found_comes_with_features() -> None:
    pin = [rule(0, Effect.PIN, match=Match(items=("i9",)), place=2)]
    held = answered(pin, [[1, 2, 3]], [0]).candidates
    assert held.rows.tolist() == [1, 9, 2, 3]
    assert held.sources.tolist() == [1, 0, 1, 1]
    assert held.features is not None
    assert np.isfinite(held.features).any(axis=1).all()


@pytest.mark.parametrize("factor", [0.1, 3.0])
def test_a_boost_is_a_factor_on_the_probability(factor: float) -> None:
    settings = BlendSettings(a=0.0, seller_cap=0)
    boost = [rule(0, Effect.BOOST, match=Match(items=("i1",)), factor=factor)]
    candidates = found([[1, 2, 3]]).with_columns(probability=np.array([0.1, 0.2, 0.05]))
    acting = RuleBook(boost, COLUMNS).acting(queries([0]), "view_item")
    got, _ = blend(candidates, COLUMNS, settings, 6, acting=acting)
    scaled = candidates.with_columns(probability=np.array([0.1 * factor, 0.2, 0.05]))
    expected, _ = blend(scaled, COLUMNS, settings, 6)
    assert got.rows.tolist() == expected.rows.tolist()
    assert got.blend == pytest.approx(expected.blend)
    assert got.probability is not None
    assert sorted(got.probability) == [0.05, 0.1, 0.2]


def test_items_that_come_later_are_matched() -> None:
    columns = columns_of(ITEMS[:1])
    rules = [
        rule(0, Effect.EXCLUDE, match=Match(sellers=("late",))),
        rule(1, Effect.EXCLUDE, match=Match(categories=(("new",),))),
        rule(2, Effect.EXCLUDE, match=Match(items=("later",))),
    ]
    book = RuleBook(rules, columns)
    columns.apply(np.array([1]), [item(item_id="i1", seller_id="somebody")])
    assert not book.stale, "nothing that it waits for has come"
    about = queries([0])
    assert book.acting(about, "") is None
    late = item(item_id="later", seller_id="late", category=("new", "thing"))
    columns.apply(np.array([2]), [late])
    assert book.stale
    anew = RuleBook(rules, columns)
    acting = anew.acting(about, "")
    assert not anew.stale
    assert acting is not None
    rows = np.array([0, 2])
    lost = acting.by_rule(Effect.EXCLUDE, rows, np.zeros(2, np.int64))
    assert {name: of.tolist() for name, of in lost.items()} == {
        "rule:r0": [2], "rule:r1": [2], "rule:r2": [2],
    }  # fmt: skip
    columns.apply(np.array([3]), [item(seller_id="late")])
    assert acting.hit(Effect.EXCLUDE, np.array([3]), np.zeros(1, np.int64)).all()


def test_a_thousand_rules_act_as_each_of_them() -> None:
    rules = [
        rule(n, Effect.EXCLUDE, match=Match(items=(f"i{n % COUNT}",)), surfaces=(f"s{n}",))
        for n in range(1000)
    ]
    lists = [[row for row in range(1, COUNT) if row != 5]]
    assert answered(rules, lists, [0], surface="s1").left_out == {"rule:r1": 1}
    assert answered(rules, lists, [0], surface="s999").left_out == {f"rule:r{999}": 1}
    assert answered(rules, lists, [0], surface="other").left_out == {}
