"""The ranker learned from shown lists: what it may see, how it is weighed, when it may serve."""

from __future__ import annotations

from dataclasses import replace

import lightgbm
import msgspec
import numpy as np
import polars as pl
import pytest
from shown_lists import APPEAL, ITEMS, LENGTH, START, ShownLog, joined, shown_log

from kindred.indexer.behaviour.exposure import item_exposure, position_curve
from kindred.indexer.behaviour.impressions import NEVER, PURCHASE
from kindred.rerank.features import FEATURES
from kindred.rerank.features.exposure import FROM_EXPOSURE, PAIR, PLACES
from kindred.rerank.fitting import rank_loss, rank_weights, ranking_set
from kindred.rerank.gate import verdict
from kindred.rerank.joined_training import refitted, train_on_lists
from kindred.rerank.judged import Judged, Parts, known_lists, split_lists
from kindred.rerank.logged import JoinedLog, LoggedLists, read_lists
from kindred.rerank.metrics import purchase_mrr, purchase_rank, shown_ndcg, tied_ranks
from kindred.rerank.training import TooLittle
from kindred.schemas.clock import DAY
from kindred.schemas.settings import JoinSettings, RankerSettings

EXPOSURE = [f.name for f in FROM_EXPOSURE]
JOINED = {*EXPOSURE, PAIR.name}
SETTINGS = RankerSettings(trees=40, learning_rate=0.15, min_data_in_leaf=20)


def parts_of(log: ShownLog, settings: RankerSettings = SETTINGS) -> Parts:
    held = joined(log)
    end = held.shown.newest + 1
    return split_lists(held, end, ITEMS, settings, JoinSettings(), seed=1)


@pytest.fixture(scope="module")
def log() -> ShownLog:
    return shown_log(2500)


@pytest.fixture(scope="module")
def parts(log: ShownLog) -> Parts:
    return parts_of(log)


def whole(held: JoinedLog, known: int = NEVER) -> LoggedLists:
    everything = np.arange(held.shown.lists)
    keep = np.ones(len(held.shown), np.bool_)
    return read_lists(held, everything, keep, ITEMS, lambda done: None, known=known)


def test_what_explains_the_purchases_is_found_and_the_gate_passes(parts: Parts):
    trained = train_on_lists(parts, SETTINGS, seed=1)
    assert trained.passed, trained.reason
    assert trained.metrics["judged by"] == "purchase rank"
    lead = trained.metrics["compared"]["all"]["ranker - merge"]
    assert lead[0] < -0.4
    assert lead[2] < 0
    fair = trained.metrics["compared"]["randomised"]["ranker - merge"]
    assert fair[0] < lead[0]  # no position favours the merge there
    assert next(iter(trained.metrics["importance"])) == APPEAL
    assert {"web", "app"} <= trained.metrics["compared"].keys()
    p = trained.calibration.probability(trained.ranker.score(parts.judging.lists.features))
    assert p.mean() == pytest.approx(parts.judging.bought.mean(), rel=0.3)


def test_where_chance_alone_acts_the_gate_stays_shut():
    trained = train_on_lists(parts_of(shown_log(1500, learnable=False)), SETTINGS, seed=1)
    assert not trained.passed


def test_what_was_learned_from_shuffled_labels_does_not_pass(parts: Parts):
    """It is judged by what really came of the newest lists."""
    rng = np.random.default_rng(4)

    def shuffled(part: Judged) -> Judged:
        order = np.lexsort((rng.random(len(part.labels)), part.lists.owners))
        return replace(part, labels=part.labels[order], bought=part.bought[order])

    wrong = replace(parts, training=shuffled(parts.training), stopping=shuffled(parts.stopping))
    trained = train_on_lists(wrong, SETTINGS, seed=1)
    assert not trained.passed
    assert trained.metrics["compared"]["all"]["ranker - merge"][0] > -0.2


def test_what_serves_is_made_like_what_was_judged_of_all_lists(log: ShownLog, parts: Parts):
    held = joined(log)
    trained = train_on_lists(parts, SETTINGS, seed=1)
    known = known_lists(held, held.shown.newest + 1, ITEMS, SETTINGS, JoinSettings())
    served = refitted(trained, known, SETTINGS, seed=1)
    assert served.ranker.trees == trained.metrics["trees"]
    assert served.metrics["refitted on"]["lists"] == len(known.lists.lists)
    assert len(known.lists.lists) > 1.3 * len(parts.training.lists)
    at = held.shown.at[known.lists.lists.lists]
    assert at.max() > parts.moments.stopping  # those that judged are among them
    assert served.metrics["compared"] == trained.metrics["compared"]
    features = parts.judging.lists.features
    told, before = (
        t.calibration.probability(t.ranker.score(features)).mean() for t in (served, trained)
    )
    assert told == pytest.approx(before, rel=0.15)


