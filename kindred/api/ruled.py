"""One process's rules, followed from their store; what is known of a visitor beside a question."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kindred.events.bought import Bought
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.columns import LEVEL_SEPARATOR, Columns
from kindred.rerank.funnel import Asked
from kindred.rerank.rule_store import RuleStore
from kindred.rerank.rules import RuleBook
from kindred.schemas.errors import LogError
from kindred.schemas.query import Subject
from kindred.schemas.ranking import Rows
from kindred.schemas.rule import Rule, RuleHistory, RuleList, RuleResult
from kindred.schemas.settings import ExclusionSettings

BOUGHT = "bought"


class LiveRules:
    """Rules as this process knows them; safe for several threads."""

    def __init__(self, store: RuleStore, catalogue: Catalogue, clock: Callable[[], int]) -> None:
        """Reads the rules before it returns: no answer is made without them. RulesError."""
        self._store, self._catalogue, self._clock = store, catalogue, clock
        self.sequence, self._rules = store.rules()

    def put(self, rules: Sequence[Rule], by: str) -> RuleResult:
        """See Engine.put_rules."""
        written = self._store.put(rules, by, self._known)
        return RuleResult(
            accepted=written.accepted,
            unchanged=written.unchanged,
            rejected=written.refused,
            sequence=written.sequence,
        )

    def remove(self, rule_id: str, by: str) -> bool:
        """See Engine.remove_rule."""
        return self._store.remove(rule_id, by)

    def listed(self, surface: str | None, active: bool | None) -> RuleList:
        """See Engine.list_rules."""
        sequence, rules = self._store.rules()
        now = self._clock()
        kept = [
            rule
            for rule in rules
            if (surface is None or rule.stands_on(surface))
            and (active is None or rule.active(now) is active)
        ]
        return RuleList(rules=kept, sequence=sequence)

    def history(self, rule_id: str | None, limit: int) -> RuleHistory:
        """See Engine.rule_changes."""
        return RuleHistory(changes=self._store.history(rule_id, limit))

    def refresh(self) -> None:
        """Read the rules anew where somebody has changed them. RulesError."""
        if self._store.sequence != self.sequence:
            self.sequence, self._rules = self._store.rules()

    def book(self, columns: Columns, held: RuleBook | None) -> RuleBook:
        """The rules over these columns: `held` where it is still that."""
        rules = tuple(self._rules)
        if held is not None and not held.stale and held.over(columns) and held.rules == rules:
            return held
        return RuleBook(rules, columns)

    def close(self) -> None:
        """Release the files."""
        self._store.close()

    def _known(self, item_ids: Sequence[str]) -> list[bool]:
        return [bool(row >= 0) for row in self._catalogue.rows_of(item_ids)]


class Visits:
    """What is known beside a question: where it is asked, and what its visitor sells and bought."""

    def __init__(self, settings: ExclusionSettings, bought: Bought | None = None) -> None:
        self._settings, self._bought = settings, bought

    def asked(
        self, surface: str, subject: Subject | None, columns: Columns
    ) -> tuple[Asked, tuple[str, ...]]:
        """(what is asked for beside the question, what was left out of that and why)."""
        user = None if subject is None else subject.user_id
        own = user if self._settings.own else None
        if user is None or self._bought is None:
            return Asked(surface=surface, visitor=own), ()
        try:
            rows = columns.rows(self._bought.of(user))
        except LogError:
            degraded = ("bought: the log cannot be read, nothing is left out",)
            return Asked(surface=surface, visitor=own), degraded
        leave_out = {BOUGHT: self._lasting(rows[rows >= 0], columns)}
        return Asked(surface=surface, visitor=own, leave_out=leave_out), ()

    def _lasting(self, rows: Rows, columns: Columns) -> Rows:
        """Those of the categories that the setting is for."""
        paths = self._settings.bought_categories
        if not paths:
            return rows
        find = columns.vocabularies["category"].find
        codes = [c for path in paths if (c := find(LEVEL_SEPARATOR.join(path))) >= 0]
        return rows[np.isin(columns.category[rows], codes).any(axis=1)]

    def close(self) -> None:
        """Release the files."""
        if self._bought is not None:
            self._bought.close()
