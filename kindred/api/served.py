"""What a process answers from: one index version with its models and rules, followed and swapped.

A request takes the bundle once and keeps it to its end; whatever changes meanwhile, a newer index
or rules that somebody wrote, is in the bundle of the next.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from kindred.api.auctions import LiveAuctions
from kindred.api.ports import Readiness
from kindred.api.ruled import LiveRules
from kindred.indexer.catalogue import Catalogue
from kindred.indexer.encoders.learned import encode_together
from kindred.indexer.live import Live
from kindred.rerank.funnel import Funnel
from kindred.schemas.clock import micros_now
from kindred.schemas.errors import KindredError, NotBuilt
from kindred.schemas.item import Item

RETRY_AFTER = 30_000_000
"""Pause (µs) after an index version that could not be opened."""
LINGERS_S = 10.0
"""How long an old version's files stay for the requests under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One index version with the models made for it: swapped whole, never half."""

    live: Live
    funnel: Funnel
    versions: Mapping[str, str]


class Served:
    """The bundle in use; one thread refreshes it, any number read it."""

    def __init__(
        self,
        catalogue: Catalogue,
        open_bundle: Callable[[Bundle | None], Bundle | None],
        rules: LiveRules,
        auctions: LiveAuctions | None = None,
        clock: Callable[[], int] = micros_now,
    ) -> None:
        """`open_bundle(current)` gives a newer bundle, or None where the current one is newest."""
        self._catalogue = catalogue
        self._open_bundle = open_bundle
        self._rules, self._auctions = rules, auctions
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
                    threading.Timer(LINGERS_S, old.live.close).start()
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
        """Release the index's files, and what tells of auctions."""
        if self._bundle is not None:
            self._bundle.live.close()
        if self._auctions is not None:
            self._auctions.close()
