"""What the HTTP service asks of whatever answers: the `Engine`, and two shapes of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

import msgspec

from kindred.events.check import Batch
from kindred.events.log import Appended
from kindred.schemas.base import Record
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


class ItemPage(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Part of the catalogue, in the order of its rows."""

    items: list[Item]
    next: int | None = None
    """What to give as `after` for the next page; null after the last one."""


class Readiness(Record, frozen=True, kw_only=True, omit_defaults=False):
    """Whether this process can answer, and what it answers from."""

    ready: bool
    index: str | None = None
    """Version of the index in use."""
    sequence: int = 0
    """Catalogue change that the answers already show."""
    lag: int = 0
    """Catalogue changes that they do not show yet."""
    pending: int = 0
    """Items shown without some of their vectors, which are being made."""
    problems: list[str] = []
    """Why it is not ready, in words."""


class Engine(Protocol):
    """One process's way to answers. Every method blocks and may be called from any thread.

    Errors: UnknownItem and other InputError for what the caller got wrong (with its path), NotBuilt
    before the first index, StoreUnavailable and StoreTimeout for a vector store that fails.
    """

    def similar(
        self, request: SimilarRequest, *, decision_id: str, traceparent: str | None = None
    ) -> Answer:
        """Ranked and blended items that go with a seed; `traceparent` is the request's."""

    def session_recall(
        self, request: SessionRecallRequest, *, decision_id: str, traceparent: str | None = None
    ) -> Answer:
        """Candidates for a session."""

    def why_not(self, request: WhyNotRequest) -> WhyNot:
        """Why an item is not in the answer to a request; nothing is logged."""

    def preview(self, request: PreviewRequest) -> Preview:
        """What answers would be under other settings; nothing is changed or logged. Seconds, where
        many are asked for.
        """

    def merge_visitor(self, anonymous: Subject, user_id: str) -> None:
        """What a device or session did so far is the user's; durable. LogError where it fails."""

    def neighbors(
        self,
        item_id: str,
        space: str | None,
        k: int,
        filters: Filters,
        explain: bool,
        relation: Relation | None = None,
    ) -> Neighbours:
        """Nearest items in one vector space; None picks the first space that the item is in, of
        those that stand for the relation where one is asked for.
        """

    def put_items(self, items: Sequence[Item]) -> BatchResult:
        """Upsert items; what is accepted is durable."""

    def withdraw(self, item_id: str) -> bool:
        """End a listing; False where the catalogue does not hold it. Twice is as good as once."""

    def read_events(self, rows: Sequence[bytes | msgspec.Raw]) -> Batch:
        """Decode events and judge them by themselves. Unlike the others it never blocks."""

    def log_events(self, batch: Batch, traceparent: str | None) -> Future[Appended]:
        """Log a batch; the future is done after its commit.

        Blocks only where `batch.asks`. CatalogueError, LogFull; the future's is LogError.
        """

    def put_rules(self, rules: Sequence[Rule], by: str) -> RuleResult:
        """Write rules, each in the place of what had its id; what is accepted is durable.

        Paths of those refused are behind the rule. RulesError, here and below.
        """

    def remove_rule(self, rule_id: str, by: str) -> bool:
        """Remove a rule; False where there is none."""

    def list_rules(self, surface: str | None, active: bool | None) -> RuleList:
        """Rules by id: of a surface, or whose time is now (or is not), where that is asked."""

    def rule_changes(self, rule_id: str | None, limit: int) -> RuleHistory:
        """Changes of one rule or of all, newest first."""

    def get_item(self, item_id: str) -> Item | None:
        """The item as the catalogue holds it."""

    def list_items(self, after: int, limit: int) -> ItemPage:
        """At most `limit` items behind the place `after` (0 is the start)."""

    def readiness(self) -> Readiness:
        """Cheap: called by every health check and scrape."""

    def refresh(self) -> int:
        """Apply catalogue changes, switch to a newer index; the number of changes applied."""

    def warm(self) -> None:
        """Load what the first cold seed would wait for."""

    def close(self) -> None:
        """Release files and threads."""
