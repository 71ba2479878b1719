"""The funnel in this process as the shop of simulated visitors, and its decisions for the lake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
import polars as pl

from kindred.events.shown import DECISION_SCHEMA
from kindred.experiments.marketsim.answered import Answered
from kindred.experiments.marketsim.records import SURFACE, Records, hex_ids, time_ordered_ids
from kindred.experiments.marketsim.shops import Asked, Lists
from kindred.experiments.marketsim.visitors import Visitors
from kindred.experiments.marketsim.world import World
from kindred.indexer.behaviour.impressions import PLATFORMS
from kindred.indexer.columns import STATUS_CODE
from kindred.rerank.auction_pool import Deliveries
from kindred.rerank.explore import explored
from kindred.rerank.features import SPECIFICATION
from kindred.rerank.funnel import Asked as BesideIt
from kindred.rerank.funnel import Funnel, Stage, run
from kindred.retrieval.queries import Queries, make_queries, seed_weights
from kindred.retrieval.segments import offsets_of
from kindred.schemas.errors import InputError
from kindred.schemas.event import ACTION_CODE, Action
from kindred.schemas.item import Status
from kindred.schemas.ranking import Floats, Mask

POLICY = "funnel"
_VIEW = ACTION_CODE[Action.VIEW.value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """How the funnel is asked."""

    k: int
    """Items shown"""
    explore: float
    """Share of lists in random order"""
    logged: int
    """Candidates kept of each decision, at most"""
    until: Stage = "blend"
    experiments: Mapping[str, str] = field(default_factory=dict)
    """What each decision says of the experiments that it is part of"""


class FunnelShop:
    """Answers pages by the funnel, and keeps the decisions until `frame` takes them."""

    def __init__(
        self,
        funnel: Funnel,
        action_weights: Floats,
        versions: Mapping[str, str],
        world: World,
        visitors: Visitors,
        records: Records,
        answering: Answering,
        rng: np.random.Generator,
        writer: str,
    ) -> None:
        """InputError where the index lacks items of the world."""
        # The shop counts the views of auctions itself: nobody else gives any.
        self._deliveries = Deliveries()
        self._funnel = replace(funnel, deliveries=self._deliveries)
        self._weights, self._answering = action_weights, answering
        self._world, self._visitors, self._records = world, visitors, records
        self._rng, self._writer = rng, writer
        self._versions = msgspec.json.encode(dict(versions)).decode()
        self._experiments = msgspec.json.encode(dict(answering.experiments)).decode()
        columns = funnel.corpus.columns
        self._row = columns.rows([item.item_id for item in world.items])
        """Catalogue row of each row of the world"""
        missing = int((self._row < 0).sum())
        if missing:
            raise InputError(f"{missing:,} items of the market are not in the index", "$.items")
        self._mine = np.full(columns.size, -1, np.int64)
        self._mine[self._row] = np.arange(len(self._row))
        others = np.flatnonzero((self._mine < 0) & columns.active)
        if len(others):
            raise InputError(
                f"the index holds {len(others):,} items that are not of this market", "$.workspace"
            )
        self._sequence = 0
        self._parts: list[Answered] = []

    def __len__(self) -> int:
        return sum(len(part.ids) for part in self._parts)

    def open(self, on_sale: Mask) -> None:
        """See LoggedShop.open. The index's facts become those of the moment."""
        columns = self._funnel.corpus.columns
        ended, active = STATUS_CODE[Status.ENDED], STATUS_CODE[Status.ACTIVE]
        columns.status[self._row] = np.where(on_sale, active, ended)
        columns.version += 1

    def similar(self, asked: Asked) -> Lists:
        """See Shop.similar."""
        k, n = self._answering.k, len(asked.seed)
        if not n:
            nobody = np.zeros(0, object)
            return Lists(np.zeros(1, np.int64), np.zeros(0, np.int64), nobody, nobody)
        queries = self._queries(asked)
        ranked = run(
            self._funnel,
            queries,
            k=k,
            until=self._answering.until,
            asked=BesideIt(chance=self._rng),
        )
        if ranked.drawn is not None:
            seen = ~np.isnan(ranked.drawn) & (ranked.candidates.ranks < k)
            self._deliveries.add(ranked.candidates.rows[seen])
        told = explored(ranked, k, self._answering.explore, self._rng)
        ids = np.array(time_ordered_ids(asked.at, self._rng), object)
        trace = hex_ids(n, self._rng)
        self._parts.append(
            Answered.of(asked, queries, told, ids, trace, max(self._answering.logged, k))
        )
        shown = told.ranked.candidates.head(k)
        return Lists(shown.offsets, self._mine[shown.rows], ids, trace)

    def _queries(self, asked: Asked) -> Queries:
        """The visit so far with the page's item as its newest."""
        visits, n = asked.visits, len(asked.seed)
        seen = np.concatenate([visits.seen, asked.seed[:, None]], axis=1)
        known = np.where(visits.did_by < asked.at[:, None], visits.did, _VIEW)
        did = np.concatenate([known, np.full((n, 1), _VIEW)], axis=1)
        # Each item once, at its newest moment, as a session is read from the log.
        later = np.triu(np.ones((seen.shape[1],) * 2, bool), 1)
        again = ((seen[:, :, None] == seen[:, None, :]) & later).any(axis=2)
        there = (seen >= 0) & ~again
        rows = self._row[seen[there]]
        home = self._visitors.place[visits.visitor]
        queries = make_queries(
            self._funnel.corpus.columns,
            offsets_of(there.sum(axis=1)),
            rows,
            now=asked.at,
            half_life=self._funnel.recall.session_half_life,
            action_weights=seed_weights(self._weights, did[there]),
            exclude_seeds=True,
        )
        places, app = self._world.places, self._visitors.app[visits.visitor]
        shown_on = np.where(app, PLATFORMS.index("app"), PLATFORMS.index("web")).astype(np.int8)
        return replace(queries, lat=places.lat[home], lon=places.lon[home], platforms=shown_on)

    def frame(self) -> pl.DataFrame:
        """See LoggedShop.frame."""
        parts, self._parts = self._parts, []
        if not parts:
            return pl.DataFrame(schema=DECISION_SCHEMA)
        frame = pl.concat([self._table(part) for part in parts])
        first, self._sequence = self._sequence + 1, self._sequence + len(frame)
        sequence = pl.Series("sequence", np.arange(first, first + len(frame)), dtype=pl.Int64)
        return frame.with_columns(sequence)

    def _table(self, part: Answered) -> pl.DataFrame:
        """One batch as rows of `DECISION_SCHEMA`."""
        n, prefix, visits = len(part.ids), self._records.prefix, part.asked.visits
        who = pl.Series(visits.visitor).cast(pl.String)
        user = pl.select(pl.when(pl.Series(visits.logged_in)).then(f"{prefix}user-" + who))
        home = self._visitors.place[visits.visitor]
        app = self._visitors.app[visits.visitor].astype(np.int64)
        span = pl.Series([i.replace("-", "")[16:] for i in part.ids.tolist()])
        seeds = part.asked.seed.tolist()
        items = self._world.items
        head = pl.DataFrame(
            {
                "decision_id": pl.Series(part.ids.tolist(), dtype=pl.String),
                "occurred_at": part.asked.at,
                "surface": [SURFACE] * n,
                "platform": pl.Series(["web", "app"]).gather(app),
                "role": ["customer"] * n,
                "user_id": user.to_series(),
                "device_id": f"{prefix}device-" + who,
                "session_id": pl.Series(part.asked.session.tolist(), dtype=pl.String),
                "traceparent": "00-"
                + pl.Series(part.trace.tolist(), dtype=pl.String)
                + "-"
                + span
                + "-01",
                "seed_item": [items[row].item_id for row in seeds],
                "category": [list(items[row].category) for row in seeds],
                "lat": self._world.places.lat[home],
                "lon": self._world.places.lon[home],
                "policy": [POLICY] * n,
                "versions": [self._versions] * n,
                "flags": ["{}"] * n,
                "experiments": [self._experiments] * n,
                "epsilon": [self._answering.explore] * n,
                "writer": [self._writer] * n,
                "feature_spec": [SPECIFICATION if part.features else None] * n,
            }
        )
        whole = pl.concat([head, part.columns(self._funnel.corpus.columns)], how="horizontal")
        lacking = [
            pl.lit(None, dtype).alias(name)
            for name, dtype in DECISION_SCHEMA.items()
            if name not in whole.columns
        ]
        return whole.with_columns(lacking).select(
            pl.col(name).cast(dtype) for name, dtype in DECISION_SCHEMA.items()
        )
