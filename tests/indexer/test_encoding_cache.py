"""Nothing that is unchanged is encoded twice, by any process, after any accident."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from builders import item
from counting import Counting

from kindred.indexer.encoders import run
from kindred.indexer.encoders.attributes import AttributesEncoder
from kindred.indexer.encoders.cache import CACHE_TABLES, EncodingCache
from kindred.indexer.encoders.run import RETRY_AFTER, encode_missing
from kindred.schemas.errors import ArtefactError
from kindred.schemas.settings import AttributesEncoderSettings

ROOT = Path(__file__).resolve().parents[2]
NOW = 1_700_000_000_000_000


@pytest.fixture
def cache(tmp_path: Path) -> EncodingCache:
    return EncodingCache(tmp_path / "encodings.sqlite")


def test_an_unchanged_item_is_never_encoded_twice(cache, tmp_path):
    items = [item(title=t) for t in ("a", "bb", "a", "", "ccc")]
    first = Counting()
    made = encode_missing(items, first, cache)
    assert sorted(first.seen) == ["a", "bb", "ccc"]
    assert made.encoded == 3
    assert made.present.tolist() == [True, True, True, False, True]
    np.testing.assert_array_equal(made.vectors[0], made.vectors[2])
    cache.close()

    again, reopened = Counting(), EncodingCache(tmp_path / "encodings.sqlite")
    same = encode_missing(items, again, reopened)
    assert again.calls == 0
    np.testing.assert_array_equal(same.vectors, made.vectors)

    changed = [item(title=t) for t in ("a", "bb", "a", "", "new")]
    encode_missing(changed, again, reopened)
    assert again.seen == ["new"]


def test_another_version_shares_nothing(cache):
    items = [item(title="a")]
    encode_missing(items, Counting("v1"), cache)
    other = Counting("v2")
    encode_missing(items, other, cache)
    assert other.seen == ["a"]


def test_batches_hold_items_of_one_size(cache, monkeypatch):
    monkeypatch.setattr(run, "BLOCK", 4)
    encoder = Counting()
    encode_missing([item(title="x" * n) for n in (3, 9, 1, 7, 5, 2)], encoder, cache)
    assert [len(t) for t in encoder.seen] == [9, 7, 5, 3, 2, 1]
    assert encoder.calls == 2


def test_progress_counts_items(cache):
    done: list[int] = []
    items = [item(title=t) for t in ("a", "a", "b", "", "bad")]
    encode_missing(items[:2], Counting(), cache)
    encode_missing(items, Counting(), cache, done.append)
    assert sum(done) == len(items)


def test_a_reject_has_a_path_and_is_tried_again_a_day_later(cache):
    items = [item(title="good"), item(title="bad one"), item(title="bad one")]
    made = encode_missing(items, Counting(), cache, clock=lambda: NOW)
    assert [(r.index, r.path, r.reason) for r in made.rejects] == [
        (1, "$.title", "bad one is bad"),
        (2, "$.title", "bad one is bad"),
    ]
    soon = Counting()
    known = encode_missing(items, soon, cache, clock=lambda: NOW + RETRY_AFTER - 1)
    assert soon.calls == 0
    assert known.rejects == made.rejects
    later = Counting()
    encode_missing(items, later, cache, clock=lambda: NOW + RETRY_AFTER + 1)
    assert later.seen == ["bad one"]


def test_a_retry_that_works_replaces_the_reject(cache):
    key = [b"k" * 16]
    cache.put_rejects("image", "v", key, ["host is down"], at=NOW)
    assert cache.get("image", "v", key, 2).rejected.all()
    cache.put("image", "v", key, np.array([[0.6, 0.8]], np.float32), at=NOW + 1)
    found = cache.get("image", "v", key, 2)
    assert found.present.all()
    assert not found.rejected.any()
    cache.put_rejects("image", "v", key, ["host is down again"], at=NOW + 2)
    assert cache.get("image", "v", key, 2).present.all(), "a vector stays"


def test_a_vector_that_lacks_something_gives_way_to_a_whole_one(cache):
    key, half, whole = [b"k" * 16], np.array([[1, 0]], "f4"), np.array([[0.6, 0.8]], "f4")
    cache.put("air", "v", key, half, at=NOW, lacking={0: "host is down"})
    found = cache.get("air", "v", key, 2, rejects_since=NOW)
    assert (found.present.all(), found.partial.all(), found.missing.any()) == (True, True, False)
    assert cache.get("air", "v", key, 2, rejects_since=NOW + 1).missing.all(), "too old"
    cache.put("air", "v", key, whole, at=NOW + 2)
    cache.put("air", "v", key, half, at=NOW + 3, lacking={0: "host is down"})
    found = cache.get("air", "v", key, 2, rejects_since=NOW + 9)
    np.testing.assert_array_equal(found.vectors, whole)
    assert not found.partial.any()


def test_attributes_are_made_where_they_are_needed(cache, tmp_path):
    encoder = AttributesEncoder(AttributesEncoderSettings())
    items = [item(brand="b"), item(category=())]
    made = encode_missing(items, encoder, cache)
    assert made.present.tolist() == [True, False]
    with sqlite3.connect(tmp_path / "encodings.sqlite") as db:
        assert db.execute("SELECT count(*) FROM encodings").fetchone() == (0,)


def test_many_keys_come_back_in_order(cache):
    rng = np.random.default_rng(1)
    keys = [rng.bytes(16) for _ in range(2500)]
    vectors = rng.normal(size=(2500, 8)).astype(np.float32)
    cache.put("text", "v", keys, vectors, at=NOW)
    order = rng.permutation(2500)
    found = cache.get("text", "v", [keys[i] for i in order] + [b"?" * 16], 8)
    np.testing.assert_array_equal(found.vectors[:-1], vectors[order])
    assert found.missing.tolist() == [False] * 2500 + [True]


def test_a_vector_of_another_width_does_not_count(cache):
    cache.put("text", "v", [b"k" * 16], np.ones((1, 4), np.float32), at=NOW)
    assert cache.get("text", "v", [b"k" * 16], 8).missing.all()


def python(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    """A process that runs `code` with the tests importable."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}/tests:{ROOT}"}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=env)


