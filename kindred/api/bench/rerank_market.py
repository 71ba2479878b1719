"""A corpus that everything is known of, drawn at random: what re-ranking is measured on.

Facts of every item are there, as in a market of that size; vectors lie only in the rows that are
asked about, far apart in a table of full length, so that they are fetched from memory as they would
be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice

import msgspec
import numpy as np

from kindred.api.bench.market import BATCH, WORDS, draw_market, market_items
from kindred.indexer.behaviour import exposure, history
from kindred.indexer.behaviour.pair_exposure import PairExposure, pair_key
from kindred.indexer.behaviour.tastes import Tastes
from kindred.indexer.behaviour.users import UserFactors
from kindred.indexer.columns import Columns
from kindred.indexer.store.exact import ExactStore
from kindred.indexer.store.tables import VectorTable
from kindred.indexer.traits import WordWeights
from kindred.retrieval.plan import FilterPlanner
from kindred.retrieval.queries import Queries, make_queries
from kindred.retrieval.segments import offsets_of, unit
from kindred.retrieval.sources import SOURCES, Corpus
from kindred.schemas.clock import DAY
from kindred.schemas.progress import Progress
from kindred.schemas.query import Place
from kindred.schemas.ranking import Candidates, Floats, Rows
from kindred.schemas.settings import PlanSettings

DIMS = {"als": 64, "text": 384, "attributes": 64, "hybrid": 100, "air": 128}
"""Vector spaces of a market without pictures, and their widths."""
MAX_SEEDS = 4
USERS = 50_000
TASTES = 20
"""Items kept of each user."""
FOUND = 0.3
"""Chance that a source found a candidate."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question with what recall found for it."""

    queries: Queries
    candidates: Candidates


def draw_corpus(items: int, seed: int, now: int, progress: Progress) -> Corpus:
    """`items` items with facts, behaviour and users; vector tables that are still empty."""
    random = np.random.default_rng(seed)
    columns = Columns(items)
    made = market_items(draw_market(items, seed), seed, now)
    with progress.task("items", items) as done:
        while batch := list(islice(made, BATCH)):
            stated = [
                msgspec.structs.replace(
                    item,
                    attributes={"size": WORDS[n % 7], "power": float(n % 50), "year": str(n % 30)},
                    materials=(WORDS[n % len(WORDS)],),
                    colour=WORDS[n % 5],
                )
                for n, item in enumerate(batch)
            ]
            columns.apply(np.arange(columns.size, columns.size + len(batch)), stated)
            done(len(batch))
    tables = {space: VectorTable(dim, items) for space, dim in DIMS.items()}
    exact = ExactStore(columns, tables)
    popularity = random.exponential(size=items).astype(np.float32)
    unshown = np.zeros(len(exposure.NAMES), np.float32)
    return Corpus(
        columns=columns,
        tables=tables,
        store=exact,
        exact=exact,
        planner=FilterPlanner(columns, PlanSettings()),
        history=history.History(
            values=random.exponential(size=(items, len(history.NAMES))).astype(np.float32),
            popularity=popularity,
            by_popularity=np.argsort(-popularity),
        ),
        exposure=exposure.Exposure(
            values=random.exponential(size=(items, len(exposure.NAMES))).astype(np.float32),
            unshown=unshown,
        ),
        word_weights=WordWeights.of(columns.words),
        users=UserFactors(
            keys=np.arange(1, USERS + 1, dtype=np.uint64),
            users=random.normal(size=(USERS, DIMS["als"])).astype(np.float32),
            items=np.zeros((items, DIMS["als"]), np.float32),
        ),
        tastes=Tastes(
            keys=np.arange(1, USERS + 1, dtype=np.uint64),
            indptr=np.arange(USERS + 1) * TASTES,
            rows=random.integers(0, items, USERS * TASTES).astype(np.int32),
            weights=random.exponential(size=USERS * TASTES).astype(np.float32) + np.float32(0.01),
        ),
    )


def draw_questions(
    corpus: Corpus, count: int, candidates: int, seed: int, now: int
) -> tuple[Corpus, list[Asked]]:
    """(the corpus with what is asked about, `count` questions of so many candidates).

    Half of them have one seed, as a widget asks, the others a session; two in three a known user.
    """
    random = np.random.default_rng(seed + 1)
    size = corpus.columns.size
    rows = np.stack([random.choice(size, candidates, replace=False) for _ in range(count)])
    seeds = [
        random.choice(size, 1 if q % 2 else random.integers(2, MAX_SEEDS + 1), replace=False)
        for q in range(count)
    ]
    touched = np.unique(np.concatenate([rows.ravel(), *seeds]))
    for table in corpus.tables.values():
        table.set(touched, unit(random.normal(size=(len(touched), table.dim)).astype(np.float32)))
    assert corpus.users is not None
    dim = corpus.users.items.shape[1]
    corpus.users.items[touched] = random.normal(size=(len(touched), dim)).astype(np.float32)
    users = random.integers(1, 1 + USERS * 3 // 2, count)
    asked = [_question(corpus, seeds[q], rows[q], int(users[q]), random, now) for q in range(count)]
    newest = np.array([s[-1] for s in seeds])
    shown = np.sort(pair_key(np.repeat(newest, candidates), rows.ravel()))[::5]
    pairs = PairExposure(keys=shown, coec=random.exponential(size=len(shown)).astype(np.float32))
    return replace(corpus, pair_exposure=pairs), asked


def _question(
    corpus: Corpus, seeds: Rows, rows: Rows, user: int, random: np.random.Generator, now: int
) -> Asked:
    queries = make_queries(
        corpus.columns,
        np.array([0, len(seeds)]),
        seeds,
        now=now + int(random.integers(0, DAY)),
        half_life=3.0,
        places=[Place(lat=float(random.uniform(47, 60)), lon=float(random.uniform(5, 25)))],
        users=np.array([user if user <= USERS else 0], np.uint64),
    )
    for space, table in corpus.tables.items():
        queries.vectors(space, table)  # recall has made them by now
    n = len(rows)
    found = random.random((n, len(SOURCES))) < FOUND
    found[:, 0] |= ~found.any(axis=1)
    ranks = np.where(found, random.integers(1, 150, found.shape), 0).astype(np.uint16)
    scores: Floats = np.where(found, random.random(found.shape), np.nan).astype(np.float32)
    return Asked(
        queries,
        Candidates(
            offsets=offsets_of(np.array([n])),
            rows=rows.astype(np.int64),
            sources=(found * (1 << np.arange(len(SOURCES)))).sum(axis=1).astype(np.uint32),
            source_ranks=ranks,
            source_scores=scores,
            merged=np.sort(random.random(n).astype(np.float32))[::-1],
        ),
    )
