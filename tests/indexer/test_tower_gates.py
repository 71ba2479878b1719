"""A tower that learned from shuffled pairs is stopped at its gate; the one in use stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from small_market import small_events, small_items

from kindred.events.contract import event_columns
from kindred.indexer.behaviour.interactions import Interactions, load_interactions
from kindred.indexer.behaviour.stages import behaviour_stages
from kindred.indexer.build import read_content
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.columns import Columns
from kindred.indexer.content import Content
from kindred.indexer.encoders.attributes import AttributesEncoder
from kindred.indexer.encoders.cache import EncodingCache
from kindred.indexer.models import ModelStore
from kindred.indexer.representations import Given, representation_stages
from kindred.indexer.stage_run import run_stages
from kindred.indexer.stages import StageRow
from kindred.schemas.item import Item
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import AttributesEncoderSettings, KindredSettings

NAMES = [f"item-{n}" for n in range(480)]
TOWER = {
    "embedding_size": 16, "input_size": 16, "hidden": [32], "pairs": 3_000, "negatives": 64,
    "inputs": ["attributes", "category", "price"],
    "loop": {"epochs": 5, "batch_size": 256, "learning_rate": 0.01},
}  # fmt: skip
SETTINGS = msgspec.convert(
    {
        "representations": {
            "stages": ["air", "hybrid"],
            "air": {**TOWER, "gate": "none"},
            "hybrid": TOWER,
        }
    },
    KindredSettings,
)

QUICK = msgspec.structs.replace(
    SETTINGS.representations,
    air=msgspec.structs.replace(SETTINGS.representations.air, inputs=()),
    hybrid=msgspec.structs.replace(SETTINGS.representations.hybrid, inputs=("popularity",)),
)
"""Towers that read whatever there is, or nothing that says what is alike."""


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> tuple[Content, Interactions]:
    """Items whose attributes say little, and visits of one kind of thing each."""
    root = tmp_path_factory.mktemp("market")
    catalogue, cache = Catalogue.open(root / "catalogue.db"), EncodingCache(root / "encodings.db")
    try:
        catalogue.upsert(small_items(NAMES))
        encoder = AttributesEncoder(AttributesEncoderSettings())
        content = read_content(catalogue, {encoder.space: encoder}, cache)
    finally:
        cache.close()
        catalogue.close()
    events = [msgspec.to_builtins(event) for event in small_events(NAMES, users=400)]
    rows = pl.DataFrame({"item_id": content.columns.item_ids}).with_row_index("row")
    frame = event_columns(pl.DataFrame(events)).lazy()
    return content, load_interactions(frame, rows, SETTINGS.signals)


def run(store: ModelStore, given: Given, events: str) -> dict[str, StageRow]:
    inputs = {"catalogue": "1", "encoders": "1", "events": events}
    stages = [
        *behaviour_stages(given.log, given.size, given.until, SETTINGS, inputs),
        *representation_stages(given, inputs),
    ]
    rows = run_stages(
        stages, store, seed=SETTINGS.seed, progress=SilentProgress(), clock=lambda: 1, anew=True,
        only=["air", "hybrid"],
    )  # fmt: skip
    return {row.stage: row for row in rows}


def test_towers_of_shuffled_pairs_do_not_serve(
    market: tuple[Content, Interactions], tmp_path: Path
):
    content, log = market
    store = ModelStore(tmp_path)
    given = Given(content=content, log=log, until=int(log.ts[-1]) + 1, settings=SETTINGS)
    good = run(store, given, "as they are")

    shuffled = Given(content=content, log=log, until=given.until, settings=SETTINGS)
    order = np.random.default_rng(7).permutation(len(given.training))
    # The labels alone: the gate's questions stay what they are.
    mixed = replace(given.training, row=given.training.row[order])
    vars(shuffled)["training"] = mixed
    bad = run(store, shuffled, "shuffled")
    for tower in ("air", "hybrid"):
        assert good[tower].state == "trained", good[tower].gate
        assert bad[tower].state == "failed its gate", bad[tower].gate
        assert bad[tower].now == good[tower].version == store.current(tower)


def made_of(
    content: Content, log: Interactions, tmp_path: Path, settings: KindredSettings
) -> dict[str, StageRow]:
    given = Given(content=content, log=log, until=int(log.ts[-1]) + 1, settings=settings)
    return run(ModelStore(tmp_path), given, "as they are")


def test_items_of_which_nothing_is_known_have_no_tower_and_training_goes_on(
    market: tuple[Content, Interactions], tmp_path: Path
):
    content, log = market
    bare = Content(columns=Columns(), tables={})
    names = content.columns.item_ids
    bare.columns.apply(np.arange(len(names)), [Item(item_id=name) for name in names])
    rows = made_of(bare, log, tmp_path, KindredSettings(representations=QUICK))
    assert rows["air"].gate == "no item has anything that the tower reads"
    assert rows["hybrid"].gate == "none of its inputs says what is alike"


def test_pairs_of_one_visitor_cannot_both_teach_and_judge(
    market: tuple[Content, Interactions], tmp_path: Path
):
    content, log = market
    alone = replace(log, subject=np.zeros_like(log.subject))
    rows = made_of(content, alone, tmp_path, SETTINGS)
    assert "all pairs are of a few visitors" in rows["air"].gate
