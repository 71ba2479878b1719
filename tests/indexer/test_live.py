"""The live index follows the catalogue: new, changed and withdrawn items, whole and at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from builders import item
from counting import Counting
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markets import ITEMS, Market, copied, nearest, quick_folder
from qdrant_client import QdrantClient

from kindred.indexer import live as live_module
from kindred.indexer.live import Live
from kindred.indexer.replica import copy_tree
from kindred.indexer.store.exact import ExactStore
from kindred.indexer.store.homes import ServerHome
from kindred.indexer.store.port import Plan, Search
from kindred.schemas.errors import StoreError, VersionMismatch
from kindred.schemas.item import Item, Status
from kindred.schemas.query import Filters
from kindred.schemas.settings import StoreSettings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def live(market) -> Iterator[Live]:
    with market.live() as live:
        yield live


def put(market: Market, **fields: object) -> int:
    """Upsert an item; its row."""
    one = item(**fields)
    market.catalogue.upsert([one])
    return int(market.catalogue.rows_of([one.item_id])[0])


def change(market: Market, item_id: str, **fields: object) -> int:
    """Change an item; its row."""
    old = market.catalogue.get(item_id)
    assert old is not None
    market.catalogue.upsert([msgspec.structs.replace(old, **fields)])
    return int(market.catalogue.rows_of([item_id])[0])


def writes(live: Live, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What goes to the store from now on: (operation, rows)."""
    seen: list[tuple[str, int]] = []
    for name in ("upsert", "set_payload", "set_vectors", "delete"):
        real = getattr(live.store, name)

        def watched(first, *rest, name=name, real=real):
            rows = first.rows if name == "upsert" else first
            if len(rows):
                seen.append((name, len(rows)))
            return real(first, *rest)

        monkeypatch.setattr(live.store, name, watched)
    return seen


def agree(live: Live) -> None:
    """Store, columns and tables tell the same story."""
    rows = np.arange(live.columns.size)
    active = live.columns.active
    assert live.store.count() == active.sum()
    for space, table in live.tables.items():
        vectors, present = table.gather(rows)
        held, exist = live.store.retrieve(rows, space)
        np.testing.assert_array_equal(exist, present & active)
        np.testing.assert_allclose(held[exist], vectors[exist], atol=1e-6)


def test_it_opens_where_the_build_ended(live, market):
    assert live.sequence == market.catalogue.sequence
    assert (live.behind, live.pending) == (0, 0)
    assert live.apply_changes() == 0
    assert nearest(live, 3)[0] == 3
    agree(live)


def test_a_new_item_is_found_when_it_is_encoded_and_applied(live, market):
    market.encode("brass telescope")
    row = put(market, item_id="new", title="brass telescope", category=("optics",))
    assert live.behind == 1
    assert live.apply_changes() == 1
    assert (live.behind, live.pending) == (0, 0)
    assert nearest(live, row)[0] == row
    assert nearest(live, row, "attributes")[0] == row
    assert live.columns.rows(["new"])[0] == row
    agree(live)


def test_until_it_is_encoded_it_shows_with_what_it_has(live, market):
    row = put(market, item_id="new", title="brass telescope", category=("optics",))
    live.apply_changes()
    assert live.pending == 1
    assert nearest(live, row, "attributes")[0] == row
    assert live.store.count(Filters(categories=(("optics",),))) == 1
    assert not live.tables["text"].gather(np.array([row]))[1].any()
    assert live.apply_changes() == 0
    assert live.pending == 1

    market.encode("brass telescope")
    live.apply_changes()
    assert live.pending == 0
    assert nearest(live, row)[0] == row
    agree(live)


def test_a_withdrawn_item_disappears_and_comes_back(live, market):
    market.catalogue.withdraw(["i3"])
    live.apply_changes()
    assert not live.columns.active[3]
    assert 3 not in nearest(live, 3, k=ITEMS)
    assert live.tables["text"].gather(np.array([3]))[1].all(), "as a seed it still has a vector"
    assert live.store.count() == ITEMS - 1
    change(market, "i3", status=Status.ACTIVE)
    live.apply_changes()
    assert nearest(live, 3)[0] == 3
    agree(live)


