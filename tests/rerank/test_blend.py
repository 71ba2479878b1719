"""What an ad rate may and may not do to an order."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from builders import item
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kindred.indexer.columns import Columns
from kindred.rerank.arms import under
from kindred.rerank.blend import FORMULAS, blend, rate_adds, usual_price, with_usual_price
from kindred.rerank.blend_cost import blend_costs
from kindred.rerank.trail import Trail
from kindred.retrieval.segments import offsets_of
from kindred.retrieval.sources import SOURCES
from kindred.schemas.item import Campaign
from kindred.schemas.ranking import Candidates
from kindred.schemas.settings import STRENGTH_OF, BlendArm, BlendSettings

OPEN = BlendSettings(formula="power", b=0.25, floor=0.0, seller_cap=0, sponsored_max=100)
VALUE = msgspec.structs.replace(OPEN, formula="expected_value", a=2.0, p0_minor=1000.0)


def lists(probabilities: list[list[float]]) -> Candidates:
    lengths = np.array([len(p) for p in probabilities])
    n = int(lengths.sum())
    flat = np.concatenate([np.array(p, float) for p in probabilities])
    return Candidates(
        offsets=offsets_of(lengths),
        rows=np.arange(n),
        sources=np.zeros(n, np.uint32),
        source_ranks=np.zeros((n, len(SOURCES)), np.uint16),
        source_scores=np.zeros((n, len(SOURCES)), np.float32),
        merged=np.zeros(n, np.float32),
        probability=flat,
    )


def columns(
    rates: list[int], sellers: list[str] | None = None, prices: list[int | None] | None = None
) -> Columns:
    out = Columns()
    told = prices or [1000] * len(rates)
    items = [
        item(
            ad_rate_bp=rate,
            campaign=Campaign.PLS if rate else Campaign.NONE,
            seller_id=sellers[i] if sellers else f"seller-{i}",
            price_minor=told[i],
            currency=None if told[i] is None else "EUR",
        )
        for i, rate in enumerate(rates)
    ]
    out.apply(np.arange(len(items)), items)
    return out


def test_the_power_blend_is_the_stated_formula_and_a_low_rate_takes_nothing():
    mixed, paid = blend(lists([[0.2, 0.1, 0.05]]), columns([1000, 0, 100]), OPEN, k=6)
    assert mixed.blend == pytest.approx(
        [math.log(0.2) + 0.25 * (math.log(1000 / 500) + 1), math.log(0.1), math.log(0.05)]
    )
    assert paid.tolist() == [True, False, True]


def test_the_expected_value_is_a_sale_and_its_fee_in_one_sum():
    known = columns([1000, 0, 1000, 1000], prices=[1000, 1000, 500, 9_000])
    mixed, paid = blend(lists([[0.4, 0.3, 0.2, 0.1]]), known, VALUE, k=6)
    fees = [1 + 2 * 0.1, 1.0, 1 + 2 * 0.1 * 0.5, 1 + 2 * 0.1 * 5]
    assert np.exp(mixed.blend) == pytest.approx(np.array([0.4, 0.3, 0.2, 0.1]) * fees)
    assert paid.tolist() == [True, False, True, True]


def test_a_rate_of_an_unknown_price_adds_no_expected_fee_and_takes_no_place_of_the_quota():
    known = columns([3000, 900, 900], prices=[None, 1000, 1000])
    one = msgspec.structs.replace(VALUE, sponsored_max=1)
    trail = Trail()
    mixed, paid = blend(lists([[0.5, 0.4, 0.1]]), known, one, k=6, trail=trail)
    assert mixed.rows.tolist() == [0, 1, 2]
    assert paid.tolist() == [False, True, False]
    assert mixed.blend[0] == pytest.approx(math.log(0.5))
    step = trail.step("blend")
    assert step is not None
    assert step.lost_to(0) == "unpriced"
    by_power = msgspec.structs.replace(one, formula="power")
    assert blend(lists([[0.5, 0.4, 0.1]]), known, by_power, k=6)[1].tolist() == [True, False, False]


def test_the_usual_price_is_the_geometric_mean_of_what_is_known():
    known = columns([0, 0, 0], prices=[100, None, 10_000])
    assert usual_price(known) == pytest.approx(1000.0)
    assert usual_price(columns([0], prices=[None])) == 1.0
    assert with_usual_price(VALUE, known).p0_minor == 1000.0
    unset = msgspec.structs.replace(VALUE, p0_minor=0.0, a=3.0)
    filled = with_usual_price(unset, known)
    assert filled.p0_minor == pytest.approx(1000.0)
    rows = np.arange(3)
    assert rate_adds(known, rows, unset) == pytest.approx(rate_adds(known, rows, filled))


@hypothesis_settings(deadline=None)
@given(
    st.sampled_from(sorted(FORMULAS)), st.floats(0, 20), st.integers(0, 9000),
    st.integers(0, 9000), st.integers(0, 10**6), st.integers(0, 10**6),
)  # fmt: skip
def test_what_a_rate_adds_rises_with_it_from_nothing_and_is_bounded(
    formula, strength, rate, other, price, dearer
):
    low, high = sorted((rate, other))
    cheap, dear = sorted((price, dearer))
    settings = under(
        msgspec.structs.replace(VALUE, p0_minor=500.0),
        BlendArm(share=1.0, **{STRENGTH_OF[formula]: strength}),
    )
    assert settings.formula == formula

    def adds(rate: int, price: int | None) -> float:
        return float(rate_adds(columns([rate], prices=[price]), np.array([0]), settings)[0])

    assert 0 <= adds(low, price) <= adds(high, price)
    assert adds(high, cheap) <= adds(high, dear)
    assert adds(0, price) == adds(high, price) * 0
    most, bound = settings.rate_max_bp, math.ceil(settings.price_max * 500)
    assert adds(high, dear) <= adds(most, bound) + 1e-12
    assert adds(most + 10, bound + 10) == pytest.approx(adds(most, bound))
    # A price that is raised by a hundredth adds less than a hundredth of the value.
    assert adds(high, 1010) - adds(high, 1000) <= math.log(1.01)
    if strength == 0:
        assert adds(high, dear) == 0


@hypothesis_settings(deadline=None)
@given(
    st.sampled_from(sorted(FORMULAS)), st.floats(0, 5),
    st.lists(st.tuples(st.floats(1e-6, 1), st.sampled_from([0, 100, 900, 5000]),
                       st.sampled_from([None, 10, 1000, 50_000])), min_size=2, max_size=8),
    st.data(),
)  # fmt: skip
def test_nobody_falls_by_selling_more_or_by_paying_more(formula, strength, entries, data):
    arm = BlendArm(share=1.0, **{STRENGTH_OF[formula]: strength})
    settings = under(VALUE, arm)
    p, rates, prices = (list(x) for x in zip(*entries, strict=True))
    at = data.draw(st.integers(0, len(p) - 1))

    def place(p: list[float], rates: list[int]) -> int:
        mixed, _ = blend(lists([p]), columns(rates, prices=prices), settings, k=6)
        return mixed.rows.tolist().index(at)

    before = place(p, rates)
    likelier = [min(x * 1.5, 1.0) if n == at else x for n, x in enumerate(p)]
    dearer = [rate + 400 if n == at else rate for n, rate in enumerate(rates)]
    assert place(likelier, rates) <= before
    assert place(p, dearer) <= before
    if strength == 0:
        expected = sorted(range(len(p)), key=lambda n: (-p[n], n))
        mixed, _ = blend(lists([p]), columns(rates, prices=prices), settings, k=6)
        assert mixed.rows.tolist() == expected


def test_a_rate_lifts_an_item_over_a_slightly_better_one_and_not_over_a_much_better_one():
    near, _ = blend(lists([[0.10, 0.08]]), columns([0, 1000]), OPEN, k=6)
    far, _ = blend(lists([[0.10, 0.02]]), columns([0, 1000]), OPEN, k=6)
    assert near.rows.tolist() == [1, 0]
    assert far.rows.tolist() == [0, 1]


def test_with_b_zero_rates_change_nothing():
    none = msgspec.structs.replace(OPEN, b=0.0)
    mixed, _ = blend(lists([[0.1, 0.3, 0.2]]), columns([3000, 0, 500]), none, k=6)
    assert mixed.rows.tolist() == [1, 2, 0]


def test_a_sponsored_item_under_the_floor_competes_without_its_rate():
    floor = msgspec.structs.replace(OPEN, b=5.0, floor=0.3)
    mixed, paid = blend(lists([[0.5, 0.4, 0.1]]), columns([0, 0, 3000]), floor, k=2)
    assert mixed.rows.tolist() == [0, 1, 2]
    assert not paid.any()


def test_rates_are_clamped():
    clamped = msgspec.structs.replace(OPEN, rate_max_bp=1000)
    mixed, _ = blend(lists([[0.1, 0.1]]), columns([1000, 9000]), clamped, k=6)
    assert mixed.blend[0] == pytest.approx(mixed.blend[1])


def test_a_sellers_third_item_moves_behind_everybody_elses():
    cap = msgspec.structs.replace(OPEN, seller_cap=2)
    mixed, _ = blend(
        lists([[0.9, 0.8, 0.7, 0.1]]), columns([0] * 4, ["a", "a", "a", "b"]), cap, k=6
    )
    assert mixed.rows.tolist() == [0, 1, 3, 2]


def test_sponsored_overflow_competes_without_its_rate():
    cap = msgspec.structs.replace(OPEN, sponsored_max=1)
    mixed, paid = blend(lists([[0.10, 0.09, 0.085]]), columns([900, 2000, 0]), cap, k=6)
    assert mixed.rows.tolist() == [1, 0, 2]
    assert paid.tolist() == [True, False, False]


def test_a_list_of_one_sellers_sponsored_items_still_has_no_more_placed_by_rate():
    cap = msgspec.structs.replace(OPEN, sponsored_max=2, seller_cap=2)
    mixed, paid = blend(lists([[0.5, 0.4, 0.3, 0.2]]), columns([900] * 4, ["a"] * 4), cap, k=6)
    assert mixed.rows.tolist() == [0, 1, 2, 3]
    assert paid.sum() == 2


@hypothesis_settings(deadline=None)
@given(
    st.lists(st.lists(st.floats(1e-6, 1.0), max_size=8), min_size=1, max_size=4),
    st.integers(0, 3),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
def test_nothing_is_lost_and_the_caps_hold_in_the_head(probabilities, seller_cap, most, random):
    n = sum(len(p) for p in probabilities)
    rates = [random.choice([0, 200, 2500]) for _ in range(n)]
    sellers = [random.choice("abc") for _ in range(n)]
    settings = msgspec.structs.replace(OPEN, seller_cap=seller_cap, sponsored_max=most)
    before = lists(probabilities)
    after, paid = blend(before, columns(rates, sellers), settings, k=6)
    assert after.offsets.tolist() == before.offsets.tolist()
    for q in range(after.query_count):
        part = slice(after.offsets[q], after.offsets[q + 1])
        assert sorted(after.rows[part]) == sorted(before.rows[part])
        assert paid[part].sum() <= most


def by_hand(
    p: list[float], rates: list[int], prices: list[float], sellers: list[str],
    settings: BlendSettings, k: int,
) -> tuple[list[int], list[bool]]:  # fmt: skip
    """(order, placed by its rate, in it) of one list, an item at a time, as SPEC §3.8 says it."""
    floor = settings.floor * sorted(p, reverse=True)[min(k, len(p)) - 1] if p else 0.0
    mean = sum(math.log(x) for x in prices) / max(len(prices), 1)

    def value(i: int, paid: bool) -> float:
        rate = min(rates[i], settings.rate_max_bp) if paid else 0
        term = settings.c * (math.log(prices[i]) - mean) if settings.c else 0.0
        if settings.formula == "power":
            adds = settings.b * max(math.log(rate / settings.r0_bp) + 1, 0) if rate else 0.0
        else:
            price = min(prices[i] / math.exp(mean), settings.price_max)
            adds = math.log(1 + settings.a * rate / 10_000 * price)
        return math.log(p[i]) + adds + term

    may = [i for i in range(len(p)) if rates[i] > 0 and p[i] >= floor]
    best = sorted(range(len(p)), key=lambda i: (-value(i, i in may), i))
    paid = {i for i in best if i in may}
    paid = set([i for i in best if i in paid][: settings.sponsored_max])
    best = sorted(range(len(p)), key=lambda i: (-value(i, i in paid), i))
    counts: dict[str, int] = {}
    first, last = [], []
    for i in best:
        counts[sellers[i]] = counts.get(sellers[i], 0) + 1
        within = not settings.seller_cap or counts[sellers[i]] <= settings.seller_cap
        (first if within else last).append(i)
    order = first + last
    return order, [i in paid for i in order]


@hypothesis_settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(1e-6, 1.0), st.sampled_from([0, 0, 20, 300, 900, 5000]),
            st.integers(1, 9999), st.sampled_from("abc"),
        ),
        min_size=1, max_size=12,
    ),
    st.sampled_from(sorted(FORMULAS)), st.floats(0, 2), st.sampled_from([0.0, 0.5]),
    st.floats(0, 1), st.integers(0, 3), st.integers(0, 4), st.integers(1, 8),
)  # fmt: skip
def test_the_blend_is_the_one_made_an_item_at_a_time(
    entries, formula, strength, c, floor, cap, most, k
):
    p, rates, prices, sellers = (list(x) for x in zip(*entries, strict=True))
    settings = BlendSettings(
        formula=formula, a=strength, b=strength, c=c, floor=floor, seller_cap=cap,
        sponsored_max=most,
    )  # fmt: skip
    known = Columns()
    known.apply(
        np.arange(len(p)),
        [
            item(
                ad_rate_bp=rate, campaign=Campaign.PLS if rate else Campaign.NONE,
                seller_id=seller, price_minor=price,
            )
            for rate, price, seller in zip(rates, prices, sellers, strict=True)
        ],
    )  # fmt: skip
    mixed, paid = blend(lists([p]), known, settings, k)
    order, marked = by_hand(p, rates, prices, sellers, settings, k)
    values = np.empty(len(p))
    values[mixed.rows] = mixed.blend
    # Ties are ties of floats computed in another order: the values must agree, then the marks.
    np.testing.assert_allclose(values[order], mixed.blend, rtol=0, atol=1e-9)
    if len(np.unique(np.round(values, 9))) == len(values):
        assert mixed.rows.tolist() == order
        assert paid.tolist() == marked


def test_the_price_of_blending_is_counted_against_the_order_of_probabilities():
    known = columns([0, 2000, 0, 1000])
    p = [0.4, 0.3, 0.35, 0.01]
    mixed, paid = blend(lists([p]), known, OPEN, k=2)
    assert mixed.rows.tolist() == [1, 0, 2, 3]
    found = blend_costs(found_by_recall(mixed), paid, None, known, OPEN, k=2)
    second = 1 / math.log2(3)
    assert found.ndcg[0] == pytest.approx((0.3 + 0.4 * second) / (0.4 + 0.35 * second) - 1)
    assert found.fee[0] == pytest.approx(0.3 * 0.2 * 1000), "nothing sponsored was in the first two"


def test_an_unblended_order_costs_nothing_and_its_own_fees_are_not_gains():
    known = columns([1000, 0, 500])
    plain = msgspec.structs.replace(OPEN, b=0.0)
    mixed, paid = blend(lists([[0.5, 0.4, 0.3]]), known, plain, k=3)
    found = blend_costs(found_by_recall(mixed), paid, None, known, plain, k=3)
    assert found.ndcg.tolist() == [0.0]
    assert found.fee[0] == pytest.approx(0.0)


def test_a_view_at_an_auction_place_earns_its_share_of_the_flat_fee():
    known = columns([0, 0, 0])
    known.apply(
        np.array([2]),
        [item(campaign=Campaign.PLX, flat_fee_minor=900, target_views=300, ad_rate_bp=700)],
    )
    mixed, paid = blend(lists([[0.5, 0.4, 0.3]]), known, OPEN, k=2)
    shown = mixed.take(np.array([0, 2, 1]))
    drawn = np.array([np.nan, 0.5, np.nan])
    marked = np.array([False, True, False])
    found = blend_costs(found_by_recall(shown), marked, drawn, known, OPEN, k=2)
    assert found.fee[0] == pytest.approx(3.0)
    assert found.ndcg[0] == pytest.approx(
        (0.5 + 0.3 / math.log2(3)) / (0.5 + 0.4 / math.log2(3)) - 1
    )
    assert not paid.any()


@hypothesis_settings(deadline=None)
@given(st.lists(st.lists(st.floats(1e-6, 1.0), max_size=8), min_size=1, max_size=4),
       st.floats(0, 2), st.integers(1, 8))  # fmt: skip
def test_a_list_is_never_better_by_probability_than_its_own_order_of_probabilities(ps, b, k):
    n = sum(len(p) for p in ps)
    known = columns([[0, 900, 2500][i % 3] for i in range(n)])
    settings = msgspec.structs.replace(OPEN, b=b)
    mixed, paid = blend(lists(ps), known, settings, k)
    found = blend_costs(found_by_recall(mixed), paid, None, known, settings, k)
    assert (found.ndcg <= 1e-12).all()
    assert (found.ndcg > -1).all()
    if b == 0:
        assert np.abs(found.ndcg).max() < 1e-12


def found_by_recall(candidates: Candidates) -> Candidates:
    return candidates.with_columns(sources=np.ones(len(candidates), np.uint32))


def test_strengths_that_are_tried_must_share_everything_and_leave_some_answers_without():
    arms = [{"b": 0.0, "share": 0.05}, {"b": 0.25, "share": 0.45}, {"a": 0.5, "share": 0.5}]
    tried = msgspec.convert({"arms": arms}, BlendSettings)
    formulas = [under(tried, arm) for arm in tried.arms]
    assert [(s.formula, s.a, s.b) for s in formulas] == [
        ("power", tried.a, 0.0), ("power", tried.a, 0.25), ("expected_value", 0.5, tried.b),
    ]  # fmt: skip
    assert under(tried, None) is tried
    for bad, why in (
        ([{"b": 0.1, "share": 1.0}], "strength 0"),
        ([{"b": 0.0, "share": 0.5}], "sum to 1"),
        ([{"a": 0.0, "share": 0.04}, {"b": 0.1, "share": 0.96}], "strength 0"),
        ([{"a": 0.0, "b": 0.1, "share": 1.0}], "exactly one"),
        ([{"share": 1.0}], "exactly one"),
    ):
        with pytest.raises(msgspec.ValidationError, match=why):
            msgspec.convert({"arms": bad}, BlendSettings)
