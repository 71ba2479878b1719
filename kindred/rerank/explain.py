"""The reasons of an answer, item by item: facts with what they are worth, moves, and a sentence.

What a feature is worth to the ranker is its exact TreeSHAP contribution (Lundberg, Erion and Lee
2018), as LightGBM computes it: with the base they sum to the score. What came after the ranker is
read off the trail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kindred.rerank.blend import price_term, rate_adds
from kindred.rerank.features import FEATURES
from kindred.rerank.funnel import Funnel
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.phrases import (
    SOURCE_WORDS,
    feature_words,
    group_of,
    move_words,
    percent,
    sentence,
)
from kindred.rerank.trail import Step, Trail
from kindred.retrieval.queries import Queries
from kindred.retrieval.sources import SOURCES, Corpus
from kindred.schemas.ranking import Candidates, Doubles, Floats, Mask, Rows
from kindred.schemas.reasons import Contribution, Explanation, Move

SAID_SOURCES = 1
SAID_FEATURES = 3
"""What a sentence names, at most."""
SAID_FROM = 0.1
"""A feature is named from this share of the largest contribution on."""
STANDING = frozenset({"floor", "unpriced", "sponsored_max", "seller_cap"})
"""Causes that are told although the place stayed the same."""
RANKED = ("merge", "depth", "rank")
"""Stages whose places no move behind the ranker explains."""


@dataclass(frozen=True, slots=True)
class Contributions:
    """What each feature adds to the scores of n rows."""

    base: Doubles
    """float64[n]: what no feature adds"""
    adds: Doubles
    """float64[n, F]"""


def contributions(ranker: Ranker, features: Floats) -> Contributions:
    """Of float32[n, F]; base + Σ adds is the score."""
    parts = ranker.contributions(features)
    return Contributions(parts[:, -1], parts[:, :-1])


def similarities(queries: Queries, corpus: Corpus, rows: Rows) -> dict[str, Doubles]:
    """float64[n] cosines of `rows` to a single query's newest seed, by space; NaN unknown."""
    found = {}
    for space, table in corpus.tables.items():
        seed, known = queries.last_vectors(space, table)
        if known[0]:
            vectors, has = table.gather(rows)
            found[space] = np.where(has, vectors.astype(np.float64) @ seed[0], np.nan)
    return found


def explain(
    trail: Trail,
    funnel: Funnel,
    queries: Queries,
    shown: Candidates,
    paid: Mask,
    drawn: Mask | None = None,
) -> list[Explanation]:
    """The reasons of every entry of `shown`: one question's answer as it is shown, in its order.

    `paid` bool[n] says which of them stand there by their ad rate too, `drawn` bool[n] which were
    drawn to an auction place.
    """
    worth = None
    if shown.features is not None and shown.score is not None and funnel.ranker is not None:
        worth = contributions(funnel.ranker, shown.features)
    alike = similarities(queries, funnel.corpus, shown.rows)
    by_auction = np.zeros(len(shown), np.bool_) if drawn is None else drawn
    by_rate = paid & ~by_auction
    parts = blend_parts(trail, funnel, shown, by_rate)
    rates = funnel.corpus.columns.ad_rate_bp[shown.rows].tolist()
    usual = medians(trail)
    explained = []
    for at, row in enumerate(shown.rows.tolist()):
        features = told(shown.features, worth, at)
        adds = {} if by_auction[at] else known_at(parts, at)
        own = "rate" if by_rate[at] else "price" if adds.get("price", 0.0) > 0 else "others"
        moves = moved(trail, row, at + 1, "auction" if by_auction[at] else own)
        explained.append(
            Explanation(
                sentence=in_words(shown, at, features, usual, moves, percent(rates[at])),
                similarity=known_at(alike, at),
                features=features,
                base=None if worth is None else float(worth.base[at]),
                merged=float(shown.merged[at]),
                score=_of(shown.score, at),
                probability=_of(shown.probability, at),
                blend=_of(shown.blend, at),
                rate_adds=adds.get("rate"),
                price_adds=adds.get("price"),
                rules_add=adds.get("rules"),
                places=trail.places(row) | {"final": at + 1},
                moves=moves,
            )
        )
    return explained


def told(features: Floats | None, worth: Contributions | None, at: int) -> list[Contribution]:
    """What is known of an entry, the largest contribution first; the rest in the features' order.

    What is unknown is told where it counts all the same: a tree may go by that.
    """
    if features is None:
        return []
    values = features[at].astype(np.float64)
    adds = np.zeros(len(values)) if worth is None else worth.adds[at]
    order = np.argsort(-np.abs(adds), kind="stable")
    order = order[np.isfinite(values[order]) | (adds[order] != 0)]
    return [
        Contribution(
            feature=FEATURES[f],
            group=group_of(FEATURES[f]),
            value=float(values[f]) if np.isfinite(values[f]) else None,
            adds=None if worth is None else float(adds[f]),
        )
        for f in order.tolist()
    ]


