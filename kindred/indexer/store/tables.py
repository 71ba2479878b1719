"""`VectorTable`: the vectors of one space as one float32 matrix, by catalogue row.

On disk a table is a folder of two npy files with head-room behind the last row (a hole, which
takes no space). Loading maps them copy-on-write: processes share the pages of the file, each sees
its own later writes, and none reaches the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

import numpy as np

from kindred.events.files import sync
from kindred.indexer.store.checks import check_rows, check_vectors
from kindred.schemas.errors import ArtefactError
from kindred.schemas.ranking import Floats, Mask, Rows, all_within

HEADROOM = 0.25
"""Share of the rows kept free behind the last one when a table is saved."""
_LEAST = 1024


class VectorTable:
    """Unit vectors of one space, row-indexed, with head-room grown by doubling.

    One thread writes while others read: a reader takes matrix and flags in one step, and growing
    replaces both at once.
    """

    def __init__(self, dim: int, capacity: int = 0) -> None:
        if dim < 1:
            raise ValueError("a space needs at least one dimension")
        self.dim = dim
        self.version = 0
        """Rises with every write."""
        self._columns = _empty(capacity, dim)
        self._size = 0

    @property
    def size(self) -> int:
        """One more than the highest row ever set."""
        return self._size

    @property
    def capacity(self) -> int:
        """Rows that fit before the table grows."""
        return len(self._columns[1])

    @property
    def vectors(self) -> Floats:
        """float32[size, d], a view: zeros where absent."""
        return self._columns[0][: self._size]

    @property
    def present(self) -> Mask:
        """bool[size], a view: rows that have a vector."""
        return self._columns[1][: self._size]

    def set(self, rows: Rows, vectors: Floats) -> None:
        """Write the unit vectors float32[n, d] of int64[n] rows; InputError for bad ones."""
        check_vectors(vectors, self.dim, count=len(rows))
        if len(rows) == 0:
            return
        check_rows(rows)
        end = int(rows.max()) + 1
        self._reserve(end)
        matrix, present = self._columns
        matrix[rows] = vectors
        present[rows] = True
        self._size = max(self._size, end)
        self.version += 1

    def clear(self, rows: Rows) -> None:
        """Forget the vectors of rows; absent ones are no error."""
        rows = rows[(rows >= 0) & (rows < self._size)]
        matrix, present = self._columns
        present[rows] = False
        matrix[rows] = 0
        self.version += 1

    def gather(self, rows: Rows) -> tuple[Floats, Mask]:
        """(float32[n, d], bool[n]): vectors of rows and which have one; zeros where absent.

        Row -1 and rows beyond the table are absent.
        """
        matrix, present = self._columns
        if all_within(rows, len(present)):
            return matrix.take(rows, axis=0), present.take(rows)
        within = (rows >= 0) & (rows < len(present))
        at = np.where(within, rows, 0)
        has = within & (present[at] if len(present) else within)
        vectors = np.zeros((len(rows), self.dim), np.float32)
        vectors[has] = matrix[rows[has]]
        return vectors, has

    def has(self, rows: Rows) -> Mask:
        """bool[n]: which of int64[n] rows have a vector."""
        present = self._columns[1]
        within = (rows >= 0) & (rows < len(present))
        if not len(present):
            return within
        found: Mask = within & present[np.where(within, rows, 0)]
        return found

    def save(self, folder: Path) -> None:
        """Write the table aside, flush it, and put it in the place of an older one."""
        folder.mkdir(parents=True, exist_ok=True)
        capacity = max(_LEAST, int(self._size * (1 + HEADROOM)))
        _write(folder / "vectors.npy", self.vectors, (capacity, self.dim))
        _write(folder / "present.npy", self.present, (capacity,))
        sync(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Map what `save` wrote, copy-on-write; ArtefactError where it is missing or damaged."""
        try:
            matrix = np.load(folder / "vectors.npy", mmap_mode="c", allow_pickle=False)
            present = np.load(folder / "present.npy", mmap_mode="c", allow_pickle=False)
        except (OSError, ValueError, EOFError) as e:
            raise ArtefactError(f"vector table {folder} cannot be read: {e}") from e
        if (
            matrix.ndim != 2
            or (matrix.dtype, present.dtype) != (np.float32, np.bool_)
            or present.shape != matrix.shape[:1]
        ):
            raise ArtefactError(f"vector table {folder} holds other arrays than a table's")
        table = cls(matrix.shape[1])
        # Plain arrays over the same mapping: memmap's own __getitem__ costs microseconds a call.
        table._columns = (np.asarray(matrix), np.asarray(present))
        last = np.flatnonzero(present)[-1:]
        table._size = int(last[0]) + 1 if len(last) else 0
        return table

    def _reserve(self, rows: int) -> None:
        if rows <= self.capacity:
            return
        matrix, present = _empty(max(rows, 2 * self.capacity, _LEAST), self.dim)
        matrix[: self._size] = self.vectors
        present[: self._size] = self.present
        self._columns = (matrix, present)


def _empty(rows: int, dim: int) -> tuple[Floats, Mask]:
    return np.zeros((rows, dim), np.float32), np.zeros(rows, np.bool_)


def _write(path: Path, array: Floats | Mask, shape: tuple[int, ...]) -> None:
    """Write `array` as the head of an npy array of `shape`; the rest is a hole of zeros."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    header = {
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": False,
        "shape": shape,
    }
    with aside.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.write(np.ascontiguousarray(array).data)
        file.truncate(start + array.dtype.itemsize * int(np.prod(shape)))
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
