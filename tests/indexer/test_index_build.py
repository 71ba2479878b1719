"""A version is built aside, taken in one step, and never lost by an accident."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from builders import item
from counting import Counting
from markets import ITEMS, Market, copied, new_market, quick_folder
from qdrant_client import QdrantClient

from kindred.indexer.build import BehaviourSpace, build_index, rollback
from kindred.indexer.columns import Columns
from kindred.indexer.store.edge import EdgeStore
from kindred.indexer.store.homes import ServerHome
from kindred.indexer.store.tables import VectorTable
from kindred.indexer.versions import Manifest
from kindred.schemas.errors import ArtefactError, NotBuilt
from kindred.schemas.item import Status
from kindred.schemas.query import Filters
from kindred.schemas.settings import StoreSettings
from kindred.schemas.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built() -> Iterator[tuple[Market, Manifest]]:
    with quick_folder() as folder:
        market = new_market(folder / "w")
        market.catalogue.upsert([item(item_id="sold", title="sold thing", status=Status.SOLD)])
        market.catalogue.upsert([item(item_id="odd", title="bad title")])
        yield market, market.build()
        market.close()


@pytest.fixture
def market(built) -> Iterator[Market]:
    with quick_folder() as folder:
        market = copied(built[0], folder / "w")
        yield market
        market.close()


def test_the_manifest_says_what_is_in(built):
    market, manifest = built
    assert market.folder.manifest() == manifest
    assert (manifest.items, manifest.active) == (ITEMS + 2, ITEMS + 1)
    assert manifest.sequence == market.catalogue.sequence
    assert manifest.models == {"als": "000001"}
    spaces = {name: (s.dim, s.version, s.count) for name, s in manifest.spaces.items()}
    attributes = market.encoders["attributes"]
    assert spaces == {
        "text": (8, "v1", ITEMS),
        "attributes": (64, attributes.version, ITEMS + 1),
        "als": (4, "000001", ITEMS // 2),
    }
    assert manifest.rejected == {"text": 1}


def test_rejects_are_named_with_path_and_reason(built):
    market, manifest = built
    lines = (market.workspace.index / manifest.version / "rejects.jsonl").read_text().splitlines()
    assert [msgspec.json.decode(line) for line in lines] == [
        {"item_id": "odd", "space": "text", "path": "$.title", "reason": "bad title is bad"}
    ]


def test_store_columns_and_tables_agree(market, built):
    folder = market.workspace.index / built[1].version
    columns = Columns.load(folder / "columns")
    rows = np.arange(columns.size)
    store = EdgeStore.open(folder / "shard", market.settings.store)
    try:
        assert store.count() == columns.active.sum() == ITEMS + 1
        assert (
            store.count(Filters(categories=(("kitchen",),)))
            == columns.mask(Filters(categories=(("kitchen",),))).sum()
        )
        for space in ("text", "attributes", "als"):
            vectors, present = VectorTable.load(folder / "vectors" / space).gather(rows)
            held, exist = store.retrieve(rows, space)
            np.testing.assert_array_equal(exist, present & columns.active)
            np.testing.assert_allclose(held[exist], vectors[exist], atol=1e-6)
    finally:
        store.close()


def test_what_is_not_active_is_not_in_the_store(market, built):
    row = int(market.catalogue.rows_of(["sold"])[0])
    folder = market.workspace.index / built[1].version
    assert not VectorTable.load(folder / "vectors/text").gather(np.array([row]))[1].any()
    assert Columns.load(folder / "columns").rows(["sold"])[0] == row


def test_a_second_build_encodes_nothing_and_keeps_the_first(market):
    first = market.folder.current()
    second = market.build()
    assert market.text.calls == 0
    assert market.folder.current() == second.version > first
    assert market.folder.versions() == [first, second.version]
    third = market.build()
    assert market.folder.versions() == [second.version, third.version]


def test_rollback_goes_back_and_a_new_build_goes_on_from_there(market):
    first, second = market.folder.current(), market.build()
    assert rollback(market.workspace, market.settings).version == first
    assert market.folder.current() == first
    with pytest.raises(NotBuilt, match="no version before"):
        rollback(market.workspace, market.settings)
    third = market.build()
    assert third.version > second.version
    assert market.folder.versions() == [first, third.version], "what was rolled back is gone"


def test_a_version_that_a_process_reads_is_not_removed(market):
    first = market.folder.current()
    with market.live():
        market.build()
        market.build()
        assert first in market.folder.versions()
    market.build()
    assert first not in market.folder.versions()


def test_a_space_without_vectors_is_left_out(market):
    market.text = Counting("nothing")
    market.text.key = lambda item: None
    manifest = market.build()
    assert set(manifest.spaces) == {"attributes", "als"}


def test_nothing_to_index_is_said(tmp_path):
    empty = Market(Workspace(tmp_path / "w"))
    with pytest.raises(NotBuilt, match="kindred import"):
        build_index(empty.workspace, empty.settings, empty.catalogue, {}, {}, empty.encoders)
    assert empty.folder.current() is None
    assert not list(empty.workspace.index.glob(".building-*"))
    with pytest.raises(NotBuilt, match="kindred index"):
        empty.folder.manifest()


def test_a_model_may_not_take_an_encoders_name(market):
    space = BehaviourSpace(np.ones((1, 1), np.float32), np.ones(1, np.bool_), "1")
    with pytest.raises(ArtefactError, match="'text'"):
        build_index(
            market.workspace, market.settings, market.catalogue, {"text": space}, {},
            market.encoders,
        )  # fmt: skip


def test_a_failed_build_changes_nothing(market):
    before, versions = market.folder.current(), market.folder.versions()

    class Broken(Counting):
        def encode(self, items):
            raise ArtefactError("weights are gone")

    market.text = Broken("v2")
    with pytest.raises(ArtefactError, match="weights"):
        market.build()
    assert (market.folder.current(), market.folder.versions()) == (before, versions)
    assert not list(market.workspace.index.glob(".building-*"))


def test_kill_9_of_a_build_leaves_the_old_version_serving(market):
    code = (
        "import sys; from pathlib import Path\n"
        "from counting import Counting\n"
        "from markets import Market\n"
        "from kindred.indexer.encoders import run\n"
        "from kindred.schemas.workspace import Workspace\n"
        "run.BLOCK = 4\n"
        "market = Market(Workspace(Path(sys.argv[1])), text=Counting('v2', pause=0.1))\n"
        "market.build()\n"
    )
    before = market.folder.current()
    env = {**os.environ, "PYTHONPATH": f"{ROOT}/tests:{ROOT}"}
    child = subprocess.Popen([sys.executable, "-c", code, str(market.workspace.root)], env=env)
    keys = [market.text.key(i) for _, i in market.catalogue.page(limit=ITEMS)]

    def encoded() -> int:
        return int(market.cache.get("text", "v2", keys, 8).present.sum())

    deadline = time.monotonic() + 60
    while encoded() < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    with pytest.raises(ArtefactError, match="another process is building"):
        market.build()
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert market.folder.current() == before
    assert list(market.workspace.index.glob(".building-*"))
    with market.live() as live:
        assert live.manifest.version == before
        assert live.store.count() == ITEMS + 1

    kept = encoded()
    assert 8 <= kept < ITEMS
    market.text = Counting("v2")
    market.build()
    assert len(market.text.seen) == ITEMS + 1 - kept, "what was encoded before the kill is kept"
    assert not list(market.workspace.index.glob(".building-*"))


def test_a_damaged_version_says_what_to_do(market):
    manifest = market.workspace.index / market.folder.current() / "manifest.json"
    manifest.write_text("{")
    with pytest.raises(ArtefactError, match="kindred index"):
        market.live()


def test_a_clock_set_back_does_not_confuse_versions(market):
    older = market.build(clock=lambda: 1_000_000)
    assert market.folder.current() == older.version == market.folder.versions()[-1]


def test_on_a_server_the_alias_names_the_new_collection(market):
    client = QdrantClient(":memory:")
    client.create_collection("items-eu-20250101T000000-000000", vectors_config={})
    market.settings = msgspec.structs.replace(market.settings, store=StoreSettings(kind="server"))
    market.home = ServerHome(market.settings.store, client)
    first = market.build()
    assert first.collection == f"items-{first.version}"
    assert client.count("items").count == ITEMS + 1
    client.create_collection("items-20250101T000000-000000", vectors_config={})
    second, third = market.build(), market.build()
    names = {c.name for c in client.get_collections().collections}
    assert names == {second.collection, third.collection, "items-eu-20250101T000000-000000"}
    aliases = {a.alias_name: a.collection_name for a in client.get_aliases().aliases}
    assert aliases == {"items": third.collection}
