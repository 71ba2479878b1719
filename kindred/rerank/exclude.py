"""What may not come back at all, taken out before anything is computed about it.

Rules that exclude, the visitor's own listings, and rows that the request names with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kindred.indexer.columns import Columns
from kindred.rerank.rules import Acting
from kindred.schemas.ranking import Candidates, Mask, Rows
from kindred.schemas.rule import Effect

OWN = "own"


@dataclass(frozen=True, slots=True)
class Exclusions:
    """The reasons of one request, in the order in which they count."""

    columns: Columns
    acting: Acting | None
    visitor: str | None
    """The user who may be a seller"""
    leave_out: Mapping[str, Rows]

    def lost(self, rows: Rows, owners: Rows) -> dict[str, Mask]:
        """Reason -> bool[n], what goes for it; each row goes for its first reason alone."""
        found: dict[str, Mask] = {}
        left = np.ones(len(rows), np.bool_)

        def goes(reason: str, mask: Mask) -> None:
            nonlocal left
            mask = mask & left
            if mask.any():
                found[reason] = mask
                left = left & ~mask

        if self.visitor is not None:
            seller = self.columns.vocabularies["seller"].find(self.visitor)
            if seller >= 0:
                goes(OWN, np.asarray(self.columns.seller[rows] == seller))
        for reason, few in self.leave_out.items():
            goes(reason, np.isin(rows, few))
        if self.acting is not None:
            first = self.acting.first(Effect.EXCLUDE, rows, owners)
            for number in np.unique(first[first >= 0]).tolist():
                goes(f"rule:{self.acting.book.rules[number].rule_id}", first == number)
        return found

    def applied(self, candidates: Candidates) -> tuple[Candidates, dict[str, Rows]]:
        """(what is left, reason -> the catalogue rows that went for it)."""
        lost = self.lost(candidates.rows, candidates.queries)
        if not lost:
            return candidates, {}
        gone = np.logical_or.reduce(list(lost.values()))
        return candidates.take(~gone), {why: candidates.rows[mask] for why, mask in lost.items()}
