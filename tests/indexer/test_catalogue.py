"""The catalogue: rows, changes, several writers, and what survives."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from builders import item

from kindred.events.contract import Facts
from kindred.events.database import connect, prepare
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.catalogue_tables import CATALOGUE_TABLES
from kindred.indexer.listings import Listings
from kindred.schemas.errors import CatalogueError
from kindred.schemas.item import Campaign, Format, Item, Location, Status

NOW = 1_750_000_000_000_000


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    catalogue = Catalogue.open(tmp_path / "catalogue.sqlite", clock=lambda: NOW)
    yield catalogue
    catalogue.close()


def rows(catalogue: Catalogue, *item_ids: str) -> list[int]:
    return [int(r) for r in catalogue.rows_of(item_ids)]


def test_items_come_back_as_they_were_told(catalogue: Catalogue) -> None:
    told = item(
        attributes={"size": 1.5, "fabric": "wool"},
        location=Location(lat=59.9, lon=10.7, postcode="0150"),
        materials=("wool", "oak"),
    )
    catalogue.upsert([told, item(item_id="other")])
    assert catalogue.get(told.item_id) == told
    assert catalogue.get("nobody") is None
    found = catalogue.get_many(["other", "nobody", told.item_id])
    assert [f and f.item_id for f in found] == ["other", None, told.item_id]
    assert [i.item_id for i in catalogue.by_rows([1, 0])] == ["other", told.item_id]
    with pytest.raises(CatalogueError, match="row 7"):
        catalogue.by_rows([7])


def test_the_same_item_again_is_unchanged(catalogue: Catalogue) -> None:
    items = [item(item_id=f"i{n}", attributes={"a": "1", "b": 2.0}) for n in range(5)]
    first = catalogue.upsert(items)
    assert (first.accepted, first.unchanged, first.sequence) == (5, 0, 5)
    again = catalogue.upsert([item(item_id="i0", attributes={"b": 2.0, "a": "1"}), *items[1:]])
    assert (again.accepted, again.unchanged, again.sequence) == (0, 5, 5)
    changed = catalogue.upsert([*items[:4], item(item_id="i4", title="another")])
    assert (changed.accepted, changed.unchanged, changed.sequence) == (1, 4, 6)
    assert [c.row for c in catalogue.changes(since=5, limit=10)] == [4]


def test_of_an_id_twice_in_a_batch_the_last_counts(catalogue: Catalogue) -> None:
    result = catalogue.upsert([item(item_id="a", title="old"), item(item_id="a", title="new")])
    assert (result.accepted, result.unchanged, result.sequence) == (1, 1, 1)
    assert catalogue.get("a") == item(item_id="a", title="new")


def test_the_clock_dates_what_the_feed_does_not(tmp_path: Path) -> None:
    now = [NOW]
    catalogue = Catalogue.open(tmp_path / "c.sqlite", clock=lambda: now[0])
    catalogue.upsert([item(item_id="a", created_at=None)])
    now[0] += 5
    assert catalogue.upsert([item(item_id="a", created_at=None)]).unchanged == 1
    catalogue.upsert([item(item_id="a", created_at=None, title="new")])
    kept = catalogue.get("a")
    assert kept is not None
    assert kept.created_at == NOW
    catalogue.close()


def test_rows_are_kept_over_withdrawal_and_return(catalogue: Catalogue) -> None:
    items = [item(item_id=i) for i in "abc"]
    catalogue.upsert(items)
    result = catalogue.withdraw(["b", "nobody", "b"], at=NOW + 1)
    assert (result.accepted, result.unchanged, result.unknown) == (1, 1, ("nobody",))
    withdrawn = catalogue.get("b")
    assert withdrawn is not None
    assert (withdrawn.status, withdrawn.ended_at) == (Status.ENDED, NOW + 1)
    assert (catalogue.count, catalogue.active) == (3, 2)
    assert catalogue.withdraw(["b"]).unchanged == 1

    catalogue.upsert([item(item_id="d"), items[1]])
    assert rows(catalogue, "a", "b", "c", "d", "nobody") == [0, 1, 2, 3, -1]
    assert (catalogue.count, catalogue.active) == (4, 4)
    catalogue.upsert([item(item_id="a", status=Status.SOLD)])
    assert catalogue.active == 3


def test_changes_come_in_order_and_each_row_once(catalogue: Catalogue) -> None:
    catalogue.upsert([item(item_id=i) for i in "abcd"])
    catalogue.upsert([item(item_id="b", title="new"), item(item_id="e")])
    catalogue.withdraw(["a"])
    seen = catalogue.changes(since=0, limit=3)
    seen += catalogue.changes(since=seen[-1].sequence, limit=100)
    assert [(c.sequence, c.item.item_id) for c in seen] == [
        (3, "c"), (4, "d"), (5, "b"), (6, "e"), (7, "a"),
    ]  # fmt: skip
    assert catalogue.changes(since=catalogue.sequence, limit=10) == []
    assert [c.row for chunk in catalogue.scan(chunk=2) for c in chunk] == [0, 1, 2, 3, 4]
    assert [row for row, _ in catalogue.page(after_row=1, limit=2)] == [2, 3]


def test_ids_of_every_script_are_told_apart(catalogue: Catalogue) -> None:
    ids = ["é", "e\u0301", "'; DROP TABLE items; --", '"', "\\", "日本", "a b\n", "A", "a"]
    catalogue.upsert([item(item_id=i) for i in ids])
    assert rows(catalogue, *ids) == list(range(len(ids)))


def test_facts_are_those_of_the_time(tmp_path: Path) -> None:
    now = [NOW]
    catalogue = Catalogue.open(tmp_path / "catalogue.sqlite", clock=lambda: now[0])
    told = {"item_id": "x", "seller_id": "s", "ad_rate_bp": 300, "category": ("home", "chairs")}
    catalogue.upsert([item(**told, campaign=Campaign.PLS)])
    now[0] = NOW + 10
    catalogue.upsert([item(**told, formats=(Format.AUCTION, Format.BEST_OFFER))])
    now[0] = NOW + 20
    catalogue.upsert([item(**told, title="other words", formats=(Format.AUCTION,))])
    now[0] = NOW + 30
    catalogue.upsert([item(**told, title="the same formats", formats=(Format.AUCTION,))])
    times = [NOW - 5, NOW + 9, NOW + 10, NOW + 19, NOW + 20, NOW + 99]
    facts = catalogue.listings.facts_at(["x"] * 6 + ["unknown"], [*times, NOW])
    assert [f and f.formats for f in facts] == [1, 1, 6, 6, 4, 4, None]
    assert facts[0] == Facts(formats=1, seller_id="s", ad_rate_bp=0, top_category="home")
    catalogue.upsert([item(item_id="y", campaign=Campaign.PLS, ad_rate_bp=300)])
    assert catalogue.listings.facts_at(["y"], [NOW]) == [Facts(1, None, 300, "home")]
    catalogue.close()


def test_a_thread_asks_of_listings_while_another_does(catalogue: Catalogue, tmp_path: Path) -> None:
    """Also while one reads pages, and while one writes."""
    catalogue.upsert([item(item_id=f"x{n}") for n in range(50)])
    listings = Listings(tmp_path / "catalogue.sqlite")
    others = sqlite3.connect(tmp_path / "catalogue.sqlite", isolation_level=None)
    others.execute("BEGIN IMMEDIATE")
    with catalogue._kept.read(), ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(listings.facts_at, [f"x{n}"], [NOW]) for n in range(50)]
        assert {future.result(30)[0] for future in asked} == {Facts(1, None, 0, "home")}
    others.close()
    listings.close()
    assert Listings(tmp_path / "none.sqlite").facts_at(["x"], [NOW]) == [None]


def test_a_catalogue_of_the_first_format_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    db = connect(path)
    prepare(db, CATALOGUE_TABLES._replace(steps=CATALOGUE_TABLES.steps[:1]), CatalogueError)
    db.close()
    catalogue = Catalogue.open(path)
    catalogue.upsert([item(item_id="x")])
    catalogue.upsert([item(item_id="x", formats=(Format.AUCTION,))])
    assert [f and f.formats for f in catalogue.listings.facts_at(["x"], [0])] == [1]
    catalogue.close()
    newer = CATALOGUE_TABLES._replace(steps=(*CATALOGUE_TABLES.steps, "SELECT 1"))
    db = connect(path)
    prepare(db, newer, CatalogueError)
    db.close()
    with pytest.raises(CatalogueError, match="format of the catalogue is 3, this version reads 2"):
        Catalogue.open(path)


def test_an_empty_batch_changes_nothing(catalogue: Catalogue) -> None:
    assert catalogue.upsert([]).sequence == 0
    assert catalogue.withdraw([]).accepted == 0
    assert (catalogue.count, catalogue.active, catalogue.sequence) == (0, 0, 0)
    assert list(catalogue.scan()) == []


WRITER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from kindred.indexer.catalogue import Catalogue
    from kindred.schemas.item import Item
    catalogue = Catalogue.open(Path(sys.argv[1]))
    for n in range(int(sys.argv[3])):
        batch = [Item(item_id=f"{sys.argv[2]}-{n}-{i}") for i in range(4)]
        result = catalogue.upsert([*batch, Item(item_id="shared", title=f"{sys.argv[2]} {n}")])
        assert result.accepted == 5, result
        print(n, flush=True)
""")


