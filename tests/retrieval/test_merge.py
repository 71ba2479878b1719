"""The reciprocal-rank merge keeps who found what, and adds up."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from kindred.retrieval.merge import Finds, merge
from kindred.retrieval.sources import SOURCES, Entries
from kindred.schemas.settings import RecallSettings, SourceSettings

SETTINGS = RecallSettings(
    sources={"pairs": SourceSettings(weight=2.0), "text": SourceSettings(weight=1.0)},
    candidates=3,
    rrf_k=10,
)


def entries(*found: tuple[int, int, float]) -> Entries:
    queries, rows, scores = zip(*found, strict=True)
    return Entries(np.array(queries), np.array(rows), np.array(scores, np.float32))


def test_an_item_found_twice_stands_once_with_both_ranks_and_the_sum():
    found = {
        "pairs": entries((0, 7, 0.9), (0, 5, 0.8), (1, 5, 0.3)),
        "text": entries((0, 5, 0.7), (1, 4, 0.2)),
    }
    merged = merge(Finds.of(found), queries=3, size=10, settings=SETTINGS)
    assert merged.offsets.tolist() == [0, 2, 4, 4]
    assert merged.rows.tolist() == [5, 7, 5, 4]
    assert merged.merged[0] == pytest.approx(2 / 12 + 1 / 11)
    pairs, text = SOURCES.index("pairs"), SOURCES.index("text")
    assert merged.source_ranks[0, [pairs, text]].tolist() == [2, 1]
    assert merged.sources[0] == (1 << pairs) | (1 << text)
    assert merged.source_scores[1, pairs] == pytest.approx(0.9)
    assert np.isnan(merged.source_scores[1, text])


def test_only_the_best_candidates_of_each_query_stay():
    found = {"pairs": entries(*[(q, r, -r) for q in (0, 1) for r in range(6)])}
    merged = merge(Finds.of(found), queries=2, size=10, settings=SETTINGS)
    assert merged.rows.tolist() == [0, 1, 2, 0, 1, 2]


def test_nothing_found_is_an_empty_list_for_every_query():
    merged = merge(Finds.of({}), queries=2, size=0, settings=SETTINGS)
    assert merged.offsets.tolist() == [0, 0, 0]
    assert len(merged) == 0


def test_a_weight_of_zero_keeps_the_candidate_and_leaves_the_order_to_others():
    quiet = msgspec.structs.replace(
        SETTINGS, sources={"pairs": SourceSettings(weight=0.0), "text": SourceSettings()}
    )
    found = {"pairs": entries((0, 1, 0.9)), "text": entries((0, 2, 0.1))}
    merged = merge(Finds.of(found), queries=1, size=10, settings=quiet)
    assert merged.rows.tolist() == [2, 1]
