"""What is trained from what: a list of stages, each named by the content of all it depends on.

A stage's key hashes its code's revision, its settings, the fingerprints of its data, the seed and
the keys of the stages it builds on. A version with that key is never trained again, so an
interrupted run carries on where it stopped, and a second one does nothing. Some stages are spared
part of a daily refresh (`refresh`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal, Protocol

import msgspec
from numpy.typing import NDArray

from kindred.indexer.models import Artefact, ModelStore
from kindred.indexer.refresh import may_be_kept, may_be_started_from, start_of, started_key
from kindred.schemas.base import Record
from kindred.schemas.errors import ArtefactError, InputError
from kindred.schemas.model import Card, Gate
from kindred.schemas.progress import Progress

State = Literal["fresh", "kept", "trained", "failed its gate", "withdrawn"]
SERVES: tuple[State, ...] = ("fresh", "kept", "trained")
"""States of a stage whose version of the run is in use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a stage's training gives: what to keep, what it is worth, whether it may serve."""

    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    passed: bool = True
    reason: str = "has no gate"
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One thing that is trained.

    `make` gets the artefacts of `needs` by name, and under its own name the one to start from,
    where there is one.
    """

    name: str
    code: int
    """Revision of the code: raise it when the same inputs give something else."""
    make: Callable[[Mapping[str, Artefact], Progress], Made]
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Fingerprint by data input."""
    needs: tuple[str, ...] = ()
    """Earlier stages of the list."""
    judge: Callable[[Made, Card | None], Gate] | None = None
    """The gate, where it compares with the version in use (None: the first); else Made's own."""
    keep_for: int = 0
    """µs for which the version in use is kept although catalogue and events have moved."""
    start_for: int = 0
    """µs after training from nothing for which training starts from the version in use, or from
    one that its gate refused."""


class StageRow(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What became of one stage."""

    stage: str
    state: State
    version: str
    seconds: float
    summary: str
    metrics: dict[str, Any] = {}
    gate: str = ""
    """The gate's words."""
    start: str | None = None
    """Version that this one's training started from."""
    before: str | None = None
    """Version in use before the run."""
    now: str | None = None
    """Version in use after it."""


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


def key_of(stage: Stage, keys: Mapping[str, str], seed: int) -> str:
    """Hash of everything that the stage depends on."""
    content = {
        "stage": stage.name, "code": stage.code, "settings": dict(stage.settings), "seed": seed,
        "inputs": dict(stage.inputs), "needs": {name: keys[name] for name in stage.needs},
    }  # fmt: skip
    return blake2b(msgspec.json.encode(content, order="sorted"), digest_size=16).hexdigest()


def in_order(stages: Sequence[Stage]) -> list[Stage]:
    """Each name once, what it needs before it; else as given. A need that is no stage is kept."""
    known: dict[str, Stage] = {}
    for stage in stages:
        known.setdefault(stage.name, stage)
    done: dict[str, Stage] = {}
    waiting = list(known.values())
    while waiting:
        ready = next(
            (s for s in waiting if all(n in done or n not in known for n in s.needs)), None
        )
        if ready is None:
            names = ", ".join(stage.name for stage in waiting)
            raise InputError(f"these stages need one another: {names}", "$.stages")
        waiting.remove(ready)
        done[ready.name] = ready
    return list(done.values())


def chosen(stages: Sequence[Stage], only: Sequence[str]) -> list[Stage]:
    """The stages named in `only` and what they need, in order; all where it is empty."""
    known = {stage.name: stage for stage in stages}
    for name in only:
        if name not in known:
            raise InputError(f"no stage {name!r}; there are {', '.join(known)}", "$.stages")
    wanted = set(only or known)
    for stage in reversed(stages):
        if stage.name in wanted:
            wanted |= set(stage.needs)
    return [stage for stage in stages if stage.name in wanted]


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
