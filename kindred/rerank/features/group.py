"""What a feature group is, and what it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kindred.rerank.features.facts import Facts
from kindred.retrieval.queries import Queries
from kindred.retrieval.segments import owners_of
from kindred.retrieval.sources import Corpus
from kindred.schemas.ranking import Candidates, Floats, Rows


@dataclass(frozen=True)
class Context:
    """n candidates of Q queries over one corpus: everything a feature may read."""

    queries: Queries
    candidates: Candidates
    corpus: Corpus

    @cached_property
    def owners(self) -> Rows:
        """int64[n]: the query of each candidate."""
        if self.alone:
            return np.zeros(len(self.rows), np.int64)
        return owners_of(self.candidates.offsets)

    @property
    def rows(self) -> Rows:
        """int64[n]: the catalogue row of each candidate."""
        return self.candidates.rows

    @cached_property
    def facts(self) -> Facts:
        """What the catalogue states of the candidates."""
        return Facts(self.corpus.columns, self.rows)

    @cached_property
    def alone(self) -> bool:
        """Whether there is one query, as in a request."""
        return len(self.queries) == 1

    def of_query(self, values: NDArray[Any]) -> NDArray[Any]:
        """Each candidate its query's entry of [Q, ...]: [n, ...], or [1, ...] that broadcasts."""
        return values if self.alone else values[self.owners]


@dataclass(frozen=True, slots=True)
class Feature:
    """One column, and what a reader should know of it."""

    name: str
    meaning: str
    unit: str
    """`count`, `share`, `ln ratio`, `days`, `1 or 0`, …"""
    reads: str
    """Of what it is made"""
    why: str
    """What a ranker may learn from it that no other column tells"""


@dataclass(frozen=True, slots=True)
class FeatureGroup:
    """Columns computed together: `fill(context, out)` writes float32[n, len(features)].

    What is unknown is NaN, never zero by accident.
    """

    name: str
    features: tuple[Feature, ...]
    fill: Callable[[Context, Floats], None]


def places(names: Sequence[str], features: Sequence[Feature]) -> Rows:
    """int64[m]: where a table that has the columns `names` holds those of `features`."""
    at = {name: i for i, name in enumerate(names)}
    return np.array([at[f.name] for f in features], np.int64)


def gather(column: Floats, rows: Rows) -> Floats:
    """`column[rows]`, NaN for rows that are newer than the column."""
    if len(column) == 0:
        return np.full(len(rows), np.nan, np.float32)
    inside = rows < len(column)
    if inside.all():
        return column[rows].astype(np.float32, copy=False)
    return np.where(inside, column[np.where(inside, rows, 0)], np.nan).astype(np.float32)
