"""One process's engine: where each request of the HTTP service goes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import msgspec

from kindred.api.answering import Answering
from kindred.api.ports import ItemPage, Readiness
from kindred.api.ruled import LiveRules
from kindred.api.served import Bundle, Served
from kindred.events.check import Batch
from kindred.events.intake import EventIntake
from kindred.events.log import Appended
from kindred.events.sessions import Sessions
from kindred.indexer.catalogue import Catalogue
from kindred.schemas.item import Item
from kindred.schemas.outcome import BatchResult
from kindred.schemas.preview import Preview, PreviewRequest
from kindred.schemas.query import (
    Answer,
    Filters,
    Neighbours,
    Relation,
    SessionRecallRequest,
    SimilarRequest,
    Subject,
)
from kindred.schemas.rule import Rule, RuleHistory, RuleList, RuleResult
from kindred.schemas.why import WhyNot, WhyNotRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The `Engine` of the HTTP service (see `api.ports`)."""

    served: Served
    answering: Answering
    catalogue: Catalogue
    sessions: Sessions
    events: EventIntake
    rules: LiveRules

    @property
    def bundle(self) -> Bundle:
        """What answers are made with now; NotBuilt before the first one."""
        return self.served.bundle

    def similar(
        self, request: SimilarRequest, *, decision_id: str, traceparent: str | None = None
    ) -> Answer:
        """See Engine.similar."""
        return self.answering.similar(request, decision_id=decision_id, traceparent=traceparent)

    def session_recall(
        self, request: SessionRecallRequest, *, decision_id: str, traceparent: str | None = None
    ) -> Answer:
        """See Engine.session_recall."""
        return self.answering.session_recall(
            request, decision_id=decision_id, traceparent=traceparent
        )

    def why_not(self, request: WhyNotRequest) -> WhyNot:
        """See Engine.why_not."""
        return self.answering.why_not(request)

    def preview(self, request: PreviewRequest) -> Preview:
        """See Engine.preview."""
        return self.answering.preview(request)

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
        return self.answering.neighbors(item_id, space, k, filters, explain, relation)

    def put_items(self, items: Sequence[Item]) -> BatchResult:
        """See Engine.put_items."""
        result = self.catalogue.upsert(items)
        return BatchResult(
            accepted=result.accepted, unchanged=result.unchanged, sequence=result.sequence
        )

    def withdraw(self, item_id: str) -> bool:
        """See Engine.withdraw."""
        if self.catalogue.get(item_id) is None:
            return False
        self.catalogue.withdraw([item_id])
        return True

    def read_events(self, rows: Sequence[bytes | msgspec.Raw]) -> Batch:
        """See Engine.read_events."""
        return self.events.read(rows)

    def log_events(self, batch: Batch, traceparent: str | None) -> Future[Appended]:
        """See Engine.log_events."""
        return self.events.log(batch, traceparent)

    def put_rules(self, rules: Sequence[Rule], by: str) -> RuleResult:
        """See Engine.put_rules."""
        return self.rules.put(rules, by)

    def remove_rule(self, rule_id: str, by: str) -> bool:
        """See Engine.remove_rule."""
        return self.rules.remove(rule_id, by)

    def list_rules(self, surface: str | None, active: bool | None) -> RuleList:
        """See Engine.list_rules."""
        return self.rules.listed(surface, active)

    def rule_changes(self, rule_id: str | None, limit: int) -> RuleHistory:
        """See Engine.rule_changes."""
        return self.rules.history(rule_id, limit)

    def get_item(self, item_id: str) -> Item | None:
        """See Engine.get_item."""
        return self.catalogue.get(item_id)

    def list_items(self, after: int, limit: int) -> ItemPage:
        """See Engine.list_items; places are rows counted from 1."""
        page = self.catalogue.page(after_row=after - 1, limit=limit + 1)
        more = len(page) > limit
        page = page[:limit]
        return ItemPage(items=[i for _, i in page], next=page[-1][0] + 1 if more else None)

    def merge_visitor(self, anonymous: Subject, user_id: str) -> None:
        """See Engine.merge_visitor."""
        self.sessions.merge(anonymous, user_id)

    def readiness(self) -> Readiness:
        """See Engine.readiness."""
        return self.served.readiness()

    def refresh(self) -> int:
        """See Engine.refresh."""
        return self.served.refresh()

    def warm(self) -> None:
        """See Engine.warm."""
        self.served.warm()

    def close(self) -> None:
        """See Engine.close."""
        self.answering.close()
        self.served.close()
        self.events.close()
        self.rules.close()
        self.sessions.close()
        self.catalogue.close()
