"""From a request to the funnel's question: whose session, which seeds, which vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import structlog

from kindred.events.sessions import Sessions
from kindred.indexer.behaviour.impressions import PLATFORMS
from kindred.indexer.behaviour.users import user_keys
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.encoders.base import Encoder
from kindred.indexer.encoders.learned import encode_together
from kindred.rerank.funnel import Funnel
from kindred.retrieval.queries import Anchor, Queries, make_queries, seed_weights
from kindred.retrieval.relations import category_path, elsewhere, relation_settings
from kindred.retrieval.visitor import Seeds, seeds_of
from kindred.schemas.errors import LogError, UnknownItem
from kindred.schemas.event import ACTION_CODE
from kindred.schemas.query import (
    Filters,
    Place,
    SessionAction,
    SessionRecallRequest,
    SimilarRequest,
    Subject,
)
from kindred.schemas.ranking import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A single query, and what the session behind it says."""

    queries: Queries
    seeds: Seeds
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What a process reads to understand a request."""

    catalogue: Catalogue
    sessions: Sessions
    action_weights: Floats
    """float32[actions] by action code"""
    clock: Callable[[], int]

    def similar(
        self, request: SimilarRequest, funnel: Funnel, encoders: Mapping[str, Encoder]
    ) -> Question:
        """The session so far with the seed as its newest item; UnknownItem for an unknown one.

        `encoders`, by space, are those of the index.
        """
        corpus = funnel.corpus
        seeds, degraded = self._seeds(request.subject, request.session, request.item_id)
        item, inline = request.item, request.item is not None
        seed: tuple[SessionAction, ...] = ()
        row = -1
        if item is not None:
            # A listing that the catalogue knows is no answer to itself.
            seed = (SessionAction(item_id=item.item_id),)
        if request.item_id is not None:
            row = int(corpus.columns.rows([request.item_id])[0])
            if row >= 0:
                seed = (SessionAction(item_id=request.item_id),)
            if row < 0 or not corpus.columns.active[row]:
                # Not in the index (yet, or any more): what the catalogue says stands for it.
                item = self.catalogue.get(request.item_id)
                if item is None:
                    raise UnknownItem(request.item_id)
        filters = request.filters
        if relation_settings(funnel.recall, request.relation).other_category:
            path = category_path(corpus.columns, row) if item is None else item.category
            filters = elsewhere(filters, path)
        queries = self._queries(
            funnel,
            (*seeds.actions, *seed),
            filters=filters,
            exclude_seeds=True,
            place=request.place,
            subject=request.subject,
            dislike=(*request.dislike, *seeds.dismissed),
        )
        code = PLATFORMS.index(request.platform.value)
        queries = replace(queries, platforms=np.array([code], np.int8))
        if item is not None:
            vectors = encode_together(item, encoders)
            if inline or not seed:
                queries = replace(queries, anchor=Anchor.of_item(corpus.columns, item))
            queries = replace(queries, inline=vectors)
        return Question(queries=queries, seeds=seeds, degraded=degraded)

    def session(self, request: SessionRecallRequest, funnel: Funnel) -> Question:
        """The session alone."""
        seeds, degraded = self._seeds(request.subject, request.actions)
        queries = self._queries(
            funnel,
            seeds.actions,
            filters=request.filters,
            exclude_seeds=request.exclude_seen,
            place=request.place,
            subject=request.subject,
            dislike=seeds.dismissed,
        )
        return Question(queries=queries, seeds=seeds, degraded=degraded)

    def _seeds(
        self,
        subject: Subject | None,
        told: Sequence[SessionAction],
        without: str | None = None,
    ) -> tuple[Seeds, tuple[str, ...]]:
        """(what the session says, what was left out): the caller's actions, else the log's.

        A log that cannot be read costs the session, not the answer.
        """
        if told or subject is None:
            return Seeds(in_order(told)), ()
        try:
            session = self.sessions.of(subject)
        except LogError as error:
            structlog.get_logger("kindred.service").error(
                "a session cannot be read", reason=str(error)
            )
            return Seeds(), ("session: the log cannot be read",)
        return seeds_of(session, self.action_weights, without), ()

    def _queries(
        self,
        funnel: Funnel,
        actions: Sequence[SessionAction],
        *,
        filters: Filters,
        exclude_seeds: bool,
        place: Place | None,
        subject: Subject | None,
        dislike: Sequence[str] = (),
    ) -> Queries:
        columns = funnel.corpus.columns
        rows = columns.rows([a.item_id for a in actions])
        codes = np.array([ACTION_CODE[a.action.value] for a in actions], np.int64)
        away = columns.rows(list(dislike))
        away = away[away >= 0]
        return make_queries(
            columns,
            np.array([0, len(rows)]),
            rows,
            now=self.clock(),
            half_life=funnel.recall.session_half_life,
            action_weights=seed_weights(self.action_weights, codes),
            filters=(filters,),
            exclude_seeds=exclude_seeds,
            places=[place],
            dislikes=(np.array([0, len(away)]), away),
            users=user_keys([None if subject is None else subject.user_id]),
        )


def in_order(actions: Sequence[SessionAction]) -> tuple[SessionAction, ...]:
    """Oldest first: by time where every action has one, else as given."""
    if any(a.ts is None for a in actions):
        return tuple(actions)
    return tuple(sorted(actions, key=lambda a: a.ts or 0))
