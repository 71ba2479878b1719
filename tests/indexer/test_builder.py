"""The builder process: encodes what is new at once, and builds when it is due."""

from __future__ import annotations

import threading
import time

import msgspec
import pytest
from builders import item
from counting import Counting
from markets import ITEMS, Market, als
from qdrant_client import QdrantClient

from kindred.indexer.build import build_index, rollback
from kindred.indexer.builder import BATCH, Builder
from kindred.indexer.store.homes import ServerHome
from kindred.schemas.errors import ArtefactError
from kindred.schemas.settings import StoreSettings


class Ordered:
    """A build that somebody else runs, as far as the builder can see."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.ended = False

    def poll(self) -> int | None:
        return self.code

    def terminate(self) -> None:
        self.ended = True


class Orders:
    """Counts the builds that are started."""

    def __init__(self) -> None:
        self.started: list[Ordered] = []

    def __call__(self) -> Ordered:
        self.started.append(Ordered())
        return self.started[-1]


def builder(market: Market, orders: Orders | None = None, **given: object) -> Builder:
    return Builder(
        market.workspace, market.settings, market.catalogue, market.cache, market.encoders,
        orders or Orders(), **given,
    )  # fmt: skip


def known(market: Market, *titles: str) -> list[bool]:
    keys = [market.text.key(item(title=t)) for t in titles]
    return market.cache.get("text", market.text.version, keys, 8).present.tolist()


def test_a_new_item_is_encoded_in_the_next_turn(market):
    follows = builder(market)
    market.catalogue.upsert([item(title="brass telescope")])
    assert follows.step() is False
    assert market.text.seen == ["brass telescope"]
    assert known(market, "brass telescope") == [True]
    follows.step()
    assert market.text.calls == 1


def test_what_is_not_active_is_not_encoded(market):
    follows = builder(market)
    market.catalogue.upsert([item(item_id="gone", title="gone")])
    market.catalogue.withdraw(["gone"])
    follows.step()
    assert market.text.seen == []


def test_a_new_item_does_not_wait_behind_a_bulk_import(market):
    follows = builder(market)
    market.catalogue.upsert([item(title=f"bulk {n}") for n in range(5 * BATCH)])
    assert follows.step() is True
    market.catalogue.upsert([item(title="urgent")])
    follows.step()
    assert known(market, "urgent") == [True]
    assert len(market.text.seen) == 2 * BATCH + 1
    turns = 0
    while follows.step():
        turns += 1
    assert turns < 8
    assert all(known(market, *(f"bulk {n}" for n in range(5 * BATCH))))
    assert len(market.text.seen) == len(set(market.text.seen)) == 5 * BATCH + 1


def test_after_a_restart_it_goes_on_from_the_version(market):
    market.catalogue.upsert([item(title="while nobody looked")])
    follows = builder(market)
    follows.step()
    assert known(market, "while nobody looked") == [True]


def test_a_build_is_due_after_enough_changes(market):
    store = msgspec.structs.replace(market.settings.store, rebuild_after=10)
    market.settings = msgspec.structs.replace(market.settings, store=store)
    orders = Orders()
    follows = builder(market, orders)
    market.catalogue.upsert([item(title=f"t{n}") for n in range(9)])
    follows.step()
    assert not orders.started
    market.catalogue.upsert([item(title="tenth")])
    follows.step()
    assert len(orders.started) == 1
    assert "10 changes" in follows.due()
    follows.step()
    assert len(orders.started) == 1, "one build at a time"
    market.build()
    orders.started[0].code = 0
    follows.step()
    assert follows.due() is None
    assert len(orders.started) == 1


def test_a_failed_build_is_tried_again_after_a_pause(market):
    market.text = Counting("v2")
    now, orders = [1_000_000], Orders()
    follows = builder(market, orders, clock=lambda: now[0])
    assert follows.due() == "the text encoder has changed"
    follows.step()
    orders.started[0].code = 2
    follows.step()
    assert len(orders.started) == 1
    now[0] += 31_000_000
    follows.step()
    assert len(orders.started) == 2


def test_the_first_build_and_the_first_picture(market, tmp_path):
    empty = Market(type(market.workspace)(tmp_path / "w"))
    follows = builder(empty)
    assert follows.due() is None
    empty.catalogue.upsert([item(title="first")])
    assert follows.due() == "there is no index yet"

    pictures = Counting()
    pictures.space = "image"
    encoders = {**market.encoders, "image": pictures}
    orders = Orders()
    follows = Builder(
        market.workspace, market.settings, market.catalogue, market.cache, encoders, orders
    )
    assert follows.due() is None
    market.catalogue.upsert([item(title="the first with a picture")])
    follows.step()
    assert follows.due() is None, "the build under way brings them"
    assert len(orders.started) == 1


def test_first_vectors_ask_for_one_build_and_for_another_where_it_failed(market):
    pictures, orders, now = Counting(), Orders(), [1_000_000]
    pictures.space = "image"
    follows = Builder(
        market.workspace, market.settings, market.catalogue, market.cache,
        {**market.encoders, "image": pictures}, orders, clock=lambda: now[0],
    )  # fmt: skip
    market.catalogue.upsert([item(item_id="seen once", title="the only one with a picture")])
    follows.step()
    orders.started[0].code = 2
    follows.step()
    now[0] += 31_000_000
    follows.step()
    assert len(orders.started) == 2
    market.catalogue.withdraw(["seen once"])
    market.build()  # which has no picture any more
    orders.started[1].code = 0
    follows.step()
    follows.step()
    assert len(orders.started) == 2


def test_it_runs_until_it_is_told_to_stop_and_a_put_is_found_meanwhile(market):
    stop, orders = threading.Event(), Orders()
    follows = builder(market, orders, poll_s=0.02)
    loop = threading.Thread(target=follows.run, args=(stop,))
    loop.start()
    with market.live() as live:
        market.catalogue.upsert([item(item_id="new", title="brass telescope")])
        deadline = time.monotonic() + 30
        while live.pending or not live.tables["text"].gather(live.columns.rows(["new"]))[1].all():
            live.apply_changes()
            assert time.monotonic() < deadline
            time.sleep(0.02)
    stop.set()
    loop.join(30)
    assert not loop.is_alive()


def test_failures_are_tried_again_and_a_build_under_way_is_ended(market):
    class Flaky(Counting):
        failures = 2

        def encode(self, items):
            if self.failures:
                self.failures -= 1
                raise ArtefactError("weights are away")
            return super().encode(items)

    market.text = Flaky()
    store = msgspec.structs.replace(market.settings.store, rebuild_after=1)
    market.settings = msgspec.structs.replace(market.settings, store=store)
    orders, stop = Orders(), threading.Event()
    follows = builder(market, orders, poll_s=0.01)
    market.catalogue.upsert([item(title="patience")])
    loop = threading.Thread(target=follows.run, args=(stop,))
    loop.start()
    deadline = time.monotonic() + 30
    while not orders.started and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    loop.join(30)
    assert known(market, "patience") == [True]
    assert orders.started[0].ended


def test_with_a_server_it_also_writes_the_collection(market):
    chosen = StoreSettings(kind="server")
    market.settings = msgspec.structs.replace(market.settings, store=chosen)
    market.home = ServerHome(chosen, QdrantClient(":memory:"))
    market.build()
    follows = builder(market, open_writer=lambda: market.live("writer", writes=True))
    market.catalogue.upsert([item(item_id="new", title="brass telescope")])
    while follows.step():
        pass
    follows.step()
    reader = market.live("reader")
    reader.apply_changes()
    assert reader.store.count() == ITEMS + 1
    row = reader.columns.rows(["new"])
    assert reader.store.retrieve(row, "text")[1].all()


class TestNewerModels:
    """What was trained or rolled back is taken up by itself, once it is quiet."""

    SECOND = 1_000_000

    @pytest.fixture(autouse=True)
    def follow(self, market: Market) -> None:
        self.now = 10**12
        self.told: dict[str, str] | None = {"als": "000001"}
        self.follows = builder(
            market, clock=lambda: self.now, models=lambda: self.told and dict(self.told)
        )

    def due_after(self, seconds: float) -> str | None:
        """What is due some time later, looking often as the loop does."""
        found = None
        for _ in range(round(seconds * 4)):
            self.now += self.SECOND // 4
            found = self.follows.due()
        return found

    def test_the_models_of_the_version_need_no_other(self):
        assert self.due_after(10) is None

    def test_newer_ones_are_taken_up_after_a_while(self):
        self.due_after(5)
        self.told = {"als": "000002"}
        assert self.due_after(1.5) is None
        self.told = {"als": "000002", "hybrid": "000001"}
        assert self.due_after(2) is None, "training goes on"
        assert self.due_after(1) == "newer models are in use"

    def test_nothing_is_begun_while_a_stage_is_being_trained(self):
        self.told = None
        assert self.due_after(10) is None
        self.told = {"als": "000002"}
        assert self.due_after(2) is None
        assert self.due_after(1) == "newer models are in use"

    def test_a_build_that_somebody_else_began_is_left_to_end(self, market):
        self.told = {"als": "000002"}
        with market.folder.building():
            assert self.due_after(5) is None
        assert self.due_after(0.25) == "newer models are in use"

    def test_a_version_that_somebody_went_back_to_stays(self, market):
        build_index(
            market.workspace, market.settings, market.catalogue, als(), {"als": "000002"},
            market.encoders,
        )  # fmt: skip
        self.told = {"als": "000002"}
        rollback(market.workspace, market.settings)
        assert market.folder.manifest().models == {"als": "000001"}
        assert self.due_after(5) is None
        self.told = {"als": "000003"}
        assert self.due_after(5) == "newer models are in use"


class Marked(Counting):
    """An encoder of another space, by a model's version."""

    space = "air"