def writer(path: Path, name: str, batches: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(batches)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def check_whole(catalogue: Catalogue) -> list[Item]:
    """Rows without a gap, one number for each change, totals that agree."""
    changes = [c for chunk in catalogue.scan(100) for c in chunk]
    assert [c.row for c in changes] == list(range(catalogue.count))
    assert len({c.sequence for c in changes}) == len(changes)
    assert max((c.sequence for c in changes), default=0) == catalogue.sequence
    assert catalogue.active == sum(c.item.status is Status.ACTIVE for c in changes)
    return [c.item for c in changes]


def test_several_processes_write_and_a_follower_misses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    writers = [writer(path, name, 30) for name in "abc"]
    catalogue = Catalogue.open(path)
    followed, since = {}, 0
    while True:
        done = all(w.poll() is not None for w in writers)
        for change in catalogue.changes(since, limit=7):
            assert change.sequence > since
            followed[change.item.item_id], since = change.item, change.sequence
        if done and since == catalogue.sequence:
            break
    for w in writers:
        w.communicate()
    assert [w.returncode for w in writers] == [0, 0, 0]
    items = check_whole(catalogue)
    assert len(items) == 3 * 30 * 4 + 1
    assert followed == {i.item_id: i for i in items}
    assert catalogue.sequence == 3 * 30 * 5
    catalogue.close()


def test_a_kill_loses_nothing_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    for name in ("a", "b", "c"):
        killed = writer(path, name, 100_000)
        assert killed.stdout is not None
        for _ in range(25):
            acknowledged = int(killed.stdout.readline())
        killed.send_signal(signal.SIGKILL)
        rest, _ = killed.communicate()
        acknowledged = max([acknowledged, *map(int, rest.split())])
        catalogue = Catalogue.open(path)
        ids = {i.item_id for i in check_whole(catalogue)}
        assert {f"{name}-{n}-{i}" for n in range(acknowledged + 1) for i in range(4)} <= ids
        assert len(ids) % 4 == 1, "a batch went in by half"
        catalogue.close()


def test_threads_share_one_catalogue(catalogue: Catalogue) -> None:
    failures = []

    def write(name: str) -> None:
        try:
            for n in range(20):
                catalogue.upsert([item(item_id=f"{name}{n}")])
                assert catalogue.get(f"{name}{n}") is not None
        except Exception as e:
            failures.append(e)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(check_whole(catalogue)) == 80


def test_a_full_disk_is_an_error_and_no_end(catalogue: Catalogue) -> None:
    catalogue.upsert([item(item_id="before")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(CatalogueError):
            catalogue.upsert([item(item_id=f"x{n}", description="x" * 4000) for n in range(500)])
        assert catalogue.get("before") is not None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert catalogue.upsert([item(item_id="after")]).accepted == 1
    assert [i.item_id for i in check_whole(catalogue)] == ["before", "after"]


@contextmanager
def unprivileged() -> Iterator[None]:
    """Permissions do not bind root, so a test run by root is somebody else for a while."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield
    if root:
        os.seteuid(0)


def test_a_file_that_cannot_be_written_is_an_error_until_it_can(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite"
    Catalogue.open(path).close()
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    path.chmod(0o444)
    tmp_path.chmod(0o555)
    with unprivileged(), pytest.raises(CatalogueError, match=r"catalogue\.sqlite"):
        Catalogue.open(path).upsert([item()])
    tmp_path.chmod(0o755)
    path.chmod(0o644)
    catalogue = Catalogue.open(path)
    assert catalogue.upsert([item()]).accepted == 1
    catalogue.close()


@pytest.mark.parametrize("content", [b"not a database, but long enough to be read as one" * 100])
def test_a_file_that_is_no_catalogue_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.sqlite").write_bytes(content)
    with pytest.raises(CatalogueError, match=r"c\.sqlite"):
        Catalogue.open(tmp_path / "c.sqlite")
    with pytest.raises(CatalogueError):
        Catalogue.open(tmp_path / "c.sqlite" / "below.sqlite")
