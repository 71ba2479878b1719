"""One process's engine: requests in ids and JSON on one side, the funnel's columns on the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import numpy as np
import structlog

from kindred.api.answers import blend_cost_of, listed
from kindred.api.asked_before import AskAgain, AskedBefore
from kindred.api.auctions import LiveAuctions
from kindred.api.decided import RECALL_SURFACE, decided
from kindred.api.explaining import Prepared, look_up_absence, preview
from kindred.api.neighbours import Known, find_neighbours
from kindred.api.ports import ItemPage, Readiness
from kindred.api.questions import Question, Questions
from kindred.api.ruled import LiveRules, Visits
from kindred.events.check import Batch
from kindred.events.decision_log import DecisionLog
from kindred.events.intake import EventIntake
from kindred.events.log import Appended
from kindred.events.sessions import Sessions
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.encoders.learned import encode_together
from kindred.indexer.live import Live
from kindred.rerank.arms import auction_chance, drawn_arm, under
from kindred.rerank.explain import explain
from kindred.rerank.explore import Explored, as_ordered, explored, seed_of
from kindred.rerank.funnel import Funnel, Ranked, run
from kindred.rerank.shadow import ShadowRanker
from kindred.rerank.trail import Trail
from kindred.retrieval.relations import related, relation_settings
from kindred.retrieval.sources import SOURCES, SPACES
from kindred.schemas.clock import micros_now
from kindred.schemas.errors import InputError, KindredError, NotBuilt
from kindred.schemas.item import Item
from kindred.schemas.preview import Preview, PreviewRequest
from kindred.schemas.query import (
    Answer,
    BatchResult,
    BlendCost,
    Filters,
    Neighbours,
    Relation,
    SessionRecallRequest,
    SimilarRequest,
    Subject,
)
from kindred.schemas.ranking import Floats
from kindred.schemas.reasons import Explanation
from kindred.schemas.rule import Rule, RuleHistory, RuleList, RuleResult
from kindred.schemas.settings import BlendArm, KindredSettings
from kindred.schemas.why import WhyNot, WhyNotRequest

RETRY_AFTER = 30_000_000
"""Pause (µs) after an index version that could not be opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One index version with the models made for it: swapped whole, never half."""

    live: Live
    funnel: Funnel
    versions: Mapping[str, str]


class Service:
    """The `Engine` of the HTTP service (see `api.ports`)."""

    def __init__(
        self,
        catalogue: Catalogue,
        settings: KindredSettings,
        open_bundle: Callable[[Bundle | None], Bundle | None],
        action_weights: Floats,
        sessions: Sessions,
        events: EventIntake,
        decisions: DecisionLog | None = None,
        clock: Callable[[], int] = micros_now,
        *,
        rules: LiveRules,
        visits: Visits,
        ask_again: AskAgain = lambda _: AskedBefore({}),
        auctions: LiveAuctions | None = None,
        shadow: ShadowRanker | None = None,
    ) -> None:
        """`open_bundle(current)` gives a newer bundle, or None where the current one is newest;
        `ask_again` the requests of logged decisions. `shadow` scores what is logged.
        """
        self._catalogue = catalogue
        self._settings = settings
        self._open_bundle = open_bundle
        self._questions = Questions(
            catalogue=catalogue, sessions=sessions, action_weights=action_weights, clock=clock
        )
        self._sessions = sessions
        self._decisions = decisions
        self._ask_again = ask_again
        self._shadow, self._auctions = shadow, auctions
        self._rules = rules
        self._visits = visits
        self._events = events
        self._clock = clock
        self._bundle: Bundle | None = None
        self._problem = "no index has been loaded yet"
        self._not_before = 0
        self._log = structlog.get_logger("kindred.service")
        self._refreshing = threading.Lock()

    @property
    def bundle(self) -> Bundle:
        """What answers are made with now; NotBuilt before the first one."""
        if self._bundle is None:
            raise NotBuilt(f"{self._problem}: run `kindred train` and `kindred index`")
        return self._bundle

    def similar(
        self, request: SimilarRequest, *, decision_id: str, traceparent: str | None = None
    ) -> Answer:
        """See Engine.similar."""
        bundle = self.bundle
        made = self._prepared(bundle, request, bundle.funnel)
        funnel, asked = made.funnel, made.question
        arm = drawn_arm(funnel.blend, decision_id)
        funnel = replace(funnel, blend=under(funnel.blend, arm))
        trail = Trail() if request.explain else None
        with bundle.live.reading():
            ranked = run(
                funnel, asked.queries, k=request.k,
                asked=replace(made.asked, chance=auction_chance(decision_id)),
                deadline_ms=self._settings.api.deadline_ms, trail=trail,
            )  # fmt: skip
            ranked = replace(ranked, degraded=(*asked.degraded, *ranked.degraded))
            epsilon = self._settings.decisions.explore
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
        bundle = self.bundle
        asked = self._questions.session(request, bundle.funnel)
        wide = msgspec.structs.replace(bundle.funnel.recall, candidates=request.n)
        funnel = replace(bundle.funnel, recall=wide)
        trail = Trail() if request.explain else None
        beside, unread = self._visits.asked(RECALL_SURFACE, request.subject, funnel.corpus.columns)
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
        bundle = self.bundle
        with bundle.live.reading():
            return look_up_absence(
                request, bundle.funnel, partial(self._prepared, bundle), self._catalogue,
                bundle.versions,
            )  # fmt: skip

    def preview(self, request: PreviewRequest) -> Preview:
        """See Engine.preview."""
        bundle = self.bundle
        with bundle.live.reading():
            found = preview(
                request, bundle.funnel, partial(self._prepared, bundle), self._ask_again,
                bundle.versions, deadline_ms=self._settings.api.deadline_ms,
            )  # fmt: skip
        return msgspec.structs.replace(found, notes=list(self._settings.notes))

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
        bundle = self.bundle
        wanted = relation_settings(bundle.funnel.recall, relation)
        with bundle.live.reading():
            return find_neighbours(
                Known(bundle.funnel.corpus, self._catalogue, bundle.live.encoders),
                item_id, space, k, filters, explain, wanted,
            )  # fmt: skip

    def put_items(self, items: Sequence[Item]) -> BatchResult:
        """See Engine.put_items."""
        result = self._catalogue.upsert(items)
        return BatchResult(
            accepted=result.accepted, unchanged=result.unchanged, sequence=result.sequence
        )

    def withdraw(self, item_id: str) -> bool:
        """See Engine.withdraw."""
        if self._catalogue.get(item_id) is None:
            return False
        self._catalogue.withdraw([item_id])
        return True

    def read_events(self, rows: Sequence[bytes | msgspec.Raw]) -> Batch:
        """See Engine.read_events."""
        return self._events.read(rows)

    def log_events(self, batch: Batch, traceparent: str | None) -> Future[Appended]:
        """See Engine.log_events."""
        return self._events.log(batch, traceparent)

    def put_rules(self, rules: Sequence[Rule], by: str) -> RuleResult:
        """See Engine.put_rules."""
        return self._rules.put(rules, by)

    def remove_rule(self, rule_id: str, by: str) -> bool:
        """See Engine.remove_rule."""
        return self._rules.remove(rule_id, by)

    def list_rules(self, surface: str | None, active: bool | None) -> RuleList:
        """See Engine.list_rules."""
        return self._rules.listed(surface, active)

    def rule_changes(self, rule_id: str | None, limit: int) -> RuleHistory:
        """See Engine.rule_changes."""
        return self._rules.history(rule_id, limit)

    def get_item(self, item_id: str) -> Item | None:
        """See Engine.get_item."""
        return self._catalogue.get(item_id)

    def list_items(self, after: int, limit: int) -> ItemPage:
        """See Engine.list_items; places are rows counted from 1."""
        page = self._catalogue.page(after_row=after - 1, limit=limit + 1)
        more = len(page) > limit
        page = page[:limit]
        return ItemPage(items=[i for _, i in page], next=page[-1][0] + 1 if more else None)

    def readiness(self) -> Readiness:
        """See Engine.readiness."""
        bundle = self._bundle
        if bundle is None:
            return Readiness(ready=False, problems=[self._problem])
        sequence = bundle.live.sequence
        return Readiness(
            ready=True,
            index=bundle.versions["index"],
            sequence=sequence,
            lag=max(self._catalogue.sequence - sequence, 0),
            pending=bundle.live.pending,
            problems=[self._problem] if self._problem else [],
        )

    def refresh(self) -> int:
        """See Engine.refresh."""
        with self._refreshing:
            newer = self._newer_bundle()
            if newer is None and self._bundle is None:
                return 0
            if newer is not None:
                # No answer is made without the rules, not even the first one.
                old, self._bundle = self._bundle, self._ruled(newer)
                if old is not None:
                    # Requests under way still read the old version; its files stay until they end.
                    threading.Timer(10.0, old.live.close).start()
            assert self._bundle is not None
            applied = self._bundle.live.apply_changes()
            self._rules.refresh()
            self._bundle = self._ruled(self._bundle)
            if self._auctions is not None:
                self._auctions.refresh(self._bundle.live.columns)
            return applied

    def _ruled(self, bundle: Bundle) -> Bundle:
        """The bundle with the rules as they are known now; itself where it has them."""
        funnel, rules = bundle.funnel, self._rules
        book = rules.book(bundle.live.columns, funnel.rules)
        if book is funnel.rules:
            return bundle
        versions = {n: v for n, v in bundle.versions.items() if n != "rules"}
        if rules.sequence:
            versions["rules"] = str(rules.sequence)
        return replace(bundle, funnel=replace(funnel, rules=book), versions=versions)

    def _newer_bundle(self) -> Bundle | None:
        """A newer version; one that cannot be opened is told, and tried again after a while."""
        if self._clock() < self._not_before:
            return None
        try:
            newer = self._open_bundle(self._bundle)
        except KindredError as error:
            if not isinstance(error, NotBuilt):
                self._not_before = self._clock() + RETRY_AFTER
                self._log.error("the newest index cannot be opened", reason=str(error))
            self._problem = str(error)
            return None
        self._problem = "" if newer is not None or self._bundle is not None else self._problem
        return newer

    def warm(self) -> None:
        """See Engine.warm."""
        if self._bundle is not None:
            encode_together(Item(item_id="warm", title="warm"), self._bundle.live.encoders)

    def close(self) -> None:
        """See Engine.close."""
        if self._decisions is not None:
            self._decisions.close()
        if self._bundle is not None:
            self._bundle.live.close()
        self._events.close()
        if self._auctions is not None:
            self._auctions.close()
        self._rules.close()
        self._visits.close()
        self._sessions.close()
        self._catalogue.close()

    def merge_visitor(self, anonymous: Subject, user_id: str) -> None:
        """See Engine.merge_visitor."""
        self._sessions.merge(anonymous, user_id)

    def _prepared(self, bundle: Bundle, request: SimilarRequest, funnel: Funnel) -> Prepared:
        """The question of a request, and how it asks `funnel` to answer it."""
        asked = self._questions.similar(request, funnel, bundle.live.encoders)
        if relation_settings(funnel.recall, request.relation).sources:
            # The learned merge is one for what comes next, and a relation asks something else.
            funnel = replace(funnel, recall=related(funnel.recall, request.relation), merge=None)
        if not request.blend:
            nobody = msgspec.structs.replace(funnel.blend.auction, places=())
            plain = msgspec.structs.replace(
                funnel.blend, b=0.0, c=0.0, sponsored_max=request.k, arms=(), auction=nobody
            )
            funnel = replace(funnel, blend=plain)
        beside, unread = self._visits.asked(request.surface, request.subject, funnel.corpus.columns)
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
            items=listed(ranked, k, corpus.columns, self._catalogue, why),
            degraded=list(ranked.degraded),
            ms={**ranked.ms, "total": round(sum(ranked.ms.values()), 4)},
            versions=dict(bundle.versions),
            notes=list(self._settings.notes),
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
        if self._decisions is not None:
            self._decisions.record(
                decided(
                    request, asked.seeds, answer, shown, bundle.funnel.corpus.columns,
                    most=self._settings.decisions.candidates, epsilon=epsilon,
                    occurred_at=self._clock(), traceparent=traceparent, shadow=self._shadow,
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
