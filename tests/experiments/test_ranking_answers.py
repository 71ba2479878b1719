"""Graded documents and simulated clicks: BM25 by hand, lists, folds without a leak, true data."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from math import log, log2
from pathlib import Path

import numpy as np
import pytest

from kindred.experiments.ranking.chorus import (
    BASELINES,
    FIELD_CROSS,
    FOLDS,
    JUDGED,
    POOL,
    RANKER,
    measure_chorus,
    rank_all,
)
from kindred.experiments.ranking.committee import SHARES, columns_of, folds_of, learn, tuned_cross
from kindred.experiments.ranking.graded_lists import Ranked, found_lists, judged_lists
from kindred.experiments.ranking.judgments import Judgments, read_chorus
from kindred.experiments.ranking.lexical import K1, B, Bm25, by_best_field, words_of
from kindred.experiments.ranking.positions import (
    CLICKED,
    CLICKS,
    GROWERS,
    STOPS,
    TEST,
    Graded,
    by_grades,
    judge,
    measure_positions,
    ndcg_of,
    read_sample,
    shown_places,
    simulated_clicks,
    with_users,
)
from kindred.experiments.ranking.query_features import BM25, FIELDS, TEXT, Signals, signals_of
from kindred.rerank.lambdamart import RankingSet
from kindred.retrieval.segments import offsets_of
from kindred.schemas.errors import InputError

TEXTS = ["Laser mouse, mice and a mouse pad", "gaming mouse", "Laptop batteries", "", "USB cables"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Batteries, Headphones!", ["battery", "headphone"]),
        ("GPS bus glass switches", ["gps", "bus", "glass", "switch"]),
        ("Boxes of 2.5m ties", ["box", "of", "2", "5m", "tie"]),
    ],
)
def test_words_lose_their_plural_and_nothing_else(text: str, words: list[str]):
    assert words_of(text) == words


def bm25_by_hand(query: str, text: str) -> float:
    said = [words_of(t) for t in TEXTS]
    mean = sum(map(len, said)) / len(said)
    counts, total = Counter(words_of(text)), 0.0
    for word in words_of(query):
        df = sum(word in words for words in said)
        idf = log(1 + (len(TEXTS) - df + 0.5) / (df + 0.5))
        long = K1 * (1 - B + B * len(words_of(text)) / mean)
        total += idf * counts[word] * (K1 + 1) / (counts[word] + long) if counts[word] else 0
    return total


def test_bm25_is_that_of_the_book():
    field = Bm25.of(TEXTS)
    queries = ["laser mouse", "battery", "unheard of", "mouse mouse"]
    expected = [[bm25_by_hand(query, text) for text in TEXTS] for query in queries]
    np.testing.assert_allclose(field.scores(queries), expected, rtol=1e-5)


def test_by_field_each_word_counts_where_it_is_worth_most():
    titles = ["gaming mouse", "laptop", "mouse pad", "pad", "USB cable"]
    fields = [Bm25.of(titles), Bm25.of(TEXTS)]
    queries = ["mouse pad", "unheard of", "usb mouse"]
    apart = [
        [np.stack([f.scores([word]) for f in fields]).max(axis=0)[0] for word in words_of(query)]
        for query in queries
    ]
    np.testing.assert_allclose(
        by_best_field(fields, queries), [np.sum(told, axis=0) for told in apart], rtol=1e-5
    )


def small_task(seed: int = 1) -> tuple[Judgments, Signals]:
    """30 queries of a catalogue of 150 documents, 12 judged each, whose grades `hidden` explains
    beside both similarities."""
    rng = np.random.default_rng(seed)
    queries, documents, judged = 30, 150, 12
    truth = rng.normal(size=(queries, documents))
    hidden = rng.normal(size=(queries, documents))
    signals = {
        BM25: truth + 2 * rng.normal(size=truth.shape),
        TEXT: truth + 1.5 * rng.normal(size=truth.shape),
        "hidden": hidden,
    }
    row = np.stack([rng.choice(documents, judged, replace=False) for _ in range(queries)])
    signals[FIELDS] = truth + 1.8 * rng.normal(size=truth.shape)
    worth = np.take_along_axis(truth + 1.5 * hidden, row, axis=1)
    grades = np.clip(np.round(worth), 0, 3).astype(np.int8)
    grades[0] = 0
    offsets = offsets_of(np.full(queries, judged))
    judgments = Judgments([f"q{i}" for i in range(queries)], row.ravel(), grades.ravel(), offsets)
    return judgments, Signals({n: m.astype(np.float32) for n, m in signals.items()})


def ndcg_by_hand(grades: list[int], all_grades: list[int]) -> float:
    def dcg(of: list[int]) -> float:
        return sum((2**g - 1) / log2(place + 2) for place, g in enumerate(of[:10]))

    return dcg(grades) / dcg(sorted(all_grades, reverse=True))


def test_ndcg_is_that_of_all_judged_documents_whatever_was_found():
    judgments, signals = small_task()
    judged, found = judged_lists(judgments), found_lists(judgments, signals, 20)
    assert np.isnan(judged.ndcg(np.zeros(len(judged.row)))[0])
    for ranked in (judged, found):
        scores = signals[BM25][ranked.query, ranked.row].astype(np.float64)
        values = ranked.ndcg(scores)
        for query in range(1, ranked.queries):
            mine = (ranked.query == query) & ranked.asked
            order = np.argsort(-scores[mine])
            whole = judged.grades[judged.query == query].tolist()
            by_hand = ndcg_by_hand(ranked.grades[mine][order].tolist(), whole)
            assert values[query] == pytest.approx(by_hand)
    assert found.asked.sum() < len(found.row)
    assert set(np.bincount(found.query, found.asked)) <= set(range(20, 41))


def test_queries_of_the_same_words_are_asked_together():
    judgments, _ = small_task()
    said = ["head set", "headset", "Bluetooth speakers", "mouse", "bluetooth speaker", "mice"]
    judgments.queries[: len(said)] = said
    group = judged_lists(judgments).group
    assert group[0] == group[1]
    assert group[2] == group[4]
    assert len(set(group.tolist())) == len(judgments.queries) - 2
    fold = folds_of(group, FOLDS, 8)
    assert fold[0] == fold[1]
    assert fold[2] == fold[4]
    assert np.ptp(np.bincount(fold[np.unique(group, return_index=True)[1]])) <= 1


def test_no_query_learns_from_its_own_grades():
    judgments, signals = small_task()
    ranked = judged_lists(judgments)
    fold = folds_of(ranked.group, FOLDS, 4)
    assert np.bincount(fold, minlength=FOLDS).tolist() == [6] * FOLDS
    scores, _ = rank_all(ranked, signals, 4, threads=1)
    mine = fold[ranked.query] == 2
    grades = ranked.grades.copy()
    grades[mine] = 3 - grades[mine]
    changed = replace(ranked, grades=grades)
    others, _ = rank_all(changed, signals, 4, threads=1)
    np.testing.assert_array_equal(scores[RANKER][mine], others[RANKER][mine])
    assert not np.array_equal(scores[RANKER][~mine], others[RANKER][~mine])


def test_the_trees_share_follows_what_they_are_worth_on_queries_that_they_did_not_see():
    judgments, signals = small_task()
    ranked = judged_lists(judgments)
    taught = np.ones(ranked.queries, np.bool_)
    words, text = (
        ranked.standard(signals[name][ranked.query, ranked.row].astype(float))
        for name in (BM25, TEXT)
    )
    _, cross = tuned_cross(ranked, words, text, taught)
    features, names = columns_of(ranked, signals)
    lesson = learn(ranked, features, names, cross, taught, 1, threads=1)
    assert lesson.share >= 0.5
    assert max(lesson.importance, key=lesson.importance.__getitem__).startswith("hidden")
    blind = Signals({name: signals[name] for name in (BM25, TEXT)})
    features, names = columns_of(ranked, blind)
    perfect = ranked.grades.astype(float)
    lesson = learn(ranked, features, names, perfect, taught, 1, threads=1)
    assert np.nanmin(ranked.ndcg(lesson.mixed)) > 0.99
    assert lesson.share in SHARES


def test_a_score_in_its_list_is_standardised_over_what_is_asked_and_known():
    ranked = Ranked(
        query=np.array([0, 0, 0, 0, 1, 1]),
        row=np.arange(6),
        grades=np.zeros(6, np.int8),
        asked=np.array([True, True, True, False, True, True]),
        best=np.ones(2),
        group=np.arange(2),
    )
    told = ranked.standard(np.array([1.0, 3.0, np.nan, 6.0, 2.0, 2.0]))
    assert told.tolist() == [-1, 1, 0, 4, 0, 0]


def test_what_only_the_ranker_can_learn_is_worth_a_verdict():
    judgments, signals = small_task()
    report = measure_chorus(judgments, signals, seeds=[3], on_seed=lambda done: None, threads=1)
    table = report["lists"][JUDGED]
    assert table["queries with a relevant document"] == 29
    for other in BASELINES:
        mean, low, high = table["ranker leads"][other]
        assert 0 < low <= mean <= high
    passed = [v["passed"] for v in report["verdicts"] if v["claim"].startswith(JUDGED)]
    assert passed == [True] * len(BASELINES)
    assert report["lists"][POOL]["NDCG@10"].keys() == table["NDCG@10"].keys()


def test_chorus_is_read_and_ranked(shared_data: Path):
    documents, judgments = read_chorus(shared_data / "chorus", documents=1)
    assert (len(judgments.queries), len(judgments.row)) == (67, 1906)
    assert len(documents) == len(np.unique(judgments.row))
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [
        f"{title} {told}"
        for title, told in zip(documents.title, documents.description, strict=True)
    ]
    words = TfidfVectorizer(sublinear_tf=True)
    few = TruncatedSVD(64, random_state=1).fit(words.fit_transform(texts))

    def directions(of: list[str]) -> np.ndarray:
        made = few.transform(words.transform(of)).astype(np.float32)
        return made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-9)

    signals = signals_of(
        documents, judgments.queries, directions(texts), directions(judgments.queries)
    )
    for name in ("attributes of the best", "attributes of the best by text", "text fed back"):
        assert np.isfinite(signals[name]).all()
    ranked = judged_lists(judgments)
    scores, told = rank_all(ranked, signals, 1, threads=1)
    means = {name: np.nanmean(ranked.ndcg(found)) for name, found in scores.items()}
    assert means[RANKER] > means[BM25] + 0.02
    assert means[RANKER] > means[FIELD_CROSS]
    assert len(told["trees' share"]) == FOLDS


def test_a_folder_without_the_data_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"items\.parquet is missing"):
        read_chorus(tmp_path)
    with pytest.raises(InputError, match="ranking sample"):
        read_sample(tmp_path)


def graded(queries: int = 3000, length: int = 10) -> Graded:
    rng = np.random.default_rng(2)
    n = queries * length
    return Graded(
        rng.random((n, 35)).astype(np.float32),
        rng.integers(0, 5, n).astype(np.int8),
        offsets_of(np.full(queries, length)),
    )


def test_clicks_follow_the_grade_where_people_look_and_looks_fall_with_the_place():
    held = graded()
    places = shown_places(held)
    rng = np.random.default_rng(5)
    for model, look in (("cascade", 0.8**4), ("position-based", 1 / 5)):
        clicked = simulated_clicks(held, places, model, rng)
        for grade, chance in enumerate(CLICKED):
            first = (places == 0) & (held.grades == grade)
            fifth = (places == 4) & (held.grades == grade)
            assert clicked[first].mean() == pytest.approx(chance, abs=0.08)
            assert clicked[fifth].mean() == pytest.approx(chance * look, abs=0.08)


def test_a_cascades_user_reads_no_further_than_the_stop():
    held = graded(400)
    sure = Graded(held.features, np.full(len(held.grades), 4, np.int8), held.offsets)
    clicks = [
        simulated_clicks(sure, shown_places(sure), "cascade", np.random.default_rng(s))
        for s in range(30)
    ]
    deepest = np.array([(c * (shown_places(sure) + 1)).reshape(-1, 10).max(axis=1) for c in clicks])
    assert 3.5 < deepest.mean() < 5


def test_true_grades_teach_more_than_clicks_of_lightgbms_sample(shared_data: Path):
    training, test = read_sample(shared_data / "lightgbm_lambdarank")
    assert (len(training.offsets) - 1, len(test.offsets) - 1) == (201, 50)
    assert len(with_users(training, 2).grades) == 2 * len(training.grades)
    for grower in GROWERS:
        found = judge(training, test, "position-based", grower, 1, threads=1)
        truth = by_grades(training, test, grower, 1, threads=1)["NDCG@3"]
        assert truth > max(found["plain"]["NDCG@3"], found["position"]["NDCG@3"])


def test_positions_report_leads_wins_and_verdicts(shared_data: Path):
    seeds: list[int] = []
    report = measure_positions(
        shared_data / "lightgbm_lambdarank", seeds=[1, 2], on_seed=seeds.append, threads=1
    )
    assert sum(seeds) == 2 * len(CLICKS) * len(GROWERS)
    for row, verdict in zip(report["rows"], report["verdicts"], strict=True):
        means = row["means"]
        lead = means["position"]["NDCG@3"] - means["plain"]["NDCG@3"]
        assert row["lead"]["NDCG@3"][0] == pytest.approx(lead, abs=2e-5)
        wanted = lead >= 0.03 and row["lead"]["NDCG@3"][1] > 0 and row["wins"]["NDCG@3"] >= 0.8
        assert verdict["passed"] == wanted


def lead_of_one_draw(training: Graded, test: Graded, seed: int) -> float:
    """`position` − plain in NDCG@3, as LightGBM's own test draws clicks and grows trees."""
    rng, places = random.Random(seed), shown_places(training)
    clicked = np.zeros(len(places), np.int8)
    for start, end in pairwise(training.offsets.tolist()):
        stopped = False
        for at in start + np.argsort(places[start:end]):
            if not stopped:
                clicked[at] = rng.random() < CLICKED[training.grades[at]]
                stopped = rng.random() < STOPS
    plain, debiased = (
        ndcg_of(
            RankingSet(training.features, clicked, np.diff(training.offsets), None, positions),
            test, TEST, 0, threads=1,
        )["NDCG@3"]
        for positions in (None, places)
    )  # fmt: skip
    return debiased - plain


def test_the_gain_that_lightgbm_asserts_is_one_draw_of_clicks(shared_data: Path):
    training, test = read_sample(shared_data / "lightgbm_lambdarank")
    assert lead_of_one_draw(training, test, 10) >= 0.03
    assert lead_of_one_draw(training, test, 1) < 0
