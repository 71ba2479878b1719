"""A small engine over dictionaries, for tests of the HTTP border."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

import msgspec

from kindred.api.ports import ItemPage, Readiness
from kindred.events.check import Batch, EventChecks
from kindred.events.log import Appended
from kindred.schemas.clock import micros_now
from kindred.schemas.errors import SettingsError, UnknownItem
from kindred.schemas.item import Item
from kindred.schemas.outcome import BatchResult
from kindred.schemas.preview import Expected, Preview, PreviewRequest
from kindred.schemas.query import (
    Answer,
    Filters,
    Neighbour,
    Neighbours,
    RankedItem,
    Relation,
    SessionRecallRequest,
    SimilarRequest,
    Subject,
)
from kindred.schemas.rule import Rule, RuleChange, RuleHistory, RuleList, RuleResult
from kindred.schemas.settings import EventSettings, KindredSettings
from kindred.schemas.why import LostAt, WhyNot, WhyNotRequest
from kindred.schemas.workspace import Workspace


class DictEngine:
    """Answers every question with the first items it holds."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.rules: dict[str, Rule] = {}
        self.sequence = 0
        self.not_ready: list[str] = []
        self.released = threading.Event()
        self.released.set()
        self.error: Exception | None = None
        self.seen: list[object] = []

    def _enter(self, request: object) -> None:
        self.seen.append(request)
        self.released.wait(30)
        if self.error is not None:
            raise self.error

    def _answer(self, decision_id: str, count: int) -> Answer:
        items = [
            RankedItem(item_id=item_id, position=at, score=1.0 / (1 + at), title=item.title)
            for at, (item_id, item) in enumerate(list(self.items.items())[:count])
        ]
        return Answer(decision_id=decision_id, items=items, ms={"recall": 1.5, "total": 2.0})

    def similar(
        self, request: SimilarRequest, *, decision_id: str, traceparent: str | None = None
    ) -> Answer:
        self._enter(request)
        if request.item_id is not None and request.item_id not in self.items:
            raise UnknownItem(request.item_id)
        return self._answer(decision_id, request.k)

    def session_recall(
        self, request: SessionRecallRequest, *, decision_id: str, traceparent: str | None = None
    ) -> Answer:
        self._enter(request)
        return self._answer(decision_id, request.n)

    def why_not(self, request: WhyNotRequest) -> WhyNot:
        self._enter(request)
        if request.request.item_id is not None and request.request.item_id not in self.items:
            raise UnknownItem(request.request.item_id, "$.request.item_id")
        stage = LostAt.RANKED if request.item_id in self.items else LostAt.UNKNOWN
        return WhyNot(item_id=request.item_id, stage=stage, reason="so", k=request.request.k)

    def put_rules(self, rules: Sequence[Rule], by: str) -> RuleResult:
        self._enter((rules, by))
        self.rules.update((rule.rule_id, rule) for rule in rules)
        return RuleResult(accepted=len(rules), sequence=len(self.rules))

    def remove_rule(self, rule_id: str, by: str) -> bool:
        self._enter((rule_id, by))
        return self.rules.pop(rule_id, None) is not None

    def list_rules(self, surface: str | None, active: bool | None) -> RuleList:
        self._enter((surface, active))
        return RuleList(rules=list(self.rules.values()))

    def rule_changes(self, rule_id: str | None, limit: int) -> RuleHistory:
        self._enter((rule_id, limit))
        told = [
            RuleChange(sequence=n, at=1, by="", rule_id=name, rule=rule)
            for n, (name, rule) in enumerate(self.rules.items())
        ]
        return RuleHistory(changes=told[:limit])

    def preview(self, request: PreviewRequest) -> Preview:
        self._enter(request)
        asked = request.request
        if asked is not None and asked.item_id is not None and asked.item_id not in self.items:
            raise UnknownItem(asked.item_id, "$.request.item_id")
        return Preview(questions=0, changed=0, current=Expected(), proposed=Expected(), lists=[])

    def neighbors(
        self,
        item_id: str,
        space: str | None,
        k: int,
        filters: Filters,
        explain: bool,
        relation: Relation | None = None,
    ) -> Neighbours:
        self._enter((item_id, space, k, filters, explain, relation))
        if item_id not in self.items:
            raise UnknownItem(item_id)
        others = [Neighbour(item_id=other, score=0.5) for other in self.items if other != item_id]
        return Neighbours(
            item_id=item_id, space=space or "text", neighbours=others[:k], spaces=["text"]
        )

    def put_items(self, items: Sequence[Item]) -> BatchResult:
        self._enter(items)
        changed = [item for item in items if self.items.get(item.item_id) != item]
        self.items.update((item.item_id, item) for item in changed)
        self.sequence += len(changed)
        unchanged = len(items) - len(changed)
        return BatchResult(accepted=len(changed), unchanged=unchanged, sequence=self.sequence)

    def withdraw(self, item_id: str) -> bool:
        return self.items.pop(item_id, None) is not None

    def read_events(self, rows: Sequence[bytes | msgspec.Raw]) -> Batch:
        return EventChecks(EventSettings()).read(rows, micros_now())

    def log_events(self, batch: Batch, traceparent: str | None) -> Future[Appended]:
        self._enter((batch, traceparent))
        logged: Future[Appended] = Future()
        logged.set_result(Appended(len(batch.events), 0))
        return logged

    def get_item(self, item_id: str) -> Item | None:
        return self.items.get(item_id)

    def list_items(self, after: int, limit: int) -> ItemPage:
        page = list(self.items.values())[after : after + limit]
        more = after + limit < len(self.items)
        return ItemPage(items=page, next=after + limit if more else None)

    def merge_visitor(self, anonymous: Subject, user_id: str) -> None:
        self._enter((anonymous, user_id))

    def readiness(self) -> Readiness:
        return Readiness(
            ready=not self.not_ready,
            index=None if self.not_ready else "v1",
            sequence=self.sequence,
            problems=list(self.not_ready),
        )

    def refresh(self) -> int:
        return 0

    def warm(self) -> None:
        pass

    def close(self) -> None:
        pass


def open_engine(workspace: Workspace, settings: KindredSettings, name: str) -> DictEngine:
    """One process's engine for tests of the supervisor: three items, and switches by file.

    `slow` in the workspace holds every answer for 1.5 s, `broken` keeps the engine from opening.
    """
    if (workspace.root / "broken").exists():
        raise RuntimeError("broken")
    if (workspace.root / "wrong").exists():
        raise SettingsError("wrong", "$.api")
    engine = FileEngine(workspace, name)
    engine.put_items([Item(item_id=f"item-{n}", title=name) for n in range(3)])
    return engine


class FileEngine(DictEngine):
    """A DictEngine that a test can slow down from outside its process."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        super().__init__()
        self._workspace, self._name = workspace, name

    def _enter(self, request: object) -> None:
        super()._enter(request)
        if (self._workspace.root / "slow").exists():
            time.sleep(1.5)

    def close(self) -> None:
        (self._workspace.root / f"closed-{self._name}").touch()


class IdleBuilder:
    """Builds nothing, in a process of its own whose id it writes down, until it is stopped."""

    def __init__(self, workspace: Workspace) -> None:
        self._note = workspace.root / "build.pid"

    def run(self, stop: threading.Event) -> None:
        build = subprocess.Popen(["sleep", "600"])
        self._note.write_text(str(build.pid))
        stop.wait()


def open_builder(workspace: Workspace, settings: KindredSettings) -> IdleBuilder:
    """See IdleBuilder."""
    return IdleBuilder(workspace)
