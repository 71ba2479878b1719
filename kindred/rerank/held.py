"""What the log keeps of an answer's candidates: copied in microseconds, made a record elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kindred.indexer.columns import Columns, Vocabulary
from kindred.schemas.decision import CandidateColumns
from kindred.schemas.ranking import Candidates, Doubles, Floats, Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCandidates:
    """One query's whole list and the facts of its first m, as they stood at the answer.

    Arrays are this object's own or never written again; names are looked up when the record is
    made, because rows and codes keep theirs for ever.
    """

    candidates: Candidates
    """The first m, without what the log leaves out."""
    merged: Floats
    """float32[n] of the whole list"""
    rows: Rows
    """int64[n] of the whole list"""
    ad_rate_bp: NDArray[np.uint16]
    price: Doubles
    formats: NDArray[np.uint8]
    seller: NDArray[np.int32]
    item_ids: Sequence[str]
    """By row of the catalogue."""
    sellers: Vocabulary

    @property
    def features(self) -> Floats | None:
        """float32[m, F]."""
        return self.candidates.features

    def record(self) -> CandidateColumns:
        """The columns of `schemas.decision`."""
        held = self.candidates
        names, sellers = self.item_ids, self.sellers
        return CandidateColumns(
            item_id=[names[row] for row in held.rows.tolist()],
            sources=held.sources.tolist(),
            recall_rank=self.merge_ranks()[: len(held)].tolist(),
            merged=held.merged.tolist(),
            score=_told(held.score),
            probability=_told(held.probability),
            blend=_told(held.blend),
            ad_rate_bp=self.ad_rate_bp.tolist(),
            price_minor=[None if p != p else round(p) for p in self.price.tolist()],
            formats=self.formats.tolist(),
            seller_id=[None if s < 0 else sellers.name(s) for s in self.seller.tolist()],
        )

    def merge_ranks(self) -> Rows:
        """int64[n]: each entry's place in the merge, 1 = first; ties are by row, as there."""
        ranks = np.empty(len(self.rows), np.int64)
        ranks[np.lexsort((self.rows, -self.merged))] = np.arange(1, len(self.rows) + 1)
        return ranks


def hold(candidates: Candidates, columns: Columns, most: int) -> HeldCandidates:
    """The first `most` candidates of a single query with their facts of now."""
    first = candidates.take(np.arange(min(most, len(candidates))))
    return HeldCandidates(
        candidates=first,
        merged=candidates.merged,
        rows=candidates.rows,
        ad_rate_bp=columns.ad_rate_bp[first.rows],
        price=columns.price[first.rows],
        formats=columns.formats[first.rows],
        seller=columns.seller[first.rows],
        item_ids=columns.item_ids,
        sellers=columns.vocabularies["seller"],
    )


def _told(column: Doubles | None) -> list[float] | None:
    return None if column is None else column.tolist()
