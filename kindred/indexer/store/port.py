"""The vector store port: what an index must do, whoever does it.

Points are catalogue rows. A search is a batch: every adapter answers a list of `Search` in one
call, and each `Search` holds many vectors of one space under one filter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from kindred.schemas.query import Filters
from kindred.schemas.ranking import Floats, Rows

Mode = Literal["graph", "filtered", "scan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one search is to be answered.

    graph: search the graph unfiltered, over-fetch, drop what `allowed` refuses.
    filtered: the engine's own filtered search.
    scan: score every allowed row, exactly.
    """

    mode: Mode = "filtered"
    ef: int | None = None
    """Beam width; None leaves the engine's default."""
    oversampling: float = 1.0
    """Candidates fetched per one wanted (graph)."""
    exact: bool = False
    """Ask the engine itself for exact search (filtered)."""
    estimate: float = 1.0
    """Share of the rows that pass the filter, as counted or estimated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """q nearest-neighbour questions under one filter."""

    space: str
    vectors: Floats
    """float32[q, d], unit length"""
    k: int
    filters: Filters | None = None
    """None: no condition at all."""
    allowed: Rows | None = None
    """int64[m]: the rows that pass `filters`, where the caller has evaluated them (for `scan`)."""
    plan: Plan = Plan()


@dataclass(frozen=True, slots=True)
class Found:
    """Answers of one `Search`, best first."""

    rows: Rows
    """int64[q, k], -1 where there are fewer"""
    scores: Floats
    """float32[q, k] cosine, -inf where there are fewer"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """n points to write."""

    rows: Rows
    """int64[n]"""
    payloads: Sequence[Mapping[str, Any]]
    """n payloads, see `indexer.store.payload`"""
    vectors: Mapping[str, tuple[Rows, Floats]] = field(default_factory=dict)
    """space -> (positions in `rows` int64[m], unit vectors float32[m, d])"""


class VectorStore(Protocol):
    """Named vectors with payload, filtered nearest-neighbour search.

    Errors: StoreUnavailable, StoreTimeout, and StoreError for the rest; InputError for vectors
    that are not finite or of the wrong width.
    """

    @property
    def spaces(self) -> Mapping[str, int]:
        """Space -> width."""

    def upsert(self, points: Points) -> None:
        """Write whole points; a row that exists is replaced."""

    def set_payload(self, rows: Rows, payloads: Sequence[Mapping[str, Any]]) -> None:
        """Overwrite the given payload keys of existing rows."""

    def set_vectors(self, rows: Rows, space: str, vectors: Floats) -> None:
        """Replace one named vector of existing rows."""

    def delete(self, rows: Rows) -> None:
        """Remove rows; absent ones are no error."""

    def count(self, filters: Filters | None = None) -> int:
        """Exactly how many points pass."""

    def search(self, searches: Sequence[Search]) -> list[Found]:
        """Answer every search, in order, in one batch."""

    def retrieve(self, rows: Rows, space: str) -> tuple[Floats, np.ndarray[Any, Any]]:
        """(float32[n, d], bool[n]): vectors of rows, and which of them exist."""

    def flush(self) -> None:
        """Make everything written durable."""

    def close(self) -> None:
        """Release files, threads and connections."""