def test_new_items_are_encoded_with_the_modules_of_the_version_in_use(market):
    made = {"000001": Marked("one"), "000002": Marked("two")}

    def modules(models):
        return {"air": made[models["air"]]} if "air" in models else {}

    def build(air: str) -> None:
        encoders = {**market.encoders, "air": made[air]}
        build_index(market.workspace, market.settings, market.catalogue, {}, {"air": air}, encoders)

    build("000001")
    follows = builder(market, modules=modules)
    market.catalogue.upsert([item(title="brass telescope")])
    follows.step()
    assert "brass telescope" in made["000001"].seen
    market.catalogue.upsert([item(title="late lamp")])
    build("000002")
    made["000002"].seen.clear()
    market.catalogue.upsert([item(title="later lamp")])
    while follows.step():
        pass
    assert made["000002"].seen == ["later lamp"]
    assert "later lamp" not in made["000001"].seen
    assert follows.due() is None


def test_what_changed_during_a_build_is_encoded_again_with_the_new_modules(market):
    old, new = Marked("one"), Marked("two")
    now = {"air": old}
    follows = builder(market, modules=lambda models: dict(now))
    follows.step()
    manifest = market.folder.manifest()
    market.catalogue.upsert([item(title="meanwhile")])
    follows.step()
    assert "meanwhile" in old.seen
    market.build()  # of what was there before, as far as the clock of the catalogue goes
    earlier = msgspec.structs.replace(market.folder.manifest(), sequence=manifest.sequence)
    path = market.folder.root / earlier.version / "manifest.json"
    path.write_bytes(msgspec.json.encode(earlier))
    now["air"] = new
    while follows.step():
        pass
    assert new.seen == ["meanwhile"]