def test_parts_follow_each_other_in_time_and_only_training_is_of_clicked_lists(parts: Parts):
    times = [part.lists.shown.at[part.lists.lists] for part in
             (parts.training, parts.stopping, parts.judging)]  # fmt: skip
    assert times[0].max() < times[1].min()
    assert times[1].max() < times[2].min()
    some = np.bincount(parts.training.lists.owners, parts.training.labels > 0)
    assert some.min() >= 1
    assert len(parts.judging.labelled().lists) < len(parts.judging.lists)


def test_position_rate_and_campaign_are_no_features():
    """They are what the blend adds, and what the position earned is no merit of the item."""
    for name in FEATURES:
        for word in ("position", "ad_rate", "campaign", "sponsored", "propensity"):
            assert word not in name


def test_weights_and_positions_are_for_training_alone(parts: Parts, monkeypatch):
    made = []

    class Watched(lightgbm.Dataset):
        def __init__(self, *args, **kw):
            made.append(kw)
            super().__init__(*args, **kw)

    monkeypatch.setattr(lightgbm, "Dataset", Watched)
    train_on_lists(parts, replace_settings(objective="graded"), seed=1)
    training, check = made
    assert set(training["weight"]) > {1.0, 6.0}
    assert len(np.unique(training["position"])) == 2 * LENGTH  # each platform has its own
    assert check.get("weight") is None
    assert check.get("position") is None


def test_settings_turn_position_off_and_propensity_on(parts: Parts):
    plain = replace_settings(position_bias=False)
    assert ranking_set(parts.training, parts.order, plain, "graded").positions is None
    weighed = replace_settings(propensity="ips", propensity_clip=4.0)
    one = ranking_set(parts.training, parts.order, weighed, "binary")
    assert one.weights is not None
    assert set(one.weights.tolist()) == {1.0, 4.0}
    assert set(one.grades.tolist()) == {0, 1}


def replace_settings(**changes) -> RankerSettings:
    return msgspec.structs.replace(SETTINGS, **changes)


def at_once(log: JoinedLog, until: int) -> Parts:
    return split_lists(log, until, ITEMS, SETTINGS, JoinSettings(), seed=1)


def same(one: Judged, other: Judged) -> bool:
    assert one.lists.lists.tolist() == other.lists.lists.tolist()
    np.testing.assert_array_equal(one.lists.features, other.lists.features)
    return one.labels.tolist() == other.labels.tolist()


@pytest.mark.parametrize("end", ["training", "stopping"])
def test_a_part_knows_nothing_of_what_came_after_its_end(log: ShownLog, end: str):
    held = joined(log)
    until = held.shown.newest + 1
    moments = at_once(held, until).moments
    moment = getattr(moments, end)
    outcomes = held.shown.outcomes.copy()
    later = outcomes[:, 1:] >= moment  # clicks stay: they say where the parts end
    open_still = (outcomes[:, 0] < moment) & (outcomes[:, PURCHASE] == NEVER)
    outcomes[:, 1:][later] = NEVER
    outcomes[open_still, PURCHASE] = moment
    other = replace(held, shown=replace(held.shown, outcomes=outcomes))
    one, two = at_once(held, until), at_once(other, until)
    assert one.moments == two.moments
    assert same(one.training, two.training)
    np.testing.assert_array_equal(one.order.labels, two.order.labels)
    assert one.order.report == two.order.report
    assert one.order.values == two.order.values
    assert not same(one.judging, two.judging)
    if end == "stopping":
        assert same(one.stopping, two.stopping)


def test_the_curve_is_of_what_was_clicked_before_training_ended(parts: Parts):
    shown = parts.training.lists.shown
    outcomes = shown.outcomes.copy()
    outcomes[outcomes >= parts.moments.training] = NEVER
    blind = position_curve(replace(shown, outcomes=outcomes), parts.moments.training)
    np.testing.assert_array_equal(parts.curve.chances, blind.chances)


