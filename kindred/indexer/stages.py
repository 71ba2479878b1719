"""What is trained from what: a list of stages, each named by the content of all it depends on.

A stage's key hashes its code's revision, its settings, the fingerprints of its data, the seed and
the keys of the stages it builds on. A version with that key is never trained again, so an
interrupted run carries on where it stopped, and a second one does nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal

import msgspec
from numpy.typing import NDArray

from kindred.indexer.models import Artefact, ModelStore
from kindred.schemas.base import Record
from kindred.schemas.errors import ArtefactError, InputError
from kindred.schemas.model import Card, Gate
from kindred.schemas.progress import Progress

State = Literal["fresh", "trained", "failed its gate", "withdrawn"]


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
    """One thing that is trained. `make` gets the artefacts of `needs` by name."""

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


class StageRow(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What became of one stage."""

    stage: str
    state: State
    version: str
    seconds: float
    summary: str
    metrics: dict[str, Any] = {}


def key_of(stage: Stage, keys: Mapping[str, str], seed: int) -> str:
    """Hash of everything that the stage depends on."""
    content = {
        "stage": stage.name, "code": stage.code, "settings": dict(stage.settings), "seed": seed,
        "inputs": dict(stage.inputs), "needs": {name: keys[name] for name in stage.needs},
    }  # fmt: skip
    return blake2b(msgspec.json.encode(content, order="sorted"), digest_size=16).hexdigest()


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
) -> list[StageRow]:
    """Train what is stale, in order. What passes its gate becomes current.

    A stage builds on the versions of this run, whether or not they may serve. Two processes never
    train the same: the second one waits and finds it fresh.
    """
    keys: dict[str, str] = {}
    versions: dict[str, str] = {}
    rows = []
    for stage in chosen(stages, only):
        key = keys[stage.name] = key_of(stage, keys, seed)
        with store.training(stage.name):
            if (card := store.find(stage.name, key)) is None:
                needed = {name: store.load(name, versions[name]) for name in stage.needs}
                card = _train(stage, key, needed, store, seed, progress, clock)
                state: State = "trained"
            else:
                state = _settled(card, store)
        versions[stage.name] = card.version
        rows.append(
            StageRow(
                stage=stage.name,
                state=state if card.gate.passed else "failed its gate",
                version=card.version,
                seconds=card.seconds if state == "trained" else 0.0,
                summary=str(card.metrics.get("summary", "")),
                metrics=card.metrics,
            )
        )
    return rows


def _settled(card: Card, store: ModelStore) -> State:
    """A version of these inputs is there: bring it into use again unless somebody decided."""
    if card.gate.passed and store.current(card.stage) != card.version:
        if card.version in store.withdrawn(card.stage):
            return "withdrawn"
        store.promote(card.stage, card.version)
    return "fresh"


def _train(
    stage: Stage,
    key: str,
    needed: Mapping[str, Artefact],
    store: ModelStore,
    seed: int,
    progress: Progress,
    clock: Callable[[], int],
) -> Card:
    began = time.perf_counter()
    with progress.task(f"train {stage.name}"):
        made = stage.make(needed, progress)
    gate = Gate(passed=made.passed, reason=made.reason)
    if stage.judge is not None:
        gate = stage.judge(made, _in_use(stage.name, store))
    card = Card(
        stage=stage.name,
        key=key,
        code=stage.code,
        inputs={**stage.inputs, **{name: a.version for name, a in needed.items()}},
        settings=dict(stage.settings),
        seed=seed,
        metrics={"summary": made.summary, **made.metrics},
        gate=gate,
        created=clock(),
        seconds=round(time.perf_counter() - began, 3),
    )
    version = store.publish(stage.name, card, made.arrays, made.texts)
    return store.card(stage.name, version)


def _in_use(stage: str, store: ModelStore) -> Card | None:
    """The card in use; one that cannot be read is as good as none."""
    try:
        return store.card(stage)
    except ArtefactError:
        return None
