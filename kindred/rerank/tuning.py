"""Weights for what came of a shown item, found by trials (SPEC B9, B10; Optuna's TPE).

eBay found its weights in more than 25 rounds, and they make up for how rare its actions are:
another market has others. A trial is a graded ranker learned with its weights from the training
part; its loss is the purchase rank on the stopping part. The first trials are the weights of the
settings and eBay's first phase, where every action before the purchase is a click and a purchase
weighs 150.

Each trial is a line of a journal, so that a run that was killed carries on behind its last one; a
trial draws from a seed of its own, so that it then finds what it would have found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from kindred.rerank.alternatives import CHOOSING_PURCHASES, lead_of
from kindred.rerank.fitting import fit_on_lists, rank_loss, rank_weights
from kindred.rerank.judged import Parts
from kindred.rerank.labels import ACTIONS
from kindred.rerank.metrics import tied_ranks
from kindred.rerank.training import TooLittle, silent
from kindred.schemas.errors import InputError
from kindred.schemas.ranking import Doubles
from kindred.schemas.settings import RankerSettings

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

LEAST, MOST = 0.5, 300.0
"""Weights that are tried lie between, against 1 for what nothing came of."""
FIRST_PHASE = {**dict.fromkeys(ACTIONS, 1.0), "purchase": 150.0}
"""eBay's weights of clicks and purchases alone."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One set of weights and what it was worth."""

    weights: dict[str, float]
    """By action"""
    middle_actions: bool
    """See RankerSettings"""
    loss: float
    """Purchase rank on the stopping part"""
    trees: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The best trial and the way there."""

    best: Trial
    trials: Sequence[Trial]
    clear: bool
    """Whether the best leads the settings' own weights by more than chance"""
    report: dict[str, Any]
    """For the card"""

    def applied(self, settings: RankerSettings) -> RankerSettings:
        """The settings with the best trial's weights."""
        weights = {**settings.weights, **self.best.weights}
        return msgspec.structs.replace(
            settings, weights=weights, middle_actions=self.best.middle_actions
        )


def tune_weights(
    parts: Parts,
    settings: RankerSettings,
    *,
    seed: int,
    threads: int = 0,
    journal: Path | None = None,
    on_trial: Callable[[int], None] = silent,
) -> Tuned:
    """Run `settings.tune_trials` trials, those of `journal` among them.

    Raises TooLittle where the stopping part has too few purchases to tell weights apart, and
    InputError where Optuna is not installed.
    """
    bought = int(parts.stopping.bought.sum())
    if bought < CHOOSING_PURCHASES:
        raise TooLittle(
            f"{bought} purchases to tell weights apart by; it takes {CHOOSING_PURCHASES}"
        )
    first = _first_trials(settings)
    study, space = _study(), _space()
    trials = _read(journal)[: settings.tune_trials]
    for trial in trials:
        _tell(study, space, trial)
    on_trial(len(trials))
    for number in range(len(trials), settings.tune_trials):
        if number < len(first):
            weights, middle = first[number]
        else:
            weights, middle = _suggested(study, space, seed + number)
        trial = _tried(parts, settings, weights, middle, seed=seed, threads=threads)
        _tell(study, space, trial)
        _write(journal, trial)
        trials.append(trial)
        on_trial(1)
    best = min(trials, key=lambda trial: trial.loss)
    return _compared(best, trials, parts, settings, seed=seed, threads=threads)


def with_weights(
    settings: RankerSettings, weights: Mapping[str, float], middle_actions: bool
) -> RankerSettings:
    """The settings of one graded ranker with these weights."""
    return msgspec.structs.replace(
        settings,
        objective="graded",
        weights={**settings.weights, **weights},
        middle_actions=middle_actions,
    )


def _tried(
    parts: Parts,
    settings: RankerSettings,
    weights: Mapping[str, float],
    middle: bool,
    *,
    seed: int,
    threads: int,
) -> Trial:
    chosen = with_weights(settings, weights, middle)
    ranker, facts = fit_on_lists(parts, chosen, goal="graded", seed=seed, threads=threads)
    part = parts.stopping.labelled()
    counted, _ = rank_weights(part, parts, chosen, CHOOSING_PURCHASES)
    loss = rank_loss(part.lists.offsets, counted)(ranker.score(part.lists.features))
    return Trial(
        weights=dict(weights), middle_actions=middle, loss=round(loss, 6), trees=facts["trees"]
    )


