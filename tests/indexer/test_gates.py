"""A model that learned from shuffled labels is stopped at its gate; the one in use stays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from small_market import small_events, small_items

from kindred.events.contract import event_columns
from kindred.indexer.behaviour.interactions import Interactions, load_interactions
from kindred.indexer.build import read_content
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.content import Content
from kindred.indexer.encoders.cache import EncodingCache
from kindred.indexer.models import ModelStore
from kindred.indexer.representations import Given, representation_stages
from kindred.indexer.runtime import load_torch
from kindred.indexer.stage_run import run_stages
from kindred.indexer.stages import StageRow
from kindred.schemas.errors import SettingsError
from kindred.schemas.item import Item
from kindred.schemas.progress import SilentProgress
from kindred.schemas.settings import KindredSettings

NAMES = [f"item-{n}" for n in range(1_200)]
SETTINGS = msgspec.convert(
    {
        "representations": {
            "stages": ["words", "text_classifier"],
            "words": {"embedding_size": 16, "epochs": 2},
            "text_classifier": {
                "embedding_size": 32, "filters": 32, "widths": [1, 2], "max_tokens": 8,
                "loop": {"epochs": 15, "batch_size": 64, "learning_rate": 0.01},
            },
        },
    },
    KindredSettings,
)  # fmt: skip


def content_of(root: Path, items: Sequence[Item]) -> Content:
    """What training reads of a catalogue of these."""
    catalogue = Catalogue.open(root / "catalogue.db")
    cache = EncodingCache(root / "encodings.db")
    try:
        catalogue.upsert(items)
        return read_content(catalogue, {}, cache)
    finally:
        cache.close()
        catalogue.close()


def log_of(content: Content) -> Interactions:
    """Visits to the items of the catalogue."""
    events = [msgspec.to_builtins(event) for event in small_events(NAMES, users=20)]
    rows = pl.DataFrame({"item_id": content.columns.item_ids}).with_row_index("row")
    return load_interactions(event_columns(pl.DataFrame(events)).lazy(), rows, SETTINGS.signals)


def run(
    store: ModelStore, content: Content, catalogue: str, settings: KindredSettings = SETTINGS
) -> dict[str, StageRow]:
    log = log_of(content)
    given = Given(content=content, log=log, until=int(log.ts[-1]) + 1, settings=settings)
    rows = run_stages(
        representation_stages(given, {"catalogue": catalogue}), store, seed=SETTINGS.seed,
        progress=SilentProgress(), clock=lambda: 1, anew=True,
    )  # fmt: skip
    return {row.stage: row for row in rows}


def test_a_classifier_of_shuffled_categories_does_not_serve(tmp_path: Path):
    store, items = ModelStore(tmp_path / "models"), small_items(NAMES)
    good = run(store, content_of(tmp_path, items), "as it is")["text_classifier"]
    assert good.state == "trained", good.gate
    order = np.random.default_rng(7).permutation(len(items))
    shuffled = [
        msgspec.structs.replace(item, category=items[k].category)
        for item, k in zip(items, order, strict=True)
    ]
    bad = run(store, content_of(tmp_path, shuffled), "shuffled")["text_classifier"]
    assert bad.state == "failed its gate"
    assert (bad.before, bad.now) == (good.version, good.version)
    assert store.load("text_classifier").card.metrics == good.metrics


def test_training_runs_on_an_accelerator_by_setting(tmp_path: Path):
    if not load_torch().cuda.is_available():
        pytest.skip("there is no CUDA device to train on")
    content = content_of(tmp_path, small_items(NAMES))
    chosen = msgspec.structs.replace(SETTINGS.representations, device="cuda")
    settings = msgspec.structs.replace(SETTINGS, representations=chosen)
    row = run(ModelStore(tmp_path / "models"), content, "as it is", settings)["text_classifier"]
    assert row.state == "trained", row.gate


def test_a_device_that_is_not_there_is_told_with_its_setting_before_anything_is_trained(
    tmp_path: Path,
):
    content = content_of(tmp_path, small_items(NAMES[:24]))
    chosen = msgspec.structs.replace(SETTINGS.representations, device="cuda:99")
    settings = msgspec.structs.replace(SETTINGS, representations=chosen)
    given = Given(content=content, log=log_of(content), until=1, settings=settings)
    with pytest.raises(SettingsError, match=r"\$\.representations\.device"):
        representation_stages(given, {})
