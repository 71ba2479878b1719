"""Items at places that rules gave them, whether recall found them or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kindred.rerank.exclude import Exclusions
from kindred.rerank.rules import Acting
from kindred.retrieval.queries import Queries
from kindred.retrieval.segments import offsets_of, owners_of, places_in_runs
from kindred.retrieval.sources import Corpus
from kindred.schemas.ranking import Candidates, Mask, Rows
from kindred.schemas.rule import Effect


@dataclass(frozen=True, slots=True)
class Pins:
    """Which rows stand where, by question and place."""

    owners: Rows
    """int64[m], rising"""
    rows: Rows
    places: Rows
    """int64[m] from 1: no two of a question are equal"""
    size: int
    """Rows of the catalogue"""

    @property
    def keys(self) -> Rows:
        """int64[m]: question and row as one number."""
        return self.owners * self.size + self.rows

    def by_rule(self, acting: Acting) -> dict[str, Rows]:
        """`rule:ID` -> the row that it pins: for a trail."""
        owners, rows, _, rules = acting.pinned()
        held = np.isin(owners * self.size + rows, self.keys)
        return {
            f"rule:{acting.book.rules[n].rule_id}": rows[at : at + 1]
            for at, n in enumerate(rules.tolist())
            if held[at]
        }

    def among(self, candidates: Candidates) -> Mask:
        """bool[n]: which candidates are pinned."""
        return np.isin(candidates.queries * self.size + candidates.rows, self.keys)


def pins_of(
    acting: Acting | None, queries: Queries, corpus: Corpus, exclusions: Exclusions
) -> Pins | None:
    """The pins that hold: of items that may be shown and that the request does not refuse.

    Of two that want one place the later takes the next one, of two for one item the first holds.
    """
    if acting is None:
        return None
    owners, rows, places, _ = acting.pinned()
    if not len(rows):
        return None
    keep = _first_of(owners * corpus.columns.size + rows)
    masks = [corpus.planner.allowed(f).mask for f in queries.filters]
    for f, mask in enumerate(masks):
        keep &= (queries.filter_ids[owners] != f) | mask[rows]
    keep &= corpus.columns.active[rows]
    for mask in exclusions.lost(rows, owners).values():
        keep &= ~mask
    keys = owners * corpus.columns.size + rows
    seeded = queries.owners * corpus.columns.size + queries.seeds
    keep &= ~(np.isin(keys, seeded) & queries.exclude_seeds[owners])
    disliked = owners_of(queries.dislike_offsets) * corpus.columns.size + queries.dislikes
    keep &= ~np.isin(keys, disliked)
    owners, rows, places = owners[keep], rows[keep], places[keep]
    if not len(rows):
        return None
    return Pins(owners, rows, _apart(owners, places), corpus.columns.size)


def _first_of(keys: Rows) -> Mask:
    """bool[n]: the first entry of each key."""
    first = np.zeros(len(keys), np.bool_)
    first[np.unique(keys, return_index=True)[1]] = True
    return first


def _apart(owners: Rows, places: Rows) -> Rows:
    """Places within a question made to rise: each at least one behind the one before."""
    nth = places_in_runs(owners)
    # One question's places may not push the next one's: each begins far above the one before.
    step = int(places.max()) + len(places) + 1
    pushed: Rows = np.maximum.accumulate(places - nth + owners * step) - owners * step + nth
    return pushed


def with_pinned(candidates: Candidates, pins: Pins) -> Candidates:
    """Candidates with the pinned items that recall did not find, last, as found by no source."""
    missing = ~np.isin(pins.keys, candidates.queries * pins.size + candidates.rows)
    if not missing.any():
        return candidates
    offsets = offsets_of(np.bincount(pins.owners[missing], minlength=candidates.query_count))
    more = Candidates.unfound(offsets, pins.rows[missing], candidates.source_ranks.shape[1])
    return candidates.followed_by(more)[0]


def placed(candidates: Candidates, acting: Acting, pins: Pins | None) -> tuple[Rows, Mask]:
    """(order int64[n] with what is buried last and pins at their places, bool[n]: pinned, in it).

    The others keep their order. A place behind the end of a list is its end.
    """
    owners = candidates.queries
    buried = acting.hit(Effect.BURY, candidates.rows, owners)
    order = np.lexsort((buried, owners))
    fixed = np.zeros(len(order), np.bool_)
    if pins is None:
        return order, fixed
    keys = owners[order] * pins.size + candidates.rows[order]
    by_key = np.argsort(keys)
    at = by_key[np.searchsorted(keys, pins.keys, sorter=by_key)]
    lengths = np.diff(candidates.offsets)[pins.owners]
    several = np.bincount(pins.owners, minlength=candidates.query_count)[pins.owners]
    nth = places_in_runs(pins.owners)
    places = np.minimum(pins.places - 1, lengths - several + nth) + candidates.offsets[pins.owners]
    fixed[places] = True
    out = np.empty_like(order)
    out[places] = order[at]
    others = np.ones(len(order), np.bool_)
    others[at] = False
    out[~fixed] = order[others]
    return out, fixed
