"""Vectors by row: growing, forgetting, saving, mapping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts.vector_store import directions, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from kindred.indexer.store.tables import VectorTable
from kindred.schemas.errors import ArtefactError, InputError
from kindred.schemas.ranking import Floats

DIM = 4

steps = st.lists(
    st.tuples(
        st.sampled_from(["set", "clear", "reload"]),
        st.lists(st.integers(0, 3000), min_size=1, max_size=5, unique=True),
    ),
    max_size=12,
)


@settings(max_examples=50, deadline=None)
@given(steps=steps)
def test_a_table_is_a_mapping_however_often_it_grows_and_moves(
    steps: list[tuple[str, list[int]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    table, truth = VectorTable(DIM), dict[int, Floats]()
    for number, (step, rows) in enumerate(steps):
        if step == "set":
            vectors = directions(len(rows), DIM, seed=number)
            table.set(rows_of(*rows), vectors)
            truth |= dict(zip(rows, vectors, strict=True))
        elif step == "clear":
            table.clear(rows_of(*rows))
            truth = {row: vector for row, vector in truth.items() if row not in rows}
        else:
            folder = tmp_path_factory.mktemp("table")
            table.save(folder)
            table = VectorTable.load(folder)
    asked = rows_of(-1, *range(0, 3001, 7), *truth, 10**9)
    vectors, present = table.gather(asked)
    for row, vector, has in zip(asked.tolist(), vectors, present.tolist(), strict=True):
        assert has == (row in truth)
        np.testing.assert_array_equal(vector, truth.get(row, np.zeros(DIM)))
    assert np.flatnonzero(table.present).tolist() == sorted(truth)
    assert len(table.vectors) == table.size >= max(truth, default=-1) + 1


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    table = VectorTable(DIM)
    table.set(np.arange(5000), directions(5000, DIM))
    table.save(tmp_path / "text")
    return tmp_path / "text"


def test_writes_to_a_loaded_table_stay_its_own(saved: Path) -> None:
    mine, other = VectorTable.load(saved), VectorTable.load(saved)
    new = directions(1, DIM, seed=9)
    mine.set(rows_of(3), new)
    mine.set(rows_of(5001), new)
    mine.clear(rows_of(0))
    np.testing.assert_array_equal(other.gather(rows_of(3))[0], directions(5000, DIM)[3:4])
    assert other.gather(rows_of(0, 5001))[1].tolist() == [True, False]
    assert VectorTable.load(saved).size == 5000


def test_head_room_takes_new_rows_without_a_copy(saved: Path) -> None:
    table = VectorTable.load(saved)
    before = table.vectors
    assert table.capacity == 6250
    table.set(rows_of(6249), directions(1, DIM))
    assert np.shares_memory(before, table.vectors)
    table.set(rows_of(6250), directions(1, DIM))
    assert not np.shares_memory(before, table.vectors)
    np.testing.assert_array_equal(table.vectors[:5000], directions(5000, DIM))


def test_head_room_takes_no_space(tmp_path: Path) -> None:
    table = VectorTable(100)
    table.set(rows_of(40_000), directions(1, 100))
    table.save(tmp_path)
    file = (tmp_path / "vectors.npy").stat()
    assert file.st_size > 50_000 * 400
    assert file.st_blocks * 512 < 45_000 * 400


def test_saving_over_a_table_in_use_leaves_its_readers_alone(saved: Path) -> None:
    reader = VectorTable.load(saved)
    other = VectorTable(DIM)
    other.set(rows_of(0), directions(1, DIM, seed=3))
    other.save(saved)
    np.testing.assert_array_equal(reader.vectors, directions(5000, DIM))
    assert VectorTable.load(saved).size == 1
    assert not list(saved.glob(".*"))


@pytest.mark.parametrize(
    "vectors",
    [np.ones((2, DIM)), np.full((2, DIM), np.nan), np.zeros((2, DIM)), directions(1, DIM)],
)
def test_bad_vectors_are_refused_and_nothing_is_written(vectors: Any) -> None:
    table = VectorTable(DIM)
    with pytest.raises(InputError):
        table.set(rows_of(0, 1), vectors.astype(np.float32))
    with pytest.raises(InputError, match="width 4"):
        table.set(rows_of(0), directions(1, 5))
    with pytest.raises(InputError, match="rows"):
        table.set(rows_of(-1), directions(1, DIM))
    assert table.size == 0


def test_damage_is_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="nowhere"):
        VectorTable.load(tmp_path / "nowhere")
    whole = (saved / "vectors.npy").read_bytes()
    (saved / "vectors.npy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtefactError, match="cannot be read"):
        VectorTable.load(saved)
    np.save(saved / "vectors.npy", np.zeros((5, DIM)))
    with pytest.raises(ArtefactError, match="other arrays"):
        VectorTable.load(saved)


def test_a_table_of_nothing(tmp_path: Path) -> None:
    VectorTable(DIM).save(tmp_path)
    table = VectorTable.load(tmp_path)
    assert (table.size, table.dim) == (0, DIM)
    assert table.gather(rows_of(0, 5))[1].tolist() == [False, False]
    with pytest.raises(ValueError, match="dimension"):
        VectorTable(0)
