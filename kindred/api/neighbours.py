"""Neighbours of an item in one vector space, for people who want to see why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from kindred.indexer.catalogue import Catalogue
from kindred.indexer.columns import haversine
from kindred.indexer.encoders.base import Encoder
from kindred.indexer.encoders.learned import Gated, LearnedEncoder
from kindred.indexer.store.port import Search
from kindred.retrieval.plan import search_as_planned
from kindred.retrieval.relations import category_path, elsewhere
from kindred.retrieval.sources import SPACES, Corpus
from kindred.schemas.errors import InputError, UnknownItem
from kindred.schemas.item import Item
from kindred.schemas.query import Filters, Neighbour, Neighbours
from kindred.schemas.ranking import Rows
from kindred.schemas.settings import RelationSettings

GATED = "hybrid"
"""The space whose module weighs its inputs."""
ORDER = (GATED, *(space for space in SPACES if space != GATED))
"""Spaces, the one to show first."""
FACTS = ("brand", "seller_id", "colour", "condition", "price_minor", "country")


@dataclass(frozen=True, slots=True)
class Known:
    """What neighbours are read from."""

    corpus: Corpus
    catalogue: Catalogue
    encoders: Mapping[str, Encoder]
    """By space, of the index"""


def find_neighbours(
    known: Known,
    item_id: str,
    space: str | None,
    k: int,
    filters: Filters,
    explain: bool,
    relation: RelationSettings | None = None,
) -> Neighbours:
    """The k nearest items that pass the filter, best first.

    Without a `space`, the first that the item has a vector in: of those of the `relation`, then of
    all, what is learned from everything before. Errors: UnknownItem; InputError where the index
    does not know the space or the item has no vector in it.
    """
    corpus, relation = known.corpus, relation or RelationSettings()
    row = int(corpus.columns.rows([item_id])[0])
    if row < 0:
        raise UnknownItem(item_id)
    own = [s for s in ORDER if s in corpus.tables and corpus.tables[s].has(np.array([row]))[0]]
    if space is not None and space not in corpus.tables:
        names = ", ".join(sorted(corpus.tables))
        raise InputError(f"no vector space {space!r}; the index has {names}", "$.space")
    if not own or (space is not None and space not in own):
        have = ", ".join(own) or "none"
        raise InputError(f"{item_id!r} has no vector there; it has {have}", "$.space")
    asked = space or next((s for s in relation.spaces if s in own), own[0])
    if relation.other_category:
        filters = elsewhere(filters, category_path(corpus.columns, row))
    vector, _ = corpus.tables[asked].gather(np.array([row]))
    allowed = corpus.planner.allowed(filters)
    plan = corpus.planner.plan(allowed, k + 1, corpus.tables[asked])
    search = Search(
        space=asked, vectors=vector, k=k + 1, filters=filters, allowed=allowed, plan=plan
    )
    found = search_as_planned(corpus.store, corpus.exact, [search])[0]
    rows, scores = found.rows[0], found.scores[0]
    keep = (rows >= 0) & (rows != row)
    keep[keep] = allowed.mask[rows[keep]]
    rows, scores = rows[keep][:k], scores[keep][:k]
    seed, *items = known.catalogue.by_rows([row, *rows.tolist()])
    neighbours = described(corpus, seed, items, row, rows, scores.tolist(), own, explain)
    told = Neighbours(item_id=item_id, space=asked, neighbours=neighbours, spaces=own)
    if not explain:
        return told
    gates = gates_of([seed, *items], known.encoders.get(GATED))
    return msgspec.structs.replace(
        told,
        plan=plan.explain(),
        gates=gates[0],
        neighbours=[
            msgspec.structs.replace(neighbour, gates=own_gates)
            for neighbour, own_gates in zip(neighbours, gates[1:], strict=True)
        ],
    )


def described(
    corpus: Corpus,
    seed: Item,
    items: Sequence[Item],
    row: int,
    rows: Rows,
    scores: list[float],
    spaces: list[str],
    explain: bool,
) -> list[Neighbour]:
    """Neighbours in order, with cosines, differences and distance where `explain` asks."""
    columns = corpus.columns
    here = np.full(len(rows), row)
    metres = haversine(columns.lat[here], columns.lon[here], columns.lat[rows], columns.lon[rows])
    cosines = by_space(corpus, row, rows, spaces) if explain else [{} for _ in items]
    return [
        Neighbour(
            item_id=item.item_id,
            score=round(score, 6),
            title=item.title or None,
            by_space=cosine,
            differences=differences(seed, item) if explain else {},
            distance_m=None if np.isnan(distance) else round(float(distance), 1),
        )
        for item, score, cosine, distance in zip(items, scores, cosines, metres, strict=True)
    ]


def gates_of(items: Sequence[Item], encoder: Encoder | None) -> list[dict[str, float]]:
    """For each item what every input counts in its hybrid vector; empty without a hybrid."""
    if not isinstance(encoder, LearnedEncoder) or not isinstance(encoder.module, Gated):
        return [{} for _ in items]
    names, weights = encoder.module.gates(items, encoder.read(items))
    return [
        {name: round(weight, 6) for name, weight in zip(names, of_item, strict=True)}
        for of_item in weights.astype(np.float64).tolist()
    ]


def by_space(corpus: Corpus, row: int, rows: Rows, spaces: list[str]) -> list[dict[str, float]]:
    """Cosine to the seed in every space that both have."""
    out: list[dict[str, float]] = [{} for _ in rows]
    for space in spaces:
        table = corpus.tables[space]
        seed, _ = table.gather(np.array([row]))
        vectors, has = table.gather(rows)
        for i, cosine in enumerate((vectors @ seed[0]).tolist()):
            if has[i]:
                out[i][space] = round(cosine, 6)
    return out


def differences(seed: Item, other: Item) -> dict[str, Any]:
    """Facts that differ: (seed's, other's)."""
    out: dict[str, Any] = {}
    for name in FACTS:
        a, b = getattr(seed, name), getattr(other, name)
        a, b = getattr(a, "value", a), getattr(b, "value", b)
        if a != b:
            out[name] = (a, b)
    if seed.category != other.category:
        out["category"] = (" > ".join(seed.category), " > ".join(other.category))
    for name in sorted(seed.attributes.keys() | other.attributes.keys()):
        a, b = seed.attributes.get(name), other.attributes.get(name)
        if a != b:
            out[f"attributes.{name}"] = (a, b)
    return out
