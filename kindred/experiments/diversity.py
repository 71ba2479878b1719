"""What spreading an answer over categories and sellers costs, and what it gives.

The same lists are spread at several prices. Two costs are told for each: NDCG with the calibrated
probabilities as gains, and how often the item that truly came next is in the list. What it gives is
how many categories and sellers a list has. All differences are to the list as it was, and paired.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from kindred.indexer.columns import Columns
from kindred.rerank.blend_cost import blend_costs
from kindred.rerank.diversity import spread
from kindred.rerank.examples import Examples
from kindred.rerank.funnel import Funnel, run
from kindred.rerank.metrics import paired_interval
from kindred.rerank.training import CHUNK, as_queries
from kindred.schemas.ranking import Candidates, Doubles, Floats, Rows
from kindred.schemas.settings import BlendSettings, DiversitySettings

KINDS = ("category", "seller", "both")
NDCG, HIT, CATEGORIES, SELLERS = "NDCG by probability", "hit rate", "categories", "sellers"
PLAIN = ("as it is", 0.0)


def compare_strengths(
    funnel: Funnel,
    examples: Examples,
    strengths: Sequence[float],
    k: int,
    action_weights: Floats,
    *,
    repeats: bool,
    seed: int,
    on_queries: Callable[[int], None],
) -> list[dict[str, Any]]:
    """One row for each kind and strength, the order as it is first; `examples` have one target.

    A row has `kind`, `strength`, `mean` by measure and, but for the first, `difference` by measure:
    [mean, low, high] with a 95 % interval over visitors.
    """
    asked = [PLAIN, *((kind, s) for kind in KINDS for s in strengths if s > 0)]
    values: dict[tuple[str, float], list[dict[str, Doubles]]] = {setting: [] for setting in asked}
    columns, cap = funnel.corpus.columns, funnel.blend.seller_cap
    for start in range(0, len(examples), CHUNK):
        part = examples.take(np.arange(start, min(start + CHUNK, len(examples))))
        queries = as_queries(part, funnel, action_weights, repeats=repeats)
        listed = run(funnel, queries, k=k).candidates
        assert listed.blend is not None
        for kind, strength in asked:
            settings = prices(kind, strength)
            order = spread(listed, columns, listed.blend, settings, k, cap)
            measured = measures(listed.take(order), columns, part.followed, funnel.blend, k)
            values[kind, strength].append(measured)
        on_queries(len(part))
    told = {
        setting: {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        for setting, parts in values.items()
    }
    return [
        {
            "kind": kind,
            "strength": strength,
            "mean": {name: float(found.mean()) for name, found in measured.items()},
            "difference": {
                name: list(paired_interval(found - told[PLAIN][name], examples.subject, seed))
                for name, found in measured.items()
                if (kind, strength) != PLAIN
            },
        }
        for (kind, strength), measured in told.items()
    ]


def prices(kind: str, strength: float) -> DiversitySettings:
    """The settings that spread by `kind`."""
    return msgspec.structs.replace(
        DiversitySettings(same_title=False),
        category=strength if kind in ("category", "both") else 0.0,
        seller=strength if kind in ("seller", "both") else 0.0,
    )


def measures(
    listed: Candidates, columns: Columns, target: Rows, settings: BlendSettings, k: int
) -> dict[str, Doubles]:
    """float64[Q] each, of the first k."""
    nothing = np.zeros(len(listed), np.bool_)
    cost = blend_costs(listed, nothing, None, columns, settings, k).ndcg
    top = listed.head(k)
    owners = top.queries
    hit = np.bincount(owners[top.rows == target[owners]], minlength=listed.query_count)
    depth = columns.category_depth[top.rows].astype(np.int64)
    leaf = columns.category[top.rows, np.maximum(depth - 1, 0)]
    return {
        NDCG: 1.0 + cost,
        HIT: hit.astype(np.float64),
        CATEGORIES: distinct(owners, leaf.astype(np.int64), listed.query_count),
        SELLERS: distinct(owners, columns.seller[top.rows].astype(np.int64), listed.query_count),
    }


def distinct(owners: Rows, codes: Rows, count: int) -> Doubles:
    """float64[count]: different codes of each owner; unknown ones (-1) do not count."""
    known = codes >= 0
    pairs = np.unique(np.stack([owners[known], codes[known]]), axis=1)
    return np.bincount(pairs[0], minlength=count).astype(np.float64)