def _compared(
    best: Trial,
    trials: Sequence[Trial],
    parts: Parts,
    settings: RankerSettings,
    *,
    seed: int,
    threads: int,
) -> Tuned:
    """The best against the settings' own weights, both made again."""
    part = parts.stopping.labelled()
    counted, told = rank_weights(part, parts, settings, CHOOSING_PURCHASES)
    rows = counted > 0

    def ranks(trial: Trial) -> Doubles:
        chosen = with_weights(settings, trial.weights, trial.middle_actions)
        ranker, _ = fit_on_lists(parts, chosen, goal="graded", seed=seed, threads=threads)
        found: Doubles = tied_ranks(ranker.score(part.lists.features), part.lists.offsets)[rows]
        return found

    lead = (0.0, 0.0, 0.0)
    if best is not trials[0]:
        visitors = part.subject[part.lists.owners][rows]
        lead = lead_of(ranks(best) - ranks(trials[0]), counted[rows], visitors)
    return Tuned(
        best=best,
        trials=trials,
        clear=lead[2] < 0,
        report={
            "measured by": told,
            "rows measured": int(rows.sum()),
            "best trial": trials.index(best),
            "weights": best.weights,
            "middle actions": best.middle_actions,
            "purchase rank": best.loss,
            "given weights": trials[0].loss,
            "less the given": [round(x, 4) for x in lead],
            "trials": {
                "columns": ["trial", "purchase rank", "trees", "middle actions", *ACTIONS],
                "rows": [
                    [n, t.loss, t.trees, t.middle_actions, *(t.weights[a] for a in ACTIONS)]
                    for n, t in enumerate(trials)
                ],
            },
        },
    )


def _first_trials(settings: RankerSettings) -> list[tuple[dict[str, float], bool]]:
    given = {action: float(settings.weights.get(action, 1.0)) for action in ACTIONS}
    return [(given, settings.middle_actions), (FIRST_PHASE, False)]


def _study() -> Study:
    try:
        import optuna
    except ImportError as error:
        raise InputError(
            "ranker.tune takes Optuna: install kindred[tune], or switch it off", "$.ranker.tune"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(direction="minimize")


def _space() -> dict[str, BaseDistribution]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return {
        **{action: FloatDistribution(LEAST, MOST, log=True) for action in ACTIONS},
        "middle_actions": CategoricalDistribution((True, False)),
    }


def _suggested(
    study: Study, space: dict[str, BaseDistribution], seed: int
) -> tuple[dict[str, float], bool]:
    """What the sampler would try next; the study does not know yet that it was tried."""
    from optuna import create_study
    from optuna.samplers import TPESampler

    asked = create_study(direction="minimize", sampler=TPESampler(seed=seed))
    asked.add_trials(study.get_trials(deepcopy=False))
    params = asked.ask(space).params
    return {action: round(params[action], 3) for action in ACTIONS}, params["middle_actions"]


def _tell(study: Study, space: dict[str, BaseDistribution], trial: Trial) -> None:
    from optuna.trial import create_trial

    params: dict[str, Any] = {
        name: float(np.clip(weight, LEAST, MOST)) for name, weight in trial.weights.items()
    }
    params["middle_actions"] = trial.middle_actions
    study.add_trial(create_trial(params=params, distributions=space, value=trial.loss))


def _read(journal: Path | None) -> list[Trial]:
    """The journal's trials; a line that a kill tore off ends it."""
    if journal is None or not journal.exists():
        return []
    trials = []
    for line in journal.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        trials.append(msgspec.json.decode(line, type=Trial))
    # What was torn off must not run into the next line.
    journal.write_bytes(b"".join(msgspec.json.encode(t) + b"\n" for t in trials))
    return trials


def _write(journal: Path | None, trial: Trial) -> None:
    if journal is None:
        return
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("ab") as file:
        file.write(msgspec.json.encode(trial) + b"\n")