def moved(trail: Trail, row: int, final: int, own: str) -> list[Move]:
    """What the stages behind the ranker did with `row`, in their order.

    `own` is the cause to tell where the blend lifted it.
    """
    moves: list[Move] = []
    before: int | None = None
    for step in trail.steps:
        after = step.place(row)
        if step.stage == "auction" and own == "auction" and after is not None:
            moves.append(Move(stage="auction", cause="auction", before=before, after=after))
        elif before is not None and after is not None and step.stage not in RANKED:
            cause = step.lost_to(row) or _cause(step, before, after, own)
            if cause is not None and (before != after or cause in STANDING):
                moves.append(Move(stage=step.stage, cause=cause, before=before, after=after))
        before = after or before
    if before is not None and before != final:
        moves.append(Move(stage="explore", cause="explore", before=before, after=final))
    return moves


def _cause(step: Step, before: int, after: int, own: str) -> str | None:
    """Why a row that no rule touched stands elsewhere behind a step; None where it does not."""
    if before == after:
        return None
    if step.stage != "blend":
        return "diversity" if step.stage == "diversity" else "others"
    return own if after < before else "others"


def in_words(
    shown: Candidates,
    at: int,
    features: list[Contribution],
    usual: Mapping[str, float],
    moves: list[Move],
    rate: str,
) -> str:
    """The sentence: how it was found and what speaks for it; what moved it."""
    found = source_words(shown, at)[:SAID_SOURCES]
    spoken = for_it(features, usual)[:SAID_FEATURES]
    return sentence(
        [*found, *spoken],
        *[[move_words(m.cause, m.before, m.after, rate)] for m in moves if m.cause != "others"],
    )


def source_words(candidates: Candidates, at: int) -> list[str]:
    """What the sources that found an entry say, the one that ranked it highest first."""
    ranks = candidates.source_ranks[at]
    found = [name for name in SOURCE_WORDS if ranks[SOURCES.index(name)]]
    found.sort(key=lambda name: int(ranks[SOURCES.index(name)]))
    return [SOURCE_WORDS[name] for name in found]


def for_it(features: list[Contribution], usual: Mapping[str, float]) -> list[str]:
    """Words for what adds to the score, what counts most first; nothing without a ranker.

    `usual` is the candidates' median by feature.
    """
    largest = max((abs(f.adds or 0.0) for f in features), default=0.0)
    said = [
        feature_words(f.feature, f.value, f.adds or 0.0, usual.get(f.feature, np.nan))
        for f in features
        if f.value is not None and (f.adds or 0.0) > SAID_FROM * largest
    ]
    return list(dict.fromkeys(words for words in said if words))


def medians(trail: Trail) -> dict[str, float]:
    """The candidates' median of each feature that any of them has; empty where none ranked."""
    step = trail.step("rank")
    features = None if step is None else step.candidates.features
    if features is None or not len(features):
        return {}
    known = np.flatnonzero(np.isfinite(features).any(axis=0))
    middle = np.nanmedian(features[:, known].astype(np.float64), axis=0)
    return {FEATURES[f]: value for f, value in zip(known.tolist(), middle.tolist(), strict=True)}


def known_at(columns: Mapping[str, Doubles], at: int) -> dict[str, float]:
    """What is known of one entry, by column."""
    values = {name: float(column[at]) for name, column in columns.items()}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def blend_parts(trail: Trail, funnel: Funnel, shown: Candidates, paid: Mask) -> dict[str, Doubles]:
    """float64[n] by part of the blend: `rate` against an item without one, `price`, `rules`.

    Nothing where nothing was blended; NaN for what came in behind the blend.
    """
    step = trail.step("blend")
    if step is None or shown.blend is None or shown.probability is None:
        return {}
    settings, columns, found = funnel.blend, funnel.corpus.columns, step.candidates
    terms = settings.c * price_term(columns.price[found.rows], found.queries, 1) + 0.0
    order = np.argsort(found.rows)
    at = np.minimum(np.searchsorted(found.rows, shown.rows, sorter=order), len(order) - 1)
    price = np.where(found.rows[order[at]] == shown.rows, terms[order[at]], np.nan)
    rate = np.where(paid, rate_adds(columns, shown.rows, settings), 0.0)
    rules = shown.blend - np.log(shown.probability) - price - rate
    return {"rate": rate, "price": price, "rules": np.round(rules, 9) + 0.0}


def _of(column: Doubles | None, at: int) -> float | None:
    value = None if column is None else float(column[at])
    return None if value is None or np.isnan(value) else value
