"""The stages that learn from shown lists: weights, the ranker, and the ranker of auction places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from kindred.indexer.models import Artefact
from kindred.indexer.stages import Made, Stage
from kindred.rerank.alternatives import wanted_goals
from kindred.rerank.artefact import to_artefact
from kindred.rerank.auction_training import train_on_auctions
from kindred.rerank.features import SPECIFICATION
from kindred.rerank.joined_training import refitted, train_on_lists
from kindred.rerank.judged import Parts, known_lists, learnable_lists, split_lists, split_moments
from kindred.rerank.logged import JoinedLog
from kindred.rerank.training import TooLittle, TrainedRanker
from kindred.rerank.tuning import tune_weights
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings, RankerSettings

CODE = 10
"""Revision of what these stages do."""
RANKER, WEIGHTS, AUCTION = "ranker", "ranker_weights", "ranker_plx"
"""Names of the stages that serve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What was shown before a moment, and how to learn from it."""

    log: JoinedLog
    until: int
    size: int
    """Rows of the catalogue"""
    settings: KindredSettings
    suffix: str = ""
    """Of the stages' names"""
    threads: int = 0
    studies: Path | None = None
    """Folder of the journals of trials; None: a killed run begins its trials anew"""

    @property
    def inputs(self) -> dict[str, str]:
        """What the stages depend on beside their settings."""
        return {**self.log.inputs, "until": str(self.until), "features": SPECIFICATION}

    def parts(self, settings: RankerSettings, progress: Progress) -> Parts:
        """The lists to train by, to stop by and to judge by; TooLittle where one is empty."""
        with progress.task("read shown lists") as on_lists:
            return split_lists(
                self.log, self.until, self.size, settings, self.settings.join,
                seed=self.settings.seed, on_lists=on_lists,
            )  # fmt: skip

    def stage(self, name: str, make: Any, needs: tuple[str, ...] = ()) -> Stage:
        """A stage of these inputs."""
        parts = (self.settings.ranker, self.settings.join)
        return Stage(
            name=name + self.suffix,
            code=CODE,
            make=make,
            settings={type(part).__name__: msgspec.to_builtins(part) for part in parts},
            inputs=self.inputs,
            needs=needs,
        )


def joined_stages(shown: Shown) -> list[Stage]:
    """The ranker, before it its weights where they are to be found, and the auctions' behind it
    where anything stood at an auction place."""
    stages = [weights_stage(shown)] if shown.settings.ranker.tune else []
    stages.append(ranker_stage(shown))
    if shown.log.shown.auctioned.any():
        stages.append(auction_stage(shown))
    return stages


def enough_lists(joined: JoinedLog, until: int, settings: KindredSettings) -> bool:
    """Whether enough lists were shown before `until` of which something came, for long enough."""
    useful = joined.shown.clicked_lists(until) & joined.readable()
    if int(useful.sum()) < settings.ranker.joined_from:
        return False
    return split_moments(joined, until, settings.ranker, settings.join) is not None


def weights_stage(shown: Shown) -> Stage:
    """Trials of weights; those found serve where they lead the given ones clearly."""
    chosen, seed = shown.settings.ranker, shown.settings.seed

    def make(_: Mapping[str, Artefact], progress: Progress) -> Made:
        try:
            parts = shown.parts(chosen, progress)
            with progress.task("try weights", chosen.tune_trials) as on_trial:
                tuned = tune_weights(
                    parts, chosen, seed=seed, threads=shown.threads, journal=_journal(shown),
                    on_trial=on_trial,
                )  # fmt: skip
        except TooLittle as error:
            return Made.refused(error)
        told = tuned.report
        lead = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*told["less the given"])
        reason = f"purchase rank {lead} against the given weights in {len(tuned.trials)} trials"
        if not tuned.clear:
            reason += ": those stay"
        return Made(metrics=told, passed=tuned.clear, reason=reason, summary=reason)

    return shown.stage(WEIGHTS, make)


