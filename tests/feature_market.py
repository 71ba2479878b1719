"""A small market of which everything can be known, of most of its items, and questions in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from builders import item

from kindred.indexer.behaviour import exposure, history
from kindred.indexer.behaviour.pair_exposure import PairExposure, pair_key
from kindred.indexer.behaviour.tastes import Tastes
from kindred.indexer.behaviour.users import UserFactors, user_keys
from kindred.indexer.columns import Columns
from kindred.indexer.store.exact import ExactStore
from kindred.indexer.store.tables import VectorTable
from kindred.indexer.traits import WordWeights
from kindred.retrieval.plan import FilterPlanner
from kindred.retrieval.queries import Queries, make_queries
from kindred.retrieval.segments import offsets_of, unit
from kindred.retrieval.sources import SOURCES, SPACES, Corpus
from kindred.schemas.clock import DAY
from kindred.schemas.item import Campaign, Item, Location
from kindred.schemas.query import Place
from kindred.schemas.ranking import Candidates
from kindred.schemas.settings import PlanSettings

N = 40
NOW = 1_700_000_000_000_000 + 90 * DAY
WORDS = ["oak", "red", "table", "lamp", "chair", "small", "steel", "old"]


def items(draw: np.random.Generator) -> list[Item]:
    """Listings that state some of what could be stated."""

    def some(value: object) -> object:
        return value if draw.random() < 0.7 else None

    found = []
    for n in range(N):
        facts = {
            "title": some(" ".join(draw.choice(WORDS, 3))) or "",
            "brand": some(f"brand {draw.integers(3)}"),
            "seller_id": some(f"seller {draw.integers(4)}"),
            "colour": some(WORDS[draw.integers(4)]),
            "category": some(("home", WORDS[draw.integers(3)])) or (),
            "attributes": some({"size": WORDS[draw.integers(3)], "power": 5.0 + n % 3}) or {},
            "materials": some((WORDS[draw.integers(3)], "wood")) or (),
            "location": some(Location(lat=50 + n / 100, lon=8.0)),
            "created_at": NOW - int(draw.integers(1, 80)) * DAY,
            "campaign": Campaign.PLS if n % 3 == 0 else Campaign.NONE,
            "ad_rate_bp": 500 if n % 3 == 0 else 0,
        }
        if draw.random() < 0.2:
            facts |= {"price_minor": None, "currency": None}
        else:
            facts["price_minor"] = int(draw.integers(100, 9000))
        found.append(item(**facts))
    return found


def whole_corpus(seed: int = 1, listings: list[Item] | None = None) -> Corpus:
    """Everything that can be known, of most items."""
    draw = np.random.default_rng(seed)
    columns = Columns(N)
    listings = items(draw) if listings is None else listings
    columns.apply(np.arange(len(listings)), listings)
    tables = {}
    for space in SPACES:
        tables[space] = VectorTable(4, N)
        rows = np.flatnonzero(draw.random(N) < 0.8)
        tables[space].set(rows, unit(draw.normal(size=(len(rows), 4)).astype(np.float32)))
    exact = ExactStore(columns, tables)
    known = draw.random(N) < 0.8
    values = np.where(known[:, None], draw.exponential(size=(N, len(history.NAMES))), np.nan)
    keys = np.sort(user_keys(["ann", "bo"]))
    pairs = np.sort(pair_key(*np.divmod(draw.choice(N * N, 500, replace=False), N)))
    return Corpus(
        columns=columns, tables=tables, store=exact, exact=exact,
        planner=FilterPlanner(columns, PlanSettings()),
        history=history.History(
            values=values.astype(np.float32), popularity=values[:, 0].astype(np.float32),
            by_popularity=np.argsort(-values[:, 0]),
        ),
        exposure=exposure.Exposure(
            values=draw.exponential(size=(N - 5, len(exposure.NAMES))).astype(np.float32),
            unshown=np.ones(len(exposure.NAMES), np.float32),
        ),
        pair_exposure=PairExposure(
            keys=pairs, coec=draw.exponential(size=len(pairs)).astype(np.float32)
        ),
        users=UserFactors(
            keys=keys, users=draw.normal(size=(2, 4)).astype(np.float32),
            items=draw.normal(size=(N - 3, 4)).astype(np.float32),
        ),
        tastes=Tastes(
            keys=keys, indptr=np.array([0, 3, 7]), rows=draw.choice(N, 7).astype(np.int32),
            weights=draw.exponential(size=7).astype(np.float32),
        ),
        word_weights=WordWeights.of(columns.words),
    )  # fmt: skip


def bare(corpus: Corpus) -> Corpus:
    """The same catalogue before anything was trained or encoded."""
    gone = ("history", "exposure", "pair_exposure", "users", "tastes", "word_weights")
    return replace(corpus, tables={}, **dict.fromkeys(gone))


def questions(corpus: Corpus, draw: np.random.Generator, count: int) -> Queries:
    lengths = draw.integers(0, 4, count)
    return make_queries(
        corpus.columns, offsets_of(lengths), draw.integers(0, N, int(lengths.sum())),
        now=NOW + draw.integers(0, DAY, count), half_life=3.0,
        places=[Place(lat=50.0, lon=9.0) if draw.random() < 0.5 else None for _ in range(count)],
        users=user_keys(draw.choice([None, "ann", "bo", "cy"], count)),
    )  # fmt: skip


def found(draw: np.random.Generator, lengths: np.ndarray) -> Candidates:
    n = int(lengths.sum())
    by = draw.random((n, len(SOURCES))) < 0.4
    return Candidates(
        offsets=offsets_of(lengths),
        rows=np.concatenate([draw.choice(N, size, replace=False) for size in lengths]),
        sources=(by * (1 << np.arange(len(SOURCES)))).sum(axis=1).astype(np.uint32),
        source_ranks=np.where(by, draw.integers(1, 90, by.shape), 0).astype(np.uint16),
        source_scores=np.where(by, draw.random(by.shape), np.nan).astype(np.float32),
        merged=draw.random(n).astype(np.float32),
    )