def test_several_processes_write_at_once(tmp_path):
    path = tmp_path / "encodings.sqlite"
    code = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from kindred.indexer.encoders.cache import EncodingCache\n"
        "cache, start = EncodingCache(Path(sys.argv[1])), int(sys.argv[2])\n"
        "for n in range(start, start + 200):\n"
        "    vector = np.full((1, 4), n, np.float32)\n"
        "    cache.put('text', 'v', [n.to_bytes(16, 'big')], vector, at=1)\n"
    )
    writers = [python(code, path, start) for start in (0, 100, 200)]
    assert [writer.wait(30) for writer in writers] == [0, 0, 0]
    found = EncodingCache(path).get("text", "v", [n.to_bytes(16, "big") for n in range(400)], 4)
    assert found.present.all()
    assert found.vectors[:, 0].tolist() == list(range(400))


def test_a_killed_run_resumes_where_it_was(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from builders import item\n"
        "from counting import Counting\n"
        "from kindred.indexer.encoders import run\n"
        "from kindred.indexer.encoders.cache import EncodingCache\n"
        "run.BLOCK = 5\n"
        "items = [item(title=f'title {n:03d}') for n in range(100)]\n"
        "run.encode_missing(items, Counting(pause=0.05), EncodingCache(Path(sys.argv[1])))\n"
    )
    path = tmp_path / "encodings.sqlite"
    child = python(code, path)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        time.sleep(0.02)
        if path.exists() and _count(path) >= 10:
            break
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = _count(path)
    assert 10 <= kept < 100
    resumed = Counting()
    made = encode_missing(
        [item(title=f"title {n:03d}") for n in range(100)], resumed, EncodingCache(path)
    )
    assert made.present.all()
    assert len(resumed.seen) == 100 - kept


def _count(path: Path) -> int:
    try:
        with sqlite3.connect(path) as db:
            return int(db.execute("SELECT count(*) FROM encodings").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_a_damaged_cache_says_that_it_may_be_deleted(tmp_path):
    (tmp_path / "encodings.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(ArtefactError, match="may be deleted"):
        EncodingCache(tmp_path / "encodings.sqlite")


def test_a_cache_from_before_formats_were_numbered_keeps_its_vectors(tmp_path):
    path = tmp_path / "encodings.sqlite"
    key, vector = b"k" * 16, np.arange(4, dtype=np.float32)
    with sqlite3.connect(path) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.executescript(CACHE_TABLES.steps[0])
        old.execute("INSERT INTO versions (space, version) VALUES ('text', 'v')")
        old.execute("INSERT INTO encodings VALUES (1, ?, ?, NULL, 1)", [key, vector.tobytes()])
    cache = EncodingCache(path)
    cache.put("text", "v", [b"l" * 16], vector[None] + 1, at=2)
    found = cache.get("text", "v", [key, b"l" * 16, b"m" * 16], 4)
    assert found.present.tolist() == [True, True, False]
    np.testing.assert_array_equal(found.vectors[:2], [vector, vector + 1])
    cache.close()
