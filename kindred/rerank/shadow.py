"""A ranker that serves nobody yet, scoring what is shown: on live questions, off the answers' path.

What it says of an answer's candidates is made on the decision log's thread and logged beside the
serving scores. `compare` reads both: how far the orders differ, and where what was bought stands in
each.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec
import numpy as np
import structlog

from kindred.events.decision_tables import StoredDecision
from kindred.indexer.models import ModelStore
from kindred.rerank.artefact import from_artefact
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.metrics import paired_interval, tied_ranks
from kindred.schemas.errors import ArtefactError
from kindred.schemas.ranking import Doubles, Floats

STAGE = "ranker"
SHADOW = "ranker_shadow"
"""Its version's name among those of a decision."""
CANDIDATE = "candidate"
LOOK_EVERY_S = 30.0
"""How often a newer candidate is looked for."""
OVERLAPS = (3, 6, 10)


class ShadowScores(NamedTuple):
    """What a ranker that does not serve says."""

    version: str
    scores: Doubles
    """float64[n]"""


class ShadowRanker:
    """The ranker of `ranker.shadow`, loaded by the first who asks, and again where it changes.

    A version that is gone or was made for other features costs its scores, and a line in the
    service's log.
    """

    def __init__(
        self, store: ModelStore, wanted: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`wanted` is a version, or CANDIDATE."""
        self._store, self._wanted, self._clock = store, wanted, clock
        self._lock = threading.Lock()
        self._looked_at = -LOOK_EVERY_S
        self._held: tuple[str, Ranker | None] | None = None
        self._log = structlog.get_logger("kindred.shadow")

    def score(self, features: Floats, serving: str | None) -> ShadowScores | None:
        """Scores of float32[n, F]; None without a ranker other than `serving`."""
        with self._lock:
            now = self._clock()
            if now - self._looked_at >= LOOK_EVERY_S:
                self._looked_at = now
                self._look()
            held = self._held
        if held is None or held[1] is None or held[0] == serving:
            return None
        return ShadowScores(held[0], held[1].score(features))

    def _look(self) -> None:
        try:
            version = self._version()
            if version is None:
                self._held = None
            elif self._held is None or self._held[0] != version:
                self._held = (version, None)
                artefact = self._store.load(STAGE, version)
                self._held = (version, from_artefact(artefact.arrays, artefact.texts)[0])
        except ArtefactError as error:
            self._log.warning("no shadow scores", reason=str(error))

    def _version(self) -> str | None:
        if self._wanted != CANDIDATE:
            return self._wanted
        current = self._store.current(STAGE)
        newest = self._store.versions(STAGE)[-1:]
        return next((v for v in newest if current is None or int(v) > int(current)), None)


class Shadowed(msgspec.Struct, frozen=True, kw_only=True):
    """How a shadow ranker's order differs from the serving one's, over logged decisions."""

    serving: str
    shadow: str
    decisions: int
    tau: float
    """Mean Kendall tau-b over the logged candidates of a decision: 1 is the same order."""
    overlap: dict[str, float]
    """Mean share of the first k that both have, by k."""
    same_first: float
    """Share of decisions whose first item is the same."""
    purchases: int
    """Purchases that are joined with these decisions."""
    purchase_rank: tuple[float, float] | None = None
    """Mean place of what was bought among what was shown: (serving, shadow); lower is better."""
    purchase_rank_lead: tuple[float, float, float] | None = None
    """(mean, low, high) of serving less shadow by purchase, 95 % over decisions: above 0 the shadow
    ranks what sells higher."""


def compare(
    found: Iterable[StoredDecision], bought: Mapping[str, frozenset[str]], seed: int = 7
) -> list[Shadowed]:
    """By pair of versions, the newest first. `bought` is the items bought by decision."""
    pairs: dict[tuple[str, str], list[_Seen]] = {}
    for decision, _ in found:
        held, shown = decision.candidates, decision.shown.item_id
        if held is None or held.score is None or held.shadow is None:
            continue
        key = (decision.versions.get(STAGE, ""), decision.versions.get(SHADOW, ""))
        serving, shadow = np.array(held.score), np.array(held.shadow)
        pairs.setdefault(key, []).append(
            _seen(serving, shadow, held.item_id[: len(shown)], bought.get(decision.decision_id))
        )
    return [_told(key, seen, seed) for key, seen in sorted(pairs.items(), reverse=True)]


class _Seen(NamedTuple):
    tau: float
    overlap: tuple[float, ...]
    same_first: bool
    ranks: Doubles
    """float64[purchases, 2]"""


def _seen(
    serving: Doubles, shadow: Doubles, shown: list[str], bought: frozenset[str] | None
) -> _Seen:
    order, other = np.argsort(-serving, kind="stable"), np.argsort(-shadow, kind="stable")
    depths = [min(k, len(order)) for k in OVERLAPS]
    overlap = tuple(len(np.intersect1d(order[:k], other[:k])) / max(k, 1) for k in depths)
    at = [i for i, item in enumerate(shown) if bought and item in bought]
    ends = np.array([0, len(shown)])
    ranks = [tied_ranks(scores[: len(shown)], ends)[at] for scores in (serving, shadow)]
    return _Seen(kendall(serving, shadow), overlap, bool(order[0] == other[0]), np.stack(ranks, 1))


def kendall(one: Doubles, other: Doubles) -> float:
    """Kendall's tau-b of two scores of the same entries; 1 where there is nothing to order."""
    a = np.sign(one[:, None] - one[None, :])
    b = np.sign(other[:, None] - other[None, :])
    total = np.sqrt((a != 0).sum() * float((b != 0).sum()))
    return float((a * b).sum() / total) if total else 1.0


def _told(key: tuple[str, str], seen: list[_Seen], seed: int) -> Shadowed:
    ranks = np.concatenate([s.ranks for s in seen])
    owners = np.repeat(np.arange(len(seen)), [len(s.ranks) for s in seen])
    overlap = np.array([s.overlap for s in seen]).mean(axis=0)
    told = Shadowed(
        serving=key[0],
        shadow=key[1],
        decisions=len(seen),
        tau=float(np.mean([s.tau for s in seen])),
        overlap={str(k): float(v) for k, v in zip(OVERLAPS, overlap, strict=True)},
        same_first=float(np.mean([s.same_first for s in seen])),
        purchases=len(ranks),
    )
    if not len(ranks):
        return told
    mean = ranks.mean(axis=0)
    return msgspec.structs.replace(
        told,
        purchase_rank=(float(mean[0]), float(mean[1])),
        purchase_rank_lead=paired_interval(ranks[:, 0] - ranks[:, 1], owners, seed),
    )
