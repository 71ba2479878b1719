"""What spreading an answer and collapsing its near-duplicates cost, and what they give.

The same lists are arranged in several ways, and each is compared with the order of the
probabilities alone, paired. Two costs are told: NDCG with the calibrated probabilities as gains,
and how often the item that truly came next is in the list. What it gives is how many categories and
sellers a list has, and how many of its items only repeat one above them. Where no ranker serves,
near-duplicates of the merge's order are collapsed all the same, and nothing else is arranged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from kindred.indexer.columns import Columns
from kindred.rerank.blend import past_cap
from kindred.rerank.blend_cost import blend_costs
from kindred.rerank.diversity import spread
from kindred.rerank.duplicates import repeated, same_titles
from kindred.rerank.examples import Examples
from kindred.rerank.funnel import Funnel, run
from kindred.rerank.metrics import paired_interval
from kindred.rerank.training import CHUNK, as_queries
from kindred.retrieval.sources import Corpus
from kindred.schemas.ranking import Candidates, Doubles, Floats, Rows
from kindred.schemas.settings import BlendSettings, DiversitySettings

KINDS = ("category", "seller", "both")
NDCG, HIT, CATEGORIES, SELLERS = "NDCG by probability", "hit rate", "categories", "sellers"
REPEATS = "repeated titles"
CAPS = (1, 2, 3)
"""Caps of a seller's items that are tried."""
NEAR = (0.98, 0.95, 0.9)
"""Cosines from which on two listings are tried as one."""
NOTHING = DiversitySettings(same_title=False, near_duplicates=0.0, category=0.0, seller=0.0)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to arrange a list."""

    kind: str
    strength: float
    settings: DiversitySettings = NOTHING
    seller_cap: int = 0

    @property
    def needs_probability(self) -> bool:
        """Whether it takes a ranker: the blend caps, and probabilities pay for the spread."""
        return bool(self.seller_cap or self.settings.category or self.settings.seller)


PLAIN = Variant("as it is", 0.0)


def variants(
    strengths: Sequence[float], serving: DiversitySettings, seller_cap: int
) -> list[Variant]:
    """The order as it is, the settings in use, every cap and collapse, and every price."""
    same = msgspec.structs.replace(NOTHING, same_title=True)
    return [
        PLAIN,
        Variant("settings in use", 0.0, serving, seller_cap),
        Variant("same title", 0.0, same),
        *(
            Variant("near duplicates", s, msgspec.structs.replace(NOTHING, near_duplicates=s))
            for s in NEAR
        ),
        *(Variant("seller cap", float(cap), NOTHING, cap) for cap in CAPS),
        *(Variant(kind, s, prices(kind, s)) for kind in KINDS for s in strengths if s > 0),
    ]


def compare_variants(
    funnel: Funnel,
    examples: Examples,
    asked: Sequence[Variant],
    k: int,
    action_weights: Floats,
    *,
    repeats: bool,
    seed: int,
    on_queries: Callable[[int], None],
) -> list[dict[str, Any]]:
    """A row for each variant, the first of which the others are compared with.

    `examples` have one target. A row has `kind`, `strength`, `mean` by measure and, but for the
    first, `difference` by measure: [mean, low, high] with a 95 % interval over visitors.
    """
    columns = funnel.corpus.columns
    plain = msgspec.structs.replace(funnel.blend, seller_cap=0)
    funnel = replace(funnel, blend=plain, diversity=None)
    if funnel.calibration is None:
        asked = [variant for variant in asked if not variant.needs_probability]
    values: list[list[dict[str, Doubles]]] = [[] for _ in asked]
    for start in range(0, len(examples), CHUNK):
        part = examples.take(np.arange(start, min(start + CHUNK, len(examples))))
        queries = as_queries(part, funnel, action_weights, repeats=repeats)
        listed = run(funnel, queries, k=k).candidates
        for held, variant in zip(values, asked, strict=True):
            order = listed.take(arrangement(listed, funnel.corpus, variant, k))
            held.append(measures(order, columns, part.followed, funnel.blend, k))
        on_queries(len(part))
    told = [{name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
            for parts in values]  # fmt: skip
    return [
        {
            "kind": variant.kind,
            "strength": variant.strength,
            "mean": {name: float(found.mean()) for name, found in measured.items()},
            "difference": {
                name: list(paired_interval(found - told[0][name], examples.subject, seed))
                for name, found in measured.items()
                if variant is not asked[0]
            },
        }
        for variant, measured in zip(asked, told, strict=True)
    ]


def arrangement(listed: Candidates, corpus: Corpus, variant: Variant, k: int) -> Rows:
    """int64[n]: the order of a variant; what it would drop stands behind all others.

    So all variants are judged against the best order of the same candidates.
    """
    columns, owners = corpus.columns, listed.queries
    late = past_cap(owners, columns.seller[listed.rows], variant.seller_cap)
    order = np.lexsort((late, owners))
    again = repeated(listed.take(order), columns, corpus.tables, variant.settings)
    last = np.lexsort((again, owners))
    order = order[last]
    if listed.blend is None:
        return order
    values = np.where(again[last], -np.inf, listed.blend[order])
    chosen = spread(listed.take(order), columns, values, variant.settings, k, variant.seller_cap)
    return order[chosen]


def prices(kind: str, strength: float) -> DiversitySettings:
    """The settings that spread by `kind`."""
    return msgspec.structs.replace(
        NOTHING,
        category=strength if kind in ("category", "both") else 0.0,
        seller=strength if kind in ("seller", "both") else 0.0,
    )


def measures(
    listed: Candidates, columns: Columns, target: Rows, settings: BlendSettings, k: int
) -> dict[str, Doubles]:
    """float64[Q] each, of the first k."""
    found: dict[str, Doubles] = {}
    if listed.probability is not None:
        nothing = np.zeros(len(listed), np.bool_)
        found[NDCG] = 1.0 + blend_costs(listed, nothing, None, columns, settings, k).ndcg
    top = listed.head(k)
    owners = top.queries
    hit = np.bincount(owners[top.rows == target[owners]], minlength=listed.query_count)
    depth = columns.category_depth[top.rows].astype(np.int64)
    leaf = columns.category[top.rows, np.maximum(depth - 1, 0)]
    return found | {
        HIT: hit.astype(np.float64),
        CATEGORIES: distinct(owners, leaf.astype(np.int64), listed.query_count),
        SELLERS: distinct(owners, columns.seller[top.rows].astype(np.int64), listed.query_count),
        REPEATS: np.bincount(
            owners, same_titles(owners, top.rows, columns), listed.query_count
        ).astype(np.float64),
    }


def distinct(owners: Rows, codes: Rows, count: int) -> Doubles:
    """float64[count]: different codes of each owner; unknown ones (-1) do not count."""
    known = codes >= 0
    pairs = np.unique(np.stack([owners[known], codes[known]]), axis=1)
    return np.bincount(pairs[0], minlength=count).astype(np.float64)
