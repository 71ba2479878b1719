"""The learned merge: places as the merge itself gives them, and weights that follow the answers."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from kindred.indexer.models import Artefact, ModelStore
from kindred.rerank.merging import (
    Findings,
    gains_of,
    learn_weights,
    learned_weights,
    places_of,
    to_artefact,
)
from kindred.retrieval.merge import Finds, Weights, merge
from kindred.retrieval.sources import SOURCES, Entries
from kindred.schemas.model import Card, Gate
from kindred.schemas.ranking import Rows
from kindred.schemas.settings import RecallSettings, SourceSettings

USED = ("pairs", "als", "text", "user")


def drawn(seed: int, queries: int, size: int, length: int) -> dict[str, Entries]:
    """Lists of each source, best first, some of them empty."""
    rng = np.random.default_rng(seed)
    found = {}
    for name in USED:
        lengths = rng.integers(0, length, queries)
        owners = np.repeat(np.arange(queries), lengths)
        rows = [rng.choice(size, n, replace=False) for n in lengths]
        scores = -np.concatenate([np.arange(n) for n in lengths]).astype(np.float32)
        found[name] = Entries(owners, np.concatenate(rows), scores)
    return found


def merged(
    found: dict[str, Entries], queries: int, size: int, weights: Weights
) -> tuple[Rows, ...]:
    """(queries, rows, places, ranks by source) of the merge under some weights."""
    sources = {
        name: SourceSettings(quota=1000, weight=float(w))
        for name, w in zip(SOURCES, weights.by_source, strict=True)
    }
    settings = RecallSettings(sources=sources, rrf_k=weights.k, candidates=10_000)
    listed = merge(Finds.of(found), queries, size, settings)
    return listed.queries, listed.rows, listed.ranks + 1, listed.source_ranks


def weights_of(k: float, **named: float) -> Weights:
    return Weights(np.array([named.get(name, 0.0) for name in SOURCES]), k)


def findings_of(found: dict[str, Entries], answers: Rows, size: int) -> Findings:
    """As the stage has them: candidates of the questions whose answer was found."""
    equal = weights_of(60.0, **dict.fromkeys(USED, 1.0))
    queries, rows, _, ranks = merged(found, len(answers), size, equal)
    hit = rows == answers[queries]
    keep = (np.bincount(queries[hit], minlength=len(answers)) > 0)[queries]
    at = np.full(len(answers), -1, np.int64)
    place = np.cumsum(keep) - 1
    at[queries[hit]] = place[hit]
    return Findings(
        questions=len(answers),
        owners=queries[keep],
        ranks=ranks[keep].astype(np.uint16),
        answers=at,
    )


@pytest.mark.parametrize("k", [1.0, 10.0, 60.0])
def test_places_are_those_of_the_merge(k: float) -> None:
    found, answers = drawn(1, 40, 30, 20), np.random.default_rng(2).integers(0, 30, 40)
    findings = findings_of(found, answers, 30)
    weights = weights_of(k, pairs=0.71, als=1.313, text=0.257, user=2.09)
    queries, rows, places, _ = merged(found, 40, 30, weights)
    expected = np.full(40, np.inf)
    hit = rows == answers[queries]
    expected[queries[hit]] = places[hit]
    assert 5 < np.isfinite(expected).sum() < 40
    np.testing.assert_array_equal(places_of(findings, weights), expected)


def test_gain_is_ndcg_of_one_answer_within_twenty() -> None:
    ranks = np.zeros((30, len(SOURCES)), np.uint16)
    ranks[:, 0] = np.arange(1, 31)
    for place, gain in ((1, 1.0), (3, 0.5), (20, 1 / np.log2(21)), (21, 0.0)):
        one = Findings(
            questions=2, owners=np.zeros(30, np.int64), ranks=ranks,
            answers=np.array([place - 1, -1]),
        )  # fmt: skip
        assert gains_of(one, weights_of(60.0, pairs=1.0)).tolist() == pytest.approx([gain, 0])


def told_by_text(questions: int = 200) -> Findings:
    """The answer is among the first of `text`; `pairs` and `als` draw lots."""
    rng = np.random.default_rng(3)
    found = drawn(4, questions, 80, 40)
    answers = rng.integers(0, 80, questions)
    text = [np.append(rng.permutation(np.delete(np.arange(80), a))[:19], a) for a in answers]
    rows = np.concatenate([np.roll(t, rng.integers(1, 4)) for t in text])
    owners = np.repeat(np.arange(questions), 20)
    found["text"] = Entries(owners, rows, -np.tile(np.arange(20), questions).astype(np.float32))
    return findings_of(found, answers, 80)


def test_weights_follow_what_finds_the_answers() -> None:
    findings = told_by_text()
    start = weights_of(60.0, pairs=1.0, als=1.0, text=0.25, user=0.0)
    learned = learn_weights(findings, start)
    named = learned.named()
    assert named["text"] > 3 * max(named.get("pairs", 0), named.get("als", 0))
    assert "user" not in named  # a weight of zero stays
    assert gains_of(findings, learned).mean() > 1.5 * gains_of(findings, start).mean()


@pytest.mark.parametrize("seed", range(4))
def test_learned_weights_are_never_worse_on_their_own_questions(seed: int) -> None:
    found, answers = drawn(seed, 60, 30, 20), np.random.default_rng(seed).integers(0, 30, 60)
    findings = findings_of(found, answers, 30)
    start = weights_of(60.0, pairs=1.0, als=0.5, text=0.25, user=1.0)
    learned = learn_weights(findings, start)
    assert gains_of(findings, learned).mean() >= gains_of(findings, start).mean()
    assert learned.by_source.sum() / (learned.k + 1) == pytest.approx(2.75 / 61)


def test_an_item_that_is_first_everywhere_scores_as_before() -> None:
    start = weights_of(60.0, pairs=1.0, text=0.5)
    scaled = weights_of(3.0, pairs=0.1, text=4.0).scaled_as(start)
    assert scaled.by_source.sum() / 4 == pytest.approx(1.5 / 61)
    assert scaled.by_source[SOURCES.index("text")] == pytest.approx(
        40 * scaled.by_source[SOURCES.index("pairs")]
    )


def test_nothing_found_leaves_the_weights() -> None:
    none = Findings(
        questions=5, owners=np.zeros(0, np.int64),
        ranks=np.zeros((0, len(SOURCES)), np.uint16), answers=np.full(5, -1),
    )  # fmt: skip
    start = weights_of(60.0, pairs=1.0)
    assert learn_weights(none, start) is start
    assert not gains_of(none, start).any()


def test_a_part_of_the_questions_is_as_if_only_it_was_asked() -> None:
    found, answers = drawn(7, 30, 30, 20), np.random.default_rng(8).integers(0, 30, 30)
    findings = findings_of(found, answers, 30)
    weights = weights_of(3.0, pairs=1.0, als=0.3, text=0.7)
    chosen = np.arange(1, 30, 3)
    np.testing.assert_array_equal(
        places_of(findings.of(chosen), weights), places_of(findings, weights)[chosen]
    )


def kept(root: Path, weights: Weights, *, passed: bool) -> Artefact:
    models = ModelStore(root / str(passed))
    card = Card(stage="merge", key="k", code=1, gate=Gate(passed=passed, reason=""), created=1)
    version = models.publish("merge", card, *to_artefact(weights))
    return models.load("merge", version)


def test_learned_weights_serve_where_the_gate_passed_and_the_settings_let_them(
    tmp_path: Path,
) -> None:
    weights = weights_of(3.0, pairs=0.02, text=0.4)
    settings = RecallSettings(
        sources={
            "pairs": SourceSettings(quota=7, weight=1.0),
            "als": SourceSettings(quota=8, weight=1.0),
            "text": SourceSettings(quota=9, weight=0.0),
        }
    )
    served = learned_weights(settings, kept(tmp_path, weights, passed=True))
    assert served is not None
    assert served.k == 3.0
    assert served.named() == {"pairs": 0.02}  # nothing for als was learned, and text is turned off
    assert learned_weights(settings, kept(tmp_path, weights, passed=False)) is None
    off = msgspec.structs.replace(settings, learned_merge=False)
    assert learned_weights(off, kept(tmp_path, weights, passed=True)) is None
    assert learned_weights(settings, None) is None


def test_learned_weights_answer_what_has_a_past_and_the_settings_the_rest() -> None:
    one, two = np.zeros(2, np.int64), np.ones(2, np.int64)
    scores = np.float32([1.0, 0.5])
    found = {
        "pairs": Entries(one, np.array([3, 4]), scores),
        "text": Entries(np.concatenate([one, two]), np.array([5, 6, 5, 6]), np.tile(scores, 2)),
        "popular": Entries(two, np.array([7, 8]), scores),
    }
    sources = {
        "pairs": SourceSettings(weight=1.0),
        "text": SourceSettings(weight=0.5),
        "popular": SourceSettings(weight=0.25),
    }
    settings = RecallSettings(sources=sources, rrf_k=60.0)
    learned = weights_of(1.0, pairs=0.1, text=0.9, popular=5.0)
    listed = merge(Finds.of(found), 2, 10, settings, learned=learned)
    assert listed.rows.tolist() == [5, 6, 3, 4, 5, 6, 7, 8]
    np.testing.assert_allclose(
        listed.merged,
        [0.45, 0.3, 0.05, 0.1 / 3, 0.5 / 61, 0.5 / 62, 0.25 / 61, 0.25 / 62],
        rtol=1e-6,
    )
