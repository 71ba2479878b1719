"""What the log keeps of an answer's candidates: copied in microseconds, made a record elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.columns import Columns, Vocabulary
from kindred.retrieval.segments import places_in_runs
from kindred.schemas.decision import CandidateColumns
from kindred.schemas.ranking import Candidates, Doubles, Floats, Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCandidates:
    """One query's whole list of n, and the facts of its first m as they stood at the answer.

    Arrays are this object's own or never written again; names are looked up when the record is
    made, because rows and codes keep theirs for ever.
    """

    candidates: Candidates
    """The whole list without what the log leaves out: sources' ranks and scores, features."""
    most: int
    """m, or more than there are."""
    features: Floats | None
    """float32[m, F], copied: the whole is wide, and would stay while decisions wait"""
    ad_rate_bp: NDArray[np.uint16]
    price: Doubles
    formats: NDArray[np.uint8]
    seller: NDArray[np.int32]
    item_ids: Sequence[str]
    """By row of the catalogue."""
    sellers: Vocabulary

    def record(self) -> CandidateColumns:
        """The columns of `schemas.decision`."""
        held, most, names = self.candidates, self.most, self.item_ids
        return CandidateColumns(
            item_id=[names[row] for row in held.rows[:most].tolist()],
            sources=held.sources[:most].tolist(),
            recall_rank=merge_ranks(held)[:most].tolist(),
            merged=held.merged[:most].tolist(),
            score=None if held.score is None else held.score[:most].tolist(),
            probability=None if held.probability is None else held.probability[:most].tolist(),
            blend=None if held.blend is None else held.blend[:most].tolist(),
            ad_rate_bp=self.ad_rate_bp.tolist(),
            price_minor=[None if p != p else round(p) for p in self.price.tolist()],
            formats=self.formats.tolist(),
            seller_id=[None if s < 0 else self.sellers.name(s) for s in self.seller.tolist()],
        )


def merge_ranks(whole: Candidates) -> Rows:
    """int64[n]: each entry's place in its query's merge, 1 = first; ties are by row, as there."""
    owner = whole.queries
    order = np.lexsort((whole.rows, -whole.merged, owner))
    ranks = np.empty(len(order), np.int64)
    ranks[order] = places_in_runs(owner[order]) + 1
    return ranks


_NO_RANKS = np.zeros((0, 0), np.uint16)
_NO_SCORES = np.zeros((0, 0), np.float32)


def hold(candidates: Candidates, columns: Columns, most: int) -> HeldCandidates:
    """The first `most` candidates of a single query with their facts of now."""
    rows, features = candidates.rows[:most], candidates.features
    return HeldCandidates(
        candidates=candidates.with_columns(
            source_ranks=_NO_RANKS, source_scores=_NO_SCORES, features=None
        ),
        most=most,
        features=None if features is None or not len(rows) else features[:most].copy(),
        ad_rate_bp=columns.ad_rate_bp[rows],
        price=columns.price[rows],
        formats=columns.formats[rows],
        seller=columns.seller[rows],
        item_ids=columns.item_ids,
        sellers=columns.vocabularies["seller"],
    )
