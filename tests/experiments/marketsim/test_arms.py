"""Two arms of visitors: who is in which, and what is said of the difference."""

from __future__ import annotations

import polars as pl

from kindred.experiments.marketsim.arms import compare_arms, treated


def test_half_of_the_visitors_are_treated_and_a_seed_draws_others() -> None:
    drawn = treated(4_000, 7)
    assert 1_850 < drawn.sum() < 2_150
    assert (drawn[:100] == treated(100, 7)).all()
    assert 0.4 < (drawn == treated(4_000, 8)).mean() < 0.6


def frames(clicks: dict[str, list[int]]) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """(decisions, joined): by arm, a visitor of 10 one-item lists for each number of clicks."""
    lists, rows = [], []
    for arm, each in clicks.items():
        for visitor, clicked in enumerate(each):
            for n in range(10):
                name, device = f"{arm}-{visitor}-{n}", f"{arm}-{visitor}"
                told = "{}" if arm == "neither" else f'{{"ranker": "{arm}"}}'
                lists.append((name, device, told))
                rows.append((name, device, 1 if n < clicked else None, arm == "on"))
    decisions = pl.LazyFrame(lists, ["decision_id", "device_id", "experiments"], orient="row")
    joined = pl.LazyFrame(
        rows, ["decision_id", "device_id", "click_at", "sponsored"], orient="row"
    ).with_columns(
        purchase_at=pl.col("click_at"),
        fee_minor=pl.when("sponsored").then(5 * pl.col("click_at")),
        halo_fee_minor=pl.lit(None, pl.Int64),
    )
    return decisions, joined


def test_rates_are_of_all_lists_and_the_interval_is_of_visitors() -> None:
    told = compare_arms(*frames({"on": [6, 4, 5, 5], "off": [2, 2, 2], "neither": [10]}), seed=3)
    assert told is not None
    assert (told.on.visitors, told.on.lists, told.on.clicks, told.on.fee_minor) == (4, 40, 20, 100)
    assert (told.off.visitors, told.off.impressions, told.off.fee_minor) == (3, 30, 0)
    ctr = told.rates["ctr"]
    assert (ctr.on, ctr.off, ctr.difference) == (0.5, 0.2, 0.3)
    assert 0.2 <= ctr.low < 0.3 < ctr.high <= 0.4
    assert told.rates["purchases_per_1000_lists"].difference == 300
    fees = told.rates["fee_minor_per_1000_lists"]
    assert (fees.on, fees.off) == (2_500, 0)
    assert told.rates["sponsored_share"].low == told.rates["sponsored_share"].high == 1


def test_visitors_who_differ_widen_the_interval() -> None:
    alike = compare_arms(*frames({"on": [5] * 8, "off": [2] * 8}), seed=3)
    unlike = compare_arms(*frames({"on": [10, 0] * 4, "off": [4, 0] * 4}), seed=3)
    assert alike is not None
    assert unlike is not None
    narrow, wide = alike.rates["ctr"], unlike.rates["ctr"]
    assert narrow.difference == wide.difference == 0.3
    assert narrow.high - narrow.low < 0.01 < 0.4 < wide.high - wide.low


def test_an_arm_without_lists_is_not_compared() -> None:
    assert compare_arms(*frames({"on": [1], "neither": [1]}), seed=3) is None