def test_training_does_not_know_what_happened_after_its_moment(log: ShownLog):
    moment = START + 12 * DAY
    held = joined(log)
    outcomes = held.shown.outcomes.copy()
    outcomes[outcomes >= moment] = NEVER
    outcomes[held.shown.ts >= moment] = moment + DAY
    other = replace(held, shown=replace(held.shown, outcomes=outcomes))
    one, two = at_once(held, moment), at_once(other, moment)
    for a, b in ((one.training, two.training), (one.judging, two.judging)):
        assert same(a, b)
        assert a.lists.shown.at[a.lists.lists].max() < moment - DAY  # windows are closed


def test_logged_features_are_taken_as_logged_and_the_rest_is_of_the_days_beginning(log: ShownLog):
    held = joined(log)
    lists = whole(held)
    logged = np.concatenate([
        np.frombuffer(f, "<f4").reshape(LENGTH, -1)
        for f in log.decisions.sort("occurred_at", "decision_id")["features"]
    ])  # fmt: skip
    old = [i for i, name in enumerate(FEATURES) if name not in JOINED]
    np.testing.assert_array_equal(lists.features[:, old], logged[:, old])
    at = len(lists) // 2
    rows = slice(lists.offsets[at], lists.offsets[at + 1])
    midnight = held.shown.at[lists.lists[at]] // DAY * DAY
    new = [FEATURES.index(name) for name in EXPOSURE]
    earlier = midnight - 3 * DAY
    for found, moment in ((lists, midnight), (whole(held, earlier), earlier)):
        expected = item_exposure(held.shown, ITEMS, moment).gather(held.shown.row[lists.at[rows]])
        expected = expected[:, PLACES]
        np.testing.assert_array_equal(found.features[rows][:, new], expected)
        assert not np.isnan(expected).any()


def test_rows_of_another_specification_are_read_by_name(log: ShownLog):
    names = ("unheard of", *reversed(FEATURES[:40]))
    place = [FEATURES.index(n) for n in names[1:]]

    def older(features: bytes) -> bytes:
        rows = np.frombuffer(features, "<f4").reshape(LENGTH, -1)
        return np.c_[np.ones(LENGTH, np.float32), rows[:, place]].tobytes()

    decisions = log.decisions.with_columns(
        features=pl.Series([older(f) for f in log.decisions["features"]]),
        feature_spec=pl.lit("older"),
    )
    spec = pl.lit("older").alias("feature_spec")
    moved = ShownLog(decisions, log.joined.with_columns(spec))
    mine, theirs = whole(joined(log)), whole(joined(moved, {"older": names}))
    np.testing.assert_array_equal(theirs.features[:, :40], mine.features[:, :40])
    later = [i for i, n in enumerate(FEATURES) if i >= 40 and n not in JOINED]
    assert np.isnan(theirs.features[:, later]).all()
    assert not joined(moved).readable().any()  # nobody kept the names


def test_an_exposure_that_was_served_stays_as_it_was_logged(log: ShownLog):
    served = np.frombuffer(log.decisions["features"][0], "<f4").reshape(LENGTH, -1).copy()
    served[0, FEATURES.index(EXPOSURE[0])] = 77
    rest = log.decisions["features"].to_list()[1:]
    features = pl.Series([served.tobytes(), *rest])
    changed = ShownLog(log.decisions.with_columns(features=features), log.joined)
    first = whole(joined(changed)).features[:LENGTH]
    np.testing.assert_array_equal(first, served)


def test_lists_that_a_fault_cut_short_stay_away(log: ShownLog):
    said = pl.Series(
        [["recall: the store gave no answer"], ["rank: merge order (past the deadline)"]]
        + [["session: no actions are known"]] * (len(log.decisions) - 2)
    )
    held = joined(ShownLog(log.decisions.with_columns(degraded=said), log.joined))
    assert len(whole(held)) == held.shown.lists - 2


def test_rows_behind_the_logged_candidates_stay_away(log: ShownLog):
    width = len(FEATURES) * 4
    short = log.decisions.with_columns(
        pl.col("features").bin.slice(0, 3 * width), pl.col("candidate_recall_rank").list.head(3)
    )
    lists = whole(joined(ShownLog(short, log.joined)))
    assert set(np.diff(lists.offsets)) == {3}
    assert lists.shown.position[lists.at].max() == 3


def test_nothing_clicked_is_too_little(log: ShownLog):
    nobody = log.joined.with_columns(
        pl.lit(None, pl.Int64).alias(n) for n in log.joined.columns if n.endswith("_at")
        and n != "occurred_at"
    )  # fmt: skip
    with pytest.raises(
        TooLittle, match="something came, and whose features were logged, are too few"
    ):
        parts_of(ShownLog(log.decisions, nobody))


