"""The ranker's stage: from what was shown, or else from what people did next.

Where enough shown lists are joined with what came of them, the ranker learns from those. Before,
it is trained on the newest window of the log, with tables of what came before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from kindred.indexer.behaviour.interactions import Interactions, action_weights
from kindred.indexer.behaviour.stages import behaviour_stages
from kindred.indexer.columns import Columns
from kindred.indexer.models import Artefact
from kindred.indexer.representations import SPACES, full_name
from kindred.indexer.stages import Made, Stage
from kindred.indexer.store.tables import VectorTable
from kindred.rerank.alternatives import wanted_goals
from kindred.rerank.artefact import to_artefact
from kindred.rerank.corpus import corpus_of
from kindred.rerank.examples import Examples, cut_sessions, joined
from kindred.rerank.features import SPECIFICATION
from kindred.rerank.funnel import Funnel
from kindred.rerank.joined_training import refitted, train_on_lists
from kindred.rerank.judged import known_lists, split_lists, split_moments
from kindred.rerank.logged import JoinedLog
from kindred.rerank.merge_stage import MERGE, Market, merge_stages, read_by_recall
from kindred.rerank.merging import learned_weights
from kindred.rerank.training import TooLittle, TrainedRanker, train_ranker
from kindred.schemas.clock import DAY
from kindred.schemas.progress import Progress
from kindred.schemas.settings import KindredSettings, RankerSettings

CODE = 8
"""Revision of what the ranker's stage does."""
PAST = "_past"
"""Suffix of the stages that the ranker learns over: made of what came before its window."""
SINGLE_SEED = 0.3
"""Share of training queries with the newest seed alone, as a widget asks."""
MOST_CUTS = 4
"""Times that one session is cut, at most."""
FEW = 200
"""With fewer training queries than this no ranker is worth its gate."""
REPEATS_FROM = 0.01
"""Share of next items that the session already held from which repeats are part of the task."""


def window_start(log: Interactions, until: int, settings: KindredSettings) -> int:
    """Where the ranker's window begins: `window_days` back, or less so that enough lies before."""
    past = log.before(until)
    if not len(past):
        return until
    by_share = int(past.ts[int((1 - settings.ranker.window_share) * (len(past) - 1))])
    return max(until - round(settings.ranker.window_days * DAY), by_share)


def repeat_share(window: Interactions) -> float:
    """How often the last item of a session was in it before."""
    held_out = cut_sessions(window, rng=None, repeats=True)
    fresh = cut_sessions(window, rng=None, repeats=False)
    return 1 - len(fresh) / max(len(held_out), 1)


def ranker_stages(
    log: Interactions,
    columns: Columns,
    tables: Mapping[str, VectorTable],
    until: int,
    settings: KindredSettings,
    inputs: Mapping[str, str],
    *,
    joined: JoinedLog | None = None,
    name: str = "ranker",
    suffix: str = PAST,
    learned: Callable[[int, str], list[Stage]] = lambda until, suffix: [],  # noqa: ARG005
    threads: int = 0,
) -> list[Stage]:
    """The ranker from shown lists where `joined` has enough of them.

    Else the behaviour stages before the window and what is `learned` about items from before it,
    by moment and suffix, and the ranker trained in it.
    """
    if joined is not None and enough_lists(joined, until, settings):
        return [joined_stage(joined, columns.size, until, settings, name=name, threads=threads)]
    start = window_start(log, until, settings)
    counted = log.counted(settings.signals)
    past = behaviour_stages(
        log, columns.size, start, settings, inputs, suffix=suffix, threads=threads,
        shown=None if joined is None else joined.shown,
        shown_input="none" if joined is None else joined.inputs["joined"],
        shown_until=None if joined is None else joined.until,
    )  # fmt: skip
    modules = learned(start, suffix)
    vectors = {full_name(stage, suffix) for stage in SPACES}
    needs = (*past, *(stage for stage in modules if stage.name in vectors))
    market = Market(log=log, columns=columns, tables=tables, until=start, settings=settings)
    merge = merge_stages(market, inputs, read_by_recall(needs, suffix), suffix=suffix)

    def make(artefacts: Mapping[str, Artefact], progress: Progress) -> Made:
        window = counted.between(start, until)
        repeats = repeat_share(window) >= REPEATS_FROM
        learning, development = split(window, repeats, settings)
        if len(learning) + len(development) < FEW:
            reason = f"{len(learning) + len(development)} training queries; it takes {FEW}"
            return Made(passed=False, reason=reason, summary=reason)
        corpus = corpus_of(columns, tables, artefacts, settings, suffix=suffix)
        merged = learned_weights(settings.recall, artefacts.get(MERGE + suffix))
        funnel = Funnel(corpus=corpus, recall=settings.recall, blend=settings.blend, merge=merged)
        with (
            progress.task("recall for the ranker", len(learning) + len(development)) as on_queries,
            progress.task("grow trees", settings.ranker.trees) as on_tree,
        ):
            try:
                trained = train_ranker(
                    learning, development, funnel, action_weights(settings.signals),
                    settings.ranker, repeats=repeats, seed=settings.seed, threads=threads,
                    on_queries=on_queries, on_tree=on_tree,
                )  # fmt: skip
            except TooLittle as error:
                return Made(passed=False, reason=str(error), summary=str(error))
        return made_of(trained, {"learned from": "what people did next", "repeats": repeats})

    parts = (learned_by(settings), settings.recall, settings.signals)
    ranker = Stage(
        name=name,
        code=CODE,
        make=make,
        settings={type(part).__name__: msgspec.to_builtins(part) for part in parts},
        inputs={**inputs, "until": str(until), "start": str(start), "features": SPECIFICATION},
        needs=tuple(stage.name for stage in (*needs, *merge)),
    )
    return [*past, *modules, *merge, ranker]


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


