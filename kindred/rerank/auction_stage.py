"""The auction of one batch, from its pool to its places: what the funnel does with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from kindred.rerank.auction import draw, placed, scored, seated, with_pool
from kindred.rerank.auction_pool import Deliveries, Pool, pooled
from kindred.rerank.exclude import Exclusions
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.pins import Pins
from kindred.retrieval.queries import Queries
from kindred.retrieval.sources import Corpus
from kindred.schemas.ranking import Candidates, Doubles, Mask, Rows
from kindred.schemas.settings import AuctionSettings


@dataclass(slots=True)
class Auction:
    """A pool whose items are ranked beside the candidates, and never among them."""

    pool: Pool
    settings: AuctionSettings
    size: int
    """Rows of the catalogue"""
    _only: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    """Keys of what of the pool no source found"""
    _contenders: Candidates | None = None

    @classmethod
    def of(
        cls,
        queries: Queries,
        corpus: Corpus,
        deliveries: Deliveries,
        settings: AuctionSettings,
        exclusions: Exclusions,
        pins: Pins | None,
    ) -> Auction | None:
        """The auction, without what the request or a rule refuses and what a rule pins elsewhere;
        None where nothing takes part.
        """
        pool, size = pooled(queries, corpus, deliveries, settings), corpus.columns.size
        stays = np.ones(len(pool), np.bool_)
        for lost in exclusions.lost(pool.rows, pool.queries).values():
            stays &= ~lost
        if pins is not None:
            stays &= ~np.isin(pool.queries * size + pool.rows, pins.keys)
        return cls(pool.take(stays), settings, size) if stays.any() else None

    def entered(self, candidates: Candidates) -> Candidates:
        """Candidates with the pool behind each query's, to be ranked together."""
        candidates, self._only = with_pool(candidates, self.pool, self.size)
        return candidates

    def parted(self, candidates: Candidates) -> Candidates:
        """The candidates without what only the pool brought; the pool's are kept, scored."""
        keys = candidates.queries * self.size + candidates.rows
        self._contenders = candidates.take(np.isin(keys, self._keys))
        return candidates.take(~np.isin(keys, self._only)) if len(self._only) else candidates

    @property
    def _keys(self) -> Rows:
        return self.pool.queries * self.size + self.pool.rows

    def placed(
        self,
        listed: Candidates,
        paid: Mask,
        fixed: Mask,
        k: int | Rows,
        chance: np.random.Generator,
        calibrated: Callable[[Candidates], Doubles],
        ranker: Ranker | None = None,
    ) -> tuple[Candidates, Mask, Mask, Doubles]:
        """The lists with the auction's places, bool[n] sponsored, bool[n] fixed, and float64[n] the
        chance of what was drawn to its place, NaN elsewhere.

        `calibrated` gives the probabilities of scored candidates; `ranker`, of auctions, stands in
        for the similarity.
        """
        nothing = np.full(len(listed), np.nan)
        held = self._contenders
        if held is None or not len(held):
            return listed, paid, fixed, nothing
        held = held.with_columns(probability=calibrated(held))
        keys = held.queries * self.size + held.rows
        by_key = np.argsort(keys)
        entry = by_key[np.searchsorted(keys, self._keys, sorter=by_key)]
        relevance = self.pool.similarity.astype(np.float64)
        if ranker is not None:
            assert held.features is not None
            relevance = ranker.score(held.features)[entry]
        score = scored(self.pool, relevance, self.settings)
        drawn = draw(self.pool, score, k, self.settings, chance, listed.query_count)
        drawn = seated(listed, fixed, drawn)
        if not len(drawn):
            return listed, paid, fixed, nothing
        at = by_key[np.searchsorted(keys, drawn.queries * self.size + drawn.rows, sorter=by_key)]
        assert held.probability is not None
        chosen = held.with_columns(blend=np.log(held.probability))
        chosen = chosen.take(at)
        lists, origin = placed(listed, fixed, chosen, drawn, self.size)
        sure = np.ones(len(drawn), np.bool_)
        return (
            lists,
            np.concatenate([paid, sure])[origin],
            np.concatenate([fixed, sure])[origin],
            np.concatenate([nothing, drawn.chance])[origin],
        )
