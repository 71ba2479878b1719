"""Recall's corpus, put together from trained stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kindred.indexer.behaviour.ease import EaseTable
from kindred.indexer.behaviour.exposure import Exposure
from kindred.indexer.behaviour.history import History, bestsellers
from kindred.indexer.behaviour.pair_exposure import PairExposure
from kindred.indexer.behaviour.pairs import PairTable
from kindred.indexer.behaviour.stages import NAMES
from kindred.indexer.behaviour.tastes import Tastes
from kindred.indexer.behaviour.users import UserFactors
from kindred.indexer.columns import Columns
from kindred.indexer.models import Artefact
from kindred.indexer.representations import SPACES, full_name
from kindred.indexer.store.exact import ExactStore
from kindred.indexer.store.port import VectorSearch
from kindred.indexer.store.tables import VectorTable
from kindred.indexer.traits import WordWeights
from kindred.retrieval.plan import FilterPlanner
from kindred.retrieval.sources import Corpus
from kindred.schemas.settings import KindredSettings

BESTSELLERS = 500
"""Bestsellers kept for each category."""


def corpus_of(
    columns: Columns,
    tables: Mapping[str, VectorTable],
    artefacts: Mapping[str, Artefact],
    settings: KindredSettings,
    *,
    store: VectorSearch | None = None,
    suffix: str = "",
) -> Corpus:
    """Recall's corpus from content `tables` and trained stages; exact search without a `store`.

    Spaces that are not in `tables` are filled from the stages that learned them, where they passed
    their gate and the settings index them.
    """
    arrays = {name: artefacts[name + suffix].arrays for name in NAMES if name + suffix in artefacts}
    everything = dict(tables)
    if "als" in arrays and "als" not in everything:
        everything["als"] = table_of(arrays["als"])
    for stage, space in SPACES.items():
        made = artefacts.get(full_name(stage, suffix))
        wanted = space in settings.representations.spaces and space not in everything
        if wanted and made is not None and made.card.gate.passed and "unit" in made.arrays:
            everything[space] = table_of(made.arrays)
    if "forward" in arrays and same_table(arrays["forward"], arrays.get("pairs", {})):
        del arrays["forward"]  # where all times tie, as in baskets, it would count twice
    exact = ExactStore(columns, everything)
    history = History.load(arrays["history"]) if "history" in arrays else None
    best = None
    if history is not None:
        best = bestsellers(columns.category, history.popularity, columns.active, BESTSELLERS)
    return Corpus(
        columns=columns,
        tables=everything,
        store=store or exact,
        exact=exact,
        planner=FilterPlanner(columns, settings.plan, settings.store.ef),
        pairs=PairTable(**arrays["pairs"]) if "pairs" in arrays else None,
        forward=PairTable(**arrays["forward"]) if "forward" in arrays else None,
        ease=EaseTable.load(arrays["ease"]) if "ease" in arrays else None,
        history=history,
        bestsellers=best,
        exposure=Exposure.load(arrays["exposure"]) if "exposure" in arrays else None,
        pair_exposure=(
            PairExposure.load(arrays["pair_exposure"]) if "pair_exposure" in arrays else None
        ),
        tastes=Tastes.load(arrays["tastes"]) if "tastes" in arrays else None,
        word_weights=WordWeights.of(columns.words),
        users=UserFactors.of(arrays["als"]) if "als" in arrays else None,
    )


def same_table(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two tables of pairs are the same."""
    names = ("indptr", "rows", "scores")
    return all(n in other and np.array_equal(one[n], other[n]) for n in names)


def table_of(arrays: Mapping[str, Any]) -> VectorTable:
    """A space from what a stage has by row: `unit` float32[N, d], `present` bool[N]."""
    table = VectorTable(arrays["unit"].shape[1])
    rows = np.flatnonzero(arrays["present"])
    table.set(rows, np.asarray(arrays["unit"])[rows])
    return table