def test_training_stops_by_purchases_found_more_often_further_up(parts: Parts):
    part = parts.stopping.labelled()
    looks = part.looks(parts.curve)
    offsets, positions = part.lists.offsets, part.lists.shown.position[part.lists.at]
    assert looks[positions == 1].mean() > 2 * looks[positions == LENGTH].mean()
    ranks = tied_ranks(-positions, offsets)
    plain, told = rank_weights(part, parts, replace_settings(position_bias=False), 20)
    corrected, _ = rank_weights(part, parts, SETTINGS, 20)
    assert told == "purchases"
    loss = rank_loss(offsets, plain)(-positions)
    assert loss == pytest.approx(ranks[part.bought].mean())
    assert rank_loss(offsets, corrected)(-positions) > loss + 0.3


def test_with_few_purchases_training_stops_by_those_to_be_expected(parts: Parts):
    part, order = parts.stopping.labelled(), parts.order
    few = np.cumsum(part.bought) <= 19
    part = replace(part, bought=part.bought & few)
    worth = {1: order.values["click"], 6: 1.0}
    for label, name in enumerate(order.report["buy_now"]["order"], 2):
        worth[label] = order.values[name]
    values = np.array([worth.get(int(label), 0.0) for label in part.labels])
    weights, told = rank_weights(part, parts, replace_settings(position_bias=False), 20)
    np.testing.assert_allclose(weights, values, rtol=1e-6)
    assert told.startswith("purchases to be expected")
    assert 0 < order.values["click"] < 1


def test_purchase_rank_is_the_mean_place_of_what_was_bought():
    offsets = np.array([0, 4, 6, 9])
    scores = np.array([4, 3, 2, 1, 5, 9, 1, 1, np.nan])
    bought = np.array([0, 1, 0, 1, 0, 0, 0, 1, 0], np.bool_)
    ranks = tied_ranks(scores, offsets)
    assert ranks.tolist() == [1, 2, 3, 4, 2, 1, 1.5, 1.5, 3]
    np.testing.assert_allclose(purchase_rank(ranks, bought, offsets), [3, np.nan, 1.5])
    np.testing.assert_allclose(purchase_mrr(ranks, bought, offsets), [1 / 2, np.nan, 1 / 1.5])
    gains = shown_ndcg(scores, np.array([0, 1, 0, 2, 0, 0, 1, 0, 0], np.int8), offsets, 2)
    assert gains[0] == pytest.approx((1 / np.log2(3)) / (3 + 1 / np.log2(3)))
    assert np.isnan(gains[1])
    assert gains[2] == pytest.approx((1 + 1 / np.log2(3)) / 2)  # as likely first as second


def test_where_nothing_is_ever_bought_what_was_acted_on_judges(log: ShownLog):
    unsold = log.joined.with_columns(pl.lit(None, pl.Int64).alias("purchase_at"))
    trained = train_on_lists(parts_of(ShownLog(log.decisions, unsold)), SETTINGS, seed=1)
    assert trained.metrics["judged by"] == "rank of what was acted on"
    assert trained.reason.startswith("rank of what was acted on -0.")
    assert trained.metrics["calibrated on"] == "any outcome of a shown item"


@pytest.mark.parametrize(
    ("found", "lead", "random", "passed"),
    [
        (90, [-0.5, -0.7, -0.1], None, True),
        (90, [-0.5, -0.7, -0.1], (40, [-0.1, -0.4, 0.2]), True),
        (90, [-0.5, -1.1, 0.1], None, False),
        (90, [-0.5, -0.7, -0.1], (40, [0.4, 0.1, 0.7]), False),
        (90, [-0.5, -0.7, -0.1], (2, [0.4, 0.1, 0.7]), True),
        (90, [-0.5, -0.7, -0.1], (40, None), True),  # all of one visitor's
        (19, [-0.5, -0.7, -0.1], None, False),
        (0, None, None, False),
    ],
)
def test_the_gate_wants_an_interval_below_zero_and_no_loss_in_random_order(
    found, lead, random, passed
):
    compared = {"all": {"judged lists": found, "ranker - merge": lead}}
    if random is not None:
        compared["randomised"] = {"judged lists": random[0], "ranker - merge": random[1]}
    assert verdict(compared, "purchase rank")[0] is passed
