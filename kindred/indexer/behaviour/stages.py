"""The behaviour stages: pairs, ordered pairs, linear weights, ALS, and four of plain facts.

Each is as of one moment. The first four are judged by the next item of visits that they have not
learned from: a version that guesses clearly worse than the one in use does not replace it
(SPEC §3.3: HR@10 − 5 %).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from kindred.indexer.behaviour.als import AlsModel, train_als
from kindred.indexer.behaviour.ease import choose, seed_weights, train_ease
from kindred.indexer.behaviour.exposure import item_exposure
from kindred.indexer.behaviour.history import item_history
from kindred.indexer.behaviour.holdout import (
    FEW,
    NextItem,
    gate_questions,
    hit_rate,
    lead,
    table_ranks,
    vector_ranks,
    without_targets,
)
from kindred.indexer.behaviour.impressions import Impressions, no_impressions
from kindred.indexer.behaviour.interactions import Interactions
from kindred.indexer.behaviour.pair_exposure import pair_exposure
from kindred.indexer.behaviour.pairs import count_pairs
from kindred.indexer.behaviour.signals import CODE as SIGNALS_CODE
from kindred.indexer.behaviour.signals import counted_signals, judged, make_signals, with_weights
from kindred.indexer.behaviour.tastes import own_and_popular, user_tastes
from kindred.indexer.behaviour.users import NOBODY, named_users
from kindred.indexer.models import Artefact
from kindred.indexer.refresh import refresh_time
from kindred.indexer.stages import Made, Stage
from kindred.schemas.model import Card, Gate
from kindred.schemas.progress import Progress
from kindred.schemas.ranking import Rows
from kindred.schemas.settings import KindredSettings, SignalSettings

Maker = Callable[[Mapping[str, Artefact], Progress], Made]
CODE = 10
"""Revision of what these stages do."""
SIGNALS = "signals"
"""The stage that counts what actions are worth; it comes before `als`, which needs it."""
FROM_JOINED = ("exposure", "pair_exposure")
"""Made from what was shown, not from the event log."""
UNJUDGED = ("history", "tastes", *FROM_JOINED)
"""Facts: they have no gate."""
NAMES = ("pairs", "forward", "ease", "als", *UNJUDGED)
SHARE = 0.95
"""A version must reach this share of the hit rate of the one in use, give or take two errors."""


def behaviour_stages(
    log: Interactions,
    size: int,
    until: int,
    settings: KindredSettings,
    inputs: Mapping[str, str],
    *,
    shown: Impressions | None = None,
    shown_input: str = "none",
    shown_until: int | None = None,
    suffix: str = "",
    threads: int = 0,
) -> list[Stage]:
    """Stages made from the actions before `until` on `size` catalogue rows.

    FROM_JOINED are made from the impressions `shown`, whose fingerprint is `shown_input`, and no
    later than `shown_until`, up to which they are joined: what came since is not known to be zero.

    `suffix` is added to their names, so that several moments stand side by side; stages with a
    suffix serve nobody and have no gate. `signals` comes first where the settings have it: it
    passes or fails by its own count.
    """
    joined_until = until if shown_until is None else min(until, shown_until)
    made = _Makers(
        log, shown or no_impressions(), size, until, joined_until, settings, threads,
        suffix,
    )  # fmt: skip
    signals = settings.signals
    read = {"catalogue": inputs.get("catalogue", ""), "joined": shown_input}
    read["until"] = str(joined_until)
    makers: dict[str, tuple[Maker, list[Any]]] = {
        "pairs": (made.pairs, [signals, settings.pairs]),
        "forward": (made.forward, [signals, settings.pairs]),
        "ease": (made.ease, [signals, settings.ease]),
        "als": (made.als, [signals, settings.als]),
        "history": (made.history, [signals]),
        "tastes": (made.tastes, [signals]),
        "exposure": (made.exposure, []),
        "pair_exposure": (made.pair_exposure, []),
    }
    before = {**inputs, "until": str(until)}
    # What is of the past serves nobody, and a past of some days ago is one, too.
    kept = refresh_time(settings) if suffix else 0
    stages = []
    if SIGNALS in settings.representations.stages:
        stages.append(
            Stage(
                name=SIGNALS + suffix,
                code=SIGNALS_CODE,
                make=made.signals,
                settings={type(signals).__name__: msgspec.to_builtins(signals)},
                inputs=before,
                keep_for=kept,
            )
        )
    needs = {"als": tuple(stage.name for stage in stages)}
    for name, (make, parts) in makers.items():
        stages.append(
            Stage(
                name=name + suffix,
                code=CODE,
                make=make,
                settings={type(part).__name__: msgspec.to_builtins(part) for part in parts},
                inputs=read if name in FROM_JOINED else before,
                needs=needs.get(name, ()),
                judge=None if suffix or name in UNJUDGED else judge,
                keep_for=kept,
            )
        )
    return stages


def judge(made: Made, in_use: Card | None) -> Gate:
    """Pass unless the hit rate is clearly below SHARE of that of the version in use."""
    hits, error, asked = _worth(made.metrics)
    said = f"HR@10 {hits:.4f} ± {error:.4f} of {asked} next items"
    if asked < FEW:
        return Gate(passed=True, reason=f"{said}: too few to judge")
    if in_use is None or _worth(in_use.metrics)[2] < FEW:
        return Gate(passed=True, reason=f"{said}: nothing to compare with")
    before, error_before, _ = _worth(in_use.metrics)
    passed = hits + 2 * float(np.hypot(error, error_before)) >= SHARE * before
    compared = f"{said}, {before:.4f} ± {error_before:.4f} in use ({in_use.version})"
    return Gate(passed=passed, reason=compared)


def _worth(metrics: Mapping[str, Any]) -> tuple[float, float, int]:
    """(hit rate, standard error, questions)."""
    found = metrics.get("next_item", {})
    return found.get("hit_rate", 0.0), found.get("error", 0.0), found.get("questions", 0)


@dataclass(frozen=True)
class _Makers:
    """What the stages share: the events before one moment, and the questions at the gate."""

    log: Interactions
    shown: Impressions
    size: int
    until: int
    joined_until: int
    settings: KindredSettings
    threads: int
    suffix: str

    @property
    def judged(self) -> bool:
        return not self.suffix

    @cached_property
    def past(self) -> Interactions:
        return self.log.before(self.until).counted(self.settings.signals)

    @cached_property
    def questions(self) -> NextItem:
        return gate_questions(self.past, self.size)

    @cached_property
    def rest(self) -> Interactions:
        """The past without the answers to the gates' questions."""
        return without_targets(self.past, self.questions)

    def signals(self, _: Mapping[str, Artefact], progress: Progress) -> Made:
        """What each action is worth, counted; in use where the factors are better by it."""
        given = self.settings.signals
        made = make_signals(self.log, self.until, given)
        if not made.passed:
            return made
        counted, plain = (
            vector_ranks(self.factors(signals, progress).unit(), self.questions) < 10
            for signals in (with_weights(given, made.arrays["weights"]), given)
        )
        return judged(made, counted, plain)

    def factors(self, signals: SignalSettings, progress: Progress) -> AlsModel:
        """Of everything but the answers to the gates' questions."""
        chosen = self.settings
        return train_als(
            self.rest, self.size, chosen.als, signals, chosen.seed, self.threads, progress
        )

    def pairs(self, _: Mapping[str, Artefact], __: Progress, *, forward: bool = False) -> Made:
        chosen = self.settings.pairs
        metrics = {}
        if self.judged:
            trial = count_pairs(self.rest, self.size, chosen, forward=forward)
            metrics = _metrics(table_ranks(trial, self.questions))
        table = count_pairs(self.past, self.size, chosen, forward=forward)
        what = "ordered pairs" if forward else "pairs"
        return Made(arrays=table.arrays(), metrics=metrics, summary=f"{len(table.rows):,} {what}")

    def forward(self, artefacts: Mapping[str, Artefact], progress: Progress) -> Made:
        return self.pairs(artefacts, progress, forward=True)

    def ease(self, _: Mapping[str, Artefact], __: Progress) -> Made:
        """The choices are made at every moment; the gate's figure is that of a trial."""
        chosen = self.settings.ease
        choice, facts = choose(self.rest, self.questions, self.size, chosen)
        metrics: dict[str, Any] = {"chosen": facts} if facts else {}
        if self.judged:
            trial = train_ease(self.rest, self.size, chosen, choice)
            weights = seed_weights(self.questions, recent=choice.recent)
            asked = replace(self.questions, weights=weights)
            metrics |= _metrics(table_ranks(trial.table, asked))
        made = train_ease(self.past, self.size, chosen, choice)
        known = int((np.diff(made.table.indptr) > 0).sum())
        summary = f"{len(made.table.rows):,} weights between {known:,} items"
        return Made(arrays=made.arrays(), metrics=metrics, summary=summary)

    def als(self, artefacts: Mapping[str, Artefact], progress: Progress) -> Made:
        """Trained once, without the events that gates ask for: the newest ones, 5 % at most.

        The hybrid reads these factors and is asked the same questions, whatever the moment.
        """
        counted = artefacts.get(SIGNALS + self.suffix)
        model = self.factors(counted_signals(self.settings.signals, counted), progress)
        unit = model.unit()
        dropped = model.dropped
        counts = {name: getattr(dropped, name) for name in dropped.__slots__}
        return Made(
            arrays={
                **model.arrays(),
                "unit": unit,
                **named_users(model.subjects, self.past.users, model.users),
            },
            metrics={
                "dropped": counts,
                **(_metrics(vector_ranks(unit, self.questions)) if self.judged else {}),
            },
            summary=f"{int(model.present.sum()):,} items, {dropped.items:,} with too few events",
        )

    def history(self, _: Mapping[str, Artefact], __: Progress) -> Made:
        made = item_history(self.log, self.size, self.until, self.settings.signals)
        return Made(arrays=made.arrays(), summary=f"{len(made.by_popularity):,} items with history")

    def tastes(self, _: Mapping[str, Artefact], __: Progress) -> Made:
        """Features read them always; recall does where they have the next item beyond chance.

        Those who are not logged in have none, and none of the questions is theirs.
        """
        signals, past = self.settings.signals, self.past
        made = user_tastes(self.log, self.until, signals)
        low, metrics = 0.0, dict[str, Any]()
        who = past.users[past.subject[self.questions.events]] if len(past.users) else past.users
        known = np.flatnonzero(who != NOBODY)
        if len(known) >= FEW:
            trial = user_tastes(self.rest, self.until, signals)
            asked = self.questions.take(known)
            own, popular = own_and_popular(self.rest, asked, who[known], trial)
            low = lead(own, popular)[1]
            metrics["next_item"] = {
                "hit_rate": round(float(own.mean()), 5),
                "bestsellers": round(float(popular.mean()), 5),
                "lead at least": round(low, 5),
                "questions": len(own),
            }
        made = replace(made, recalled=np.array(low > 0))
        what = "who come back for the same" if low > 0 else "of whose items none is recalled"
        return Made(
            arrays=made.arrays(), metrics=metrics, summary=f"{len(made.keys):,} users, {what}"
        )

    def pair_exposure(self, _: Mapping[str, Artefact], __: Progress) -> Made:
        made = pair_exposure(self.shown, self.joined_until)
        return Made(arrays=made.arrays(), summary=f"{len(made.keys):,} pairs were shown")

    def exposure(self, _: Mapping[str, Artefact], __: Progress) -> Made:
        made = item_exposure(self.shown, self.size, self.joined_until)
        shown = np.unique(self.shown.row[self.shown.ts < self.joined_until])
        return Made(arrays=made.arrays(), summary=f"{int((shown >= 0).sum()):,} items were shown")


def _metrics(ranks: Rows) -> dict[str, Any]:
    hits, error = hit_rate(ranks, 10)
    worth = {"hit_rate": round(hits, 5), "error": round(error, 5), "questions": len(ranks)}
    return {"next_item": worth}
