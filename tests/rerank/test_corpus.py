"""Which trained spaces recall gets where there is no index: those that would serve."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from builders import item

from kindred.indexer.columns import Columns
from kindred.indexer.models import Artefact, ModelStore
from kindred.indexer.store.tables import VectorTable
from kindred.rerank.corpus import corpus_of
from kindred.retrieval.relations import category_path, elsewhere, related
from kindred.schemas.model import Card, Gate
from kindred.schemas.query import Filters, Relation
from kindred.schemas.settings import (
    KindredSettings,
    RecallSettings,
    RelationSettings,
    SourceSettings,
)

UNIT = np.float32([[1, 0], [0, 1], [0, 0]])
PRESENT = np.array([True, True, False])


@pytest.fixture
def columns() -> Columns:
    columns = Columns()
    columns.apply(
        np.arange(3),
        [item(category=("music", "piano")), item(category=("lifts",)), item(category=())],
    )
    return columns


def artefact(root: Path, stage: str, *, passed: bool = True) -> Artefact:
    models = ModelStore(root / f"{stage}-{passed}")
    card = Card(stage=stage, key="k", code=1, gate=Gate(passed=passed, reason=""), created=1)
    version = models.publish(stage, card, {"unit": UNIT, "present": PRESENT})
    return models.load(stage, version)


def test_spaces_of_stages_that_passed_and_are_indexed(columns: Columns, tmp_path: Path) -> None:
    settings = KindredSettings()
    artefacts = {
        "hybrid_past": artefact(tmp_path, "hybrid_past"),
        "air_past": artefact(tmp_path, "air_past", passed=False),
        "image_heads": artefact(tmp_path, "image_heads"),
        "text_classifier": artefact(tmp_path, "text_classifier"),
        "hybrid": artefact(tmp_path, "hybrid", passed=False),
    }
    corpus = corpus_of(columns, {}, artefacts, settings, suffix="_past")
    assert set(corpus.tables) == {"hybrid", "visual"}
    vectors, present = corpus.tables["hybrid"].gather(np.arange(4))
    assert present.tolist() == [True, True, False, False]
    assert np.array_equal(vectors[:3], UNIT)
    fewer = msgspec.structs.replace(settings.representations, spaces=("visual",))
    settings = msgspec.structs.replace(settings, representations=fewer)
    assert set(corpus_of(columns, {}, artefacts, settings, suffix="_past").tables) == {"visual"}


def test_a_table_that_is_given_goes_first(columns: Columns, tmp_path: Path) -> None:
    indexed = VectorTable(2)
    made = {"hybrid": artefact(tmp_path, "hybrid")}
    assert corpus_of(columns, {"hybrid": indexed}, made, KindredSettings()).tables == {
        "hybrid": indexed
    }


def test_the_path_of_a_category_and_what_lies_elsewhere(columns: Columns) -> None:
    paths = [category_path(columns, row) for row in range(3)]
    assert paths == [("music", "piano"), ("lifts",), ()]
    asked = Filters(not_categories=(("toys",),), brands=("x",))
    without = elsewhere(asked, paths[0])
    assert without.not_categories == (("toys",), ("music", "piano"))
    assert without.brands == ("x",)
    assert elsewhere(asked, paths[2]) == asked
    assert columns.mask(elsewhere(Filters(), paths[0])).tolist()[:2] == [False, True]


def test_a_relation_changes_the_sources_that_it_names() -> None:
    own = RelationSettings(sources={"text": SourceSettings(quota=3)})
    settings = RecallSettings(relations={"similar": own})
    changed = related(settings, Relation.SIMILAR)
    assert changed.sources["text"].quota == 3
    assert changed.sources["als"] == settings.sources["als"]
    assert related(settings, Relation.COMPLEMENT) == settings
    assert related(settings, None) == settings
