"""The engine's parts of an answer, timed alone: the store's batched search, the ranker's trees.

The same questions run through the funnel once with both parts recorded, and then the recorded
calls are repeated with nothing around them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kindred.indexer.store.port import Found, Search, VectorSearch
from kindred.rerank.funnel import Funnel, run
from kindred.rerank.lambdamart import Ranker
from kindred.retrieval.queries import Queries
from kindred.schemas.ranking import Doubles, Floats


@dataclass(slots=True)
class Call:
    """What one question asked of the parts."""

    searches: list[tuple[VectorSearch, list[Search]]] = field(default_factory=list)
    features: Floats | None = None
    """float32[candidates, features]"""


class RecordingStore:
    """Passes everything on, and keeps the searches."""

    def __init__(self, store: VectorSearch, calls: list[Call]) -> None:
        self._store, self._calls = store, calls

    def search(self, searches: Sequence[Search]) -> list[Found]:
        """See VectorSearch."""
        if searches:
            self._calls[-1].searches.append((self._store, list(searches)))
        return self._store.search(searches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class RecordingRanker(Ranker):
    """Keeps the features that it is asked to score."""

    calls: list[Call]

    def score(self, features: Floats) -> Doubles:
        """See Ranker."""
        self.calls[-1].features = features
        return super().score(features)


def recorded(funnel: Funnel, questions: Sequence[Queries], k: int) -> list[Call]:
    """Each question run once; what it asked of the store and of the ranker."""
    calls: list[Call] = []
    corpus: Any = replace(
        funnel.corpus,
        store=RecordingStore(funnel.corpus.store, calls),
        exact=RecordingStore(funnel.corpus.exact, calls),
    )
    ranker = None
    if funnel.ranker is not None:
        ranker = RecordingRanker(funnel.ranker.members, funnel.ranker.features, funnel.ranker.depth)
        object.__setattr__(ranker, "calls", calls)
    watched = replace(funnel, corpus=corpus, ranker=ranker)
    for question in questions:
        calls.append(Call())
        run(watched, question, k=k)
    return calls


def timed_alone(calls: Sequence[Call], ranker: Ranker | None) -> dict[str, Doubles]:
    """Milliseconds of each call's parts: `ann`, `lightgbm` and their sum `parts`."""
    ann, trees = np.zeros(len(calls)), np.zeros(len(calls))
    for at, call in enumerate(calls):
        begin = time.perf_counter()
        for store, searches in call.searches:
            store.search(searches)
        middle = time.perf_counter()
        if ranker is not None and call.features is not None:
            ranker.score(call.features)
        ann[at], trees[at] = middle - begin, time.perf_counter() - middle
    return {"ann": ann * 1e3, "lightgbm": trees * 1e3, "parts": (ann + trees) * 1e3}
