"""From a request to its answer: understood, run through the funnel, explained, and recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import numpy as np

from kindred.api.answers import blend_cost_of, listed
from kindred.api.asked_before import AskAgain
from kindred.api.decided import RECALL_SURFACE, decided
from kindred.api.explaining import Prepared, look_up_absence, preview
from kindred.api.neighbours import Known, find_neighbours
from kindred.api.questions import Question, Questions
from kindred.api.ruled import Visits
from kindred.api.served import Bundle, Served
from kindred.events.decision_log import DecisionLog
from kindred.indexer.catalogue import Catalogue
from kindred.rerank.arms import auction_chance, drawn_arm, under
from kindred.rerank.explain import explain
from kindred.rerank.explore import Explored, as_ordered, explored, seed_of
from kindred.rerank.funnel import Funnel, Ranked, run
from kindred.rerank.shadow import ShadowRanker
from kindred.rerank.trail import Trail
from kindred.retrieval.relations import related, relation_settings
from kindred.retrieval.sources import SOURCES, SPACES
from kindred.schemas.errors import InputError
from kindred.schemas.preview import Preview, PreviewRequest
from kindred.schemas.query import (
    Answer,
    BlendCost,
    Filters,
    Neighbours,
    Relation,
    SessionRecallRequest,
    SimilarRequest,
)
from kindred.schemas.reasons import Explanation
from kindred.schemas.settings import BlendArm, KindredSettings
from kindred.schemas.why import WhyNot, WhyNotRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """What one process answers questions with, beside the bundle that it serves."""

    served: Served
    catalogue: Catalogue
    settings: KindredSettings
    questions: Questions
    visits: Visits
    ask_again: AskAgain
    """The requests of logged decisions"""
    clock: Callable[[], int]
    decisions: DecisionLog | None = None
    shadow: ShadowRanker | None = None
    """Scores what is logged"""

    def similar(
        self, request: SimilarRequest, *, decision_id: str, traceparent: str | None = None
    ) -> Answer:
        """See Engine.similar."""
        bundle = self.served.bundle
        made = self._prepared(bundle, request, bundle.funnel)
        funnel, asked = made.funnel, made.question
        arm = drawn_arm(funnel.blend, decision_id)
        funnel = replace(funnel, blend=under(funnel.blend, arm))
        trail = Trail() if request.explain else None
        with bundle.live.reading():
            ranked = run(
                funnel, asked.queries, k=request.k,
                asked=replace(made.asked, chance=auction_chance(decision_id)),
                deadline_ms=self.settings.api.deadline_ms, trail=trail,
            )  # fmt: skip
            ranked = replace(ranked, degraded=(*asked.degraded, *ranked.degraded))
            epsilon = self.settings.decisions.explore
            shown = as_ordered(ranked, request.k)
            if epsilon:
                shown = explored(ranked, request.k, epsilon, seed_of(decision_id))
            answer = self._answer(
                bundle, shown.ranked, request.k, decision_id,
                None if trail is None else reasons(trail, funnel, asked, shown.ranked, request.k),
                blend_cost_of(ranked, funnel, request.k),
            )  # fmt: skip
            self._record(bundle, request, asked, answer, shown, epsilon, traceparent, arm)
            return answer

    def session_recall(
        self, request: SessionRecallRequest, *, decision_id: str, traceparent: str | None = None
    ) -> Answer:
        """See Engine.session_recall."""
        unknown = set(request.sources or ()) - set(SOURCES)
        if unknown:
            known = ", ".join(SOURCES)
            raise InputError(f"no source {min(unknown)!r}; there are {known}", "$.sources")
        bundle = self.served.bundle
        asked = self.questions.session(request, bundle.funnel)
        wide = msgspec.structs.replace(bundle.funnel.recall, candidates=request.n)
        funnel = replace(bundle.funnel, recall=wide)
        trail = Trail() if request.explain else None
        beside, unread = self.visits.asked(RECALL_SURFACE, request.subject, funnel.corpus.columns)
        with bundle.live.reading():
            ranked = run(
                funnel,
                asked.queries,
                k=request.n,
                asked=beside,
                until="recall",
                sources=request.sources,
                trail=trail,
            )
            answer = self._answer(
                bundle, ranked, request.n, decision_id,
                None if trail is None else reasons(trail, funnel, asked, ranked, request.n),
            )  # fmt: skip
            answer.degraded.extend((*asked.degraded, *unread))
            for source in sorted(set(request.sources or ()) & set(SPACES)):
                if source not in bundle.funnel.corpus.tables:
                    answer.degraded.append(f"recall: the index has no {source} vectors")
            if not len(asked.queries.seeds):
                known = "none of the session's items is in the index"
                reason = known if asked.seeds.actions else "no actions are known"
                answer.degraded.append(f"session: {reason}")
            shown = as_ordered(ranked, request.n)
            self._record(bundle, request, asked, answer, shown, 0.0, traceparent)
        return answer

    def why_not(self, request: WhyNotRequest) -> WhyNot:
        """See Engine.why_not."""
        bundle = self.served.bundle
        with bundle.live.reading():
            return look_up_absence(
                request, bundle.funnel, partial(self._prepared, bundle), self.catalogue,
                bundle.versions,
            )  # fmt: skip

    def preview(self, request: PreviewRequest) -> Preview:
        """See Engine.preview."""
        bundle = self.served.bundle
        with bundle.live.reading():
            found = preview(
                request, bundle.funnel, partial(self._prepared, bundle), self.ask_again,
                bundle.versions,
            )  # fmt: skip
        return msgspec.structs.replace(found, notes=list(self.settings.notes))

    def neighbors(
        self,
        item_id: str,
        space: str | None,
        k: int,
        filters: Filters,
        explain: bool,
        relation: Relation | None = None,
    ) -> Neighbours:
        """See Engine.neighbors."""
        bundle = self.served.bundle
        wanted = relation_settings(bundle.funnel.recall, relation)
        with bundle.live.reading():
            return find_neighbours(
                Known(bundle.funnel.corpus, self.catalogue, bundle.live.encoders),
                item_id, space, k, filters, explain, wanted,
            )  # fmt: skip

    def close(self) -> None:
        """Hand over the decisions that wait, and release the files of what was bought."""
        if self.decisions is not None:
            self.decisions.close()
        self.visits.close()

    def _prepared(self, bundle: Bundle, request: SimilarRequest, funnel: Funnel) -> Prepared:
        """The question of a request, and how it asks `funnel` to answer it."""
        asked = self.questions.similar(request, funnel, bundle.live.encoders)
        if relation_settings(funnel.recall, request.relation).sources:
            # The learned merge is one for what comes next, and a relation asks something else.
            funnel = replace(funnel, recall=related(funnel.recall, request.relation), merge=None)
        if not request.blend:
            nobody = msgspec.structs.replace(funnel.blend.auction, places=())
            plain = msgspec.structs.replace(
                funnel.blend, a=0.0, b=0.0, c=0.0, sponsored_max=request.k, arms=(), auction=nobody
            )
            funnel = replace(funnel, blend=plain)
        beside, unread = self.visits.asked(request.surface, request.subject, funnel.corpus.columns)
        asked = replace(asked, degraded=(*asked.degraded, *unread))
        return Prepared(funnel=funnel, question=asked, asked=beside)

    def _answer(
        self,
        bundle: Bundle,
        ranked: Ranked,
        k: int,
        decision_id: str,
        why: Sequence[Explanation] | None,
        cost: BlendCost | None = None,
    ) -> Answer:
        corpus = bundle.funnel.corpus
        return Answer(
            decision_id=decision_id,
            items=listed(ranked, k, corpus.columns, self.catalogue, why),
            degraded=list(ranked.degraded),
            ms={**ranked.ms, "total": round(sum(ranked.ms.values()), 4)},
            versions=dict(bundle.versions),
            notes=list(self.settings.notes),
            plan=None if why is None else {s: p.explain() for s, p in ranked.plans.items()},
            left_out=dict(ranked.left_out),
            blend_cost=cost,
        )

    def _record(
        self,
        bundle: Bundle,
        request: SimilarRequest | SessionRecallRequest,
        asked: Question,
        answer: Answer,
        shown: Explored,
        epsilon: float,
        traceparent: str | None,
        arm: BlendArm | None = None,
    ) -> None:
        """Hand the answer's decision to the log, which never waits."""
        if self.decisions is not None:
            self.decisions.record(
                decided(
                    request, asked.seeds, answer, shown, bundle.funnel.corpus.columns,
                    most=self.settings.decisions.candidates, epsilon=epsilon,
                    occurred_at=self.clock(), traceparent=traceparent, shadow=self.shadow,
                    arm=arm,
                )
            )  # fmt: skip


def reasons(
    trail: Trail, funnel: Funnel, asked: Question, ranked: Ranked, k: int
) -> list[Explanation]:
    """Why the first k of a single query's list stand where they do."""
    shown = ranked.candidates.head(k)
    n = len(shown)
    drawn = None if ranked.drawn is None else ~np.isnan(ranked.drawn[:n])
    return explain(trail, funnel, asked.queries, shown, ranked.sponsored[:n], drawn)
