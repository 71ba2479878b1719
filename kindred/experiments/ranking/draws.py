"""What is learned from one draw of shown lists, and a journal of what it was worth.

Every alternative learns from the same lists. A draw that was judged is a file, so that a run that
was killed carries on behind it: at a thousand purchases a draw takes minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kindred.rerank.alternatives import ENSEMBLE, together, try_objectives
from kindred.rerank.fitting import fit_on_lists
from kindred.rerank.judged import Judged, Parts
from kindred.rerank.lambdamart import Ranker
from kindred.rerank.metrics import purchase_rank, shown_ndcg, tied_ranks
from kindred.rerank.training import TooLittle
from kindred.rerank.tuning import Trial, tune_weights
from kindred.schemas.ranking import Doubles
from kindred.schemas.settings import RankerSettings

CODE = 1
"""Raised where a draw would learn something else from the same lists and settings."""
BINARY, UNWEIGHTED, WEIGHTED = "binary", "graded, unweighted", "graded, row weights"
PHASE_1, PAIRS, SERVED = "click and purchase, 150", "pairs", "served (auto)"
NAMES = (BINARY, UNWEIGHTED, WEIGHTED, PHASE_1, PAIRS, ENSEMBLE, SERVED)
TUNED, PHASE_1_TUNED = "graded, tuned weights", "click and purchase, tuned"
TUNED_NAMES = (TUNED, PHASE_1_TUNED)
PURCHASE_WEIGHT = 150.0
"""Of a purchase in eBay's click-and-purchase model (SPEC B9)."""
DEPTH = 10
"""Of NDCG."""
OF_AUTO = {"binary": BINARY, "graded": WEIGHTED, "pairs": PAIRS, ENSEMBLE: ENSEMBLE}

Learned = tuple[dict[str, Ranker], dict[str, Any]]
"""Rankers by name, and what is told beside them"""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What one draw taught, on the judging lists of its market."""

    ranks: Mapping[str, Doubles]
    """float64[L] by alternative: purchase rank"""
    ndcg: Mapping[str, Doubles]
    """float64[L] by alternative: NDCG@10"""
    told: Mapping[str, Any]


def learn(parts: Parts, settings: RankerSettings, seed: int, threads: int = 0) -> Learned:
    """All of NAMES; told are the one that serves and the purchases that it was chosen by."""
    auto = msgspec.structs.replace(settings, objective="auto")
    tried = try_objectives(parts, auto, seed=seed, threads=threads)
    members = {OF_AUTO[name]: ranker for name, ranker in tried.rankers.items()}
    if WEIGHTED not in members or BINARY not in members:
        raise TooLittle("too few lists with a purchase to compare alternatives by")
    unweighted = msgspec.structs.replace(settings, weights={})
    for name, changed in ((UNWEIGHTED, unweighted), (PHASE_1, first_phase(settings))):
        members[name], _ = fit_on_lists(parts, changed, goal="graded", seed=seed, threads=threads)
    of = [members[BINARY], members[WEIGHTED]]
    members.setdefault(ENSEMBLE, together(of, parts.stopping.lists.features))
    return {**members, SERVED: tried.ranker}, {
        "served": OF_AUTO[tried.served],
        "why": tried.report["why"],
        "purchases to choose by": int(parts.stopping.bought.sum()),
    }


def first_phase(settings: RankerSettings) -> RankerSettings:
    """eBay's click-and-purchase model."""
    return msgspec.structs.replace(
        settings, middle_actions=False, weights={"purchase": PURCHASE_WEIGHT}
    )


def learn_tuned(parts: Parts, settings: RankerSettings, seed: int, threads: int = 0) -> Learned:
    """TUNED_NAMES: the best trial, and the best of those that know clicks and purchases alone.

    Where there are too few purchases to tell weights apart, the given ones stand.
    """
    given = {TUNED: settings, PHASE_1_TUNED: first_phase(settings)}
    told: dict[str, Any] = {"trials": 0, "clear": False}
    try:
        tuned = tune_weights(parts, settings, seed=seed, threads=threads)
    except TooLittle as few:
        told["why"] = str(few)
    else:
        clicks = min((t for t in tuned.trials if not t.middle_actions), key=lambda t: t.loss)
        given = {TUNED: _of(tuned.best, settings), PHASE_1_TUNED: _of(clicks, settings)}
        told = {
            "trials": len(tuned.trials),
            "clear": tuned.clear,
            "weights": tuned.best.weights,
            "middle actions": tuned.best.middle_actions,
            "purchase weight of clicks and purchases": clicks.weights["purchase"],
        }
    rankers = {
        name: fit_on_lists(parts, chosen, goal="graded", seed=seed, threads=threads)[0]
        for name, chosen in given.items()
    }
    return rankers, told


def _of(trial: Trial, settings: RankerSettings) -> RankerSettings:
    return msgspec.structs.replace(
        settings,
        weights={**settings.weights, **trial.weights},
        middle_actions=trial.middle_actions,
    )


def judge(ranker: Ranker, later: Judged) -> tuple[Doubles, Doubles]:
    """(purchase rank, NDCG@10) of each later list."""
    offsets = later.lists.offsets
    scores = ranker.score(later.lists.features)
    return (
        purchase_rank(tied_ranks(scores, offsets), later.bought, offsets),
        shown_ndcg(scores, later.labels, offsets, DEPTH),
    )


@dataclass(frozen=True, slots=True)
class Journal:
    """Draws that were judged, a file each in `folder`; without a folder nothing is kept."""

    folder: Path | None = None

    def once(self, name: str, learned: Callable[[], Learned], later: Judged) -> Drawn:
        """What was kept under `name`, or else what is learned now, judged by `later` and kept."""
        path = None if self.folder is None else self.folder / f"{name}.npz"
        if path is not None and path.exists():
            return _read(path)
        rankers, told = learned()
        found = {of: judge(ranker, later) for of, ranker in rankers.items()}
        ranks, ndcg = ({of: both[i] for of, both in found.items()} for i in (0, 1))
        drawn = Drawn(ranks, ndcg, told)
        if path is not None:
            _write(path, drawn)
        return drawn


def _read(path: Path) -> Drawn:
    with np.load(path) as held:
        kind = tuple[list[str], dict[str, Any]]
        names, told = msgspec.json.decode(held["told"].tobytes(), type=kind)
        return Drawn(
            dict(zip(names, held["ranks"], strict=True)),
            dict(zip(names, held["ndcg"], strict=True)),
            told,
        )


def _write(path: Path, drawn: Drawn) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    told = msgspec.json.encode((list(drawn.ranks), drawn.told))
    torn = path.with_suffix(".part")
    with torn.open("wb") as file:
        np.savez(
            file,
            ranks=np.stack(list(drawn.ranks.values())),
            ndcg=np.stack(list(drawn.ndcg.values())),
            told=np.frombuffer(told, np.uint8),
        )
    torn.replace(path)
