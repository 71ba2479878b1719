"""The vector store port: what an index must do, whoever does it.

Points are catalogue rows. A search is a batch: every adapter answers a list of `Search` in one
call, and each `Search` holds many vectors of one space under one filter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np

from kindred.schemas.query import Filters
from kindred.schemas.ranking import Floats, Mask, Rows

Mode = Literal["graph", "filtered", "scan"]


@dataclass(frozen=True, eq=False)
class Allowed:
    """The rows that pass a filter."""

    mask: Mask
    """bool[N]; rows beyond it do not pass"""
    filters: Filters | None = None
    """What they passed, where it matters to somebody."""

    @cached_property
    def count(self) -> int:
        """How many pass."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def share(self) -> float:
        """Which part of all rows passes; 0 of none."""
        return self.count / len(self.mask) if len(self.mask) else 0.0

    @cached_property
    def rows(self) -> Rows:
        """int64[count], rising."""
        return np.flatnonzero(self.mask)

    def passes(self, rows: Rows) -> Mask:
        """Which of int64[...] rows pass; -1 and rows beyond the mask do not."""
        if len(self.mask) == 0:
            return np.zeros(rows.shape, np.bool_)
        within = (rows >= 0) & (rows < len(self.mask))
        return np.asarray(within & self.mask[np.where(within, rows, 0)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one search is to be answered.

    graph: search the graph unfiltered, over-fetch, drop what `allowed` refuses.
    filtered: the engine's own filtered search.
    scan: score every allowed row, exactly.
    """

    mode: Mode = "filtered"
    ef: int | None = None
    """Beam width, where it must be wider than the store's own."""
    oversampling: float = 1.0
    """Candidates fetched per one wanted (graph)."""
    exact: bool = False
    """Ask the engine itself for exact search (filtered)."""
    estimate: float = 1.0
    """Share of the rows that pass the filter, as counted or estimated."""
    rows: int | None = None
    """How many rows that is; None where nobody counted."""

    def explain(self) -> dict[str, float | str]:
        """The plan in words and numbers, for answers with `explain`."""
        told: dict[str, float | str | None] = {
            "mode": self.mode,
            "share": self.estimate,
            "rows": self.rows,
            "ef": self.ef,
            "oversampling": self.oversampling if self.mode == "graph" else None,
            "exact": "yes" if self.exact or self.mode == "scan" else "no",
        }
        return {name: value for name, value in told.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """q nearest-neighbour questions under one filter."""

    space: str
    vectors: Floats
    """float32[q, d], each of unit length, or all zeros: a question without an answer"""
    k: int
    filters: Filters | None = None
    """None: no condition at all."""
    allowed: Allowed | None = None
    """The rows that pass `filters`, where the caller has evaluated them (`graph` needs it)."""
    plan: Plan = Plan()


@dataclass(frozen=True, slots=True)
class Found:
    """Answers of one `Search`, best first."""

    rows: Rows
    """int64[q, k], -1 where there are fewer"""
    scores: Floats
    """float32[q, k] cosine, -inf where there are fewer"""

    @classmethod
    def nothing(cls, count: int, k: int) -> Found:
        """No answer to `count` questions."""
        return cls(np.full((count, k), -1, np.int64), np.full((count, k), -np.inf, np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """n points to write."""

    rows: Rows
    """int64[n]"""
    payloads: Sequence[Mapping[str, Any]]
    """n payloads, see `indexer.store.payload`"""
    vectors: Mapping[str, tuple[Rows, Floats]] = field(default_factory=dict)
    """space -> (positions in `rows` int64[m], unit vectors float32[m, d])"""


class VectorSearch(Protocol):
    """Named vectors under filters, to read.

    Errors: StoreUnavailable, StoreTimeout, and StoreError for the rest; InputError for an unknown
    space and for vectors that are not finite, not of unit length or of the wrong width.
    """

    @property
    def spaces(self) -> Mapping[str, int]:
        """Space -> width."""

    def count(self, filters: Filters | None = None) -> int:
        """Exactly how many points pass."""

    def search(self, searches: Sequence[Search]) -> list[Found]:
        """Answer every search, in order, in one batch."""

    def retrieve(self, rows: Rows, space: str) -> tuple[Floats, Mask]:
        """(float32[n, d], bool[n]): vectors of rows, and which of them exist."""


class VectorStore(VectorSearch, Protocol):
    """A `VectorSearch` that keeps its own points."""

    def upsert(self, points: Points) -> None:
        """Write whole points; a row that exists is replaced."""

    def set_payload(self, rows: Rows, payloads: Sequence[Mapping[str, Any]]) -> None:
        """Overwrite the given payload keys of rows; None removes a key, absent rows are let be."""

    def set_vectors(self, rows: Rows, space: str, vectors: Floats) -> None:
        """Replace one named vector of rows; absent rows are let be."""

    def delete(self, rows: Rows) -> None:
        """Remove rows; absent ones are no error."""

    def flush(self) -> None:
        """Make everything written durable."""

    def close(self) -> None:
        """Release files, threads and connections."""
