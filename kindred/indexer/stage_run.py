"""Running stages: what is stale is trained, in order, and what passes its gate comes into use.

Some stages are spared part of a daily refresh (`refresh`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kindred.indexer.models import ModelStore
from kindred.indexer.refresh import may_be_kept, may_be_started_from, start_of, started_key
from kindred.indexer.stages import Stage, StageRow, State, chosen, key_of
from kindred.schemas.errors import ArtefactError
from kindred.schemas.model import Card, Gate
from kindred.schemas.progress import Progress


class Watcher(Protocol):
    """Somebody who is told how a run goes."""

    def planned(self, stages: Sequence[str]) -> None:
        """These are looked at, in this order."""

    def began(self, stage: str) -> None:
        """It is this one's turn."""

    def ended(self, row: StageRow) -> None:
        """This came of it."""


class Unwatched:
    """Nobody."""

    def planned(self, stages: Sequence[str]) -> None:
        """See Watcher."""

    def began(self, stage: str) -> None:
        """See Watcher."""

    def ended(self, row: StageRow) -> None:
        """See Watcher."""


def run_stages(
    stages: Sequence[Stage],
    store: ModelStore,
    *,
    seed: int,
    progress: Progress,
    clock: Callable[[], int],
    only: Sequence[str] = (),
    anew: bool = False,
    watcher: Watcher | None = None,
) -> list[StageRow]:
    """Train what is stale, in order. What passes its gate becomes current.

    A stage builds on the versions of this run, whether or not they may serve. Two processes never
    train the same: the second one waits and finds it fresh. With `anew` no version is kept of
    other inputs, and no training starts from another version.
    """
    listed = chosen(stages, only)
    run = _Run(store, seed, progress, clock, anew, {s.name for s in listed if s.keep_for})
    watcher = watcher or Unwatched()
    watcher.planned([stage.name for stage in listed])
    rows = []
    for stage in listed:
        watcher.began(stage.name)
        rows.append(run.row(stage))
        watcher.ended(rows[-1])
    return rows


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: what the stages so far have become."""

    store: ModelStore
    seed: int
    progress: Progress
    clock: Callable[[], int]
    anew: bool
    steady: set[str]
    """Stages that are kept for days"""
    keys: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def row(self, stage: Stage) -> StageRow:
        """Settle one stage."""
        before = self.store.current(stage.name)
        with self.store.training(stage.name):
            state, card = self._settle(stage)
        self.keys[stage.name], self.versions[stage.name] = card.key, card.version
        return StageRow(
            stage=stage.name,
            state=state if card.gate.passed else "failed its gate",
            version=card.version,
            seconds=card.seconds if state == "trained" else 0.0,
            summary=str(card.metrics.get("summary", "")),
            metrics=card.metrics,
            gate=card.gate.reason,
            start=None if card.start is None else card.start.version,
            before=before,
            now=self.store.current(stage.name),
        )

    def _settle(self, stage: Stage) -> tuple[State, Card]:
        key = key_of(stage, self.keys, self.seed)
        if (card := self.store.find(stage.name, key, started=not self.anew)) is not None:
            return _settled(card, self.store), card
        in_use = _in_use(stage.name, self.store)
        if self.anew:
            return "trained", self._train(stage, key, None)
        now = self.clock()
        at_hand = [c for c in (in_use, _refused(stage.name, self.store)) if c is not None]
        for card in at_hand:
            if may_be_kept(stage, card, self._basis(stage, card), seed=self.seed, now=now):
                return "kept", card
        starts = [
            card
            for card in at_hand
            if may_be_started_from(
                stage, card, self._basis(stage, card), steady=self.steady, seed=self.seed, now=now
            )
        ]
        return "trained", self._train(stage, key, next(iter(starts), None))

    def _basis(self, stage: Stage, card: Card) -> dict[str, str]:
        """The versions that a stage builds on now; the card's own of those that gave it nothing
        then and give it nothing now.

        A stage without data is done again at each run, and comes to nothing under another number.
        """

        def nothing(name: str, version: str | None) -> bool:
            there = version is not None and version in self.store.versions(name)
            return there and not self.store.card(name, version).files

        found = {name: self.versions[name] for name in stage.needs}
        for name, version in found.items():
            before = card.inputs.get(name)
            if before is not None and nothing(name, version) and nothing(name, before):
                found[name] = before
        return found

    def _train(self, stage: Stage, key: str, start: Card | None) -> Card:
        store, began = self.store, time.perf_counter()
        needed = {name: store.load(name, self.versions[name]) for name in stage.needs}
        given = dict(needed)
        if start is not None:
            given[stage.name] = store.load(stage.name, start.version)
        with self.progress.task(f"train {stage.name}"):
            made = stage.make(given, self.progress)
        gate = Gate(passed=made.passed, reason=made.reason)
        if stage.judge is not None:
            gate = stage.judge(made, _in_use(stage.name, store))
        card = Card(
            stage=stage.name,
            key=key if start is None else started_key(key, start),
            code=stage.code,
            inputs={**stage.inputs, **{name: a.version for name, a in needed.items()}},
            start=None if start is None else start_of(start, key),
            settings=dict(stage.settings),
            seed=self.seed,
            metrics={"summary": made.summary, **made.metrics},
            gate=gate,
            created=self.clock(),
            seconds=round(time.perf_counter() - began, 3),
        )
        return store.card(stage.name, store.publish(stage.name, card, made.arrays, made.texts))


def _settled(card: Card, store: ModelStore) -> State:
    """A version of these inputs is there: bring it into use again unless somebody decided."""
    if card.gate.passed and store.current(card.stage) != card.version:
        if card.version in store.withdrawn(card.stage):
            return "withdrawn"
        store.promote(card.stage, card.version)
    return "fresh"


def _in_use(stage: str, store: ModelStore) -> Card | None:
    """The card in use, whole on disk; one that cannot be read is as good as none."""
    if store.current(stage) is None:
        return None
    try:
        return store.load(stage).card
    except ArtefactError:
        return None


def _refused(stage: str, store: ModelStore) -> Card | None:
    """The card of the newest version where its gate refused it."""
    try:
        card = store.load(stage, (store.versions(stage) or [""])[-1]).card
    except ArtefactError:
        return None
    return None if card.gate.passed else card
