"""What adapters share around the engine's call: how much to ask for, and how to read it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from kindred.indexer.store.checks import check_rows, check_space, check_vectors
from kindred.indexer.store.port import Found, Points, Search
from kindred.schemas.errors import InputError
from kindred.schemas.ranking import Floats, Mask, Rows


class Hit(Protocol):
    """One answer of either driver."""

    @property
    def id(self) -> Any:
        """The row."""

    @property
    def score(self) -> float:
        """Cosine."""


def asked(search: Search, spaces: Mapping[str, int]) -> Rows:
    """Positions of the questions to put to the engine; InputError for a bad search.

    A question of zeros, or for no answers, is not put.
    """
    lengths = check_vectors(search.vectors, check_space(spaces, search.space), zeros=True)
    return np.flatnonzero(lengths) if search.k > 0 else np.zeros(0, np.int64)


def limit(search: Search) -> int:
    """Answers to ask the engine for."""
    if search.plan.mode != "graph" or search.filters is None:
        return search.k
    if search.allowed is None:
        raise ValueError("a graph search under a filter needs the rows that the filter allows")
    return math.ceil(search.k * search.plan.oversampling)


def found(search: Search, positions: Rows, answers: Sequence[Sequence[Hit]]) -> Found:
    """The engine's answers to the questions at `positions`, best first, refused rows dropped."""
    result = Found.nothing(len(search.vectors), search.k)
    drop = search.plan.mode == "graph" and search.filters is not None
    for position, hits in zip(positions.tolist(), answers, strict=True):
        rows = np.fromiter((hit.id for hit in hits), np.int64, len(hits))
        scores: Floats = np.fromiter((hit.score for hit in hits), np.float32, len(hits))
        if drop and search.allowed is not None:
            passed = np.flatnonzero(search.allowed.passes(rows))[: search.k]
            rows, scores = rows[passed], scores[passed]
        result.rows[position, : len(rows)] = rows
        result.scores[position, : len(rows)] = scores
    return result


def retrieved(
    rows: Rows, records: Iterable[tuple[Any, Any]], space: str, dim: int
) -> tuple[Floats, Mask]:
    """(float32[n, d], bool[n]) of int64[n] rows from the driver's (id, vectors by space)."""
    by_row = {row: named[space] for row, named in records if named and space in named}
    exist = np.fromiter((row in by_row for row in rows.tolist()), np.bool_, len(rows))
    vectors = np.zeros((len(rows), dim), np.float32)
    if by_row:
        vectors[exist] = [by_row[row] for row in rows[exist].tolist()]
    return vectors, exist


def named_vectors(points: Points) -> list[dict[str, Any]]:
    """For each of n points: space -> float32[d]."""
    named: list[dict[str, Any]] = [{} for _ in range(len(points.rows))]
    for space, (positions, vectors) in points.vectors.items():
        for position, vector in zip(positions.tolist(), vectors, strict=True):
            named[position][space] = vector
    return named


def same_payloads(
    rows: Rows, payloads: Sequence[Mapping[str, Any]]
) -> Iterable[tuple[list[Any], dict[str, Any]]]:
    """Rows grouped by what they get, so that one operation serves each group."""
    groups: dict[bytes, tuple[list[Any], dict[str, Any]]] = {}
    for row, payload in zip(rows.tolist(), payloads, strict=True):
        key = msgspec.json.encode(payload, order="sorted")
        groups.setdefault(key, ([], dict(payload)))[0].append(row)
    return groups.values()


def check_points(points: Points, spaces: Mapping[str, int]) -> None:
    """InputError unless the columns of `points` fit together and the vectors are sound."""
    check_rows(points.rows)
    if len(points.payloads) != len(points.rows):
        raise InputError(
            f"{len(points.payloads)} payloads for {len(points.rows)} rows", "$.payloads"
        )
    for space, (positions, vectors) in points.vectors.items():
        check_vectors(vectors, check_space(spaces, space), count=len(positions))