def test_a_price_change_is_seen_by_filters_and_writes_no_vectors(live, market, monkeypatch):
    old = market.catalogue.get("i5").price_minor
    cheap = Filters(price_max_minor=old - 1)
    before = live.store.count(cheap)
    assert not live.columns.mask(cheap)[5]
    seen = writes(live, monkeypatch)
    change(market, "i5", price_minor=old - max(1, old // 200))
    live.apply_changes()
    assert seen == [("set_payload", 1)]
    assert live.columns.mask(cheap)[5]
    assert live.store.count(cheap) == before + 1
    assert 5 in nearest(live, 5, filters=cheap)


def test_only_changed_vectors_are_written(live, market, monkeypatch):
    market.encode("another title")
    seen = writes(live, monkeypatch)
    change(market, "i6", title="another title")
    live.apply_changes()
    assert seen == [("set_payload", 1), ("set_vectors", 1)]
    agree(live)


def test_a_changed_title_keeps_the_old_vector_until_the_new_one_is_there(live, market):
    old = live.tables["text"].gather(np.array([6]))[0]
    row = change(market, "i6", title="another title", price_minor=77)
    live.apply_changes()
    assert live.columns.price[row] == 77
    np.testing.assert_array_equal(live.tables["text"].gather(np.array([6]))[0], old)
    assert live.pending == 1
    market.encode("another title")
    live.apply_changes()
    assert (live.tables["text"].gather(np.array([6]))[0] != old).any()
    agree(live)


def test_facts_and_vectors_that_are_taken_away_are_gone(live, market):
    change(market, "i8", title="", brand=None, location=None, category=())
    live.apply_changes()
    assert not live.tables["text"].gather(np.array([8]))[1].any()
    assert not live.tables["attributes"].gather(np.array([8]))[1].any()
    brand = Filters(brands=("brand 3",))
    assert live.store.count(brand) == live.columns.mask(brand).sum()
    assert live.pending == 0
    agree(live)


def test_what_cannot_be_encoded_does_not_stay_pending(live, market):
    row = put(market, item_id="odd", title="bad title")
    live.apply_changes()
    assert live.pending == 1
    market.encode("bad title")
    live.apply_changes()
    assert live.pending == 0
    assert not live.tables["text"].gather(np.array([row]))[1].any()
    agree(live)


def test_withdrawn_while_pending(live, market):
    put(market, item_id="brief", title="gone soon")
    live.apply_changes()
    market.catalogue.withdraw(["brief"])
    live.apply_changes()
    assert live.pending == 0
    agree(live)


def test_two_lives_on_one_version_are_independent(market):
    with market.live("a") as a, market.live("b") as b:
        market.catalogue.withdraw(["i3"])
        a.apply_changes()
        assert not a.columns.active[3]
        assert b.columns.active[3]
        assert nearest(b, 3)[0] == 3
        b.apply_changes()
        agree(a)
        agree(b)


def test_a_restart_catches_up(market):
    market.encode("brass telescope")
    with market.live() as live:
        put(market, item_id="new", title="brass telescope")
        market.catalogue.withdraw(["i3"])
        live.apply_changes()
    with market.live() as live:
        assert live.behind == 2
        live.apply_changes()
        assert live.behind == 0
        assert live.columns.rows(["new"])[0] == ITEMS
        assert not live.columns.active[3]
        agree(live)


def test_many_changes_come_in_parts(market):
    items = [item(item_id=f"n{n}", title="", category=("bulk",)) for n in range(150)]
    with market.live() as live:
        market.catalogue.upsert(items)
        assert [live.apply_changes(limit=100) for _ in range(3)] == [100, 50, 0]
        assert live.store.count(Filters(categories=(("bulk",),))) == 150
        agree(live)


changes = st.lists(
    st.tuples(
        st.sampled_from([f"i{n}" for n in range(0, ITEMS, 9)] + ["x", "y"]),
        st.fixed_dictionaries(
            {
                "title": st.sampled_from(["", "one", "two", "bad"]),
                "category": st.sampled_from([(), ("a",), ("a", "b")]),
                "price_minor": st.sampled_from([100, 5000]),
                "status": st.sampled_from([Status.ACTIVE, Status.ACTIVE, Status.SOLD]),
                "brand": st.sampled_from([None, "b"]),
            }
        ),
        st.booleans(),
    ),
    max_size=12,
)


@given(changes)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_rebuild_gives_what_the_live_index_has(built, steps):
    with quick_folder() as folder:
        market = copied(built, folder / "w")
        with market.live() as live:
            for item_id, facts, at_once in steps:
                market.catalogue.upsert([item(item_id=item_id, created_at=5, **facts)])
                if at_once:
                    live.apply_changes()
            market.encode("one", "two", "bad")
            live.apply_changes()
            assert live.pending == 0
            agree(live)
            market.build()
            with market.live("rebuilt") as rebuilt:
                same(live, rebuilt)
        market.close()


def same(live: Live, rebuilt: Live) -> None:
    agree(rebuilt)
    active = np.flatnonzero(live.columns.active)
    np.testing.assert_array_equal(live.columns.active, rebuilt.columns.active)
    np.testing.assert_array_equal(live.columns.price, rebuilt.columns.price)
    for space, table in rebuilt.tables.items():
        mine, there = live.tables[space].gather(active)
        theirs, present = table.gather(active)
        np.testing.assert_array_equal(there, present)
        np.testing.assert_array_equal(mine, theirs)
    for filters in (Filters(categories=(("a",),)), Filters(brands=("b",))):
        assert live.store.count(filters) == rebuilt.store.count(filters)


def test_a_request_never_sees_half_a_part(live, market, monkeypatch):
    """Titles and prices change together; a reader must never see one without the other."""
    monkeypatch.setattr(live_module, "AT_ONCE", 16)
    market.encode("even", "odd")
    ids = [f"i{n}" for n in range(ITEMS)]
    vectors = {
        price: market.text.encode([item(title=title)]).vectors[0]
        for price, title in ((2, "even"), (3, "odd"))
    }
    torn, rounds, stop = [], [0], threading.Event()
    exact = ExactStore(live.columns, live.tables)

    def read() -> None:
        while not stop.is_set():
            with live.reading():
                price = float(live.columns.price[7])
                time.sleep(0.0005)
                vector = live.tables["text"].gather(np.array([7]))[0][0]
                held = live.store.retrieve(np.array([7]), "text")[0][0]
                found = exact.search(
                    [Search(space="text", vectors=vector[None], k=1, plan=Plan(mode="scan"))]
                )
                rounds[0] += 1
                if price in vectors and not (
                    np.array_equal(vector, vectors[price])
                    and np.allclose(held, vectors[price], atol=1e-6)
                    and found[0].scores[0, 0] > 0.999
                ):
                    torn.append(price)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(20):
        even = turn % 2 == 0
        items = [market.catalogue.get(i) for i in ids]
        market.catalogue.upsert(
            [
                msgspec.structs.replace(
                    i, title="even" if even else "odd", price_minor=2 if even else 3
                )
                for i in items
                if i is not None
            ]
        )
        live.apply_changes()
    stop.set()
    reader.join(30)
    assert rounds[0] > 20
    assert not torn
    agree(live)


def test_a_store_that_fails_leaves_the_change_for_later(live, market, monkeypatch):
    def fail(*_: object) -> None:
        raise StoreError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(live.store, "set_payload", fail)
        change(market, "i5", price_minor=1)
        with pytest.raises(StoreError):
            live.apply_changes()
        assert live.columns.price[5] != 1
        assert live.behind == 1
    live.apply_changes()
    assert live.columns.price[5] == 1
    agree(live)


def test_an_encoder_of_another_version_is_left_aside(market):
    market.text = Counting("v2")
    with market.live() as live:
        change(market, "i5", title="new words", price_minor=1)
        live.apply_changes()
        assert live.pending == 0
        assert live.columns.price[5] == 1
        agree(live)


def test_copies_go_with_their_process(market):
    version = market.workspace.index / market.folder.current()
    code = (
        "import sys, time; from pathlib import Path\n"
        "from markets import Market\n"
        "from kindred.schemas.workspace import Workspace\n"
        "live = Market(Workspace(Path(sys.argv[1]))).live('other')\n"
        "print(live.store.count(), flush=True)\n"
        "time.sleep(60)\n"
    )
    env = {**os.environ, "PYTHONPATH": f"{ROOT}/tests:{ROOT}"}
    command = [sys.executable, "-c", code, str(market.workspace.root)]
    child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == f"{ITEMS}\n"
    with market.live("mine"):
        assert len(list(version.glob("replica-*/"))) == 2
    assert [p.name.split("-")[1] for p in version.glob("replica-*.lock")] == ["other"]
    child.send_signal(signal.SIGKILL)
    child.wait()
    with market.live("mine"):
        names = {p.name.split("-")[1] for p in version.glob("replica-*")}
        assert names == {"mine"}
    assert not list(version.glob("replica-*"))


def test_a_copy_keeps_holes_as_holes(tmp_path):
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    with (source / "inner" / "page").open("wb") as file:
        file.write(b"head")
        file.seek(50_000_000)
        file.write(b"middle")
        file.truncate(100_000_000)
    (source / "empty").write_bytes(b"")
    copy_tree(source, tmp_path / "copy")
    made = tmp_path / "copy" / "inner" / "page"
    assert (tmp_path / "copy" / "empty").stat().st_size == 0
    assert made.stat().st_size == 100_000_000
    assert made.stat().st_blocks * 512 < 1_000_000
    with made.open("rb") as file:
        assert file.read(6) == b"head\0\0"
        file.seek(49_999_999)
        assert file.read(8) == b"\0middle\0"


def test_closing_waits_for_requests_and_may_be_done_twice(market):
    live = market.live()
    closer = threading.Thread(target=live.close)
    with live.reading():
        closer.start()
        time.sleep(0.05)
        assert nearest(live, 3)[0] == 3
        assert closer.is_alive()
    closer.join(30)
    live.close()
    assert live.apply_changes() == 0


def test_an_index_of_another_kind_of_store_is_refused(market):
    with pytest.raises(VersionMismatch, match="kindred index"):
        Live.open(
            market.workspace,
            market.settings,
            market.catalogue,
            market.cache,
            market.encoders,
            replica="x",
            home=ServerHome(StoreSettings(kind="server"), QdrantClient(":memory:")),
        )


def test_on_a_server_one_process_writes_and_the_others_read(market):
    chosen = StoreSettings(kind="server")
    market.settings = msgspec.structs.replace(market.settings, store=chosen)
    market.home = ServerHome(chosen, QdrantClient(":memory:"))
    market.build()
    reader, writer = market.live("reader"), market.live("writer", writes=True)
    market.encode("brass telescope")
    row = put(market, item_id="new", title="brass telescope")
    market.catalogue.withdraw(["i3"])
    reader.apply_changes()
    assert reader.columns.rows(["new"])[0] == row
    assert reader.store.count() == ITEMS, "a reader writes nothing"
    writer.apply_changes()
    agree(writer)
    agree(reader)

    # A writer that starts again does not know what the last one did: it makes it so.
    writer.store.delete(np.array([row]))
    again = market.live("again", writes=True)
    again.apply_changes()
    agree(again)
    assert isinstance(market.catalogue.get("new"), Item)
