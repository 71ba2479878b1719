"""Which space finds which relation: judged lists of substitutes and complements.

An item with a list asks every method for its nearest items; recall is the share of the list that
is among the first fifty. Nothing was trained on the lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from kindred.experiments.baselines import Baseline
from kindred.experiments.representations.answers import CELLS, SAME, Scores
from kindred.experiments.representations.clusters import Clusters
from kindred.rerank.examples import NEXT, Examples
from kindred.retrieval.queries import Queries
from kindred.retrieval.segments import offsets_of, places_in_runs
from kindred.retrieval.sources import Entries
from kindred.schemas.ranking import Doubles, Mask, Rows

DEPTH = 50
"""Nearest items that count."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One relation: L items with a list each."""

    relation: str
    rows: Rows
    """int64[L]: rows of the items"""
    offsets: Rows
    """int64[L + 1] into `others`"""
    others: Rows
    """int64[n]: rows that go with them"""

    def questions(self) -> Examples:
        """Each item alone as a question; it has no single answer, so none is told."""
        count = len(self.rows)
        return Examples(
            offsets=np.arange(count + 1),
            seeds=self.rows,
            actions=np.zeros(count, np.int16),
            followed_offsets=np.arange(count + 1),
            followed=np.full(count, -1, np.int64),
            grades=np.full(count, NEXT, np.int8),
            now=np.zeros(count, np.int64),
            subject=self.rows.astype(np.int32),
        )

    def recall(self, queries: Rows, rows: Rows, size: int) -> Doubles:
        """float64[L]: the share of each list, or of fifty of it, among the entries."""
        lengths = np.diff(self.offsets)
        wanted = np.repeat(np.arange(len(self.rows)), lengths) * size + self.others
        hit = np.isin(queries * size + rows, wanted)
        found = np.bincount(queries[hit], minlength=len(self.rows))
        shares: Doubles = found / np.maximum(np.minimum(lengths, DEPTH), 1)
        return shares


def judged_lists(frame: pl.DataFrame, row_of: pl.DataFrame, active: Mask) -> list[Judged]:
    """Lists by relation from item_id, relation, other; items that may not be shown are left out."""
    rows = row_of.select("item_id", row=pl.col("row").cast(pl.Int64))
    told = (
        frame.join(rows, on="item_id", how="inner")
        .join(rows.rename({"item_id": "other", "row": "other_row"}), on="other", how="inner")
        .select("relation", "row", "other_row")
        .unique()
        .sort("relation", "row", "other_row")
    )
    out = []
    for (relation,), part in told.group_by(["relation"], maintain_order=True):
        row, other = part["row"].to_numpy(), part["other_row"].to_numpy()
        keep = active[row] & active[other] & (row != other)
        items, counts = np.unique(row[keep], return_counts=True)
        out.append(Judged(str(relation), items, offsets_of(counts), other[keep]))
    return out


def top_rows(
    scores: Scores, count: int, own: Rows, allowed: Mask, seed: int, depth: int = DEPTH
) -> tuple[Rows, Rows]:
    """(queries, rows): the best `depth` rows of each query without its own item.

    Equal scores are broken by a draw, not by the order of the catalogue.
    """
    size = len(allowed)
    draw = np.random.default_rng(seed).random(size).astype(np.float32) * np.float32(SAME)
    owners, found = [], []
    step = max(1, CELLS // max(size, 1))
    for low in range(0, count, step):
        high = min(low + step, count)
        block, has = scores(low, high)
        block = block + draw
        block[:, ~allowed] = -np.inf
        block[np.arange(high - low), own[low:high]] = -np.inf
        best = np.argpartition(-block, min(depth, size - 1), axis=1)[:, :depth]
        there = np.isfinite(np.take_along_axis(block, best, axis=1)) & has[:, None]
        query, place = np.nonzero(there)
        owners.append(query + low)
        found.append(best[query, place])
    return np.concatenate(owners), np.concatenate(found)


Ask = Callable[[Examples], Queries]


def recalls(
    judged: Judged,
    ask: Ask,
    spaces: Mapping[str, Callable[[Queries], Scores]],
    lists: Mapping[str, Baseline],
    active: Mask,
    seed: int,
) -> dict[str, Doubles]:
    """float64[L] by method: the share of each list that it finds."""
    size = len(active)
    queries = ask(judged.questions())
    found = {}
    for name, make in spaces.items():
        asked, rows = top_rows(make(queries), len(judged.rows), judged.rows, active, seed)
        found[name] = judged.recall(asked, rows, size)
    for name, baseline in lists.items():
        entries = first(baseline(queries, DEPTH), DEPTH)
        found[name] = judged.recall(entries.queries, entries.rows, size)
    return found


def first(entries: Entries, depth: int) -> Entries:
    """The best `depth` of each query."""
    order = np.lexsort((-entries.scores, entries.queries))
    owners = entries.queries[order]
    keep = order[places_in_runs(owners) < depth]
    return replace(
        entries, queries=entries.queries[keep], rows=entries.rows[keep], scores=entries.scores[keep]
    )


@dataclass(frozen=True, slots=True)
class Found:
    """One seed's recall of one relation."""

    rows: Rows
    cold: Mask
    """bool[L]: training has no event of the item that asks"""
    by_method: Mapping[str, Doubles]


def relation_tables(found: Mapping[str, Sequence[Found]], seed: int) -> dict[str, Any]:
    """Recall@50 by relation, slice and method, with 95 % intervals over items; the best is named.

    `lead` is the best method's over the second best, paired.
    """
    out: dict[str, Any] = {}
    for relation, seeds in found.items():
        out[relation] = {}
        for part in ("all", "warm", "cold"):
            kept = [_kept(f.cold, part) for f in seeds]
            rows = np.concatenate([f.rows[k] for f, k in zip(seeds, kept, strict=True)])
            if not len(rows):
                continue
            clusters = Clusters(rows.astype(np.int32), seed)
            values = {
                name: np.concatenate(
                    [f.by_method[name][k] for f, k in zip(seeds, kept, strict=True)]
                )
                for name in seeds[0].by_method
                if all(name in f.by_method for f in seeds)
            }
            order = sorted(values, key=lambda name: -float(values[name].mean()))
            told: dict[str, Any] = {
                "lists": len(rows),
                "recall@50": {n: _rounded(clusters.interval(values[n])) for n in order},
                "best": order[0],
            }
            if len(order) > 1:
                lead = clusters.interval(values[order[0]] - values[order[1]])
                told["lead"] = {"over": order[1], "difference": _rounded(lead)}
            out[relation][part] = told
    return out


def _kept(cold: Mask, part: str) -> Mask:
    return {"all": np.ones(len(cold), np.bool_), "warm": ~cold, "cold": cold}[part]


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(float(x), 5) for x in values]
