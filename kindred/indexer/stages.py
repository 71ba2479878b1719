"""What is trained from what: a list of stages, each named by the content of all it depends on.

A stage's key hashes its code's revision, its settings, the fingerprints of its data, the seed and
the keys of the stages it builds on. A version with that key is never trained again, so an
interrupted run carries on where it stopped, and a second one does nothing (`stage_run`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal

import msgspec
from numpy.typing import NDArray

from kindred.indexer.models import Artefact
from kindred.schemas.base import Record
from kindred.schemas.errors import InputError
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

    @classmethod
    def refused(cls, reason: object) -> Made:
        """Nothing was made that may serve, and why."""
        return cls(passed=False, reason=str(reason), summary=str(reason))


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
    keep_refused: bool = True
    """Whether one that its gate refused is kept as long; False tries again at every run."""
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