def _journal(shown: Shown) -> Path | None:
    """The journal of these inputs; those of others are swept away."""
    if shown.studies is None:
        return None
    # The number of trials is no part of it: a longer run carries a shorter one on.
    tried = msgspec.structs.replace(shown.settings.ranker, tune_trials=2)
    content = [
        WEIGHTS + shown.suffix, CODE, shown.settings.seed, shown.inputs,
        msgspec.to_builtins(tried), msgspec.to_builtins(shown.settings.join),
    ]  # fmt: skip
    name = blake2b(msgspec.json.encode(content, order="sorted"), digest_size=16).hexdigest()
    folder = shown.studies / (WEIGHTS + shown.suffix)
    journal = folder / f"{name}.jsonl"
    for other in folder.glob("*.jsonl"):
        if other != journal:
            other.unlink()
    return journal


def ranker_stage(shown: Shown) -> Stage:
    """The ranker trained on what was shown.

    One is made of the older lists and judged on the newest; if it passes, another is made like it
    of all of them, and serves.
    """
    settings, seed, threads = shown.settings, shown.settings.seed, shown.threads
    tuned = WEIGHTS + shown.suffix

    def make(artefacts: Mapping[str, Artefact], progress: Progress) -> Made:
        chosen, source = weighed(settings.ranker, artefacts.get(tuned))
        try:
            parts = shown.parts(chosen, progress)
            trees = len(wanted_goals(chosen)) * chosen.trees
            with progress.task("grow trees", trees) as on_tree:
                trained = train_on_lists(parts, chosen, seed=seed, threads=threads, on_tree=on_tree)
        except TooLittle as error:
            return Made.refused(error)
        if trained.passed:
            with progress.task("read all shown lists") as on_lists:
                known = known_lists(
                    shown.log, shown.until, shown.size, chosen, settings.join, on_lists=on_lists
                )
            with progress.task("grow trees again", trained.metrics["trees"]) as on_tree:
                trained = refitted(
                    trained, known, chosen, seed=seed, threads=threads, on_tree=on_tree
                )
        return made_of(trained, {"weights from": source})

    return shown.stage(RANKER, make, needs=(tuned,) if settings.ranker.tune else ())


def weighed(settings: RankerSettings, tuned: Artefact | None) -> tuple[RankerSettings, str]:
    """(settings with the weights that trials found, whence they are)."""
    if tuned is None:
        return settings, "the settings"
    if not tuned.card.gate.passed:
        return settings, f"the settings: {tuned.card.gate.reason}"
    found = tuned.card.metrics
    weights = {**settings.weights, **found["weights"]}
    return (
        msgspec.structs.replace(settings, weights=weights, middle_actions=found["middle actions"]),
        f"{tuned.card.stage} {tuned.version}",
    )


def auction_stage(shown: Shown) -> Stage:
    """The ranker of auction places: of what stood at them alone; none where that is too little."""
    chosen, seed = shown.settings.ranker, shown.settings.seed
    auctions = replace(shown, log=replace(shown.log, auctions=True))

    def make(_: Mapping[str, Artefact], progress: Progress) -> Made:
        log, windows = auctions.log, shown.settings.join
        found = learnable_lists(log, shown.until, chosen, windows)
        if found < chosen.joined_from:
            reason = (
                f"{found} shown lists of which something came at one of several auction places; "
                f"it takes {chosen.joined_from}"
            )
            return Made.refused(reason)
        try:
            parts = auctions.parts(chosen, progress)
            with progress.task("grow trees", chosen.trees) as on_tree:
                trained = train_on_auctions(
                    parts, chosen, seed=seed, threads=shown.threads, on_tree=on_tree
                )
        except TooLittle as error:
            return Made.refused(error)
        return made_of(trained, {})

    return shown.stage(AUCTION, make)


def made_of(trained: TrainedRanker, facts: Mapping[str, Any]) -> Made:
    """What is kept of a trained ranker."""
    arrays, texts = to_artefact(trained)
    return Made(
        arrays=arrays,
        texts=texts,
        metrics={**facts, **trained.metrics},
        passed=trained.passed,
        reason=trained.reason,
        summary=trained.reason,
    )