def enough_lists(joined: JoinedLog, until: int, settings: KindredSettings) -> bool:
    """Whether enough lists were shown before `until` of which something came, for long enough."""
    useful = joined.shown.clicked_lists(until) & joined.readable()
    if int(useful.sum()) < settings.ranker.joined_from:
        return False
    return split_moments(joined, until, settings.ranker, settings.join) is not None


def joined_stage(
    joined: JoinedLog,
    size: int,
    until: int,
    settings: KindredSettings,
    *,
    name: str,
    threads: int = 0,
) -> Stage:
    """The ranker trained on what was shown before `until`; `size` is the catalogue's.

    One is made of the older lists and judged on the newest; if it passes, another is made like it
    of all of them, and serves.
    """
    chosen, seed = settings.ranker, settings.seed

    def tried(progress: Progress) -> TrainedRanker:
        with progress.task("read shown lists") as on_lists:
            parts = split_lists(
                joined, until, size, chosen, settings.join, seed=seed, on_lists=on_lists
            )
        with progress.task("grow trees", len(wanted_goals(chosen)) * chosen.trees) as on_tree:
            return train_on_lists(parts, chosen, seed=seed, threads=threads, on_tree=on_tree)

    def make(_: Mapping[str, Artefact], progress: Progress) -> Made:
        try:
            trained = tried(progress)
        except TooLittle as error:
            return Made(passed=False, reason=str(error), summary=str(error))
        if trained.passed:
            with progress.task("read all shown lists") as on_lists:
                known = known_lists(joined, until, size, chosen, settings.join, on_lists=on_lists)
            with progress.task("grow trees again", trained.metrics["trees"]) as on_tree:
                trained = refitted(
                    trained, known, chosen, seed=seed, threads=threads, on_tree=on_tree
                )
        return made_of(trained, {})

    parts = (learned_by(settings), settings.join)
    return Stage(
        name=name,
        code=CODE,
        make=make,
        settings={type(part).__name__: msgspec.to_builtins(part) for part in parts},
        inputs={**joined.inputs, "until": str(until), "features": SPECIFICATION},
    )


def split(
    window: Interactions, repeats: bool, settings: KindredSettings
) -> tuple[Examples, Examples]:
    """(training, development) queries: what happens after one moment is development.

    Where sessions are few, each is cut several times for training, at moments of its own.
    """
    rng = np.random.default_rng(settings.seed)
    chosen = settings.ranker

    def cut(part: Interactions) -> Examples:
        return cut_sessions(part, rng=rng, single_seed_share=SINGLE_SEED, repeats=repeats)

    once = cut(window)
    if not len(once):
        return once, once
    boundary = int(once.now[int((1 - chosen.development_share) * (len(once) - 1))])
    older = window.before(boundary)
    share = round(chosen.queries * (1 - chosen.development_share))
    first = cut(older)
    times = min(MOST_CUTS, max(1, share // max(len(first), 1)))
    training = joined([first, *(cut(older) for _ in range(times - 1))])
    development = cut(window.between(boundary, int(window.ts[-1]) + 1))
    return sample(training, share, rng), sample(development, chosen.queries - share, rng)


def sample(examples: Examples, most: int, rng: np.random.Generator) -> Examples:
    """At most `most` of the queries, still in order of time."""
    if len(examples) <= most:
        return examples
    return examples.take(np.sort(rng.choice(len(examples), most, replace=False)))


def learned_by(settings: KindredSettings) -> RankerSettings:
    """What of the ranker's settings training reads: a shadow changes nothing of it."""
    return msgspec.structs.replace(settings.ranker, shadow="")
